//! Simulations of many seeds. A failure names the seed and the line that replays it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use moneta_sim::world::run;

/// How many seeds are run, beginning with 0; `MONETA_SIM_SEEDS` asks for more.
const SEEDS: u64 = 30;

#[test]
fn every_msat_is_accounted_for_whatever_happens() {
    let asked = std::env::var("MONETA_SIM_SEEDS").ok().and_then(|count| count.parse().ok());
    let count = asked.unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let (failures, failed) = mpsc::channel();
    // Each simulation has one thread; two of them run beside each other.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (failures, next) = (failures.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        break;
                    }
                    if let Err(failure) = run(seed) {
                        let text = format!("{failure}\nreplay with: ./dev sim --seed {seed}");
                        failures.send(text).expect("the receiver is at the end of the test");
                    }
                }
            });
        }
    });
    drop(failures);
    let failed: Vec<String> = failed.into_iter().collect();
    println!("{} of {count} simulations are in order", count - failed.len() as u64);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_seed_gives_the_same_simulation_each_time() {
    for seed in [12, 14] {
        let [first, second] = [(); 2].map(|()| run(seed).expect("a good seed"));
        assert_eq!(first, second);
    }
}
