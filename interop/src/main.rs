//! Interoperation: the released programs of the reference against ours, both ways.
//!
//! * [`our_federation`]: `fedimint-cli` holds the ceremony of our guardians and uses their federation.
//! * [`their_federation`]: our wallet uses a federation of released `fedimintd`.
//! * [`fedimint_cli`]: the released command line, driven as a person would drive it.
//!
//! Nothing of the reference is linked. Its programs come from `scripts/install-reference.sh`; what they
//! take and print is learned from their `--help` and their output.
//!
//! Run by `./dev interop`; not part of the gate, since building the peers takes half an hour.

mod fedimint_cli;
mod our_federation;
mod steps;
mod their_federation;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use moneta::world::Narrator;

/// Drives released programs of the reference against ours, both ways.
#[derive(Parser)]
#[command(name = "moneta-interop")]
struct CommandLine {
    /// Folder with the released `fedimintd` and `fedimint-cli`.
    #[arg(long)]
    reference: PathBuf,
    /// One direction alone.
    #[arg(long)]
    only: Option<Direction>,
    /// Work in this folder and leave it, instead of a temporary one.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Whose federation it is.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// Our guardians, their client.
    Ours,
    /// Their guardians, our wallet.
    Theirs,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(CommandLine::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("moneta-interop: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: CommandLine) -> Result<()> {
    let temporary = tempfile::tempdir().context("make a temporary folder")?;
    let dir = options.dir.as_deref().unwrap_or(temporary.path());
    let reference = options.reference.canonicalize().context("find the released programs")?;
    let wanted = |direction| options.only.is_none_or(|only| only == direction);
    if wanted(Direction::Ours) {
        let mut narrator = Narrator::aloud();
        narrator.note("Our guardians, the reference's client.");
        our_federation::run(&dir.join("ours"), &reference, &mut narrator).await?;
        narrator.summary();
    }
    if wanted(Direction::Theirs) {
        let mut narrator = Narrator::aloud();
        narrator.note("The reference's guardians, our wallet.");
        their_federation::run(&dir.join("theirs"), &reference, &mut narrator).await?;
        narrator.summary();
    }
    Ok(())
}
