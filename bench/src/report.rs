//! The figures of one run.

use std::fmt::Write as _;
use std::time::Duration;

use moneta_load::cost::Cost;
use moneta_load::drive::Moment;
use moneta_load::edges::Edges;
use moneta_load::latency::{Latency, LatencySummary};
use moneta_load::origin::Origin;
use moneta_load::watch::{Minute, Watch, drift_sentence, minutes_table};
use serde::{Deserialize, Serialize};

/// Everything measured. Units stand at the ends of names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Machine, build and time.
    #[serde(flatten)]
    pub origin: Origin,
    /// `moneta` or `reference`: who the guardians are. The wallets are ours on either side.
    pub name: String,
    /// What the guardians say they are.
    pub version: String,
    /// Number of guardians.
    pub guardians: u16,
    /// From the first setup call to a federation that answers.
    pub ceremony_ms: f64,
    /// From the last needed block to spendable e-cash.
    pub deposit_ms: f64,
    /// The payments, if there were any.
    pub payments: Option<Payments>,
    /// Per guardian, idle.
    pub idle: Vec<Cost>,
}

/// Payments one after the other, each from the wish to send to notes the receiver can spend.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Payments {
    /// How many.
    pub count: usize,
    /// How long all of them took.
    pub seconds: f64,
    /// How long one took.
    pub paid: Option<LatencySummary>,
    /// When each began, counted from the first, in order.
    pub began_ms: Vec<f64>,
    /// How long each took, in the same order: the whole distribution.
    pub paid_ms: Vec<f64>,
    /// When sessions were seen to end, counted in the same way.
    pub session_ends_ms: Vec<f64>,
    /// Around the ends of sessions, and elsewhere.
    pub edges: Edges,
    /// What was seen every minute.
    pub minutes: Vec<Minute>,
    /// How much the data folders of all guardians have grown.
    pub disk_growth_bytes: u64,
}

impl Payments {
    /// Puts together what was measured and what was seen meanwhile.
    pub fn new(moments: &[Moment], watch: &Watch) -> Self {
        let mut latency = Latency::default();
        for moment in moments {
            latency.record(moment.paid);
        }
        let last = moments.last().map_or(Duration::ZERO, |moment| moment.due + moment.paid);
        Self {
            count: moments.len(),
            seconds: last.as_secs_f64(),
            paid: latency.summary(),
            began_ms: moments.iter().map(|moment| millis(moment.due)).collect(),
            paid_ms: moments.iter().map(|moment| millis(moment.paid)).collect(),
            session_ends_ms: watch.ends.iter().copied().map(millis).collect(),
            edges: watch.edges(moments),
            minutes: watch.minutes(moments),
            disk_growth_bytes: watch.disk_growth_bytes(),
        }
    }

    /// Bytes that a payment leaves in the data folders of all guardians together.
    pub fn disk_bytes_per_payment(&self) -> f64 {
        self.disk_growth_bytes as f64 / self.count.max(1) as f64
    }
}

impl Report {
    /// The figures as a table in Markdown, and behind it what they say.
    pub fn to_text(&self) -> String {
        let mut text =
            format!("| {}, {} guardians | Figure |\n|---|---|\n", self.name, self.guardians);
        let mut row = |name: &str, figure: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {name} | {figure} |");
        };
        row("ceremony", format!("{:.2} s", self.ceremony_ms / 1e3));
        row("deposit: last block to spendable", format!("{:.0} ms", self.deposit_ms));
        if let Some(payments) = &self.payments {
            row("payments", format!("{} in {:.0} s", payments.count, payments.seconds));
            if let Some(paid) = payments.paid {
                row("payment, median", format!("{:.0} ms", paid.p50_ms));
                row("payment, p90", format!("{:.0} ms", paid.p90_ms));
                row("payment, p99", format!("{:.0} ms", paid.p99_ms));
                row("payment, slowest", format!("{:.0} ms", paid.max_ms));
            }
            let grown = payments.disk_bytes_per_payment() / 1e3;
            row("data folders, all guardians, per payment", format!("{grown:.1} kB"));
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
        if let Some(payments) = &self.payments {
            let _ = write!(
                text,
                "\n{}\n{}{}\n",
                minutes_table(&payments.minutes),
                payments.edges.sentence(),
                drift_sentence(&payments.minutes)
            );
        }
        let _ = writeln!(text, "\n{}", self.origin.sentence());
        text
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn moment(due_ms: u64, paid_ms: u64) -> Moment {
        Moment { due: Duration::from_millis(due_ms), paid: Duration::from_millis(paid_ms) }
    }

    fn report(payments: Payments) -> Report {
        Report {
            origin: Origin::find(),
            name: "moneta".to_owned(),
            version: "1".to_owned(),
            guardians: 4,
            ceremony_ms: 1_200.0,
            deposit_ms: 900.0,
            payments: Some(payments),
            idle: Vec::new(),
        }
    }

    #[test]
    fn every_payment_is_kept_and_those_near_a_session_end_are_told_apart() {
        let moments: Vec<_> = (0..200).map(|index| moment(index * 100, 80 + index % 3)).collect();
        let mut watch = Watch::default();
        watch.ends.push(Duration::from_secs(10));
        let payments = Payments::new(&moments, &watch);
        assert_eq!(
            (payments.count, payments.paid_ms.len(), payments.began_ms.len()),
            (200, 200, 200)
        );
        assert_eq!(payments.session_ends_ms, [10_000.0]);
        assert_eq!(payments.edges.near_payments, 11);
        assert_eq!(payments.edges.visible(), Some(false));
        assert!((payments.seconds - 19.981).abs() < 1e-9, "{}", payments.seconds);
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let written = report(Payments::new(&[moment(0, 80)], &Watch::default()));
        let json = serde_json::to_string(&written).unwrap();
        let read: Report = serde_json::from_str(&json).unwrap();
        assert_eq!(read.to_text(), written.to_text());
        assert!(
            json.contains("\"profile\":\"dev\"") && json.contains("\"paid_ms\":[80.0]"),
            "{json}"
        );
        assert!(written.to_text().contains("| payment, median | 80 ms |"), "{}", written.to_text());
    }
}
