//! The goals, what was measured for each, and whether it is met.

use std::fmt::Write as _;

use moneta_bench::report::Report as WalletReport;
use moneta_hot::grown::Grown;
use moneta_load::cost::Cost;
use moneta_load::latency::LatencySummary;
use moneta_load::report::{Mode, Point, SubjectReport, digits};
use moneta_load::watch::{Minute, memory_drift};

use crate::parts::Parts;

/// Memory at the end of a load above so many times that half way counts as growing.
const FLAT_MEMORY: f64 = 1.1;

/// A payment over the largest store above so many times the cost over the smallest counts as growing.
const FLAT_COST: f64 = 1.25;

/// Spent notes up to which the cost of a payment should stay flat.
const GROWN_NOTES: u64 = 5_000_000;

/// From this share of a core on a replay counts as bound by computing: one task applies sessions.
const BUSY_PERCENT: f64 = 80.0;

/// A goal and what was measured for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    measure: String,
    goal: String,
    ours: Option<String>,
    /// `None` where nobody asks for it.
    reference: Option<Option<String>>,
    ratio: Option<f64>,
    verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Met,
    NotMet,
    /// Of several conditions some hold and the others were not measured.
    SoFar,
    NotMeasured,
    /// No number says it.
    SeeBelow,
}

/// What must hold. All need our figure, those of a ratio the reference's as well.
#[derive(Debug, Clone, Copy)]
enum Condition {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
    /// Ours divided by the reference's.
    RatioAtMost(f64),
    RatioBelow(f64),
    RatioAtLeast(f64),
    /// Something else; `None` if it was not measured.
    Also(Option<bool>),
}

impl Condition {
    fn holds(self, ours: Option<f64>, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::AtMost(bound) => ours.map(|ours| ours <= bound),
            Self::Below(bound) => ours.map(|ours| ours < bound),
            Self::AtLeast(bound) => ours.map(|ours| ours >= bound),
            Self::RatioAtMost(bound) => ratio.map(|ratio| ratio <= bound),
            Self::RatioBelow(bound) => ratio.map(|ratio| ratio < bound),
            Self::RatioAtLeast(bound) => ratio.map(|ratio| ratio >= bound),
            Self::Also(holds) => holds,
        }
    }
}

impl Verdict {
    fn of(holds: &[Option<bool>]) -> Self {
        let any = |wanted: Option<bool>| holds.contains(&wanted);
        match (any(Some(false)), any(Some(true)), any(None)) {
            (true, _, _) => Self::NotMet,
            (false, true, false) => Self::Met,
            (false, true, true) => Self::SoFar,
            (false, false, _) => Self::NotMeasured,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "**not met**",
            Self::SoFar => "met as far as measured",
            Self::NotMeasured => "not measured",
            Self::SeeBelow => "see below",
        }
    }
}

impl Row {
    /// A figure of ours beside the reference's.
    fn compared(
        measure: impl Into<String>,
        goal: &str,
        show: impl Fn(f64) -> String,
        (ours, reference): (Option<f64>, Option<f64>),
        conditions: &[Condition],
    ) -> Self {
        let ratio = ours.zip(reference).map(|(ours, other)| ours / other);
        let ratio = ratio.filter(|ratio| ratio.is_finite());
        let holds: Vec<_> = conditions.iter().map(|one| one.holds(ours, ratio)).collect();
        Self {
            measure: measure.into(),
            goal: goal.to_owned(),
            ours: ours.map(&show),
            reference: Some(reference.map(&show)),
            ratio,
            verdict: Verdict::of(&holds),
        }
    }

    /// A figure that is of interest for ours alone.
    fn alone(
        measure: impl Into<String>,
        goal: &str,
        ours: Option<String>,
        verdict: Verdict,
    ) -> Self {
        Self {
            measure: measure.into(),
            goal: goal.to_owned(),
            ours,
            reference: None,
            ratio: None,
            verdict,
        }
    }
}

/// The rows in Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| Measure | Goal | Moneta | Reference | Ratio | |\n|---|---|---|---|---|---|\n",
    );
    let missing = "not measured";
    for row in rows {
        let reference = match &row.reference {
            None => "-",
            Some(None) => missing,
            Some(Some(figure)) => figure,
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {reference} | {} | {} |",
            row.measure,
            row.goal,
            row.ours.as_deref().unwrap_or(missing),
            row.ratio.map_or("-".to_owned(), digits),
            row.verdict.words(),
        );
    }
    text
}

