//! Measures a whole local federation on this machine: real bitcoind, real guardian processes, and
//! wallets that use the client library in this process. `./dev bench` runs it.
//!
//! What is measured, in this order:
//!
//! * the ceremony: from the first setup call to a federation that answers;
//! * deposits: from the block that makes one claimable to spendable e-cash;
//! * payments: one wallet sends, the other receives, until the notes are spendable; median and p99;
//! * idle: processor time, disk writes, traffic and memory of each guardian.
//!
//! Nothing is asserted: figures are for `docs/performance.md`, not for tests. The wallets are ours on
//! either side: with `--reference` they talk to guardians of the reference.

mod payments;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use moneta::world::{GuardianProgram, Narrator, Pace, Programs, World, WorldOptions};
use moneta_load::cost::{Cost, Sample, connections};
use moneta_load::subject::restart_at;

use report::Report;

/// Measures a local federation
#[derive(Parser)]
struct Flags {
    /// Guardians of the federation
    #[arg(long, default_value_t = 4)]
    guardians: u16,
    /// Payments measured one after the other
    #[arg(long, default_value_t = 200)]
    payments: usize,
    /// Seconds of the idle measurement; 0 leaves it out
    #[arg(long, default_value_t = 300)]
    idle_secs: u64,
    /// Run this released guardian daemon of the reference in place of ours
    #[arg(long, value_name = "PROGRAM")]
    reference: Option<PathBuf>,
    /// Clocks of tests in place of production's: faster deposits, short sessions, dearer idling
    #[arg(long)]
    test_pace: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let flags = Flags::parse();
    let folder = tempfile::tempdir().context("make a folder for the world")?;
    let mut options = WorldOptions::in_dir(folder.path().join("world"))?;
    options.guardians = flags.guardians;
    if let Some(path) = &flags.reference {
        let path = path.canonicalize().with_context(|| format!("find {}", path.display()))?;
        options.programs = Programs::with_guardian(GuardianProgram { path, is_reference: true })?;
    }
    let mut narrator = if flags.json { Narrator::silent() } else { Narrator::aloud() };
    let mut world = World::start(options, &mut narrator).await?;
    let mut report = Report::new(flags.guardians);
    report.ceremony = world.ceremony_time;

    narrator.begin("Deposit");
    let mut bench = payments::Bench::enter(&world, folder.path()).await?;
    report.deposit = Some(bench.deposit(&world).await?);
    narrator.done("the sender has money");

    restart_at(&mut world, if flags.test_pace { Pace::Test } else { Pace::Production }).await?;

    narrator.begin("Payments, warm up");
    bench.pay(10).await?;
    narrator.done("10 payments");
    narrator.begin("Payments, measured");
    report.payments = bench.pay(flags.payments).await?;
    narrator.done(&format!("{} payments", flags.payments));
    bench.leave().await;

    if flags.idle_secs > 0 {
        narrator.begin("Idle");
        // What the payments left behind (sessions ending, files closing) is not idling.
        tokio::time::sleep(Duration::from_secs(5)).await;
        report.idle = watch(&world, Duration::from_secs(flags.idle_secs)).await?;
        narrator.done(&format!("{} s", flags.idle_secs));
    }
    if flags.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.to_table());
    }
    // Figures are out; guardians of the reference end with an error.
    let _ = world.stop().await;
    Ok(())
}

/// What each guardian costs while nobody uses it.
async fn watch(world: &World, time: Duration) -> Result<Vec<Cost>> {
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
