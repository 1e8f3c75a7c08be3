//! Payments at a fixed rate for a long time: whether memory, disk and latency stay as they are, and
//! whether the ends of sessions show.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use moneta::world::{Guardian, Narrator};
use serde::Serialize;

use crate::cost::Sample;
use crate::drive::{Moment, open_loop};
use crate::federation::Federation;
use crate::latency::{Latency, LatencySummary};
use crate::modes::{MOST_PAYMENTS, Pulse, REST};
use crate::report::digits;
use crate::schedule::Schedule;
use crate::shape::Shape;
use crate::subject::{Subject, folder_bytes};

/// A row of the report.
const MINUTE: Duration = Duration::from_secs(60);

/// How often the number of signed sessions is asked for.
const SESSION_LOOK: Duration = Duration::from_millis(50);

/// A payment that was due at most so long before or after a session was seen to end is near its end.
/// Together the second around it.
const EDGE: Duration = Duration::from_millis(500);

/// A p99 near the ends above so many times that of the rest counts as visible.
const VISIBLE: f64 = 1.25;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

/// A minute of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Minute {
    /// Payments that were due in it and came through.
    pub payments: u64,
    /// Until a threshold of share sets was here.
    pub paid: Option<LatencySummary>,
    /// Sessions that ended in it.
    pub sessions_ended: u64,
    /// Per guardian, at its end.
    pub resident_bytes: Vec<u64>,
    /// Processor of all guardians, in per cent of a core.
    pub cpu_percent: f64,
    /// All data folders at its end.
    pub disk_bytes: u64,
}

/// Payments near the ends of sessions against the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Edges {
    /// How many sessions ended.
    pub sessions_ended: usize,
    /// Payments due in the second around an end.
    pub near_payments: u64,
    /// Their times.
    pub near: Option<LatencySummary>,
    /// Times of all other payments.
    pub rest: Option<LatencySummary>,
}

/// What guardians used up at the end of a minute.
struct Look {
    at: Duration,
    samples: Vec<Sample>,
    disk_bytes: u64,
}

impl Edges {
    /// Sorts payments by whether a session ended near them. Both in times since the start.
    fn find(moments: &[Moment], ends: &[Duration]) -> Self {
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
            rest: rest.summary(),
        }
    }

    /// What they say.
    fn sentence(&self) -> String {
        let (Some(near), Some(rest)) = (self.near, self.rest) else {
            return "No payment was due near the end of a session.".to_owned();
        };
        let verdict = match near.p99_ms <= rest.p99_ms * VISIBLE {
            true => "no session edge is visible",
            false => "session edges are visible",
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

impl LongRun {
    fn new(
        shape: Shape,
        offered_per_second: f64,
        failed: u64,
        moments: &[Moment],
        ends: &[Duration],
        looks: &[Look],
    ) -> Self {
        let minutes = looks
            .windows(2)
            .map(|pair| Minute::between(&pair[0], &pair[1], moments, ends))
            .collect();
        let edges = Edges::find(moments, ends);
        Self { shape, offered_per_second, failed, minutes, edges }
    }

    /// A table with a row per minute, and what it says.
    pub fn to_text(&self, name: &str) -> String {
        let Shape { inputs, outputs } = self.shape;
        let rate = self.offered_per_second;
        let mut text = format!(
            "{name}: long load, {inputs} in {outputs} out, {rate} per s, {} failed\n\n\
             | Minute | payments | median | p99 | slowest | sessions ended | guardians' processor | \
             memory of each guardian, MB | data folders |\n|---|---|---|---|---|---|---|---|---|\n",
            self.failed
        );
        for (index, minute) in self.minutes.iter().enumerate() {
            let time = |pick: fn(LatencySummary) -> f64| {
                minute.paid.map_or("-".to_owned(), |paid| format!("{} ms", digits(pick(paid))))
            };
            let memory: Vec<String> =
                minute.resident_bytes.iter().map(|bytes| digits(*bytes as f64 / 1e6)).collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} % | {} | {} MB |",
                index + 1,
                minute.payments,
                time(|paid| paid.p50_ms),
                time(|paid| paid.p99_ms),
                time(|paid| paid.max_ms),
                minute.sessions_ended,
                digits(minute.cpu_percent),
                memory.join(", "),
                digits(minute.disk_bytes as f64 / 1e6),
            );
        }
        let _ = writeln!(text, "\n{}{}", self.edges.sentence(), self.drift());
        text
    }

    /// How memory moved over the second half, when everything is warm.
    fn drift(&self) -> String {
        let largest = |minute: &Minute| minute.resident_bytes.iter().copied().max();
        let middle = self.minutes.get(self.minutes.len() / 2).and_then(largest);
        let last = self.minutes.last().and_then(largest);
        match middle.zip(last) {
            Some((middle, last)) if self.minutes.len() > 2 => format!(
                " Memory of the largest guardian: {} MB half way, {} MB at the end.",
                digits(middle as f64 / 1e6),
                digits(last as f64 / 1e6)
            ),
            _ => String::new(),
        }
    }
}