/// A row per goal, in the order in which a reader asks.
pub(crate) fn rows(parts: &Parts) -> Vec<Row> {
    let mut rows = wallet_rows(parts);
    rows.extend(load_rows(parts));
    rows.extend(idle_rows(parts));
    rows.extend(memory_rows(parts));
    rows.extend(recovery_rows(parts));
    rows.extend(growth_rows(parts));
    rows
}

fn wallet_rows(parts: &Parts) -> Vec<Row> {
    let (ours, other) = (parts.wallet("wallet"), parts.wallet("wallet-reference"));
    let paid = |pick: fn(LatencySummary) -> f64| {
        let of =
            |report: &Option<WalletReport>| Some(pick(report.as_ref()?.payments.as_ref()?.paid?));
        (of(&ours), of(&other))
    };
    let edges = |report: &Option<WalletReport>| {
        let edges = report.as_ref()?.payments.as_ref()?.edges.clone();
        let (near, rest, visible) = (edges.near?, edges.rest?, edges.visible()?);
        let (near, rest) = (digits(near.p99_ms), digits(rest.p99_ms));
        let ends = edges.sessions_ended;
        Some((format!("{near} ms near {ends} ends, {rest} ms elsewhere"), visible))
    };
    let (our_edges, other_edges) = (edges(&ours), edges(&other));
    let visible = our_edges.as_ref().map(|(_, visible)| !visible);
    vec![
        Row::compared(
            "payment, wallet to wallet: median",
            "<= 1/5 and < 100 ms",
            ms,
            paid(|paid| paid.p50_ms),
            &[Condition::RatioAtMost(0.2), Condition::Below(100.0)],
        ),
        Row::compared(
            format!("payment: p99{}", over_minutes(ours.as_ref())),
            "<= 1/5",
            ms,
            paid(|paid| paid.p99_ms),
            &[Condition::RatioAtMost(0.2)],
        ),
        Row {
            reference: Some(other_edges.map(|(words, _)| words)),
            ..Row::alone(
                "payment: p99 in the second around the ends of sessions",
                "no edge visible: <= 1.25 x the others'",
                our_edges.map(|(words, _)| words),
                Verdict::of(&[visible]),
            )
        },
    ]
}

fn over_minutes(report: Option<&WalletReport>) -> String {
    let payments = report.and_then(|report| report.payments.as_ref());
    payments
        .map_or(String::new(), |payments| format!(" over {:.1} minutes", payments.seconds / 60.0))
}

fn load_rows(parts: &Parts) -> Vec<Row> {
    let pair = |part: &str| (parts.subject(part), parts.subject(&format!("{part}-reference")));
    let (load, links) = (pair("load"), pair("links"));
    let both = |of: &(Option<SubjectReport>, Option<SubjectReport>),
                figure: &dyn Fn(&SubjectReport) -> Option<f64>| {
        (of.0.as_ref().and_then(figure), of.1.as_ref().and_then(figure))
    };
    let down = both(&load, &|subject| median(subject, |point| point.setting.mode == Mode::OneDown));
    let healthy = load
        .0
        .as_ref()
        .and_then(|subject| median(subject, |point| point.setting.mode == Mode::Latency));
    let times = down.0.zip(healthy).map(|(down, healthy)| down / healthy);
    let healthy_words =
        healthy.map_or(String::new(), |healthy| format!(" (all up: {})", ms(healthy)));
    let far = both(&links, &|subject| {
        median(subject, |point| {
            point.setting.delay_ms == Some(50.0) && point.setting.loss_percent == Some(0.0)
        })
    });
    let waiting = load.0.as_ref().and_then(waiters);
    let other_waiting = load.1.as_ref().and_then(waiters);
    let count = waiting.map_or(1_000, |waiting| waiting.count);
    let both_waiting =
        |pick: fn(Waiting) -> Option<f64>| (waiting.and_then(pick), other_waiting.and_then(pick));
    vec![
        Row::compared(
            format!("payment of 5 notes in 5 out, one of four down: median{healthy_words}"),
            "<= 1.3 x our own with all up",
            ms,
            down,
            &[Condition::Also(times.map(|times| times <= 1.3))],
        ),
        Row::compared(
            "the same, all up, links of 50 ms one way: median",
            "< 600 ms",
            ms,
            far,
            &[Condition::Below(600.0)],
        ),
        Row::compared(
            "throughput, 5 in 5 out, each at its best",
            ">= 20 x",
            per_second,
            both(&load, &throughput),
            &[Condition::RatioAtLeast(20.0)],
        ),
        Row::compared(
            format!("throughput lost beside {count} waiting wallets"),
            "<= 5 %",
            percent,
            both_waiting(|waiting| Some(waiting.loss_percent)),
            &[Condition::AtMost(5.0)],
        ),
        Row::compared(
            "memory per waiting wallet and guardian",
            "< 20 kB",
            bytes,
            both_waiting(|waiting| waiting.bytes),
            &[Condition::Below(20e3)],
        ),
    ]
}

