//! Batches: a hundred IDs a request, and still one decision for each.
//!
//! What a batch answer does not say of an ID is asked by the single call; what makes a
//! whole batch fail is isolated by halving.

use std::collections::{HashMap, HashSet};

use futures::FutureExt;
use futures::channel::mpsc;
use futures::future::{LocalBoxFuture, join_all};

use super::classify::{self, Many};
use super::part::Part;
use super::truth::Final;
use super::{Deleter, Next, Settled, give};
use crate::client::BatchBody;
use crate::throttle::Endpoint;

type Sender = mpsc::UnboundedSender<Settled>;

impl Deleter {
    pub(super) fn settle_part<'a>(
        &'a self,
        mut part: Part,
        settled: &'a Sender,
    ) -> LocalBoxFuture<'a, ()> {
        async move {
            let most = self.group_size();
            if part.len() == 0 {
                return;
            }
            if most == 1 || part.len() == 1 {
                return self.settle_singly(part, settled).await;
            }
            if part.len() > most {
                return self.settle_parts(part.chunks(most), settled).await;
            }
            match self.attempt_batch(&mut part).await {
                Next::Final(answer, response) => {
                    let body = response.batch_body().unwrap_or_default();
                    self.read_answer(answer, &body, part, settled).await;
                }
                Next::TooLarge => self.settle_part(part, settled).await,
                Next::GivenUp | Next::Again => self.settle_parts(part.split(), settled).await,
                Next::Stopped => release(part, settled),
            }
        }
        .boxed_local()
    }

    /// Each part is a group of its own from now on: where all of them fail, it is not because of one ID.
    async fn settle_parts(&self, mut parts: Vec<Part>, settled: &Sender) {
        for part in &mut parts {
            part.group = self.line.next_group();
        }
        let settling = parts
            .into_iter()
            .map(|part| self.settle_part(part, settled));
        join_all(settling).await;
    }

    async fn attempt_batch(&self, part: &mut Part) -> Next<Many> {
        let mut tries = 0;
        loop {
            match self
                .attempt(Endpoint::DeleteBatch, part, &mut tries, classify::many)
                .await
            {
                Next::Again => {}
                next => return next,
            }
        }
    }

    async fn read_answer(&self, answer: Many, body: &BatchBody, mut part: Part, settled: &Sender) {
        match answer {
            Many::Listed => {
                settle_listed(&mut part, body, settled);
                self.settle_singly(part, settled).await;
            }
            Many::Missing(missing) => self.read_missing(&missing, part, settled).await,
            Many::Unlisted => {
                doubt_all(&mut part);
                self.settle_singly(part, settled).await;
            }
            Many::NoRoute => {
                self.give_up_batches();
                doubt_all(&mut part);
                self.settle_singly(part, settled).await;
            }
            Many::AtMost(most) if most < part.len() => {
                self.learn_batch_limit(most);
                self.withdraw_if_free(&mut part);
                self.settle_part(part, settled).await;
            }
            Many::AtMost(_) | Many::Refused => {
                self.withdraw_if_free(&mut part);
                self.settle_parts(part.split(), settled).await;
            }
        }
    }

    /// Nothing was deleted: the missing are told, the rest goes again at once. `[spec]`
    ///
    /// A list that names strangers or nobody is not believed.
    async fn read_missing(&self, missing: &[String], mut part: Part, settled: &Sender) {
        let named: HashSet<&str> = missing.iter().map(String::as_str).collect();
        let gone = part.take(|pending| named.contains(pending.file_id().as_str()));
        doubt_all(&mut part);
        let is_believable = !gone.is_empty() && gone.len() == named.len();
        if is_believable {
            for pending in gone {
                give(settled, part.decided(pending, Final::Missing));
            }
            self.settle_part(part, settled).await;
        } else {
            part.pendings.extend(gone);
            self.settle_singly(part, settled).await;
        }
    }

    fn learn_batch_limit(&self, most: usize) {
        if most < self.batch_limit.get() {
            self.batch_limit.set(most);
            tracing::warn!(most, "ImageKit takes fewer IDs a request than asked for");
        }
    }

    fn give_up_batches(&self) {
        if self.batch_limit.replace(1) > 1 {
            tracing::warn!("this host does not delete in batches; going on one by one");
        }
    }
}

/// Decides the IDs that are listed as deleted and nowhere else; the others stay in the part, in doubt.
fn settle_listed(part: &mut Part, body: &BatchBody, settled: &Sender) {
    let listed: HashSet<&str> = body
        .successfully_deleted_file_ids
        .iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let errors: HashMap<&str, Option<&str>> = body
        .errors
        .iter()
        .flatten()
        .map(|error| (error.file_id.as_str(), error.error.as_deref()))
        .collect();
    let is_deleted = |id: &str| listed.contains(id) && !errors.contains_key(id);
    for pending in part.take(|pending| is_deleted(pending.file_id().as_str())) {
        give(settled, part.decided(pending, Final::Deleted));
    }
    doubt_all(part);
    for (file_id, error) in errors {
        tracing::debug!(
            file_id,
            error,
            "the batch could not tell, asking by the single call"
        );
    }
}

fn doubt_all(part: &mut Part) {
    part.pendings
        .iter_mut()
        .for_each(super::part::Pending::set_doubt);
}

fn release(mut part: Part, settled: &Sender) {
    for pending in part.take(|_| true) {
        give(settled, part.interrupted(pending));
    }
}
