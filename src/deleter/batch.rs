//! Batches: a hundred IDs per request, and still one decision for each.
//!
//! What a batch response does not say of an ID is asked by the single call; what makes a whole batch fail is isolated
//! by halving.

use std::collections::HashSet;
use std::mem;

use futures::future::join_all;

use super::classify::{self, Many};
use super::decide::Final;
use super::inflight::Batch;
use super::{Decisions, Deleter, Deletion, Unsent};
use crate::api::End;
use crate::client::{BatchBody, Response};
use crate::stop::Reason;
use crate::target::Doubt;
use crate::throttle::Endpoint;

/// IDs of a batch whose attempts are used up that are tried by the single call before it is halved: they tell whether
/// the API fails, the batch route, or this batch. As many as an outage takes, so that none of them is used up by one.
const PROBES: usize = 8;

impl Deleter {
    pub(super) async fn settle_batch(&self, batch: Batch, decisions: &Decisions) {
        let max = self.group_size();
        if max == 1 || batch.len() <= 1 {
            return self.settle_singly(batch, decisions).await;
        }
        if batch.len() > max {
            return self.settle_parts(batch.chunks(max), decisions).await;
        }
        let mut deletion = Deletion {
            deleter: self,
            endpoint: Endpoint::DeleteBatch,
            batch,
            classify: classify::many,
        };
        let end = self.api.call(&mut deletion).await;
        let mut batch = deletion.batch;
        match end {
            End::Final(answer, response) => {
                self.read_answer(answer, response, batch, decisions).await;
            }
            End::GivenUp(_) => {
                let probes = batch.take_first(PROBES);
                self.settle_singly(probes, decisions).await;
                self.settle_parts(batch.split(), decisions).await;
            }
            End::Unsent(Unsent::ProbeSingly) => {
                let probe = batch.take_first(1);
                self.settle_singly(probe, decisions).await;
                self.settle_parts(vec![batch], decisions).await;
            }
            End::Unsent(Unsent::TooLarge) => self.settle_parts(vec![batch], decisions).await,
            End::Unsent(Unsent::Stopped) | End::Stopped => self.interrupt_all(batch, decisions),
            End::KeyRefused(words) => {
                self.api.stop().trip(Reason::KeyRefused(words));
                self.interrupt_all(batch, decisions);
            }
        }
    }

    async fn settle_parts(&self, parts: Vec<Batch>, decisions: &Decisions) {
        let settling = parts
            .into_iter()
            .filter(|part| part.len() > 0)
            .map(|part| Box::pin(self.settle_batch(part, decisions)));
        join_all(settling).await;
    }

    async fn read_answer(
        &self,
        answer: Many,
        response: Response,
        mut batch: Batch,
        decisions: &Decisions,
    ) {
        match answer {
            Many::Listed => {
                let body = response.batch_body().unwrap_or_default();
                self.settle_listed(&mut batch, &body, decisions);
            }
            Many::Missing => {
                let missing = response.missing_file_ids().unwrap_or_default();
                if self.settle_missing(&mut batch, &missing, decisions) {
                    return self.settle_parts(vec![batch], decisions).await;
                }
            }
            Many::Unlisted => batch.doubt(Doubt::Ambiguous),
            Many::NoRoute => {
                self.route.is_missing();
                batch.doubt(Doubt::Ambiguous);
            }
            Many::AtMost(max) if max < batch.len() => {
                self.route.learn_limit(max);
                self.withdraw_if_free(&mut batch);
                return self.settle_parts(vec![batch], decisions).await;
            }
            Many::AtMost(_) | Many::Refused => {
                self.withdraw_if_free(&mut batch);
                return self.settle_parts(batch.split(), decisions).await;
            }
        }
        self.settle_singly(batch, decisions).await;
    }

    /// Decides the IDs that are listed as deleted and nowhere else; the others stay in the batch, in doubt.
    fn settle_listed(&self, batch: &mut Batch, body: &BatchBody<'_>, decisions: &Decisions) {
        let listed = || body.successfully_deleted_file_ids.iter().flatten().copied();
        let errors = body.errors.iter().flatten();
        let errors: HashSet<&str> = errors.map(|error| error.file_id).collect();
        // Most answers list all IDs in the order of the request.
        let deleted = if errors.is_empty() && listed().eq(batch.ids()) {
            mem::take(&mut batch.ids)
        } else {
            let listed: HashSet<&str> = listed().collect();
            let is_deleted = |id: &str| listed.contains(id) && !errors.contains(id);
            batch.take(|id| is_deleted(id.file_id().as_str()))
        };
        self.decide(batch, deleted, Final::Deleted, decisions);
        batch.doubt(Doubt::Ambiguous);
    }

    /// Nothing was deleted: the missing are decided, the rest is to go again at once. `[spec]`
    ///
    /// A list that names strangers or nobody is not believed: false.
    fn settle_missing(&self, batch: &mut Batch, missing: &[&str], decisions: &Decisions) -> bool {
        let named: HashSet<&str> = missing.iter().copied().collect();
        let gone = batch.take(|id| named.contains(id.file_id().as_str()));
        let is_believable = !gone.is_empty() && gone.len() == named.len();
        if is_believable {
            batch.doubt(Doubt::Weak);
            self.decide(batch, gone, Final::Missing, decisions);
        } else {
            batch.ids.extend(gone);
            batch.doubt(Doubt::Ambiguous);
        }
        is_believable
    }

    fn interrupt_all(&self, mut batch: Batch, decisions: &Decisions) {
        let ids = mem::take(&mut batch.ids);
        self.interrupt(&batch, ids, decisions);
    }
}
