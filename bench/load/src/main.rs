//! The program around the load generator: starts federations, measures them one after the other,
//! writes a table, JSON and pictures. `./dev bench load` runs it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use moneta::world::signals::until_asked_to_end;
use moneta::world::{Narrator, Pace};
use moneta_load::link::Weather;
use moneta_load::modes::Pulse;
use moneta_load::origin::Origin;
use moneta_load::plot::latency_against_load;
use moneta_load::report::{Report, SubjectReport};
use moneta_load::shape::Shape;
use moneta_load::subject::{Candidate, Subject, allow_open_files};

/// Drives a local federation with payments and measures it; with --reference a second one of another
/// implementation in the same run
#[derive(Parser)]
struct Flags {
    /// Also measure a federation of this released daemon of the reference
    #[arg(long, value_name = "PROGRAM")]
    reference: Option<PathBuf>,
    /// Measure the reference alone
    #[arg(long, requires = "reference")]
    only_reference: bool,
    /// What to measure; the order is always the same, whatever the order here. By default all but long,
    /// recovery and sync, which take minutes
    #[arg(long, value_delimiter = ',', default_values_t = [
        ModeName::Latency, ModeName::Throughput, ModeName::Load, ModeName::Waiters,
        ModeName::Idle, ModeName::OneDown, ModeName::Links,
    ])]
    modes: Vec<ModeName>,
    /// Guardians of each federation; several numbers make as many federations, one after the other
    #[arg(long, value_delimiter = ',', default_value = "4")]
    guardians: Vec<u16>,
    /// Notes in and out of a payment; load, waiters, one-down and links use the first
    #[arg(long, value_delimiter = ',', default_value = "5x5,1x1,20x20")]
    shapes: Vec<Shape>,
    /// Seconds per point
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Payments per second where latency is measured
    #[arg(long, default_value_t = 2.0)]
    rate: f64,
    /// Payments per second of the load series
    #[arg(long, value_delimiter = ',', default_value = "1,2,5,10,20,50,100,200,400")]
    rates: Vec<f64>,
    /// Payments at a time where throughput is measured; several numbers make as many points, waiters uses the first
    #[arg(long, value_delimiter = ',', default_value = "64")]
    in_flight: Vec<usize>,
    /// Wallets that wait on long polls
    #[arg(long, default_value_t = 900)]
    waiters: usize,
    /// Seconds per point beside them; less than a minute may miss all or see twice what they do once a minute
    #[arg(long, default_value_t = 60)]
    waiters_seconds: u64,
    /// One-way delays of links, in milliseconds
    #[arg(long, value_delimiter = ',', default_value = "10,50,150")]
    delays: Vec<u64>,
    /// Random delay on top, in per cent of the delay
    #[arg(long, default_value_t = 10)]
    jitter_percent: u32,
    /// Share of pieces that come a retransmission later, in per cent
    #[arg(long, default_value_t = 1.0)]
    loss_percent: f64,
    /// Seconds of idling
    #[arg(long, default_value_t = 60)]
    idle_seconds: u64,
    /// Minutes of the mode long
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Payments per second of the mode long; at most 20,000 payments in all
    #[arg(long, default_value_t = 10.0)]
    long_rate: f64,
    /// Items of history in the mode recovery, made by payments
    #[arg(long, default_value_t = 20_000)]
    recovery_items: u64,
    /// Items written behind them into the stores of our own guardians, for a second recovery
    #[arg(long, default_value_t = 0)]
    recovery_fill: u64,
    /// Sessions that a guardian misses in the mode sync; 15 s each with ours
    #[arg(long, default_value_t = 10)]
    sync_sessions: u64,
    /// Payments per second meanwhile
    #[arg(long, default_value_t = 20.0)]
    sync_rate: f64,
    /// Clocks of tests in place of production's: faster deposits, short sessions, dearer idling
    #[arg(long)]
    test_pace: bool,
    /// Short points and few shapes, and of the reference only latency, one guardian down and idle cost: it takes
    /// minutes to get over more than it can bear. Five minutes for both
    #[arg(long)]
    quick: bool,
    /// Where report.json, report.md and pictures go
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum ModeName {
    Latency,
    Throughput,
    Load,
    Waiters,
    Idle,
    OneDown,
    Long,
    Recovery,
    Links,
    Sync,
}

