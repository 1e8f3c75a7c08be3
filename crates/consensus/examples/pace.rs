//! Measures the pace of four guardians in one process over links of 1 ms: rounds per second
//! while idle, and the ordering latency of single items that come at random moments.
//!
//! `cargo run -p moneta-consensus --example pace [guardians] [link ms] [round ms]`
#![allow(clippy::unwrap_used)]

#[path = "../tests/world/mod.rs"]
mod world;

use std::time::Duration;

use moneta_consensus::Pacing;
use rand::Rng as _;
use tokio::time::{Instant, sleep};
use world::World;

const IDLE_SECONDS: u32 = 10;
const ITEMS: usize = 300;
const LOAD_ITEMS: usize = 3000;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().unwrap());
    let n = arguments.next().unwrap_or(4) as usize;
    let link = Duration::from_millis(arguments.next().unwrap_or(1));
    let round_delay = Duration::from_millis(arguments.next().unwrap_or(5));
    println!("{n} guardians, links of {link:?}, rounds of {round_delay:?}");
    for wake_hints in [true, false] {
        let pacing = Pacing { round_delay, wake_hints, ..Pacing::default() };
        let world = World::new(n, link, pacing);
        let mut guardians = world.start_all().await;
        for guardian in &mut guardians {
            guardian.submit(b"warm-up");
            guardian.events_to(b"warm-up").await;
        }
        if wake_hints {
            idle(&world, &guardians).await;
        }
        single_items(&mut guardians, wake_hints).await;
        if wake_hints {
            load(&mut guardians).await;
        }
    }
}

async fn idle(world: &World, guardians: &[world::Guardian]) {
    sleep(Duration::from_secs(1)).await;
    let before = (guardians[0].broadcast.status().round, world.messages(), cpu());
    sleep(Duration::from_secs(1) * IDLE_SECONDS).await;
    let rounds = guardians[0].broadcast.status().round - before.0;
    let seconds = f64::from(IDLE_SECONDS);
    println!(
        "idle: {:.1} rounds/s, {:.0} messages/s, {:.2} % of a core, all guardians together",
        f64::from(rounds) / seconds,
        (world.messages() - before.1) as f64 / seconds,
        (cpu() - before.2) / seconds * 100.0,
    );
}

async fn single_items(guardians: &mut [world::Guardian], wake_hints: bool) {
    let mut latencies = Vec::new();
    for i in 0..ITEMS {
        let pause = rand::thread_rng().gen_range(0..400);
        sleep(Duration::from_millis(pause)).await;
        let item = format!("item {i}").into_bytes();
        let began = Instant::now();
        let turn = i % guardians.len();
        guardians[turn].submit(&item);
        guardians[turn].events_to(&item).await;
        latencies.push(began.elapsed());
    }
    print(&format!("single items, wake hints {wake_hints}"), latencies);
}

async fn load(guardians: &mut [world::Guardian]) {
    let (began, before) = (Instant::now(), cpu());
    let submit = |i: usize, guardians: &[world::Guardian]| {
        let mut item = vec![0; 2000];
        item[..8].copy_from_slice(&(i as u64).to_be_bytes());
        guardians[i % guardians.len()].submit(&item);
    };
    for i in 0..LOAD_ITEMS {
        submit(i, guardians);
        if i % 100 == 99 {
            sleep(Duration::from_millis(33)).await;
        }
    }
    for guardian in guardians.iter() {
        guardian.until("all ordered", |status| status.items_queued == 0).await;
    }
    let took = began.elapsed().as_secs_f64();
    let status = guardians[0].broadcast.status();
    println!(
        "load: {LOAD_ITEMS} items of 2 kB ordered in {took:.2} s, median {:.0?}, p99 {:.0?}, {:.0} % of a core",
        status.ordering_latency_median.unwrap(),
        status.ordering_latency_p99.unwrap(),
        (cpu() - before) / took * 100.0,
    );
}

fn print(what: &str, mut latencies: Vec<Duration>) {
    latencies.sort();
    let rank = |percent: usize| latencies[latencies.len() * percent / 100];
    println!("{what}: median {:.1?}, p99 {:.1?}", rank(50), rank(99));
}

/// Seconds of processor time of this process, on Linux.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
}
