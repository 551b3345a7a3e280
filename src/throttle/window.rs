//! A rate-limit window: so many requests per interval, counted against the requests that we sent.

use std::time::Duration;

use tokio::time::Instant;

use super::controller::SHORT;
use super::own_rate::growth;
use super::sends::Sends;

/// A limit that no answer has repeated for this long may have been raised, and is probed.
const STALE_AFTER: Duration = Duration::from_mins(1);

/// Seconds of probing until 110 % of a limit is tried; 180 % after twice as many.
const TRIED_OUT: f64 = 10.0;

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
}

impl Window {
    /// A window that an answer has just stated; `earlier` is what was sent before.
    pub(super) fn new(limit: u64, interval: Duration, earlier: &Sends, now: Instant) -> Self {
        Self {
            limit,
            interval,
            stated_at: now,
            sends: earlier.recent(interval, now),
        }
    }

    /// An answer stated the limit again; returns whether it has changed.
    pub(super) fn update(&mut self, limit: u64, now: Instant) -> bool {
        self.stated_at = now;
        std::mem::replace(&mut self.limit, limit) != limit
    }

    /// Requests allowed per interval: the limit, or a little more once it is stale, to find out whether it was
    /// raised.
    #[expect(clippy::cast_precision_loss, reason = "a limit is far below 2^52")]
    pub(super) fn allowed(&self, now: Instant) -> f64 {
        let quiet = now.duration_since(self.stated_at);
        let tried_out = quiet.saturating_sub(STALE_AFTER.max(2 * self.interval));
        self.limit as f64 * growth(tried_out.as_secs_f64() / TRIED_OUT).min(20.0)
    }

    /// Whether requests are spread evenly over it.
    pub(super) fn is_short(&self) -> bool {
        self.interval <= SHORT
    }

    /// Counts a request that is sent now.
    pub(super) fn left(&mut self, now: Instant) {
        self.sends.add(now);
    }

    /// Takes back the request sent at `sent`: the server refused it, so it does not count.
    pub(super) fn refused(&mut self, sent: Instant) {
        self.sends.remove(sent);
    }

    /// Clears the count if more requests were accepted than a sliding window allows, as the server must then count
    /// differently; returns whether it did. `in_flight` requests may still be refused.
    pub(super) fn begin_anew_if_exceeded(&mut self, now: Instant, in_flight: u64) -> bool {
        self.sends.forget(now, self.interval);
        let is_exceeded = self.sends.count > self.limit.saturating_add(in_flight);
        if is_exceeded {
            self.sends.clear();
        }
        is_exceeded
    }

    /// When the next request fits; `None` if it fits now. `guard` lengthens the interval, because some requests
    /// take longer to arrive than others.
    #[expect(clippy::cast_precision_loss, reason = "a count is far below 2^52")]
    pub(super) fn full_until(&mut self, now: Instant, guard: Duration) -> Option<Instant> {
        let span = self.interval + guard;
        self.sends.forget(now, span);
        let allowed = self.allowed(now).max(1.0);
        let mut count = self.sends.count as f64;
        if count + 1.0 <= allowed {
            let unused = 1.0 - (count + 1.0) / allowed;
            return self.opens_at(unused).filter(|at| *at > now);
        }
        let leaves_room = self.sends.moments.iter().find(|moment| {
            count -= moment.count as f64;
            count + 1.0 <= allowed
        });
        leaves_room.map(|moment| moment.last + span)
    }

    /// When the request that leaves the share `unused` may be sent: the last requests of a long window are spread
    /// over the time until its oldest request drops out.
    fn opens_at(&self, unused: f64) -> Option<Instant> {
        let oldest = self
            .sends
            .moments
            .front()
            .filter(|_| self.interval >= LONG)?;
        let open = (1.0 - unused / RESERVE).max(0.0);
        Some(oldest.last + self.interval.mul_f64(open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const GUARD: Duration = Duration::from_millis(20);

    #[test]
    fn the_next_request_waits_until_the_oldest_has_left_the_window() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut window = Window::new(3, SECOND, &Sends::default(), start);
        for millis in [0, 100, 200] {
            assert_eq!(window.full_until(at(millis), GUARD), None);
            window.left(at(millis));
        }
        assert_eq!(window.full_until(at(300), GUARD), Some(at(1020)));
        window.refused(at(100));
        assert_eq!(
            window.full_until(at(300), GUARD),
            None,
            "a refused request does not count"
        );
        window.left(at(300));
        assert_eq!(window.full_until(at(1020), GUARD), None);
    }

    #[test]
    fn a_limit_is_tried_out_after_a_quiet_minute() {
        let start = Instant::now();
        let mut window = Window::new(100, SECOND, &Sends::default(), start);
        assert!((window.allowed(start + STALE_AFTER) - 100.0).abs() < 0.01);
        assert!((window.allowed(start + STALE_AFTER + 10 * SECOND) - 110.0).abs() < 0.1);
        assert!(!window.update(100, start + STALE_AFTER + 10 * SECOND));
        assert!((window.allowed(start + STALE_AFTER + 11 * SECOND) - 100.0).abs() < 0.01);
        assert!(window.update(50, start + 2 * STALE_AFTER));
    }

    #[test]
    fn a_window_that_let_more_through_begins_anew() {
        let start = Instant::now();
        let mut window = Window::new(2, SECOND, &Sends::default(), start);
        window.left(start);
        window.left(start);
        assert!(!window.begin_anew_if_exceeded(start, 0));
        window.left(start);
        assert!(!window.begin_anew_if_exceeded(start, 1));
        assert!(window.begin_anew_if_exceeded(start, 0));
        assert_eq!(window.full_until(start, GUARD), None);
    }
}
