//! The server: what ImageKit would say to a request, by its documents, unless the script has something else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{Answer, Delivery, HELP};
use super::fault::{fault_after, fault_before};
use super::ledger::{Ledger, LoggedRequest};
use super::limits::{LimitState, Window, pass};
use super::request::{ParsedRequest, Route};
use super::script::{Fault, Script};
use super::search::Search;

/// IDs in a batch, at the most. `[spec]`
const MAX_BATCH: usize = 100;

/// The most that a list answers at once, and what it answers where no limit is given. `[spec]`
const MAX_LIMIT: usize = 1000;

/// The server: its script, its ledger, and where it stands in both.
pub(super) struct Server {
    script: Script,
    /// The same limits as for single deletions, used up separately.
    batch_limits: Vec<Window>,
    ledger: Arc<Ledger>,
    random: fastrand::Rng,
}

impl Server {
    pub(super) fn new(script: Script, ledger: Arc<Ledger>) -> Self {
        let random = fastrand::Rng::with_seed(script.seed);
        Self {
            batch_limits: script.limits.clone(),
            script,
            ledger,
            random,
        }
    }

    /// The number of a request that arrives now, from 1.
    pub(super) fn count_request(&self) -> u64 {
        self.ledger.count_request()
    }

    pub(super) fn latency(&mut self) -> Duration {
        let range = &self.script.latency;
        range.start + (range.end.saturating_sub(range.start)).mul_f64(self.random.f64())
    }

    /// Does what is asked, or what the script has instead, and logs it.
    pub(super) fn answer(&mut self, number: u64, asked: &ParsedRequest) -> Answer {
        let now = Instant::now();
        let mut request = LoggedRequest {
            at: now.into_std(),
            method: asked.method.to_string(),
            path: asked.raw_path.clone(),
            file_ids: asked.file_ids(),
            status: 0,
        };
        let request_id = format!("{}{number:08}", self.script.request_ids);
        let answer = self.decide(number, asked, &request, now);
        let answer = answer.header("x-ik-requestid", &request_id);
        if answer.delivery == Delivery::Whole {
            request.status = answer.status;
        }
        self.ledger.log(request);
        answer
    }

    fn decide(
        &mut self,
        number: u64,
        asked: &ParsedRequest,
        request: &LoggedRequest,
        now: Instant,
    ) -> Answer {
        let fault = self.fault(number, &request.file_ids);
        if let Some(answer) = fault.as_ref().and_then(fault_before) {
            return answer;
        }
        if let Some(refusal) = self.key_refusal(asked) {
            return Answer::message(refusal.0, refusal.1);
        }
        if let Some(Err(exceeded)) = self.windows(asked).map(|windows| pass(windows, now)) {
            let refusal = Answer::json(429, &json!({"message": "rate limit exceeded"}));
            return with_limit_headers(refusal, exceeded);
        }
        let instead = (self.script.instead)(request, &self.ledger);
        let answer = instead.unwrap_or_else(|| self.carry_out(asked));
        match &fault {
            Some(fault) => fault_after(fault, answer),
            None => answer,
        }
    }

    fn fault(&mut self, number: u64, file_ids: &[String]) -> Option<Fault> {
        if let Some(fault) = self.script.faults_at.remove(&number) {
            return Some(fault);
        }
        for id in file_ids {
            if let Some(faults) = self
                .script
                .faults_for
                .get_mut(id)
                .filter(|faults| !faults.is_empty())
            {
                return Some(faults.remove(0));
            }
        }
        let drawn = self.random.f64();
        let mut share = 0.0;
        self.script.random_faults.iter().find_map(|(fault, part)| {
            share += part;
            (drawn < share).then(|| fault.clone())
        })
    }

    /// Why a key is not taken: the status and ImageKit's words. `[spec]`
    fn key_refusal(&self, request: &ParsedRequest) -> Option<(u16, &'static str)> {
        match &request.authorization {
            None => Some((401, "Your request does not contain private API key.")),
            Some(key) if *key != self.script.key => {
                Some((403, "Your account cannot be authenticated."))
            }
            Some(_) => None,
        }
    }

    fn windows(&mut self, request: &ParsedRequest) -> Option<&mut Vec<Window>> {
        match request.route {
            Route::Delete(_) => Some(&mut self.script.limits),
            Route::DeleteBatch(_) => Some(&mut self.batch_limits),
            Route::List | Route::Details(_) => Some(&mut self.script.read_limits),
            Route::Purge | Route::None => None,
        }
    }

