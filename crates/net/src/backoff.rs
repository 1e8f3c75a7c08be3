//! Retry delays with jitter.

use std::time::Duration;

use rand::Rng;

/// Delays that grow like Fibonacci numbers between a first value and a cap, each with jitter.
///
/// Jitter spreads clients that lost the same server at the same moment: each delay is drawn evenly from
/// half to the whole of its nominal value, so it never exceeds the cap.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    previous: Duration,
    current: Duration,
}

impl Backoff {
    /// Starts a series at `first`; no delay is ever above `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, previous: Duration::ZERO, current: first }
    }

    /// Returns the next delay and moves on.
    pub fn next_delay(&mut self) -> Duration {
        let nominal = self.current.min(self.cap);
        let next = (self.previous + self.current).min(self.cap);
        self.previous = self.current.min(self.cap);
        self.current = next;
        nominal.mul_f64(rand::thread_rng().gen_range(0.5..=1.0))
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        *self = Self::new(self.first, self.cap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_stay_below_the_cap() {
        let cap = Duration::from_secs(30);
        let mut backoff = Backoff::new(Duration::from_millis(5), cap);
        assert!(backoff.next_delay() <= Duration::from_millis(5));
        let delays: Vec<_> = (0..40).map(|_| backoff.next_delay()).collect();
        assert!(delays.iter().all(|delay| *delay <= cap));
        assert!(delays[39] >= cap / 2);
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(5));
    }
}
