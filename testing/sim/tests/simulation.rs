//! Simulations of many seeds. A failure names the seed and the line that replays it.
//!
//! One simulation is one thread; the seeds are dealt to two tests, which run beside each other.

use moneta_sim::world::run;

/// How many seeds are run, beginning with 0; `MONETA_SIM_SEEDS` asks for another number.
const SEEDS: u64 = 200;

/// Runs every second seed, beginning with `first`.
fn run_seeds(first: u64) {
    let asked = std::env::var("MONETA_SIM_SEEDS").ok().and_then(|count| count.parse().ok());
    let seeds = (first..asked.unwrap_or(SEEDS)).step_by(2);
    let replay = |seed| move |failure| format!("{failure}\nreplay with: ./dev sim --seed {seed}");
    let failed: Vec<String> =
        seeds.filter_map(|seed| run(seed).map_err(replay(seed)).err()).collect();
    assert!(failed.is_empty(), "{} simulations failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_msat_is_accounted_for_whatever_happens_in_even_seeds() {
    run_seeds(0);
}

#[test]
fn every_msat_is_accounted_for_whatever_happens_in_odd_seeds() {
    run_seeds(1);
}

#[test]
fn a_seed_gives_the_same_simulation_each_time() {
    for seed in [12, 14] {
        let [first, second] = [(); 2].map(|()| run(seed).expect("a good seed"));
        assert_eq!(first, second);
    }
}
