//! Recently sent requests: one count per moment, in constant memory at any rate. Arithmetic only.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How far back requests are remembered, to count in a window that is found out later.
pub(super) const LOOK_BACK: Duration = Duration::from_mins(5);

/// The span is divided into this many moments, and a moment counts as its latest request. That bounds the memory and
/// costs less than half a percent of a limit.
const MOMENTS: u32 = 1024;

/// The requests of a time span, oldest first.
#[derive(Debug, Default)]
pub(super) struct Sends {
    grain: Duration,
    pub(super) moments: VecDeque<Tally>,
    pub(super) count: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    first: Instant,
    pub(super) last: Instant,
    pub(super) count: u64,
}

impl Sends {
    /// An empty record that looks back over `span`.
    pub(super) fn over(span: Duration) -> Self {
        Self {
            grain: span / MOMENTS,
            ..Self::default()
        }
    }

    /// A copy limited to the last `span`.
    pub(super) fn recent(&self, span: Duration, now: Instant) -> Self {
        let mut recent = Self::over(span);
        let is_recent = |moment: &&Tally| now.duration_since(moment.last) < span;
        recent.moments = self.moments.iter().filter(is_recent).copied().collect();
        recent.count = recent.moments.iter().map(|moment| moment.count).sum();
        recent
    }

    pub(super) fn add(&mut self, now: Instant) {
        self.count += 1;
        match self.moments.back_mut() {
            Some(moment) if now.duration_since(moment.first) < self.grain => {
                moment.last = now;
                moment.count += 1;
            }
            _ => self.moments.push_back(Tally {
                first: now,
                last: now,
                count: 1,
            }),
        }
    }

    /// Removes one request that was sent at this instant.
    pub(super) fn remove(&mut self, sent: Instant) {
        let moment = self
            .moments
            .iter_mut()
            .rev()
            .find(|moment| moment.first <= sent && sent <= moment.last && moment.count > 0);
        if let Some(moment) = moment {
            moment.count -= 1;
            self.count -= 1;
        }
    }

    /// How many were sent from `from` on, and before `to`.
    pub(super) fn between(&self, from: Instant, to: Instant) -> u64 {
        let counts = |moment: &&Tally| from <= moment.first && moment.first < to;
        let counted = self.moments.iter().filter(counts);
        counted.map(|moment| moment.count).sum()
    }

    /// When the `nth` last before `to` was sent; `None` if that is forgotten.
    pub(super) fn nth_last(&self, nth: u64, to: Instant) -> Option<Instant> {
        let mut left = nth;
        let mut before = self.moments.iter().rev().filter(|moment| moment.first < to);
        let found = before.find(|moment| {
            left = left.saturating_sub(moment.count);
            left == 0
        });
        found.map(|moment| moment.last)
    }

    /// Drops what is older than `span`.
    pub(super) fn forget(&mut self, now: Instant, span: Duration) {
        while let Some(oldest) = self
            .moments
            .front()
            .filter(|moment| now.duration_since(moment.last) >= span)
        {
            self.count -= oldest.count;
            self.moments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_flat_at_any_rate() {
        let (start, span) = (Instant::now(), Duration::from_secs(1));
        let mut sends = Sends::over(span);
        for micros in 0..2_000_000 {
            let now = start + Duration::from_micros(micros);
            sends.add(now);
            sends.forget(now, span);
            assert!(sends.moments.len() <= MOMENTS as usize + 2);
        }
        assert!(
            (1_000_000..=1_004_000).contains(&sends.count),
            "{}",
            sends.count
        );
    }

    #[test]
    fn a_shorter_look_back_holds_only_the_latest() {
        let start = Instant::now();
        let mut sends = Sends::over(Duration::from_mins(1));
        for seconds in 0..30 {
            sends.add(start + Duration::from_secs(seconds));
        }
        let now = start + Duration::from_secs(29);
        assert_eq!(sends.recent(Duration::from_secs(10), now).count, 10);
        sends.remove(now);
        assert_eq!(sends.recent(Duration::from_secs(10), now).count, 9);
    }
}