fn median(subject: &SubjectReport, wanted: impl Fn(&Point) -> bool) -> Option<f64> {
    Some(subject.points.iter().find(|point| wanted(point))?.paid?.p50_ms)
}

fn throughput(subject: &SubjectReport) -> Option<f64> {
    let points = subject.points.iter().filter(|point| point.setting.mode == Mode::Throughput);
    points.map(|point| point.achieved_per_second).max_by(f64::total_cmp)
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    count: usize,
    loss_percent: f64,
    bytes: Option<f64>,
}

fn waiters(subject: &SubjectReport) -> Option<Waiting> {
    let points = subject.points.iter().filter(|point| point.setting.mode == Mode::Waiters);
    let (without, with): (Vec<_>, Vec<_>) =
        points.partition(|point| point.setting.waiters == Some(0));
    // As many turns of one as of the other, so sums do.
    let together =
        |points: &[&Point]| -> f64 { points.iter().map(|point| point.achieved_per_second).sum() };
    let first = with.first().filter(|_| with.len() == without.len())?;
    Some(Waiting {
        count: first.setting.waiters?,
        loss_percent: (1.0 - together(&with) / together(&without)) * 100.0,
        bytes: first.bytes_per_waiter,
    })
}

fn idle_rows(parts: &Parts) -> Vec<Row> {
    let (ours, other) = (parts.subject("idle"), parts.subject("idle-reference"));
    let seconds = ours.as_ref().and_then(|subject| Some(subject.idle.first()?.seconds));
    let over = seconds.map_or(String::new(), |seconds| format!(" over {seconds:.0} s"));
    let mean = |figure: fn(&Cost) -> f64| {
        let of = |subject: &Option<SubjectReport>| {
            let idle = &subject.as_ref()?.idle;
            let mean = idle.iter().map(figure).sum::<f64>() / idle.len() as f64;
            Some(mean).filter(|mean| mean.is_finite())
        };
        (of(&ours), of(&other))
    };
    let sent = |cost: &Cost| cost.sent_bytes_per_second().unwrap_or(f64::NAN);
    let row = |what: &str, goal: &str, show: fn(f64) -> String, figures, bound: f64| {
        let measure = format!("idle{over}, per guardian: {what}");
        Row::compared(measure, goal, show, figures, &[Condition::RatioAtMost(bound)])
    };
    vec![
        row("processor", "<= 1/10", of_a_core, mean(Cost::cpu_percent), 0.1),
        row("disk writes", "<= 1/50", bytes_per_second, mean(Cost::disk_bytes_per_second), 0.02),
        row("sent", "<= 1/10", bytes_per_second, mean(sent), 0.1),
        row("memory", "<= 1/2", bytes, mean(|cost| cost.resident_bytes as f64), 0.5),
    ]
}

