//! The server: what ImageKit would say to a request, by its documents, unless the script has something else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderName;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{Answer, Ending, HELP, PAGE};
use super::fault::{fault_after, fault_before};
use super::file::spread;
use super::ledger::{Ledger, Request};
use super::limits::{LimitState, Window, pass};
use super::list::Listing;
use super::request::{ParsedRequest, Route};
use super::script::{BatchMissing, BatchTrouble, Fault, Script};

/// The server: its script, its ledger, and where it stands in both.
#[derive(Debug)]
pub(super) struct Server {
    script: Script,
    /// The same limits as for single deletions, used up separately.
    batch_limits: Vec<Window>,
    ledger: Arc<Ledger>,
    random: fastrand::Rng,
    outage_ends: Option<Instant>,
}

impl Server {
    pub(super) fn new(script: Script, ledger: Arc<Ledger>) -> Self {
        let random = fastrand::Rng::with_seed(script.seed);
        Self {
            batch_limits: script.limits.clone(),
            script,
            ledger,
            random,
            outage_ends: None,
        }
    }

    pub(super) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    pub(super) fn latency(&mut self) -> Duration {
        let range = &self.script.latency;
        range.start + (range.end.saturating_sub(range.start)).mul_f64(self.random.f64())
    }

    /// Does what is asked, or what the script has instead, and logs it.
    pub(super) fn answer(&mut self, number: u64, request: &ParsedRequest) -> Answer {
        let now = Instant::now();
        let mut answer = self.decide(number, request, now);
        let name = HeaderName::from_static("x-ik-requestid");
        let request_id = format!("{}{number:08}", self.script.request_ids);
        answer.headers.push((name, request_id));
        let is_whole = answer.ending == Ending::Whole;
        self.ledger.log(Request {
            at: now.into_std(),
            method: request.method.to_string(),
            path: request.raw_path.clone(),
            file_ids: request.file_ids(),
            status: if is_whole { answer.status } else { 0 },
        });
        answer
    }

    fn decide(&mut self, number: u64, request: &ParsedRequest, now: Instant) -> Answer {
        if self.is_out(number, now) {
            return Answer::text(503, "text/plain", "upstream connect error");
        }
        let fault = self.fault(number, &request.file_ids());
        if let Some(answer) = fault.as_ref().and_then(fault_before) {
            return answer;
        }
        if let Some(refusal) = self.key_refusal(request) {
            return Answer::message(refusal.0, refusal.1);
        }
        if let Some(Err(exceeded)) = self.windows(request).map(|windows| pass(windows, now)) {
            let mut refusal = Answer::json(429, &json!({"message": "rate limit exceeded"}));
            refusal.headers.extend(limit_headers(exceeded));
            return refusal;
        }
        let answer = self.carry_out(request);
        match &fault {
            Some(fault) => fault_after(fault, answer),
            None => answer,
        }
    }