impl Minute {
    fn between(from: &Look, to: &Look, moments: &[Moment], ends: &[Duration]) -> Self {
        let span = from.at..to.at;
        let mut paid = Latency::default();
        for moment in moments.iter().filter(|moment| span.contains(&moment.due)) {
            paid.record(moment.paid);
        }
        let costs = to.samples.iter().zip(&from.samples).map(|(to, from)| to.since(from));
        Self {
            payments: paid.count(),
            paid: paid.summary(),
            sessions_ended: ends.iter().filter(|end| span.contains(*end)).count() as u64,
            resident_bytes: to.samples.iter().map(Sample::resident_bytes).collect(),
            cpu_percent: costs.map(|cost| cost.cpu_percent()).sum(),
            disk_bytes: to.disk_bytes,
        }
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
        let rate = pulse.rate_per_second;
        narrator.begin(&format!("{}: {rate} payments per s, long", self.report.name));
        tokio::time::sleep(REST).await;
        let (mut ends, mut looks) = (Vec::new(), Vec::new());
        let began = Instant::now();
        let measured = tokio::select! {
            measured = open_loop(&self.federation, payments.prepared, schedule) => measured,
            () = watch_sessions(&self.federation, began, &mut ends) => {
                anyhow::bail!("the watch over sessions ended")
            }
            failed = look_every_minute(&self.world.guardians, began, &mut looks) => {
                return Err(failed.context("look at the guardians"));
            }
        };
        looks.push(look(&self.world.guardians, began.elapsed())?);
        self.report.payments_in_all += measured.succeeded();
        let run = LongRun::new(shape, rate, measured.failed, &measured.moments, &ends, &looks);
        narrator.done(&run.edges.sentence());
        self.report.long_runs.push(run);
        Ok(())
    }
}

/// Notes when the number of signed sessions was seen to grow. Runs until dropped.
async fn watch_sessions(federation: &Federation, began: Instant, ends: &mut Vec<Duration>) {
    let mut known = None;
    loop {
        if let Ok(count) = federation.session_count().await {
            let ended = count.saturating_sub(*known.get_or_insert(count));
            ends.extend((0..ended).map(|_| began.elapsed()));
            known = Some(count);
        }
        tokio::time::sleep(SESSION_LOOK).await;
    }
}

/// Runs until dropped or until a guardian is gone.
async fn look_every_minute(
    guardians: &[Guardian],
    began: Instant,
    looks: &mut Vec<Look>,
) -> anyhow::Error {
    for minute in 0.. {
        tokio::time::sleep_until((began + MINUTE * minute).into()).await;
        match look(guardians, began.elapsed()) {
            Ok(look) => looks.push(look),
            Err(error) => return error,
        }
    }
    anyhow::anyhow!("time ran out")
}

fn look(guardians: &[Guardian], at: Duration) -> Result<Look> {
    let mut samples = Vec::with_capacity(guardians.len());
    let mut disk_bytes = 0;
    for guardian in guardians {
        let pid = guardian.pid().with_context(|| format!("{} runs", guardian.name()))?;
        samples.push(Sample::take(pid, None)?);
        // Files come and go while we look.
        disk_bytes += folder_bytes(&guardian.data_dir()).unwrap_or(0);
    }
    Ok(Look { at, samples, disk_bytes })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn moment(due_ms: u64, paid_ms: u64) -> Moment {
        Moment { due: Duration::from_millis(due_ms), paid: Duration::from_millis(paid_ms) }
    }

    fn look_at(second: u64, disk_bytes: u64) -> Look {
        let samples = vec![Sample::take(std::process::id(), None).unwrap()];
        Look { at: Duration::from_secs(second), samples, disk_bytes }
    }

    #[test]
    fn payments_within_half_a_second_of_an_end_are_near_it() {
        let ends = [Duration::from_secs(10)];
        let moments = [moment(9_499, 1), moment(9_500, 20), moment(10_500, 20), moment(10_501, 1)];
        let edges = Edges::find(&moments, &ends);
        assert_eq!((edges.near_payments, edges.sessions_ended), (2, 1));
        assert!(edges.near.unwrap().p50_ms > 19.0 && edges.rest.unwrap().max_ms < 2.0);
        assert!(edges.sentence().ends_with("session edges are visible."), "{}", edges.sentence());
    }

    #[test]
    fn equal_times_show_no_edge() {
        let moments: Vec<_> = (0..100).map(|index| moment(index * 100, 40)).collect();
        let edges = Edges::find(&moments, &[Duration::from_secs(5)]);
        assert!(edges.sentence().ends_with("no session edge is visible."));
    }

    #[test]
    fn each_payment_stands_in_the_minute_in_which_it_was_due() {
        let looks = [look_at(0, 0), look_at(60, 1_000), look_at(90, 2_000)];
        let moments = [moment(0, 5), moment(59_999, 5), moment(60_000, 7)];
        let ends = [Duration::from_secs(61)];
        let shape = Shape { inputs: 5, outputs: 5 };
        let run = LongRun::new(shape, 1.0, 0, &moments, &ends, &looks);
        let counts: Vec<_> =
            run.minutes.iter().map(|minute| (minute.payments, minute.sessions_ended)).collect();
        assert_eq!(counts, [(2, 0), (1, 1)]);
        assert!(run.to_text("moneta").contains("| 2 | 1 | 7.00 ms |"));
    }
}
