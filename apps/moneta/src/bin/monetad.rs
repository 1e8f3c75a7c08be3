//! The guardian daemon. See `moneta::daemon`.

use std::process::ExitCode;

use moneta::daemon::{self, flags::Flags};
use tracing::error;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    daemon::memory::share_one_heap();
    run()
}

#[tokio::main]
async fn run() -> ExitCode {
    let flags = Flags::read();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
    match daemon::run(flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure:#}");
            ExitCode::FAILURE
        }
    }
}
