//! Runs simulations: `moneta-sim --seeds 200 [--from N]`, or `moneta-sim --seed N` for one.

use std::process::ExitCode;

use moneta_sim::world::run;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let (first, count) = match (number("--seed"), number("--seeds")) {
        (Some(seed), _) => (seed, 1),
        (None, Some(count)) => (number("--from").unwrap_or(0), count),
        (None, None) => {
            eprintln!("usage: moneta-sim --seeds COUNT [--from SEED] | --seed SEED");
            return ExitCode::from(2);
        }
    };
    let mut failed = 0;
    for seed in first..first + count {
        match run(seed) {
            Ok(report) => println!("seed {seed}: {report:?}"),
            Err(failure) => {
                failed += 1;
                println!("seed {seed}: {failure}");
                println!("replay with: ./dev sim --seed {seed}");
            }
        }
    }
    println!("{} of {count} simulations are in order", count - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
