//! A rate-limit window: a number of requests per interval, counted against the requests that we sent. Arithmetic only.

use std::time::Duration;

use tokio::time::Instant;

use super::sends::Sends;

/// A limit that no answer has repeated for this long, or for five intervals, may have been raised: it no longer holds
/// anything back.
const STALE_AFTER: Duration = Duration::from_mins(1);

/// Requests are spread evenly over windows up to this length. In longer ones they leave as fast as everything else
/// allows.
const SHORT: Duration = Duration::from_secs(2);

/// The share of a long window that is not used at once, to leave room for the account's other clients.
const RESERVE: f64 = 0.05;

/// A window this long is a long one.
const LONG: Duration = Duration::from_secs(30);

/// It is lengthened by at most this fraction of it to allow for uneven round trips.
pub(super) const MAX_GUARD: u32 = 16;

/// One window, and our own requests in it.
#[derive(Debug)]
pub(super) struct LimitWindow {
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

impl LimitWindow {
    /// A window that is stated now; `earlier` is what was sent before.
    pub(super) fn new(limit: u64, interval: Duration, earlier: &Sends, now: Instant) -> Self {
        Self {
            limit,
            interval,
            stated_at: now,
            sends: earlier.recent(interval, now),
            explained_at: None,
        }
    }

    /// It turns out to be longer or shorter.
    pub(super) fn change_interval(&mut self, interval: Duration, earlier: &Sends, now: Instant) {
        self.interval = interval;
        self.sends = earlier.recent(interval, now);
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
        now.duration_since(self.stated_at) > STALE_AFTER.max(self.interval.saturating_mul(5))
    }

    /// Whether requests are spread evenly over it.
    pub(super) fn is_short(&self) -> bool {
        self.interval <= SHORT
    }

    /// Requests per second if they are spread evenly over the interval, lengthened by `guard`.
    #[expect(clippy::cast_precision_loss, reason = "a limit is far below 2^52")]
    pub(super) fn per_second(&self, guard: Duration) -> f64 {
        self.limit as f64 / self.guarded(guard).as_secs_f64()
    }

    fn guarded(&self, guard: Duration) -> Duration {
        self.interval + guard.min(self.interval / MAX_GUARD)
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

    /// When the next request may be sent; `None` if it may be sent now. The last requests of a long window are spread
    /// over the time until its oldest request drops out.
    pub(super) fn not_before(&mut self, guard: Duration, now: Instant) -> Option<Instant> {
        let full_until = self.full_until(guard, now);
        full_until.or_else(|| {
            let mut moments = self.sends.moments.iter();
            let oldest = moments.next().filter(|_| self.interval >= LONG)?;
            let open = (1.0 - self.unused() / RESERVE).max(0.0);
            Some(oldest.last + self.interval.mul_f64(open)).filter(|at| *at > now)
        })
    }

    /// When the next request fits; `None` if it fits now. `guard` lengthens the interval, because some requests
    /// take longer to arrive than others.
    pub(super) fn full_until(&mut self, guard: Duration, now: Instant) -> Option<Instant> {
        let span = self.guarded(guard);
        self.sends.forget(now, span);
        let mut count = self.sends.count;
        if count < self.limit {
            return None;
        }
        let leaves_room = self.sends.moments.iter().find(|moment| {
            count -= moment.count;
            count < self.limit
        });
        leaves_room.map(|moment| moment.last + span)
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

    fn window(limit: u64, interval: Duration, now: Instant) -> LimitWindow {
        LimitWindow::new(limit, interval, &Sends::default(), now)
    }

    #[test]
    fn the_next_request_waits_until_the_oldest_has_left_the_window() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut window = window(3, SECOND, start);
        for millis in [0, 100, 200] {
            assert_eq!(window.full_until(GUARD, at(millis)), None);
            window.left(at(millis));
        }
        assert_eq!(window.full_until(GUARD, at(300)), Some(at(1020)));
        window.refused(at(100));
        let freed = window.full_until(GUARD, at(300));
        assert_eq!(freed, None, "a refused request does not count");
        window.left(at(300));
        assert_eq!(window.full_until(GUARD, at(1020)), None);
    }

    #[test]
    fn a_limit_is_stale_after_a_quiet_minute_or_five_intervals() {
        let start = Instant::now();
        let at = |seconds| start + seconds * SECOND;
        let mut short = window(100, SECOND, start);
        assert!(!short.is_stale(at(60)) && short.is_stale(at(61)));
        assert_eq!(short.update(100, at(61)), IsNew::No);
        assert!(!short.is_stale(at(121)));
        let long = window(100, 300 * SECOND, start);
        assert!(!long.is_stale(at(1500)) && long.is_stale(at(1501)));
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
