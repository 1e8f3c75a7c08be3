//! Sends prepared payments: at a fixed rate whatever happens (open loop), or so many at a time
//! (closed loop).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::federation::{Federation, PayError};
use crate::latency::Latency;
use crate::notes::{Prepared, ShareSets};
use crate::schedule::Schedule;

/// What came of a run.
#[derive(Debug, Default)]
pub struct Measured {
    /// From when a payment was due until a threshold had accepted it.
    pub accepted: Latency,
    /// From when a payment was due until a threshold of share sets was here.
    pub paid: Latency,
    /// Payments that did not come through.
    pub failed: u64,
    /// Why the first of them did not.
    pub first_failure: Option<String>,
    /// From the first payment that was due to the last that ended.
    pub elapsed: Duration,
    /// The shares of the first payment.
    pub first_shares: Option<ShareSets>,
    /// Each payment that came through, in the order in which they ended.
    pub moments: Vec<Moment>,
}

/// When a payment was due, and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Counted from the start of the run.
    pub due: Duration,
    /// Until a threshold of share sets was here.
    pub paid: Duration,
}

/// How one payment ended.
struct Ended {
    index: usize,
    due: Instant,
    at: Instant,
    outcome: Result<Times, PayError>,
}

struct Times {
    accepted: Instant,
    paid: Instant,
    shares: Option<ShareSets>,
}

/// Sends each payment when it is due, never waiting for others. Ends when all have ended.
///
/// Bounds: as many payments under way as were given; each ends after
/// [`PATIENCE`](crate::federation::PATIENCE) at the latest.
pub async fn open_loop(
    federation: &Arc<Federation>,
    payments: Vec<Prepared>,
    schedule: Schedule,
) -> Measured {
    let mut measured = Measured::default();
    let mut running = JoinSet::new();
    let start = Instant::now();
    for (index, prepared) in payments.into_iter().take(schedule.count).enumerate() {
        let due = start + schedule.due(index);
        tokio::time::sleep_until(due.into()).await;
        running.spawn(one(federation.clone(), index, due, prepared));
        while let Some(ended) = running.try_join_next() {
            measured.note(ended, start);
        }
    }
    while let Some(ended) = running.join_next().await {
        measured.note(ended, start);
    }
    measured
}

/// Keeps `in_flight` payments under way until all are sent or `time` has passed; then waits for those
/// under way.
pub async fn closed_loop(
    federation: &Arc<Federation>,
    payments: Vec<Prepared>,
    in_flight: usize,
    time: Duration,
) -> Measured {
    let mut measured = Measured::default();
    let mut waiting: VecDeque<_> = payments.into_iter().enumerate().collect();
    let mut running = JoinSet::new();
    let start = Instant::now();
    loop {
        while running.len() < in_flight && start.elapsed() < time {
            let Some((index, prepared)) = waiting.pop_front() else { break };
            running.spawn(one(federation.clone(), index, Instant::now(), prepared));
        }
        let Some(ended) = running.join_next().await else { return measured };
        measured.note(ended, start);
    }
}

async fn one(federation: Arc<Federation>, index: usize, due: Instant, prepared: Prepared) -> Ended {
    let outcome = federation.pay(index, prepared).await.map(|paid| Times {
        accepted: paid.accepted,
        paid: paid.paid,
        shares: (index == 0).then_some(paid.shares),
    });
    Ended { index, due, at: Instant::now(), outcome }
}

impl Measured {
    /// Payments that came through.
    pub fn succeeded(&self) -> u64 {
        self.paid.count()
    }

    /// Payments that came through per second.
    pub fn rate_per_second(&self) -> f64 {
        self.succeeded() as f64 / self.elapsed.as_secs_f64().max(1e-3)
    }

    fn note(&mut self, ended: Result<Ended, tokio::task::JoinError>, start: Instant) {
        let Ended { index, due, at, outcome } = match ended {
            Ok(ended) => ended,
            Err(error) => return self.fail(error.to_string()),
        };
        self.elapsed = self.elapsed.max(at.saturating_duration_since(start));
        match outcome {
            Ok(times) => {
                self.accepted.record(times.accepted.saturating_duration_since(due));
                let paid = times.paid.saturating_duration_since(due);
                self.paid.record(paid);
                self.moments.push(Moment { due: due.saturating_duration_since(start), paid });
                if index == 0 {
                    self.first_shares = times.shares;
                }
            }
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn fail(&mut self, reason: String) {
        self.failed += 1;
        self.first_failure.get_or_insert(reason);
    }
}