fn memory_rows(parts: &Parts) -> Vec<Row> {
    let (ours, other) = (parts.wallet("wallet"), parts.wallet("wallet-reference"));
    let minutes = |report: &Option<WalletReport>| -> Vec<Minute> {
        let payments = report.as_ref().and_then(|report| report.payments.as_ref());
        payments.map_or_else(Vec::new, |payments| payments.minutes.clone())
    };
    let (our_minutes, other_minutes) = (minutes(&ours), minutes(&other));
    let last = |minutes: &[Minute]| Some(minutes.last()?.largest_bytes()? as f64);
    let drift = |minutes: &[Minute]| {
        let (middle, last) = memory_drift(minutes)?;
        Some(last as f64 / middle as f64)
    };
    let disk = |report: &Option<WalletReport>| {
        let report = report.as_ref()?;
        let each = report.payments.as_ref()?.disk_bytes_per_payment();
        Some(each * 1e6 / f64::from(report.guardians))
    };
    vec![
        Row::compared(
            after_minutes(our_minutes.len(), other_minutes.len()),
            "<= 1/2",
            bytes,
            (last(&our_minutes), last(&other_minutes)),
            &[Condition::RatioAtMost(0.5)],
        ),
        Row::compared(
            "the same, at the end against half way",
            "flat: <= 1.1 x",
            times,
            (drift(&our_minutes), drift(&other_minutes)),
            &[Condition::AtMost(FLAT_MEMORY)],
        ),
        Row::compared(
            "data folder of a guardian, per million payments",
            "below the reference's",
            bytes,
            (disk(&ours), disk(&other)),
            &[Condition::RatioBelow(1.0)],
        ),
    ]
}

/// After how long the memory is that of.
fn after_minutes(ours: usize, other: usize) -> String {
    let other = match other {
        0 => String::new(),
        other if other == ours => String::new(),
        other => format!(" (the reference: {other})"),
    };
    match ours {
        0 => "memory of the largest guardian after 20 minutes of payments".to_owned(),
        _ => format!("memory of the largest guardian after {ours} minutes of payments{other}"),
    }
}

fn recovery_rows(parts: &Parts) -> Vec<Row> {
    let recovery = |part: &str| Some(parts.recovery(part)?.items_per_second());
    let (ours, other) = (parts.replay("sync"), parts.replay("sync-reference"));
    let busy = parts.replay("sync-20").or(ours);
    let items = parts
        .recovery("recovery")
        .map_or(String::new(), |recovery| format!(" of {} items", recovery.items));
    vec![
        Row::compared(
            format!("recovery{items} with one guardian down: items per second"),
            ">= 200,000",
            whole,
            (recovery("recovery"), recovery("recovery-reference")),
            &[Condition::AtLeast(200_000.0)],
        ),
        Row::compared(
            "replay of missed sessions, from the guardian's first answer on: sessions per second",
            ">= 10 x",
            per_second,
            (
                ours.map(|replay| replay.sessions_per_second()),
                other.map(|replay| replay.sessions_per_second()),
            ),
            &[Condition::RatioAtLeast(10.0)],
        ),
        Row::compared(
            "the same, from the first session that came to the last",
            ">= 10 x",
            per_second,
            (
                ours.and_then(|replay| replay.coming_per_second()),
                other.and_then(|replay| replay.coming_per_second()),
            ),
            &[Condition::RatioAtLeast(10.0)],
        ),
        Row::compared(
            "replay: processor of the guardian, with the fullest sessions measured",
            "bound by computing: >= 80 % of a core",
            of_a_core,
            (
                busy.map(|replay| replay.guardian.cpu_percent()),
                other.map(|replay| replay.guardian.cpu_percent()),
            ),
            &[Condition::AtLeast(BUSY_PERCENT)],
        ),
    ]
}

