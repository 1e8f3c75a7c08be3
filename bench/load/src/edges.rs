//! Whether the ends of sessions show: payments near them against the others.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::drive::Moment;
use crate::latency::{Bucket, Latency, LatencySummary};
use crate::report::digits;

/// A payment that was due at most so long before or after a session was seen to end is near its end.
/// Together the second around it.
const EDGE: Duration = Duration::from_millis(500);

/// A p99 near the ends above so many times that of the rest counts as visible.
const VISIBLE: f64 = 1.25;

/// Payments near the ends of sessions against the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edges {
    /// How many sessions ended.
    pub sessions_ended: usize,
    /// Payments due in the second around an end.
    pub near_payments: u64,
    /// Their times.
    pub near: Option<LatencySummary>,
    /// The distribution behind `near`.
    pub near_buckets: Vec<Bucket>,
    /// Times of all other payments.
    pub rest: Option<LatencySummary>,
    /// The distribution behind `rest`.
    pub rest_buckets: Vec<Bucket>,
}

impl Edges {
    /// Sorts payments by whether a session ended near them. Both in times since the start.
    pub fn find(moments: &[Moment], ends: &[Duration]) -> Self {
        let (mut near, mut rest) = (Latency::default(), Latency::default());
        for moment in moments {
            let is_near = ends.iter().any(|end| end.abs_diff(moment.due) <= EDGE);
            let side = if is_near { &mut near } else { &mut rest };
            side.record(moment.paid);
        }
        Self {
            sessions_ended: ends.len(),
            near_payments: near.count(),
            near: near.summary(),
            near_buckets: near.buckets(),
            rest: rest.summary(),
            rest_buckets: rest.buckets(),
        }
    }

    /// Whether they show; `None` if no payment was near an end, or none was not.
    pub fn visible(&self) -> Option<bool> {
        let (near, rest) = (self.near?, self.rest?);
        Some(near.p99_ms > rest.p99_ms * VISIBLE)
    }

    /// What they say.
    pub fn sentence(&self) -> String {
        let (Some(near), Some(rest), Some(visible)) = (self.near, self.rest, self.visible()) else {
            return "No payment was due near the end of a session.".to_owned();
        };
        let verdict = match visible {
            true => "session edges are visible",
            false => "no session edge is visible",
        };
        format!(
            "{} sessions ended. In the second around their ends {} payments were due: median {} ms, p99 {} ms; \
             the others: median {} ms, p99 {} ms: {verdict}.",
            self.sessions_ended,
            self.near_payments,
            digits(near.p50_ms),
            digits(near.p99_ms),
            digits(rest.p50_ms),
            digits(rest.p99_ms),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn moment(due_ms: u64, paid_ms: u64) -> Moment {
        Moment { due: Duration::from_millis(due_ms), paid: Duration::from_millis(paid_ms) }
    }

    #[test]
    fn payments_within_half_a_second_of_an_end_are_near_it() {
        let ends = [Duration::from_secs(10)];
        let moments = [moment(9_499, 1), moment(9_500, 20), moment(10_500, 20), moment(10_501, 1)];
        let edges = Edges::find(&moments, &ends);
        assert_eq!((edges.near_payments, edges.sessions_ended), (2, 1));
        assert!(edges.near.unwrap().p50_ms > 19.0 && edges.rest.unwrap().max_ms < 2.0);
        assert!(edges.sentence().ends_with("session edges are visible."), "{}", edges.sentence());
        let count = |buckets: &[Bucket]| buckets.iter().map(|bucket| bucket.count).sum::<u64>();
        assert_eq!((count(&edges.near_buckets), count(&edges.rest_buckets)), (2, 2));
    }

    #[test]
    fn equal_times_show_no_edge() {
        let moments: Vec<_> = (0..100).map(|index| moment(index * 100, 40)).collect();
        let edges = Edges::find(&moments, &[Duration::from_secs(5)]);
        assert!(edges.sentence().ends_with("no session edge is visible."));
    }

    #[test]
    fn without_an_end_nothing_is_said() {
        let edges = Edges::find(&[moment(0, 40)], &[]);
        assert_eq!(edges.visible(), None);
        assert!(edges.sentence().starts_with("No payment"));
    }
}
