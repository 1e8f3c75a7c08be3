//! Latencies in a histogram of high dynamic range.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest time told apart, in microseconds: ten minutes.
const LONGEST_US: u64 = 600_000_000;

/// Times of many payments, to three digits, in bounded memory.
#[derive(Debug, Clone)]
pub struct Latency {
    histogram: Histogram<u64>,
}

/// The figures of a [`Latency`], in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Half are not slower.
    pub p50_ms: f64,
    /// Nine in ten are not slower.
    pub p90_ms: f64,
    /// 99 in a hundred are not slower.
    pub p99_ms: f64,
    /// 999 in a thousand are not slower.
    pub p999_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// The arithmetic mean.
    pub mean_ms: f64,
}

/// One step of a distribution: so many payments took at most so long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Upper end of the step, in milliseconds.
    pub up_to_ms: f64,
    /// Payments in this step alone.
    pub count: u64,
}

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, 3)
            .expect("the bounds are constants that the histogram accepts");
        Self { histogram }
    }
}

impl Latency {
    /// Counts one payment. Times outside 1 us to ten minutes count as the nearer end.
    pub fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(micros.max(1));
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The figures; `None` if nothing was counted.
    pub fn summary(&self) -> Option<LatencySummary> {
        if self.histogram.is_empty() {
            return None;
        }
        let at = |part: f64| self.histogram.value_at_quantile(part) as f64 / 1e3;
        Some(LatencySummary {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.histogram.max() as f64 / 1e3,
            mean_ms: self.histogram.mean() / 1e3,
        })
    }

    /// The distribution in steps that grow by a fifth, empty ones left out: for a reader of the JSON
    /// who wants to see whether session ends show.
    pub fn buckets(&self) -> Vec<Bucket> {
        self.histogram
            .iter_log(100, 1.2)
            .filter(|step| step.count_since_last_iteration() > 0)
            .map(|step| Bucket {
                up_to_ms: step.value_iterated_to() as f64 / 1e3,
                count: step.count_since_last_iteration(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn latency(millis: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::default();
        for time in millis {
            latency.record(Duration::from_millis(time));
        }
        latency
    }

    #[test]
    fn figures_are_right_to_a_thousandth() {
        let summary = latency(1..=1000).summary().unwrap();
        let near = |figure: f64, wanted: f64| (figure - wanted).abs() <= wanted / 1000.0 + 1e-3;
        assert!(near(summary.p50_ms, 500.0), "{summary:?}");
        assert!(near(summary.p99_ms, 990.0), "{summary:?}");
        assert!(near(summary.p999_ms, 999.0), "{summary:?}");
        assert!(near(summary.max_ms, 1000.0), "{summary:?}");
        assert!(near(summary.mean_ms, 500.5), "{summary:?}");
    }

    #[test]
    fn times_beyond_the_bounds_are_counted_at_the_ends() {
        let mut latency = Latency::default();
        latency.record(Duration::ZERO);
        latency.record(Duration::from_secs(1_000_000));
        assert_eq!(latency.count(), 2);
        assert!(latency.summary().unwrap().max_ms >= 600_000.0);
    }

    #[test]
    fn nothing_counted_has_no_figures() {
        assert_eq!(Latency::default().summary(), None);
        assert!(Latency::default().buckets().is_empty());
    }

    #[test]
    fn buckets_hold_every_payment_once() {
        let latency = latency((1..=50).chain(1_000..=1_010));
        let total: u64 = latency.buckets().iter().map(|bucket| bucket.count).sum();
        assert_eq!(total, latency.count());
        assert!(latency.buckets().len() < 40);
    }
}
