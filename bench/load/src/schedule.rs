//! When payments are due in the open loop.

use std::time::Duration;

/// A constant rate for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Payments per second, above zero.
    pub rate_per_second: f64,
    /// How many.
    pub count: usize,
}

impl Schedule {
    /// As many payments as are due within `time`, at least one, at most `most`.
    pub fn lasting(rate_per_second: f64, time: Duration, most: usize) -> Self {
        let count = (rate_per_second * time.as_secs_f64()).round();
        // A float cast saturates, and NaN becomes zero.
        Self { rate_per_second, count: (count as usize).clamp(1, most.max(1)) }
    }

    /// When payment `index` is due, counted from the start.
    ///
    /// Computed from the index, not by adding up gaps: rounding must not make the rate drift.
    pub fn due(self, index: usize) -> Duration {
        Duration::from_secs_f64(index as f64 / self.rate_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payments_are_due_at_an_even_pace_without_drift() {
        let schedule = Schedule::lasting(300.0, Duration::from_secs(1_000), usize::MAX);
        assert_eq!(schedule.count, 300_000);
        assert_eq!(schedule.due(0), Duration::ZERO);
        assert_eq!(schedule.due(299_999).as_millis(), 999_996);
        assert_eq!(schedule.due(150), Duration::from_millis(500));
    }

    #[test]
    fn a_schedule_has_at_least_one_payment_and_at_most_the_bound() {
        let second = Duration::from_secs(1);
        assert_eq!(Schedule::lasting(0.1, second, 10).count, 1);
        assert_eq!(Schedule::lasting(1e9, second, 10).count, 10);
    }
}
