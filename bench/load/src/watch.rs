//! A look at guardians every minute, and at the ends of sessions, beside payments that go on for long.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use moneta::world::Guardian;
use serde::{Deserialize, Serialize};

use crate::cost::Sample;
use crate::drive::Moment;
use crate::edges::Edges;
use crate::federation::Federation;
use crate::latency::{Latency, LatencySummary};
use crate::report::digits;
use crate::subject::folder_bytes;

/// A row of the report.
const MINUTE: Duration = Duration::from_secs(60);

/// How often the number of signed sessions is asked for.
const SESSION_LOOK: Duration = Duration::from_millis(100);

/// A last part shorter than this has no row of its own: it would be the waiting for the last payments.
const LEAST_ROW: Duration = Duration::from_secs(5);

/// A minute of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Minute {
    /// Payments that were due in it and came through.
    pub payments: u64,
    /// How long they took.
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

/// What was seen meanwhile. Times count from the start.
#[derive(Debug, Default)]
pub struct Watch {
    /// When sessions were seen to end.
    pub ends: Vec<Duration>,
    looks: Vec<Look>,
}

/// What guardians had used up at one moment.
#[derive(Debug)]
struct Look {
    at: Duration,
    samples: Vec<Sample>,
    disk_bytes: u64,
}

impl Watch {
    /// Runs `work`, which is told when it began, and watches meanwhile.
    ///
    /// Errors: those of `work`; a guardian is gone.
    pub async fn over<T>(
        federation: &Federation,
        guardians: &[Guardian],
        work: impl AsyncFnOnce(Instant) -> Result<T>,
    ) -> Result<(T, Self)> {
        let began = Instant::now();
        let mut watch = Self::default();
        let done = tokio::select! {
            done = work(began) => done?,
            () = watch_sessions(federation, began, &mut watch.ends) => {
                anyhow::bail!("the watch over sessions ended")
            }
            failed = look_every_minute(guardians, began, &mut watch.looks) => {
                return Err(failed.context("look at the guardians"));
            }
        };
        watch.looks.push(look(guardians, began.elapsed())?);
        Ok((done, watch))
    }

    /// A row per minute; a last part of some seconds has one, too.
    pub fn minutes(&self, moments: &[Moment]) -> Vec<Minute> {
        let pairs = self.looks.windows(2).enumerate();
        pairs
            .filter(|(row, pair)| *row == 0 || pair[1].at - pair[0].at >= LEAST_ROW)
            .map(|(_, pair)| Minute::between(&pair[0], &pair[1], moments, &self.ends))
            .collect()
    }

    /// Payments near the ends of sessions against the others.
    pub fn edges(&self, moments: &[Moment]) -> Edges {
        Edges::find(moments, &self.ends)
    }

    /// How much all data folders together have grown.
    pub fn disk_growth_bytes(&self) -> u64 {
        let disk_bytes = |look: Option<&Look>| look.map_or(0, |look| look.disk_bytes);
        disk_bytes(self.looks.last()).saturating_sub(disk_bytes(self.looks.first()))
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

    /// Resident memory of the largest guardian at its end.
    pub fn largest_bytes(&self) -> Option<u64> {
        self.resident_bytes.iter().copied().max()
    }
}

/// Rows of all minutes in Markdown.
pub fn minutes_table(minutes: &[Minute]) -> String {
    let mut text = String::from(
        "| Minute | payments | median | p99 | slowest | sessions ended | guardians' processor | \
         memory of each guardian, MB | data folders |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for (index, minute) in minutes.iter().enumerate() {
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
    text
}

/// Memory of the largest guardian half way, when everything is warm, and at the end. `None` for fewer
/// than three minutes.
pub fn memory_drift(minutes: &[Minute]) -> Option<(u64, u64)> {
    let middle = minutes.get(minutes.len() / 2).and_then(Minute::largest_bytes)?;
    let last = minutes.last().and_then(Minute::largest_bytes)?;
    (minutes.len() > 2).then_some((middle, last))
}

/// The same in a sentence, with a space before it; empty if there is nothing to say.
pub fn drift_sentence(minutes: &[Minute]) -> String {
    memory_drift(minutes).map_or(String::new(), |(middle, last)| {
        format!(
            " Memory of the largest guardian: {} MB half way, {} MB at the end.",
            digits(middle as f64 / 1e6),
            digits(last as f64 / 1e6)
        )
    })
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
    fn each_payment_stands_in_the_minute_in_which_it_was_due() {
        let looks = vec![look_at(0, 500), look_at(60, 1_000), look_at(90, 2_000)];
        let watch = Watch { ends: vec![Duration::from_secs(61)], looks };
        let moments = [moment(0, 5), moment(59_999, 5), moment(60_000, 7)];
        let minutes = watch.minutes(&moments);
        let counts: Vec<_> =
            minutes.iter().map(|minute| (minute.payments, minute.sessions_ended)).collect();
        assert_eq!(counts, [(2, 0), (1, 1)]);
        assert!(minutes_table(&minutes).contains("| 2 | 1 | 7.00 ms |"));
        assert_eq!(watch.disk_growth_bytes(), 1_500);
    }

    #[test]
    fn the_moment_after_the_last_minute_has_no_row() {
        let looks = vec![look_at(0, 0), look_at(60, 0), look_at(61, 0)];
        let watch = Watch { looks, ..Watch::default() };
        assert_eq!(watch.minutes(&[]).len(), 1);
        let looks = vec![look_at(0, 0), look_at(2, 0)];
        assert_eq!(Watch { looks, ..Watch::default() }.minutes(&[]).len(), 1);
    }

    #[test]
    fn drift_is_told_from_half_way_to_the_end() {
        let minute = |bytes: u64| Minute {
            payments: 0,
            paid: None,
            sessions_ended: 0,
            resident_bytes: vec![1, bytes],
            cpu_percent: 0.0,
            disk_bytes: 0,
        };
        let minutes = [10, 50, 60, 70].map(minute);
        assert_eq!(memory_drift(&minutes), Some((60, 70)));
        assert_eq!(memory_drift(&minutes[..2]), None);
    }
}
