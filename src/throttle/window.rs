//! A rate-limit window: so many requests per interval, counted against the requests that we sent. Arithmetic only.

use std::time::Duration;

use tokio::time::Instant;

use super::sends::Sends;

/// A limit that no answer has repeated for this long, or for two intervals, may have been raised: it no longer holds
/// anything back.
const STALE_AFTER: Duration = Duration::from_mins(1);

/// Requests are spread evenly over windows up to this length. In longer ones they leave as fast as everything else
/// allows.
const SHORT: Duration = Duration::from_secs(2);

/// The share of a long window that is not used at once, to leave room for the account's other clients.
const RESERVE: f64 = 0.05;

/// A window this long is a long one.
const LONG: Duration = Duration::from_secs(30);

/// One window as ImageKit stated it, and our own requests in it.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) limit: u64,
    pub(super) interval: Duration,
    stated_at: Instant,
    sends: Sends,
    /// When it last explained a refusal.
    explained_at: Option<Instant>,
}

/// Whether a limit was not known before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IsNew {
    No,
    Yes,
}

impl Window {
    /// A window of which no limit is stated yet; `earlier` is what was sent before.
    pub(super) fn new(interval: Duration, earlier: &Sends, now: Instant) -> Self {
        Self {
            limit: 0,
            interval,
            stated_at: now,
            sends: earlier.recent(interval, now),
            explained_at: None,
        }
    }

    /// An answer states its limit.
    pub(super) fn update(&mut self, limit: u64, now: Instant) -> IsNew {
        self.stated_at = now;
        if std::mem::replace(&mut self.limit, limit) == limit {
            IsNew::No
        } else {
            IsNew::Yes
        }
    }

    /// Whether the limit may have been raised since it was stated.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now.duration_since(self.stated_at) > STALE_AFTER.max(2 * self.interval)
    }

    /// Whether requests are spread evenly over it.
    pub(super) fn is_short(&self) -> bool {
        self.interval <= SHORT
    }

    /// Requests per second if they are spread evenly over the interval, lengthened by `guard`.
    #[expect(clippy::cast_precision_loss, reason = "a limit is far below 2^52")]
    pub(super) fn per_second(&self, guard: Duration) -> f64 {
        self.limit as f64 / (self.interval + guard).as_secs_f64()
    }

    /// Counts a request that is sent now.
    pub(super) fn left(&mut self, now: Instant) {
        self.sends.add(now);
    }

    /// Takes back the request sent at `sent`: the server refused it, so it does not count.
    pub(super) fn refused(&mut self, sent: Instant) {
        self.sends.remove(sent);
    }

    /// Whether a refusal shows no more than that we have used it up ourselves, but for what is reserved. If that
    /// happens again within the interval, the server must count differently.
    pub(super) fn explains_refusal(&mut self, now: Instant) -> bool {
        self.sends.forget(now, self.interval);
        let is_used_up = self.unused() <= RESERVE;
        let is_again = |at: Instant| now < at + self.interval;
        let explains = is_used_up && !self.explained_at.is_some_and(is_again);
        if explains {
            self.explained_at = Some(now);
        }
        explains
    }

    /// When the next request fits; `None` if it fits now. `guard` lengthens the interval, because some requests
    /// take longer to arrive than others.
    pub(super) fn full_until(&mut self, now: Instant, guard: Duration) -> Option<Instant> {
        let span = self.interval + guard;
        self.sends.forget(now, span);
        if self.sends.count < self.limit {
            return self.opens_at().filter(|at| *at > now);
        }
        let mut count = self.sends.count;
        let leaves_room = self.sends.moments.iter().find(|moment| {
            count -= moment.count;
            count < self.limit
        });
        leaves_room.map(|moment| moment.last + span)
    }

    /// When the next request may be sent: the last requests of a long window are spread over the time until its
    /// oldest request drops out.
    fn opens_at(&self) -> Option<Instant> {
        let oldest = self
            .sends
            .moments
            .front()
            .filter(|_| self.interval >= LONG)?;
        let open = (1.0 - self.unused() / RESERVE).max(0.0);
        Some(oldest.last + self.interval.mul_f64(open))
    }

    /// The share of it that is left after one more request.
    #[expect(clippy::cast_precision_loss, reason = "a limit is far below 2^52")]
    fn unused(&self) -> f64 {
        1.0 - (self.sends.count + 1) as f64 / self.limit as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const GUARD: Duration = Duration::from_millis(20);

    fn window(limit: u64, interval: Duration, now: Instant) -> Window {
        let mut window = Window::new(interval, &Sends::default(), now);
        assert_eq!(window.update(limit, now), IsNew::Yes);
        window
    }

    #[test]
    fn the_next_request_waits_until_the_oldest_has_left_the_window() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut window = window(3, SECOND, start);
        for millis in [0, 100, 200] {
            assert_eq!(window.full_until(at(millis), GUARD), None);
            window.left(at(millis));
        }
        assert_eq!(window.full_until(at(300), GUARD), Some(at(1020)));
        window.refused(at(100));
        let freed = window.full_until(at(300), GUARD);
        assert_eq!(freed, None, "a refused request does not count");
        window.left(at(300));
        assert_eq!(window.full_until(at(1020), GUARD), None);
    }

    #[test]
    fn a_limit_is_stale_after_a_quiet_minute_or_two_intervals() {
        let start = Instant::now();
        let at = |seconds| start + seconds * SECOND;
        let mut short = window(100, SECOND, start);
        assert!(!short.is_stale(at(60)) && short.is_stale(at(61)));
        assert_eq!(short.update(100, at(61)), IsNew::No);
        assert!(!short.is_stale(at(121)));
        let long = window(100, 300 * SECOND, start);
        assert!(!long.is_stale(at(600)) && long.is_stale(at(601)));
    }

    #[test]
    fn a_window_used_up_by_us_explains_one_refusal_in_its_interval() {
        let start = Instant::now();
        let mut window = window(20, 10 * SECOND, start);
        assert!(!window.explains_refusal(start), "somebody else used it");
        for _ in 0..19 {
            window.left(start);
        }
        assert!(window.explains_refusal(start));
        assert!(!window.explains_refusal(start + SECOND));
    }
}
