//! The wallet CLI `moneta`: a wallet for people in a terminal, and for scripts.
//!
//! One command, one process: it opens the wallet's folder, does one thing, waits for its end and
//! closes the folder. What it could not wait for is durable and goes on at the next command.
//! Nothing here decides about money; that is in the crates.
//!
//! * [`args`] is the command line, [`failure`] the exit codes, [`screen`] what is printed where,
//!   `questions` what is asked.
//! * [`context`] opens the wallet and waits; [`money`] and [`coins`] speak with its modules.
//! * `rejection` and `stalled` word what may become of a transaction.
//! * Every other file is one command. Its result is a `Report`: JSON and text of the same facts.

pub mod amount;
pub mod args;
mod balance;
pub mod coins;
pub mod context;
mod deposit;
pub mod failure;
mod guardian;
mod history;
mod info;
mod join;
mod meta;
pub mod money;
mod questions;
mod receive;
mod recover;
mod rejection;
pub mod screen;
mod send;
mod show;
mod stalled;
pub mod time;
mod withdraw;
mod words;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use args::{Command, CommandLine};
use context::Context;
use failure::Failure;
use screen::Screen;

/// Exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;
/// Exit code after SIGTERM.
const TERMINATED: u8 = 143;

/// The whole program.
pub fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => return no_command(&error),
    };
    watch_log();
    let screen = Screen::new(command_line.global.json);
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                let failure = Failure::broken(format!("cannot start: {error}"));
                screen.fail(&failure);
                return ExitCode::from(failure.kind.exit_code());
            }
        };
    let context = Context::new(screen.clone(), command_line.global);
    let code = match runtime.block_on(until_signal(run(&context, command_line.command))) {
        Ok(Ok(())) => 0,
        Ok(Err(failure)) => {
            screen.fail(&failure);
            failure.kind.exit_code()
        }
        Err(signal_code) => {
            screen.end_line();
            signal_code
        }
    };
    // Nothing is cut off: stores commit whole or not at all, and a read of standard input that
    // nobody waits for any more must not hold up the end.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Join { invite, network } => join::run(context, &invite, network).await,
        Command::Info => info::run(context).await,
        Command::Balance => balance::run(context).await,
        Command::Deposit { no_wait } => deposit::run(context, no_wait).await,
        Command::Send { amount, include_invite } => {
            send::run(context, amount.0, include_invite).await
        }
        Command::Receive { ecash } => receive::run(context, &ecash).await,
        Command::Withdraw { address, amount, yes } => {
            withdraw::run(context, &address, amount, yes).await
        }
        Command::History { limit } => history::run(context, limit).await,
        Command::Show { operation, wait } => show::run(context, &operation, wait).await,
        Command::Words => words::run(context),
        Command::Recover { invite, doubled } => recover::run(context, &invite, doubled).await,
        Command::Meta => meta::run(context).await,
        Command::Guardian(args) => guardian::run(context, args).await,
    }
}

/// Runs `work` until it is done; on Ctrl-C or SIGTERM drops it and returns the exit code.
async fn until_signal<T>(work: impl Future<Output = T>) -> Result<T, u8> {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return Ok(work.await);
    };
    tokio::select! {
        done = work => Ok(done),
        _ = interrupt.recv() => Err(INTERRUPTED),
        _ = terminate.recv() => Err(TERMINATED),
    }
}

/// Help, version, or a wrong command line.
fn no_command(error: &clap::Error) -> ExitCode {
    let wrong = !matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if wrong && std::env::args_os().any(|argument| argument == "--json") {
        let failure = usage(&error.to_string());
        Screen::new(true).fail(&failure);
        return ExitCode::from(failure.kind.exit_code());
    }
    // Nowhere is left to complain.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
}

/// The first paragraph of what clap says; the usage line below it is no help to a script.
fn usage(text: &str) -> Failure {
    let first = text.split("\n\n").next().unwrap_or(text);
    let first = first.strip_prefix("error: ").unwrap_or(first).trim();
    Failure::usage(first).hint("`moneta --help` and `moneta COMMAND --help` show what is possible")
}

/// Log lines of the library go to standard error: errors only, unless RUST_LOG says otherwise.
fn watch_log() {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "error".to_owned());
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("error"));
    // Fails only if there is a subscriber already, which then serves.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_errors_are_one_paragraph() {
        let error = CommandLine::try_parse_from(["moneta", "send"]).expect_err("no amount");
        let failure = usage(&error.to_string());
        assert_eq!(failure.kind, failure::Kind::Usage);
        assert!(failure.message.contains("<AMOUNT>"), "{}", failure.message);
        assert!(!failure.message.contains("Usage:"), "{}", failure.message);
    }
}
