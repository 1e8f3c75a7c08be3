//! Measures a whole local federation on this machine: real bitcoind, real guardian processes, and
//! wallets that use the client library in this process. `./dev bench wallet` runs it.
//!
//! What is measured, in this order:
//!
//! * the ceremony: from the first setup call to a federation that answers;
//! * deposits: from the block that makes one claimable to spendable e-cash;
//! * payments: one wallet sends, the other receives, until the notes are spendable, so many or for so
//!   long; every minute the memory of guardians, and the ends of sessions against the rest;
//! * idle: processor time, disk writes, traffic and memory of each guardian.
//!
//! Nothing is asserted: figures are for `docs/performance.md`, not for tests. The wallets are ours on
//! either side: with `--reference` they talk to guardians of the reference.

mod payments;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use moneta::world::signals::until_asked_to_end;
use moneta::world::{GuardianProgram, Narrator, Pace, Programs, World, WorldOptions};
use moneta_bench::report::{Payments, Report};
use moneta_load::cost::{Cost, Sample, connections};
use moneta_load::federation::Federation;
use moneta_load::origin::Origin;
use moneta_load::subject::restart_at;
use moneta_load::watch::Watch;

use payments::{Bench, Length};

/// Payments before those that count: connections, stock of notes, caches.
const WARM_UP: usize = 10;

/// The deposit pays for about so many minutes of payments.
const MOST_MINUTES: f64 = 60.0;

/// Measures a local federation
#[derive(Parser)]
struct Flags {
    /// Guardians of the federation
    #[arg(long, default_value_t = 4)]
    guardians: u16,
    /// Payments measured one after the other
    #[arg(long, default_value_t = 200)]
    payments: usize,
    /// Pay for so many minutes, in place of a number of payments; at most 60
    #[arg(long, conflicts_with = "payments", value_parser = minutes)]
    minutes: Option<f64>,
    /// Seconds of the idle measurement; 0 leaves it out
    #[arg(long, default_value_t = 300)]
    idle_secs: u64,
    /// Run this released guardian daemon of the reference in place of ours
    #[arg(long, value_name = "PROGRAM")]
    reference: Option<PathBuf>,
    /// Clocks of tests in place of production's: faster deposits, short sessions, dearer idling
    #[arg(long)]
    test_pace: bool,
    /// Print JSON, with every payment in it, instead of a table
    #[arg(long)]
    json: bool,
    /// Where report.json, with every payment in it, and report.md go
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    // Written so that NaN is refused.
    if minutes > 0.0 && minutes <= MOST_MINUTES {
        Ok(minutes)
    } else {
        Err(format!("{text} is not above 0 and at most {MOST_MINUTES}"))
    }
}

impl Flags {
    fn length(&self) -> Length {
        match self.minutes {
            Some(minutes) => Length::Time(Duration::from_secs_f64(minutes * 60.0)),
            None => Length::Count(self.payments),
        }
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    match until_asked_to_end(run(Flags::parse())).await? {
        Some(result) => result.map(|()| ExitCode::SUCCESS),
        None => {
            eprintln!("moneta-bench: asked to end; the guardians are gone");
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn run(flags: Flags) -> Result<()> {
    let origin = Origin::find();
    let folder = tempfile::tempdir().context("make a folder for the world")?;
    let mut options = WorldOptions::in_dir(folder.path().join("world"))?;
    options.guardians = flags.guardians;
    if let Some(path) = &flags.reference {
        let path = path.canonicalize().with_context(|| format!("find {}", path.display()))?;
        options.programs = Programs::with_guardian(GuardianProgram { path, is_reference: true })?;
    }
    let mut narrator = if flags.json { Narrator::silent() } else { Narrator::aloud() };
    let mut world = World::start(options, &mut narrator).await?;

    narrator.begin("Deposit");
    let bench = Bench::enter(&world, folder.path()).await?;
    let deposit = bench.deposit(&world).await?;
    narrator.done("the sender has money");

    restart_at(&mut world, if flags.test_pace { Pace::Test } else { Pace::Production }).await?;
    let urls: Vec<String> =
        world.guardians.iter().map(|guardian| guardian.api_url().to_owned()).collect();
    let federation = Federation::connect(&urls, 1).await?;

    narrator.begin("Payments, warm up");
    let warm = bench.pay(Length::Count(WARM_UP), Instant::now()).await?;
    narrator.done(&format!("{} payments", warm.len()));
    narrator.begin("Payments, measured");
    let length = flags.length();
    let (moments, watch) =
        Watch::over(&federation, &world.guardians, async |began| bench.pay(length, began).await)
            .await?;
    narrator.done(&format!("{} payments", moments.len()));
    bench.leave().await;
    let mut report = Report {
        origin,
        name: if flags.reference.is_some() { "reference" } else { "moneta" }.to_owned(),
        version: federation.version().await?,
        guardians: flags.guardians,
        ceremony_ms: world.ceremony_time.as_secs_f64() * 1e3,
        deposit_ms: deposit.as_secs_f64() * 1e3,
        payments: (!moments.is_empty()).then(|| Payments::new(&moments, &watch)),
        idle: Vec::new(),
    };
    // A connection of ours would be part of their idling.
    drop(federation);

    if flags.idle_secs > 0 {
        narrator.begin("Idle");
        // What the payments left behind (sessions ending, files closing) is not idling.
        tokio::time::sleep(Duration::from_secs(5)).await;
        report.idle = watch_idle(&world, Duration::from_secs(flags.idle_secs)).await?;
        narrator.done(&format!("{} s", flags.idle_secs));
    }
    let json = serde_json::to_string_pretty(&report)?;
    if let Some(folder) = &flags.out {
        write(folder, &json, &report.to_text())?;
    }
    if flags.json {
        println!("{json}")
    } else {
        print!("\n{}", report.to_text())
    }
    // Figures are out; guardians of the reference end with an error.
    let _ = world.stop().await;
    Ok(())
}

fn write(folder: &Path, json: &str, text: &str) -> Result<()> {
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(folder.join("report.json"), json))
        .and_then(|()| std::fs::write(folder.join("report.md"), text))
        .with_context(|| format!("write into {}", folder.display()))
}

/// What each guardian costs while nobody uses it.
async fn watch_idle(world: &World, time: Duration) -> Result<Vec<Cost>> {
    let sample = || -> Result<Vec<Sample>> {
        let connections = connections();
        let pids = world.guardians.iter().filter_map(|guardian| guardian.pid());
        pids.map(|pid| Sample::take(pid, connections.as_deref())).collect()
    };
    let before = sample()?;
    tokio::time::sleep(time).await;
    let after = sample()?;
    Ok(after.iter().zip(&before).map(|(after, before)| after.since(before)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_above_nothing_and_bounded() {
        assert_eq!(minutes("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "61", "NaN", "inf", "ten"] {
            assert!(minutes(wrong).is_err(), "{wrong}");
        }
    }
}
