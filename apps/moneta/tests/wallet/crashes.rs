//! A wallet that is killed at any moment, and goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    moneta::{Moneta, finish},
    town::{DEPTH, Town},
};

/// Moments of death tried for each command, spread over its undisturbed life.
const MOMENTS: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_wallet_goes_on_with_every_msat_accounted_for() {
    let town = Town::start(1).await;
    let (alice, bob) = (town.member("alice").await, town.stranger("bob"));
    join_that_was_killed_is_done_again(&town, &bob).await;
    town.deposit(&alice, 1_000_000).await;
    let texts = killed_sends_are_found_in_the_history(&alice).await;
    killed_receptions_go_on(&town, &alice, &bob, texts).await;
    killed_withdrawals_arrive_once_or_not_at_all(&town, &alice, &bob).await;
    killed_recovery_goes_on(&town, &alice, &bob).await;
    town.world.stop().await.unwrap();
}

/// Runs a command undisturbed and returns how long it took.
async fn life_of(work: impl Future) -> Duration {
    let begun = Instant::now();
    work.await;
    begun.elapsed()
}

fn moments(life: Duration) -> impl Iterator<Item = Duration> + Clone {
    (0..MOMENTS).map(move |moment| life * moment / MOMENTS)
}

/// Everything that was begun, ended; newest first.
async fn ended(wallet: &Moneta) -> Vec<Value> {
    let history = wallet.json(&["history", "--limit", "1000"]).await;
    for operation in history["operations"].as_array().unwrap() {
        if operation["state"] == "pending" {
            let id = operation["operation_id"].as_str().unwrap();
            wallet.json(&["show", id, "--wait"]).await;
        }
    }
    let history = wallet.json(&["history", "--limit", "1000"]).await;
    let operations = history["operations"].as_array().unwrap().clone();
    assert!(operations.iter().all(|one| one["state"] != "pending"), "{history}");
    operations
}

async fn join_that_was_killed_is_done_again(town: &Town, bob: &Moneta) {
    let join = ["join", town.world.invite.as_str()];
    let trial = town.stranger("trial");
    let life = life_of(trial.json(&join)).await;
    for moment in moments(life) {
        bob.run_killed(moment, "", &join).await;
    }
    // Not before the last attempt is it certain that the wallet joined; twice is refused.
    bob.run(&join).await;
    bob.fault(&join).await.refused("has joined", "nothing to do");
    assert_eq!(bob.balance().await, 0);
}

/// Returns the e-cash of all sends.
async fn killed_sends_are_found_in_the_history(alice: &Moneta) -> BTreeSet<String> {
    let send = ["send", "20000"];
    let mut printed = BTreeSet::new();
    let first = alice.json(&send).await;
    printed.insert(first["ecash"].as_str().unwrap().to_owned());
    let life = life_of(async {
        let sent = alice.json(&send).await;
        printed.insert(sent["ecash"].as_str().unwrap().to_owned());
    })
    .await;
    for moment in moments(life) {
        if let Some(ran) = alice.run_killed(moment, "", &send).await {
            printed.insert(ran.json()["ecash"].as_str().unwrap().to_owned());
        }
    }
    let mut known = BTreeSet::new();
    for operation in ended(alice).await {
        if operation["kind"] == "send" && operation["state"] == "succeeded" {
            let id = operation["operation_id"].as_str().unwrap();
            let shown = alice.json(&["show", id]).await;
            known.insert(shown["ecash"].as_str().unwrap().to_owned());
        }
    }
    assert!(known.is_superset(&printed), "e-cash was printed that the wallet does not know");
    known
}

async fn killed_receptions_go_on(
    town: &Town,
    alice: &Moneta,
    bob: &Moneta,
    texts: BTreeSet<String>,
) {
    let mut texts = texts.into_iter();
    let undisturbed = texts.next().unwrap();
    let life = life_of(bob.json(&["receive", &undisturbed])).await;
    for (text, moment) in texts.zip(moments(life).cycle()) {
        bob.run_killed(moment, "", &["receive", &text]).await;
        let again = finish(bob.command(&["receive", &text, "--json"]), "").await;
        if again.code != 0 {
            again.fault().refused("received that e-cash before", "moneta show");
        }
    }
    ended(bob).await;
    town.assert_accounted_for(&[alice, bob]).await;
}

async fn killed_withdrawals_arrive_once_or_not_at_all(town: &Town, alice: &Moneta, bob: &Moneta) {
    let address = town.world.bitcoind.new_address().await.unwrap();
    let to = address.to_string();
    let withdraw = ["withdraw", to.as_str(), "30000", "--yes"];
    let life = life_of(alice.json(&withdraw)).await;
    for moment in moments(life) {
        alice.run_killed(moment, "", &withdraw).await;
        // Each pending transaction doubles the fee for the next.
        town.world.bitcoind.mine(DEPTH).await.unwrap();
    }
    let operations = ended(alice).await;
    let mut by_state = BTreeMap::<&str, u64>::new();
    for operation in operations.iter().filter(|one| one["kind"] == "withdraw") {
        *by_state.entry(operation["state"].as_str().unwrap()).or_default() += 1;
    }
    let arrived = by_state.get("succeeded").copied().unwrap_or_default();
    assert!(arrived >= 1, "{by_state:?}");
    town.await_received(&address, arrived * 30_000).await;
    town.assert_accounted_for(&[alice, bob]).await;
}

async fn killed_recovery_goes_on(town: &Town, alice: &Moneta, bob: &Moneta) {
    let words = alice.json(&["words"]).await;
    let words = words["words"].as_str().unwrap();
    let again = town.stranger("alice-again");
    let recover = ["recover", town.world.invite.as_str()];
    // Finding the notes is quick, the search for addresses is not.
    for life_ms in [50, 100, 200, 400, 800, 1600] {
        again.run_killed(Duration::from_millis(life_ms), words, &recover).await;
    }
    let found = again.json_with(words, &recover).await;
    assert_eq!(found["operations_under_way"], 0, "{found}");
    assert_eq!(found["balance_msat"], alice.balance().await);
    town.assert_accounted_for(&[&again, bob]).await;
}
