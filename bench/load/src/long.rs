//! Payments at a fixed rate for a long time: whether memory, disk and latency stay as they are, and
//! whether the ends of sessions show.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use moneta::world::Narrator;
use serde::{Deserialize, Serialize};

use crate::drive::open_loop;
use crate::edges::Edges;
use crate::modes::{MOST_PAYMENTS, Pulse, REST};
use crate::schedule::Schedule;
use crate::shape::Shape;
use crate::subject::Subject;
use crate::watch::{Minute, Watch, drift_sentence, minutes_table};

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LongRun {
    /// Notes in and out.
    pub shape: Shape,
    /// Payments due per second.
    pub offered_per_second: f64,
    /// Payments that did not come through.
    pub failed: u64,
    /// One after the other.
    pub minutes: Vec<Minute>,
    /// Around the ends of sessions, and elsewhere.
    pub edges: Edges,
}

impl LongRun {
    /// A table with a row per minute, and what it says.
    pub fn to_text(&self, name: &str) -> String {
        let Shape { inputs, outputs } = self.shape;
        let rate = self.offered_per_second;
        let mut text = format!(
            "{name}: long load, {inputs} in {outputs} out, {rate} per s, {} failed\n\n{}",
            self.failed,
            minutes_table(&self.minutes)
        );
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n{}{}", self.edges.sentence(), drift_sentence(&self.minutes));
        text
    }
}

impl Subject {
    /// Payments at a fixed rate, looked at every minute. A last part shorter than a minute has a row, too.
    ///
    /// Errors: more payments than can be prepared; a guardian is gone.
    pub async fn long(
        &mut self,
        shape: Shape,
        pulse: Pulse,
        narrator: &mut Narrator,
    ) -> Result<()> {
        let schedule = Schedule::lasting(pulse.rate_per_second, pulse.time, usize::MAX);
        ensure!(
            schedule.count <= MOST_PAYMENTS,
            "{} payments, at most {MOST_PAYMENTS} can be prepared: a lower --long-rate or fewer --minutes",
            schedule.count
        );
        narrator.begin(&format!("{}: prepare {} payments", self.report.name, schedule.count));
        let payments = self.purse.payments(&self.federation, shape, schedule.count).await?;
        narrator.done("prepared");
        let offered_per_second = pulse.rate_per_second;
        narrator.begin(&format!("{}: {offered_per_second} payments per s, long", self.report.name));
        tokio::time::sleep(REST).await;
        let (federation, guardians) = (&self.federation, &self.world.guardians);
        let (measured, watch) = Watch::over(federation, guardians, async |_| {
            Ok(open_loop(federation, payments.prepared, schedule).await)
        })
        .await?;
        self.report.payments_in_all += measured.succeeded();
        let edges = watch.edges(&measured.moments);
        narrator.done(&edges.sentence());
        let minutes = watch.minutes(&measured.moments);
        let failed = measured.failed;
        self.report.long_runs.push(LongRun { shape, offered_per_second, failed, minutes, edges });
        Ok(())
    }
}
