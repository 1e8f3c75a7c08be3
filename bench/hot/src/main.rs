//! Runs one hot path so many times: `moneta-hot NAME CALLS`. Without arguments lists the paths and how
//! many calls the gate counts.

use std::env;
use std::process::ExitCode;

use moneta_hot::{PATHS, find};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => {
            for path in &PATHS {
                println!("{} {}", path.name, path.calls);
            }
        }
        [name, calls] => {
            let (Some(path), Ok(calls)) = (find(name), calls.parse::<usize>()) else {
                eprintln!("moneta-hot: no path {name}, or {calls} is no number");
                return ExitCode::FAILURE;
            };
            let mut call = (path.prepare)();
            for _ in 0..calls {
                call();
            }
        }
        _ => {
            eprintln!("usage: moneta-hot [NAME CALLS]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
