//! The figures of a run: JSON for programs, a table for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::cost::Cost;
use crate::guardians;
use crate::latency::{Bucket, LatencySummary};
use crate::long::LongRun;
use crate::origin::Origin;
use crate::recovery::Recovered;
use crate::shape::Shape;
use crate::sync::Synced;

/// Everything measured in one run. Units stand at the ends of names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Machine, build and time.
    #[serde(flatten)]
    pub origin: Origin,
    /// Federations in the order they were measured.
    pub subjects: Vec<SubjectReport>,
}

/// What was measured on one federation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SubjectReport {
    /// `moneta` or `reference`.
    pub name: String,
    /// What its guardians say they are.
    pub version: String,
    /// How many there are.
    pub guardians: usize,
    /// From the first setup call to a federation that answers.
    pub ceremony_ms: f64,
    /// From the last needed block to spendable e-cash.
    pub deposit_ms: f64,
    /// Payments.
    pub points: Vec<Point>,
    /// Per guardian, idle.
    pub idle: Vec<Cost>,
    /// Wallets recovered from their words. Not read back: who reads a report shows what it says of them.
    #[serde(skip_serializing_if = "Vec::is_empty", skip_deserializing)]
    pub recoveries: Vec<Recovered>,
    /// A guardian replaying history. Not read back, either.
    #[serde(skip_serializing_if = "Vec::is_empty", skip_deserializing)]
    pub syncs: Vec<Synced>,
    /// Payments for a long time.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub long_runs: Vec<LongRun>,
    /// Whole data folders, all guardians together, at the end; `None` if it could not be read.
    pub disk_bytes: Option<u64>,
    /// Payments it took in all, splits of notes included.
    pub payments_in_all: u64,
    /// What could not be measured, and why.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub failures: Vec<String>,
}

/// What a point is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A low fixed rate: how long one payment takes.
    Latency,
    /// A fixed rate, one of a rising series.
    Load,
    /// As many at a time as given, as fast as they go.
    Throughput,
    /// As `Throughput`, with callers that wait for something else.
    Waiters,
    /// As `Latency`, with one guardian stopped.
    OneDown,
    /// As `Latency`, with distant guardians and wallets.
    Links,
}

/// What was set for a point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// What it is about.
    pub mode: Mode,
    /// Notes in and out.
    pub shape: Shape,
    /// Open loop: payments due per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offered_per_second: Option<f64>,
    /// Closed loop: payments under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<usize>,
    /// Wallets holding a long poll at every guardian.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiters: Option<usize>,
    /// Where settings are measured in turns: which turn, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<usize>,
    /// One-way delay of links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<f64>,
    /// Largest delay added at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
    /// Pieces that come a retransmission later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_percent: Option<f64>,
}

/// What was measured at one setting.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    /// What was set.
    pub setting: Setting,
    /// Payments that came through.
    pub payments: u64,
    /// Payments that did not.
    pub failed: u64,
    /// Why the first of them did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<String>,
    /// Payments that came through per second.
    pub achieved_per_second: f64,
    /// Sessions that ended meanwhile.
    pub sessions_ended: u64,
    /// Until a threshold had accepted.
    pub accepted: Option<LatencySummary>,
    /// Until a threshold of share sets was here.
    pub paid: Option<LatencySummary>,
    /// The distribution behind `paid`.
    pub paid_buckets: Vec<Bucket>,
    /// What the guardians used up together.
    pub guardians: Option<Used>,
    /// What this program used up, in per cent of a core.
    pub generator_cpu_percent: f64,
    /// Memory that a waiting wallet costs one guardian.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_waiter: Option<f64>,
}

/// What the guardians used up together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// Processor time of all guardians per payment.
    pub cpu_ms_per_payment: f64,
    /// Bytes to the disk of all guardians per payment.
    pub disk_bytes_per_payment: f64,
    /// Largest resident memory of one guardian at the end.
    pub resident_bytes_max: u64,
}

impl Used {
    /// The sum over guardians, per payment.
    pub fn by(costs: &[Cost], payments: u64) -> Self {
        let per = payments.max(1) as f64;
        Self {
            cpu_ms_per_payment: costs.iter().map(|cost| cost.cpu_ms).sum::<f64>() / per,
            disk_bytes_per_payment: costs.iter().map(|cost| cost.disk_bytes as f64).sum::<f64>()
                / per,
            resident_bytes_max: costs.iter().map(|cost| cost.resident_bytes).max().unwrap_or(0),
        }
    }
}