fn growth_rows(parts: &Parts) -> Vec<Row> {
    let grown: Vec<Grown> = parts.json("growth", "growth.json").unwrap_or_default();
    let ends = grown.first().zip(grown.last()).filter(|(first, last)| first != last);
    let growth = ends.map(|(first, last)| last.payment_us() / first.payment_us());
    let far_enough = ends.and_then(|(_, last)| (last.spent_notes >= GROWN_NOTES).then_some(true));
    let words = ends.map(|(first, last)| {
        format!(
            "{} us after {} notes, {} us after {} ({})",
            digits(first.payment_us()),
            first.spent_notes,
            digits(last.payment_us()),
            last.spent_notes,
            times(last.payment_us() / first.payment_us()),
        )
    });
    let flat = growth.map(|growth| growth <= FLAT_COST);
    let guardians = parts.load("guardians").and_then(|report| {
        let first = report.subjects.iter().min_by_key(|subject| subject.guardians)?;
        let last = report.subjects.iter().max_by_key(|subject| subject.guardians)?;
        let median = |subject| median(subject, |point| point.setting.mode == Mode::Latency);
        let (from, to) = (ms(median(first)?), ms(median(last)?));
        Some(format!("median {from} with {}, {to} with {}", first.guardians, last.guardians))
    });
    let see = if guardians.is_some() { Verdict::SeeBelow } else { Verdict::NotMeasured };
    let counted = parts.text("gate", "out.txt").filter(|text| !text.is_empty());
    let compared = parts.text("gate", "log.txt").map(|log| !log.contains("no verdict"));
    let gate = match compared {
        Some(true) => Verdict::Met,
        _ => Verdict::NotMeasured,
    };
    vec![
        Row::alone(
            "a payment in the engine, with notes spent before it",
            "flat to 5 million: <= 1.25 x",
            words,
            Verdict::of(&[flat, far_enough]),
        ),
        Row::alone("4 to 16 guardians on this machine", "the curve is explained", guardians, see),
        Row::alone(
            "instructions of the hot paths",
            "<= 3 % above the baseline",
            counted.map(|text| format!("{} paths", text.lines().count().saturating_sub(1))),
            gate,
        ),
    ]
}

fn ms(figure: f64) -> String {
    format!("{} ms", digits(figure))
}

fn bytes(figure: f64) -> String {
    match figure {
        size if size >= 1e9 => format!("{} GB", digits(size / 1e9)),
        size if size >= 1e6 => format!("{} MB", digits(size / 1e6)),
        size if size >= 1e3 => format!("{} kB", digits(size / 1e3)),
        size => format!("{} B", digits(size)),
    }
}

fn bytes_per_second(figure: f64) -> String {
    format!("{}/s", bytes(figure))
}

fn per_second(figure: f64) -> String {
    format!("{} per s", digits(figure))
}

fn percent(figure: f64) -> String {
    format!("{} %", digits(figure))
}

fn of_a_core(figure: f64) -> String {
    format!("{} % of a core", digits(figure))
}

fn times(figure: f64) -> String {
    format!("{} x", digits(figure))
}

fn whole(figure: f64) -> String {
    format!("{figure:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_when_everything_it_asks_for_holds() {
        let goal = [Condition::RatioAtMost(0.2), Condition::Below(100.0)];
        let verdict = |ours, reference| Row::compared("", "", ms, (ours, reference), &goal).verdict;
        assert_eq!(verdict(Some(80.0), Some(400.0)), Verdict::Met);
        assert_eq!(verdict(Some(80.0), Some(399.0)), Verdict::NotMet);
        assert_eq!(verdict(Some(100.0), Some(1_000.0)), Verdict::NotMet);
        assert_eq!(verdict(Some(80.0), None), Verdict::SoFar);
        assert_eq!(verdict(Some(180.0), None), Verdict::NotMet);
        assert_eq!(verdict(None, Some(400.0)), Verdict::NotMeasured);
    }

    #[test]
    fn what_is_missing_is_said_to_be_missing() {
        let both = Row::compared("a", "< 1 ms", ms, (None, None), &[Condition::Below(1.0)]);
        let alone = Row::alone("b", "flat", Some("1 us".to_owned()), Verdict::Met);
        let table = table(&[both, alone]);
        assert!(table.contains("| a | < 1 ms | not measured | not measured | - | not measured |"));
        assert!(table.contains("| b | flat | 1 us | - | - | met |"));
    }

    #[test]
    fn figures_are_shown_with_a_ratio() {
        let figures = (Some(2e3), Some(200e3));
        let row = Row::compared("idle", "<= 1/50", bytes_per_second, figures, &[]);
        let shown = table(&[row]);
        assert!(shown.contains("| 2.00 kB/s | 200 kB/s | 0.01 |"), "{shown}");
    }

    #[test]
    fn every_goal_has_a_row_without_any_part() {
        let rows = rows(&Parts::default());
        assert_eq!(rows.len(), 22);
        assert!(rows.iter().all(|row| row.verdict == Verdict::NotMeasured), "{rows:?}");
    }
}
