//! The figures of one run.

use std::fmt::Write as _;
use std::time::Duration;

use moneta_load::cost::Cost;
use serde::{Serialize, Serializer};

/// Everything measured. Times are in milliseconds in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Number of guardians.
    pub(crate) guardians: u16,
    /// From the first setup call to a federation that answers.
    #[serde(serialize_with = "millis")]
    pub(crate) ceremony: Duration,
    /// From the last needed block to spendable e-cash.
    #[serde(serialize_with = "optional_millis")]
    pub(crate) deposit: Option<Duration>,
    /// Each payment in order.
    #[serde(serialize_with = "all_millis")]
    pub(crate) payments: Vec<Duration>,
    /// Per guardian.
    pub(crate) idle: Vec<Cost>,
}

impl Report {
    /// No figures yet.
    pub(crate) fn new(guardians: u16) -> Self {
        let (payments, idle) = (Vec::new(), Vec::new());
        Self { guardians, ceremony: Duration::ZERO, deposit: None, payments, idle }
    }

    /// The figures as a table in Markdown.
    pub(crate) fn to_table(&self) -> String {
        let mut table = format!("\n| {} guardians | Figure |\n|---|---|\n", self.guardians);
        let mut row = |name: &str, figure: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "| {name} | {figure} |");
        };
        row("ceremony", format!("{:.2} s", self.ceremony.as_secs_f64()));
        if let Some(deposit) = self.deposit {
            row("deposit: last block to spendable", format!("{} ms", deposit.as_millis()));
        }
        if !self.payments.is_empty() {
            let ms =
                |part| format!("{:.0} ms", percentile(&self.payments, part).as_secs_f64() * 1e3);
            row("payments", self.payments.len().to_string());
            row("payment, median", ms(0.5));
            row("payment, p90", ms(0.9));
            row("payment, p99", ms(0.99));
            row("payment, slowest", ms(1.0));
        }
        for (guardian, idle) in self.idle.iter().enumerate() {
            let sent = idle.sent_bytes_per_second();
            let figure = format!(
                "{:.2} % of a core, {:.1} kB/s written, {} sent, {:.1} MB resident",
                idle.cpu_percent(),
                idle.disk_bytes_per_second() / 1e3,
                sent.map_or("? kB/s".to_owned(), |sent| format!("{:.2} kB/s", sent / 1e3)),
                idle.resident_bytes as f64 / 1e6,
            );
            row(&format!("idle, guardian {guardian}"), figure);
        }
        table
    }
}

/// The time that `part` (0 to 1) of all times do not exceed.
fn percentile(times: &[Duration], part: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let index = ((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}

fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64() * 1e3)
}

fn optional_millis<S: Serializer>(time: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64() * 1e3).serialize(s)
}

fn all_millis<S: Serializer>(times: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(times.iter().map(|time| time.as_secs_f64() * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_occurred() {
        let times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 0.5), Duration::from_millis(100));
        assert_eq!(percentile(&times, 0.99), Duration::from_millis(198));
        assert_eq!(percentile(&times, 1.0), Duration::from_millis(200));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }
}