    fn carry_out(&self, request: &ParsedRequest) -> Answer {
        match &request.route {
            Route::Delete(id) if self.ledger.delete(id) => Answer::no_content(),
            Route::Details(id) if self.ledger.exists(id) => self.details(id),
            Route::Delete(_) | Route::Details(_) => {
                Answer::message(404, "The requested file does not exist.")
            }
            Route::DeleteBatch(ids) => self.delete_batch(ids),
            Route::Purge => self.purge(&request.body),
            Route::List => match self.list(&request.query) {
                Ok(files) => Answer::json(200, &Value::Array(files)),
                Err(message) => Answer::message(400, &message),
            },
            Route::None => Answer::message(403, "Invalid CSRF Token"),
        }
    }

    fn details(&self, id: &str) -> Answer {
        let file = self.ledger.file(id);
        Answer::json(200, &file.map_or(Value::Null, |file| file.json()))
    }

    fn delete_batch(&self, ids: &[String]) -> Answer {
        if ids.is_empty() {
            return Answer::message(400, "fileIds parameter is missing.");
        }
        if ids.len() > MAX_BATCH {
            let message = format!("fileIds cannot have more than {MAX_BATCH} items.");
            return Answer::message(400, &message);
        }
        let missing: Vec<&String> = ids.iter().filter(|id| !self.ledger.exists(id)).collect();
        if !missing.is_empty() {
            let message = "The requested file(s) does not exist.";
            return Answer::json(
                404,
                &json!({"message": message, "help": HELP, "missingFileIds": missing}),
            );
        }
        for id in ids {
            self.ledger.delete(id);
        }
        Answer::json(200, &json!({"successfullyDeletedFileIds": ids}))
    }

    fn purge(&self, body: &Value) -> Answer {
        let Some(url) = body.get("url").and_then(Value::as_str) else {
            return Answer::message(400, "Your request is missing URL parameter.");
        };
        if !is_purgeable(url) {
            return Answer::message(400, "The URL is not valid for cache purging.");
        }
        let number = self.ledger.purge(url);
        let request_id = format!("{}purge-{number}", self.script.request_ids);
        Answer::json(201, &json!({"requestId": request_id}))
    }

    /// The files of a list, by the parameters that it needs here; the error is ImageKit's message.
    fn list(&self, query: &HashMap<String, String>) -> Result<Vec<Value>, String> {
        let given = |name: &str| query.get(name).map_or("", String::as_str);
        let invalid = |name: &str| format!("Your request contains invalid {name} parameter.");
        let number = |name: &str, default| match given(name) {
            "" => Ok(default),
            text => text.parse().map_err(|_| invalid(name)),
        };
        let (skip, limit) = (number("skip", 0)?, number("limit", MAX_LIMIT)?);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(invalid("limit"));
        }
        let is_known = |name: &str, value: &str| {
            ["skip", "limit", "sort", "searchQuery"].contains(&name)
                || (name, value) == ("type", "file")
        };
        if let Some((name, _)) = query.iter().find(|(name, value)| !is_known(name, value)) {
            return Err(invalid(name));
        }
        let search = match given("searchQuery") {
            "" => "type = \"file\"",
            search => search,
        };
        let search = Search::parse(search, Timestamp::now())
            .map_err(|why| format!("Invalid search query - {why}"))?;
        let files = match given("sort") {
            "" | "ASC_CREATED" => self.ledger.search(&search, skip.saturating_add(limit)),
            "ASC_NAME" => {
                let mut files = self.ledger.search(&search, usize::MAX);
                files.sort_by(|one, other| one.name.cmp(&other.name));
                files
            }
            _ => return Err(invalid("sort")),
        };
        let page = files.iter().skip(skip).take(limit);
        Ok(page.map(|file| file.json()).collect())
    }
}

/// What ImageKit documents of a purge's URL: a `*` stands at its end only, behind a file name with its extension, a
/// path two levels deep, or 15 characters.
fn is_purgeable(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let Some((before, after)) = path.split_once('*') else {
        return scheme.starts_with("http") && !path.is_empty();
    };
    let name = before.rsplit('/').next().unwrap_or_default();
    scheme.starts_with("http")
        && after.is_empty()
        && (name.contains('.') || before.matches('/').count() >= 2 || before.len() >= 15)
}

fn with_limit_headers(answer: Answer, limit: LimitState) -> Answer {
    // A wait that is cut to whole milliseconds would end too early.
    let reset = limit.reset.as_nanos().div_ceil(1_000_000);
    answer
        .header("x-ratelimit-limit", &limit.limit)
        .header("x-ratelimit-interval", &limit.interval.as_millis())
        .header("x-ratelimit-reset", &reset)
}