/// What `--quick` measures of the reference.
const QUICK_AT_REFERENCE: [ModeName; 3] = [ModeName::Latency, ModeName::OneDown, ModeName::Idle];

impl std::fmt::Display for ModeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    match until_asked_to_end(run(Flags::parse())).await? {
        Some(result) => result.map(|()| ExitCode::SUCCESS),
        None => {
            eprintln!("moneta-load: asked to end; the guardians are gone");
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn run(mut flags: Flags) -> Result<()> {
    if flags.quick {
        flags.seconds = flags.seconds.min(5);
        flags.idle_seconds = flags.idle_seconds.min(20);
        flags.shapes.truncate(1);
        flags.rates = vec![2.0, 10.0, 50.0];
        flags.delays = vec![50];
        flags.waiters = flags.waiters.min(300);
        flags.waiters_seconds = flags.waiters_seconds.min(5);
    }
    // A connection per waiter and guardian, and the far ends of links.
    let most = flags.guardians.iter().copied().max().unwrap_or_default();
    allow_open_files(flags.waiters as u64 * u64::from(most) + 1_000)?;
    let mut report = Report { origin: Origin::find(), subjects: Vec::new() };
    let mut narrator = Narrator::aloud();
    for candidate in flags.candidates() {
        report.subjects.push(measure(&flags, candidate, &mut narrator).await?);
        // After each, so that an interrupted run leaves what it has.
        write(&flags, &report)?;
    }
    print!("{}", report.to_text());
    Ok(())
}

impl Flags {
    fn candidates(&self) -> Vec<Candidate> {
        self.guardians.iter().flat_map(|guardians| self.candidates_of(*guardians)).collect()
    }

    fn candidates_of(&self, guardians: u16) -> Vec<Candidate> {
        let pace = if self.test_pace { Pace::Test } else { Pace::Production };
        let ours =
            Candidate { name: "moneta".into(), reference: None, guardians, pace, links: false };
        let other = self.reference.clone().map(|path| Candidate {
            name: "reference".into(),
            reference: Some(path),
            ..ours.clone()
        });
        let ours = (!self.only_reference).then_some(ours);
        ours.into_iter().chain(other).collect()
    }

    fn pulse(&self) -> Pulse {
        Pulse { rate_per_second: self.rate, time: Duration::from_secs(self.seconds) }
    }
}

/// All modes on one federation; those over links on a second one, since their proxies cost something, and
/// the sync of a guardian on another one with short sessions.
async fn measure(
    flags: &Flags,
    candidate: Candidate,
    narrator: &mut Narrator,
) -> Result<SubjectReport> {
    let folder = tempfile::tempdir().context("make a folder for the world")?;
    let mut wanted: BTreeSet<ModeName> = flags.modes.iter().copied().collect();
    let has_quick = QUICK_AT_REFERENCE.iter().any(|mode| wanted.contains(mode));
    // Who asks for others alone gets them.
    if flags.quick && candidate.reference.is_some() && has_quick {
        wanted.retain(|mode| QUICK_AT_REFERENCE.contains(mode));
    }
    let own = [ModeName::Links, ModeName::Sync];
    let near: Vec<ModeName> = wanted.iter().copied().filter(|mode| !own.contains(mode)).collect();
    let mut found: Option<SubjectReport> = None;
    if !near.is_empty() {
        let place = folder.path().join("near");
        let mut subject = Subject::start(&candidate, &place, narrator).await?;
        for mode in near {
            // One that fails (with many waiters, some federations do) must not lose what the others found.
            if let Err(error) = measure_mode(flags, mode, &mut subject, &place, narrator).await {
                let failure = format!("{mode}: {error:#}");
                narrator.done(&format!("FAILED: {failure}"));
                subject.report.failures.push(failure);
            }
        }
        ensure!(subject.report.has_figures(), "{}", subject.report.failures.join("; "));
        found = Some(subject.finish().await);
    }
    if wanted.contains(&ModeName::Sync) {
        let candidate = Candidate { pace: Pace::Test, ..candidate.clone() };
        let mut subject = Subject::start(&candidate, &folder.path().join("sync"), narrator).await?;
        let (shape, sessions) = (first_shape(flags)?, flags.sync_sessions);
        subject.sync(shape, sessions, flags.sync_rate, narrator).await?;
        let away = subject.finish().await;
        match &mut found {
            Some(near) => near.syncs.extend(away.syncs),
            None => found = Some(away),
        }
    }
    if wanted.contains(&ModeName::Links) {
        let candidate = Candidate { links: true, ..candidate };
        let mut subject = Subject::start(&candidate, &folder.path().join("far"), narrator).await?;
        for weather in weathers(flags) {
            subject.links(first_shape(flags)?, weather, flags.pulse(), narrator).await?;
        }
        let far = subject.finish().await;
        match &mut found {
            Some(near) => near.points.extend(far.points),
            None => found = Some(far),
        }
    }
    found.context("no mode was asked for")
}

async fn measure_mode(
    flags: &Flags,
    mode: ModeName,
    subject: &mut Subject,
    place: &Path,
    narrator: &mut Narrator,
) -> Result<()> {
    let time = Duration::from_secs(flags.seconds);
    let first = first_shape(flags)?;
    match mode {
        ModeName::Latency => {
            for shape in &flags.shapes {
                subject.latency(*shape, flags.pulse(), narrator).await?;
            }
        }
        ModeName::Throughput => {
            for shape in &flags.shapes {
                for in_flight in &flags.in_flight {
                    subject.throughput(*shape, *in_flight, time, narrator).await?;
                }
            }
        }
        ModeName::Load => subject.load(first, &flags.rates, time, narrator).await?,
        ModeName::Waiters => {
            let in_flight = *flags.in_flight.first().context("no number of payments was given")?;
            let time = Duration::from_secs(flags.waiters_seconds);
            subject.waiters(first, in_flight, flags.waiters, time, narrator).await?;
        }
        ModeName::Idle => {
            subject.idle(Duration::from_secs(flags.idle_seconds), narrator).await?;
        }
        ModeName::OneDown => subject.one_down(first, flags.pulse(), narrator).await?,
        ModeName::Long => {
            let time = Duration::from_secs(flags.minutes * 60);
            let pulse = Pulse { rate_per_second: flags.long_rate, time };
            subject.long(first, pulse, narrator).await?;
        }
        ModeName::Recovery => {
            let (items, fill) = (flags.recovery_items, flags.recovery_fill);
            subject.recovery(items, fill, place, narrator).await?;
        }
        // On federations of their own.
        ModeName::Links | ModeName::Sync => {}
    }
    Ok(())
}

fn first_shape(flags: &Flags) -> Result<Shape> {
    flags.shapes.first().copied().context("no shape was given")
}

/// Each delay without loss, and the middle one with it.
fn weathers(flags: &Flags) -> Vec<Weather> {
    let weather = |delay_ms: &u64| {
        let delay = Duration::from_millis(*delay_ms);
        Weather { delay, jitter: delay * flags.jitter_percent / 100, loss_ppm: 0 }
    };
    let mut weathers: Vec<Weather> = flags.delays.iter().map(weather).collect();
    let loss_ppm = (flags.loss_percent * 1e4) as u64;
    if let Some(middle) = weathers.get(weathers.len() / 2).filter(|_| loss_ppm > 0) {
        weathers.push(Weather { loss_ppm, ..*middle });
    }
    weathers
}

fn write(flags: &Flags, report: &Report) -> Result<()> {
    let Some(folder) = &flags.out else { return Ok(()) };
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    write_file(folder, "report.json", &serde_json::to_string_pretty(report)?)?;
    write_file(folder, "report.md", &report.to_text())?;
    for shape in &flags.shapes {
        if let Some(picture) = latency_against_load(report, *shape) {
            write_file(folder, &format!("latency-{shape}.svg"), &picture)?;
        }
    }
    Ok(())
}

fn write_file(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}