    fn is_out(&mut self, number: u64, now: Instant) -> bool {
        let Some((from, lasting)) = self.script.outage else {
            return false;
        };
        if number < from {
            return false;
        }
        now < *self.outage_ends.get_or_insert(now + lasting)
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
            Route::DeleteBatch(_) | Route::BadBatch(_) => Some(&mut self.batch_limits),
            Route::List | Route::Details(_) => Some(&mut self.script.read_limits),
            Route::Purge | Route::PurgeStatus(_) | Route::None => None,
        }
    }

    fn carry_out(&mut self, request: &ParsedRequest) -> Answer {
        let file_ids = request.file_ids();
        let poisoned = file_ids.iter().any(|id| self.script.poison.contains(id));
        let malformed = file_ids.iter().any(|id| self.script.malformed.contains(id));
        match &request.route {
            _ if poisoned => Answer::text(500, "text/html", PAGE),
            _ if malformed => {
                Answer::message(400, "Your request contains invalid fileId parameter.")
            }
            Route::Delete(id) if self.ledger.delete(id) => Answer::no_content(),
            Route::Details(id) if self.ledger.exists(id) => self.details(id),
            Route::Delete(id) | Route::Details(id) if !can_be_an_id(id) => {
                Answer::message(400, "Your request contains invalid fileId parameter.")
            }
            Route::Delete(_) | Route::Details(_) => {
                Answer::message(404, "The requested file does not exist.")
            }
            Route::DeleteBatch(ids) => self.delete_batch(ids),
            Route::BadBatch(message) => Answer::message(400, message),
            Route::Purge => self.purge(&request.body),
            Route::PurgeStatus(id) => self.purge_status(id),
            Route::List => self.list(&request.query),
            Route::None => Answer::message(403, "Invalid CSRF Token"),
        }
    }

    fn details(&self, id: &str) -> Answer {
        let file = self.ledger.file(id);
        Answer::json(200, &file.map_or(Value::Null, |file| file.json()))
    }

    fn delete_batch(&mut self, ids: &[String]) -> Answer {
        if self.script.batch_missing == BatchMissing::NoRoute {
            return Answer::json(404, &json!({"message": "Not Found"}));
        }
        let most = self.script.batch_limit;
        if ids.len() > most {
            return Answer::message(400, &format!("fileIds cannot have more than {most} items."));
        }
        let missing: Vec<&String> = ids.iter().filter(|id| !self.ledger.exists(id)).collect();
        if !missing.is_empty() {
            return missing_answer(self.script.batch_missing, &missing);
        }
        let Some((trouble, one_in)) = self.script.batch_trouble else {
            self.ledger.delete_all(ids.iter());
            return Answer::json(200, &json!({"successfullyDeletedFileIds": ids}));
        };
        let (troubled, fine): (Vec<&String>, Vec<&String>) =
            ids.iter().partition(|id| spread(id).is_multiple_of(one_in));
        self.ledger.delete_all(fine.iter().copied());
        if trouble == BatchTrouble::ErrorButDeleted {
            self.ledger.delete_all(troubled.iter().copied());
        }
        troubled_answer(trouble, ids, &fine, &troubled)
    }

    fn purge(&mut self, body: &Value) -> Answer {
        let Some(url) = body.get("url").and_then(Value::as_str) else {
            return Answer::message(400, "Your request is missing URL parameter.");
        };
        if !is_purgeable(url) {
            return Answer::message(400, "The URL is not valid for cache purging.");
        }
        if self
            .script
            .purge_quota
            .is_some_and(|quota| self.ledger.purged().len() >= quota)
        {
            let (status, message) = &self.script.purge_refusal;
            let mut refusal = Answer::message(*status, message);
            let name = HeaderName::from_static("x-ratelimit-reset");
            let reset = self
                .script
                .purge_reset
                .map(|reset| (name, reset.to_string()));
            refusal.headers.extend(reset);
            return refusal;
        }
        let number = self.ledger.purge(url);
        Answer::json(201, &json!({"requestId": self.purge_id(number)}))
    }

    fn purge_status(&self, request_id: &str) -> Answer {
        let mut known = 1..=self.ledger.purged().len();
        if known.any(|number| self.purge_id(number) == request_id) {
            Answer::json(200, &json!({"status": "Completed"}))
        } else {
            Answer::message(400, "No request found for this requestId.")
        }
    }

    fn purge_id(&self, number: usize) -> String {
        format!("{}purge-{number}", self.script.request_ids)
    }

    fn list(&mut self, query: &HashMap<String, String>) -> Answer {
        if self.script.churn > 0 {
            self.ledger.churn(self.script.churn, &mut self.random);
        }
        match Listing::parse(query) {
            Ok(listing) => {
                let files = listing.find(&self.ledger);
                Answer::json(200, &Value::Array(files))
            }
            Err(message) => Answer::message(400, &message),
        }
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

/// What ImageKit takes for an ID is not documented beyond "a string". `[inferred]`
fn can_be_an_id(id: &str) -> bool {
    let is_strange = |character: char| character.is_whitespace() || character.is_control();
    !id.is_empty() && id.len() <= 256 && !id.contains('/') && !id.contains(is_strange)
}

fn missing_answer(how: BatchMissing, missing: &[&String]) -> Answer {
    let named = match how {
        BatchMissing::List => json!(missing),
        BatchMissing::Strangers => json!(["ffffffffffffffffffffffff"]),
        BatchMissing::Bare | BatchMissing::NoRoute => Value::Null,
    };
    let message = "The requested file(s) does not exist.";
    let mut body = json!({"message": message, "help": HELP, "missingFileIds": named});
    if let (true, Some(fields)) = (named.is_null(), body.as_object_mut()) {
        fields.remove("missingFileIds");
    }
    Answer::json(404, &body)
}

fn troubled_answer(
    trouble: BatchTrouble,
    ids: &[String],
    fine: &[&String],
    troubled: &[&String],
) -> Answer {
    let errors: Vec<Value> = troubled
        .iter()
        .map(|id| json!({"fileId": id, "error": "Error in deleting tags"}))
        .collect();
    let listed = |status, deleted: Value| {
        Answer::json(
            status,
            &json!({"successfullyDeletedFileIds": deleted, "errors": errors}),
        )
    };
    match trouble {
        BatchTrouble::Error207 | BatchTrouble::ErrorButDeleted => listed(207, json!(fine)),
        BatchTrouble::Error200 => listed(200, json!(fine)),
        BatchTrouble::Both => listed(200, json!(ids)),
        BatchTrouble::Neither => Answer::json(200, &json!({"successfullyDeletedFileIds": fine})),
    }
}

fn limit_headers(told: LimitState) -> [(HeaderName, String); 3] {
    // A wait that is cut to whole milliseconds would end too early.
    let reset = told.reset.as_nanos().div_ceil(1_000_000);
    let headers = [
        ("x-ratelimit-limit", u128::from(told.limit)),
        ("x-ratelimit-interval", told.interval.as_millis()),
        ("x-ratelimit-reset", reset),
    ];
    headers.map(|(name, value)| (HeaderName::from_static(name), value.to_string()))
}
