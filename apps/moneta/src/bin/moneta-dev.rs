//! The local world for developers: a federation on a private Bitcoin chain, with one command.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use moneta::world::{
    GuardianProgram, Narrator, Pace, Programs, World, WorldOptions, WorldReport, demo,
    folder::{self, WorldFolder},
    signals::until_asked_to_end,
};

/// A federation on a private Bitcoin chain, for trying out and for tests.
#[derive(Parser)]
#[command(name = "moneta-dev", version)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start bitcoind and guardians, hold the ceremony, and stay until Ctrl-C or `down`.
    Up(Up),
    /// End the world that `up` runs in a folder.
    Down {
        /// The folder given to `up`.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Start a world in a temporary folder, tell the story of a first payment, and end it.
    Demo,
}

#[derive(Args)]
struct Up {
    /// Where everything lies; empty or new.
    #[arg(long)]
    dir: PathBuf,
    /// 1, or 4 and more.
    #[arg(long, default_value_t = 4)]
    guardians: u16,
    /// Print one line of JSON on standard output when all is ready, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Clocks as guardians have them in earnest: slower deposits, longer sessions, for figures.
    #[arg(long)]
    production_pace: bool,
    /// Run this released guardian daemon, which takes FM_ variables, instead of monetad.
    #[arg(long, value_name = "PROGRAM")]
    reference_guardian: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    match run(command_line.verb).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("moneta-dev: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Up(options) => up(options).await,
        Verb::Down { dir } => folder::end(&dir).await,
        Verb::Demo => tell_demo().await,
    }
}

async fn tell_demo() -> Result<()> {
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let options = WorldOptions::in_dir(folder.path())?;
    let mut narrator = Narrator::aloud();
    let outcome = until_asked_to_end(demo::run(options, &mut narrator)).await?;
    // Asked to end: everything has been ended, and there is nothing to look at.
    let Some(Err(error)) = outcome else { return Ok(()) };
    let kept = folder.keep();
    Err(error.context(format!("the demo failed; all logs are in {}", kept.display())))
}

async fn up(options: Up) -> Result<()> {
    let programs = match options.reference_guardian {
        Some(path) => Programs::with_guardian(GuardianProgram {
            path: path.canonicalize().with_context(|| format!("find {}", path.display()))?,
            is_reference: true,
        })?,
        None => Programs::find()?,
    };
    let folder = WorldFolder::claim(&options.dir)?;
    let world_options = WorldOptions {
        dir: folder.path().to_owned(),
        guardians: options.guardians,
        federation_name: "Local world".to_owned(),
        programs,
        pace: if options.production_pace { Pace::Production } else { Pace::Test },
        front: None,
    };
    let mut narrator = Narrator::aloud();
    let started = until_asked_to_end(World::start(world_options, &mut narrator)).await?;
    // Asked to end while starting: what had been started is ended already.
    let Some(world) = started else { return Ok(()) };
    let world = world?;
    let report = world.report();
    if options.json {
        let line = serde_json::to_string(&report).context("write the report")?;
        println!("{line}");
    } else {
        print!("{}", description(&report));
    }
    until_asked_to_end(std::future::pending::<()>()).await?;
    eprintln!("moneta-dev: ending guardians and bitcoind");
    world.stop().await
}

fn description(report: &WorldReport) -> String {
    use std::fmt::Write;

    let mut text = format!(
        "\nThe federation is ready.\n\n  invite          {}\n  admin password  {}\n  bitcoind        {} (user {}, password {})\n",
        report.invite,
        report.admin_password,
        report.bitcoind.rpc_url,
        report.bitcoind.user,
        report.bitcoind.password,
    );
    for guardian in &report.guardians {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  guardian {}      {} (process {}, state in {})",
            guardian.peer_id,
            guardian.api_url,
            guardian.pid,
            guardian.data_dir.display()
        );
    }
    text.push_str("\nCtrl-C ends it.\n");
    text
}
