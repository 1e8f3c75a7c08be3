//! The wallet CLI. See `moneta::wallet_cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    moneta::wallet_cli::main()
}