impl Setting {
    /// A setting with nothing but a mode and a shape.
    pub fn new(mode: Mode, shape: Shape) -> Self {
        Self {
            mode,
            shape,
            offered_per_second: None,
            in_flight: None,
            waiters: None,
            turn: None,
            delay_ms: None,
            jitter_ms: None,
            loss_percent: None,
        }
    }

    /// The setting in a few words; equal settings have equal words.
    pub fn words(&self) -> String {
        let mut words = match self.mode {
            Mode::Latency => "payment".to_owned(),
            Mode::Load => "load".to_owned(),
            Mode::Throughput => "throughput".to_owned(),
            Mode::Waiters => "throughput beside waiters".to_owned(),
            Mode::OneDown => "payment, one guardian down".to_owned(),
            Mode::Links => "payment over links".to_owned(),
        };
        let shape = self.shape;
        let _ = write!(words, ", {} in {} out", shape.inputs, shape.outputs);
        let mut add = |value: Option<String>| words.extend(value);
        add(self.offered_per_second.map(|rate| format!(", {rate} per s")));
        add(self.in_flight.map(|count| format!(", {count} at a time")));
        add(self.waiters.map(|count| format!(", {count} waiting")));
        add(self.turn.map(|turn| format!(", turn {turn}")));
        add(self.delay_ms.map(|delay| format!(", {delay} ms one way")));
        add(self.jitter_ms.map(|jitter| format!(" + 0..{jitter} ms")));
        add(self.loss_percent.map(|loss| format!(", {loss} % late")));
        words
    }
}

impl Report {
    /// All figures in Markdown, federations side by side. With two of them the last column says how
    /// the first compares with the second.
    pub fn to_table(&self) -> String {
        let mut rows = Rows::default();
        for (column, subject) in self.subjects.iter().enumerate() {
            subject.fill(&mut rows, column);
        }
        rows.print(&self.names())
    }

    /// The table, behind it what the figures say in words, and where they are from.
    pub fn to_text(&self) -> String {
        let mut text = self.to_table();
        let _ = writeln!(text, "\n{}", self.origin.sentence());
        for sentence in guardians::sentences(&self.subjects) {
            let _ = writeln!(text, "\n{sentence}");
        }
        for (subject, name) in self.subjects.iter().zip(self.names()) {
            for synced in &subject.syncs {
                let _ = writeln!(text, "\n{}", synced.sentence(&name));
            }
            for failure in &subject.failures {
                let _ = writeln!(text, "\n{name}: not measured: {failure}.");
            }
            for run in &subject.long_runs {
                let _ = write!(text, "\n{}", run.to_text(&name));
            }
        }
        text
    }

    /// What stands above the columns: names, with the number of guardians where that differs.
    fn names(&self) -> Vec<String> {
        let counts: BTreeSet<usize> =
            self.subjects.iter().map(|subject| subject.guardians).collect();
        let name = |subject: &SubjectReport| match counts.len() {
            1 => subject.name.clone(),
            _ => format!("{}, {} guardians", subject.name, subject.guardians),
        };
        self.subjects.iter().map(name).collect()
    }
}

impl SubjectReport {
    /// Whether anything was measured.
    pub fn has_figures(&self) -> bool {
        let others = [self.idle.len(), self.recoveries.len(), self.syncs.len()];
        !self.points.is_empty() || !self.long_runs.is_empty() || others.iter().any(|len| *len > 0)
    }

    fn fill(&self, rows: &mut Rows, column: usize) {
        rows.put("ceremony", Unit::Ms, column, self.ceremony_ms);
        rows.put("deposit: last block to spendable", Unit::Ms, column, self.deposit_ms);
        for point in &self.points {
            let words = point.setting.words();
            let mut put = |what: &str, unit: Unit, figure: f64| {
                rows.put(&format!("{words}: {what}"), unit, column, figure);
            };
            if let Some(paid) = point.paid {
                put("median", Unit::Ms, paid.p50_ms);
                put("p99", Unit::Ms, paid.p99_ms);
                put("slowest", Unit::Ms, paid.max_ms);
            }
            put("per second", Unit::Plain, point.achieved_per_second);
            if let Some(used) = point.guardians {
                put("guardians' processor per payment", Unit::Ms, used.cpu_ms_per_payment);
                let each = used.cpu_ms_per_payment / self.guardians.max(1) as f64;
                put("processor per payment and guardian", Unit::Ms, each);
                put("guardians' disk per payment", Unit::Bytes, used.disk_bytes_per_payment);
                put("memory of the largest guardian", Unit::Bytes, used.resident_bytes_max as f64);
            }
            if let Some(bytes) = point.bytes_per_waiter {
                put("memory per waiter and guardian", Unit::Bytes, bytes);
            }
            if point.failed > 0 {
                put("failed", Unit::Plain, point.failed as f64);
            }
        }
        let mean = |figure: &dyn Fn(&Cost) -> f64| {
            self.idle.iter().map(figure).sum::<f64>() / self.idle.len() as f64
        };
        if !self.idle.is_empty() {
            let mut put = |what: &str, unit: Unit, figure: f64| {
                rows.put(&format!("idle, per guardian: {what}"), unit, column, figure);
            };
            put("% of a core", Unit::Plain, mean(&Cost::cpu_percent));
            put("disk per second", Unit::Bytes, mean(&Cost::disk_bytes_per_second));
            let sent = |cost: &Cost| cost.sent_bytes_per_second().unwrap_or(f64::NAN);
            put("sent per second", Unit::Bytes, mean(&sent));
            put("memory", Unit::Bytes, mean(&|cost| cost.resident_bytes as f64));
        }
        self.fill_recoveries(rows, column);
        self.fill_syncs(rows, column);
        if let Some(bytes) = self.disk_bytes {
            let per_payment = bytes as f64 / self.payments_in_all.max(1) as f64;
            rows.put("data folders, all guardians, per payment", Unit::Bytes, column, per_payment);
        }
    }
}

impl SubjectReport {
    fn fill_recoveries(&self, rows: &mut Rows, column: usize) {
        for recovered in &self.recoveries {
            let words = recovered.words();
            let mut put = |what: &str, unit: Unit, figure: f64| {
                rows.put(&format!("{words}: {what}"), unit, column, figure);
            };
            let kilo_items = recovered.items.max(1) as f64 / 1e3;
            put("items", Unit::Plain, recovered.items as f64);
            put("items per second", Unit::Plain, recovered.items_per_second());
            put("in all", Unit::Ms, recovered.seconds * 1e3);
            put("joining", Unit::Ms, recovered.joining_seconds * 1e3);
            put(
                "wallet's processor per 1000 items",
                Unit::Ms,
                recovered.client.cpu_ms / kilo_items,
            );
            let guardians = recovered.guardians_cpu_ms / kilo_items;
            put("guardians' processor per 1000 items", Unit::Ms, guardians);
        }
    }

    fn fill_syncs(&self, rows: &mut Rows, column: usize) {
        for synced in &self.syncs {
            let words = synced.words();
            let mut put = |what: &str, unit: Unit, figure: f64| {
                rows.put(&format!("{words}: {what}"), unit, column, figure);
            };
            put("sessions", Unit::Plain, synced.sessions as f64);
            put("sessions per second", Unit::Plain, synced.sessions_per_second());
            let coming = synced.replay_per_second().unwrap_or(f64::NAN);
            put("sessions per second while they came", Unit::Plain, coming);
            put("until it answered", Unit::Ms, synced.starting_seconds * 1e3);
            put("% of a core from its answer on", Unit::Plain, synced.guardian.cpu_percent());
            put("memory", Unit::Bytes, synced.guardian.resident_bytes as f64);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    Ms,
    Bytes,
    Plain,
}

impl Unit {
    fn show(self, figure: f64) -> String {
        match self {
            _ if !figure.is_finite() => "-".to_owned(),
            Self::Ms => format!("{} ms", digits(figure)),
            Self::Bytes if figure >= 1e6 => format!("{} MB", digits(figure / 1e6)),
            Self::Bytes if figure >= 1e3 => format!("{} kB", digits(figure / 1e3)),
            Self::Bytes => format!("{} B", digits(figure)),
            Self::Plain => digits(figure),
        }
    }
}

/// About three digits: more is noise.
pub fn digits(figure: f64) -> String {
    let places = match figure.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{figure:.places$}")
}

/// Rows in the order they first came, with a figure per column.
#[derive(Default)]
struct Rows {
    order: Vec<String>,
    figures: BTreeMap<String, (Unit, BTreeMap<usize, f64>)>,
}

impl Rows {
    fn put(&mut self, name: &str, unit: Unit, column: usize, figure: f64) {
        let row = self.figures.entry(name.to_owned()).or_insert_with(|| {
            self.order.push(name.to_owned());
            (unit, BTreeMap::new())
        });
        row.1.insert(column, figure);
    }

    fn print(&self, names: &[String]) -> String {
        let compare = names.len() == 2;
        let mut table = String::from("| Measure |");
        let mut line = String::from("|---|");
        for name in names.iter().map(String::as_str).chain(compare.then_some("ratio")) {
            let _ = write!(table, " {name} |");
            line.push_str("---|");
        }
        let _ = writeln!(table, "\n{line}");
        for name in &self.order {
            let Some((unit, figures)) = self.figures.get(name) else { continue };
            let _ = write!(table, "| {name} |");
            for column in 0..names.len() {
                let shown =
                    figures.get(&column).map_or("-".to_owned(), |figure| unit.show(*figure));
                let _ = write!(table, " {shown} |");
            }
            if compare {
                let ratio = figures.get(&0).zip(figures.get(&1)).map(|(ours, other)| ours / other);
                let shown = ratio.filter(|ratio| ratio.is_finite()).map_or("-".to_owned(), digits);
                let _ = write!(table, " {shown} |");
            }
            table.push('\n');
        }
        table
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn subject(name: &str, paid_ms: f64) -> SubjectReport {
        let summary = LatencySummary {
            p50_ms: paid_ms,
            p90_ms: paid_ms,
            p99_ms: paid_ms,
            p999_ms: paid_ms,
            max_ms: paid_ms,
            mean_ms: paid_ms,
        };
        let shape = Shape { inputs: 5, outputs: 5 };
        let point = Point {
            setting: Setting {
                offered_per_second: Some(5.0),
                ..Setting::new(Mode::Latency, shape)
            },
            payments: 10,
            failed: 0,
            first_failure: None,
            achieved_per_second: 5.0,
            sessions_ended: 0,
            accepted: None,
            paid: Some(summary),
            paid_buckets: Vec::new(),
            guardians: None,
            generator_cpu_percent: 1.0,
            bytes_per_waiter: None,
        };
        SubjectReport {
            name: name.to_owned(),
            version: "1".to_owned(),
            guardians: 4,
            ceremony_ms: 1_600.0,
            deposit_ms: 5_000.0,
            points: vec![point],
            idle: Vec::new(),
            recoveries: Vec::new(),
            syncs: Vec::new(),
            long_runs: Vec::new(),
            disk_bytes: None,
            payments_in_all: 0,
            failures: Vec::new(),
        }
    }

    fn report(subjects: Vec<SubjectReport>) -> Report {
        let origin = Origin {
            began_unix_secs: 0,
            cores: 2,
            processor: "a processor".to_owned(),
            load_average: Some(0.25),
            profile: "dev".to_owned(),
            commit: "abc".to_owned(),
        };
        Report { origin, subjects }
    }

    #[test]
    fn two_federations_stand_side_by_side_with_their_ratio() {
        let table = report(vec![subject("moneta", 50.0), subject("reference", 500.0)]).to_table();
        let row = "| payment, 5 in 5 out, 5 per s: median | 50.0 ms | 500 ms | 0.10 |";
        assert!(table.contains(row), "{table}");
        assert!(table.starts_with("| Measure | moneta | reference | ratio |\n|---|---|---|---|\n"));
    }

    #[test]
    fn columns_say_how_many_guardians_where_that_differs() {
        let large = SubjectReport { guardians: 7, ..subject("moneta", 80.0) };
        let table = report(vec![subject("moneta", 50.0), large]).to_table();
        assert!(table.starts_with("| Measure | moneta, 4 guardians | moneta, 7 guardians |"));
    }

    #[test]
    fn one_federation_has_no_ratio() {
        let table = report(vec![subject("moneta", 50.0)]).to_table();
        assert!(table.contains("| payment, 5 in 5 out, 5 per s: p99 | 50.0 ms |\n"), "{table}");
    }

    #[test]
    fn what_one_lacks_is_shown_as_lacking() {
        let mut poor = subject("reference", 1.0);
        poor.points.clear();
        let table = report(vec![subject("moneta", 50.0), poor]).to_table();
        assert!(table.contains(": median | 50.0 ms | - | - |"), "{table}");
    }

    #[test]
    fn json_names_carry_units() {
        let json = serde_json::to_string(&report(vec![subject("moneta", 50.0)]));
        let json = json.expect("plain data serialises");
        for name in
            ["\"commit\":\"abc\"", "\"p99_ms\":50.0", "\"shape\":\"5x5\"", "\"mode\":\"latency\""]
        {
            assert!(json.contains(name), "{name} in {json}");
        }
    }
    #[test]
    fn a_report_is_read_as_it_was_written() {
        let written = report(vec![subject("moneta", 50.0), subject("reference", 500.0)]);
        let json = serde_json::to_string(&written).expect("plain data serialises");
        let read: Report = serde_json::from_str(&json).expect("what was written can be read");
        assert_eq!(read.to_text(), written.to_text());
        let text = written.to_text();
        assert!(text.contains("Commit abc, profile dev, on 2 cores of a processor"), "{text}");
    }
}
