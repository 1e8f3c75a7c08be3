//! Bad days of the federation: guardians die, Bitcoin is away, the chain changes its mind.

use std::time::Duration;

use bitcoin::BlockHash;
use moneta::world::process::{Probe, poll_until};
use serde_json::{Value, json};

use crate::{
    moneta::Moneta,
    town::{DEPTH, Town},
};

/// A loaded machine gets time; a healthy one needs a moment.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_days_of_the_federation_cost_nobody_anything() {
    let mut town = Town::start(4).await;
    let (alice, bob) = (town.member("alice").await, town.member("bob").await);
    reorganisation_below_the_depth_moves_a_deposit_and_does_not_double_it(&town, &alice).await;
    payments_go_on_while_a_guardian_dies_and_returns(&mut town, &alice, &bob).await;
    without_a_quorum_the_wallet_says_so_and_goes_on_later(&mut town, &alice, &bob).await;
    bitcoin_may_be_away_for_a_while(&mut town, &alice, &bob).await;
    town.world.stop().await.unwrap();
}

async fn pay(from: &Moneta, to: &Moneta, sat: &str) {
    let sent = from.json(&["send", sat]).await;
    to.json(&["receive", sent["ecash"].as_str().unwrap()]).await;
}

async fn reorganisation_below_the_depth_moves_a_deposit_and_does_not_double_it(
    town: &Town,
    alice: &Moneta,
) {
    let node = &town.world.bitcoind;
    let mut command = alice.script().start(&["deposit"]).unwrap();
    let first = command.next_report().await.unwrap().unwrap();
    town.pay(first["address"].as_str().unwrap(), 1_000_000).await;
    let blocks: Vec<BlockHash> = node.mine(DEPTH - 2).await.unwrap();
    // The block with the payment and all on top of it become part of no chain; a longer one comes. The
    // payment waits in the node's pool, and gets into the second block.
    let _: Value = node.call("invalidateblock", json!([blocks[0]])).await.unwrap();
    let nobody = node.new_address().await.unwrap().to_string();
    let _: Value = node.call("generateblock", json!([nobody, []])).await.unwrap();
    node.mine(DEPTH - 1).await.unwrap();
    // Not deep enough yet: the first chain's count does not help the second.
    assert_eq!(town.owed().await, 0);
    node.mine(DEPTH).await.unwrap();
    let claimed = command.finish().await.unwrap();
    assert_eq!(claimed["value_sat"], 1_000_000, "{claimed}");
    let deposits = alice.json(&["history"]).await;
    assert_eq!(deposits["operations"].as_array().unwrap().len(), 1, "{deposits}");
    town.assert_accounted_for(&[alice]).await;
}

async fn payments_go_on_while_a_guardian_dies_and_returns(
    town: &mut Town,
    alice: &Moneta,
    bob: &Moneta,
) {
    let guardian = &mut town.world.guardians[2];
    let payments = async {
        for _ in 0..6 {
            pay(alice, bob, "10000").await;
        }
    };
    let death = async {
        guardian.kill();
        guardian.start().await.unwrap();
        guardian.kill();
        guardian.start().await.unwrap();
    };
    tokio::join!(payments, death);
    town.assert_accounted_for(&[alice, bob]).await;
}

async fn without_a_quorum_the_wallet_says_so_and_goes_on_later(
    town: &mut Town,
    alice: &Moneta,
    bob: &Moneta,
) {
    town.world.guardians[1].kill();
    town.world.guardians[2].kill();
    // Handing out needs nobody if the notes are there.
    let sent = alice.json(&["send", "10000", "--timeout", "5"]).await;
    let ecash = sent["ecash"].as_str().unwrap();
    let late = bob.fault(&["receive", ecash, "--timeout", "2"]).await;
    late.check(5, "not done after 2 s", "too few guardians answer");
    assert!(late.hint.contains("moneta show ID --wait"), "{late:?}");
    let balance = bob.json(&["balance"]).await;
    assert_eq!(balance["operations_under_way"], 1, "{balance}");
    let to = town.world.bitcoind.new_address().await.unwrap().to_string();
    alice
        .fault(&["withdraw", &to, "20000", "--yes", "--timeout", "2"])
        .await
        .unavailable("asking for the fee", "Nothing happened");
    let stranger = town.stranger("stranger");
    // Long enough for those that are there to answer on a busy machine.
    let join = ["join", town.world.invite.as_str(), "--timeout", "6"];
    let late = stranger.fault(&join).await;
    late.unavailable("joining: not done after 6 s", "Nothing happened");
    // Those that did not answer are named, and nobody else.
    let named = |index: usize| {
        late.message.contains(town.world.guardians[index].api_url().trim_end_matches('/'))
    };
    assert_eq!([0, 1, 2, 3].map(named), [false, true, true, false], "{late:?}");
    let id = stalled_payment_is_told(bob).await;

    town.world.guardians[1].start().await.unwrap();
    let shown = bob.json(&["show", &id, "--wait"]).await;
    assert_eq!(shown["operation"]["state"], "succeeded", "{shown}");
    assert_eq!(shown["stalled"], json!([]), "{shown}");
    assert_eq!(bob.json(&["balance"]).await["stalled"], json!([]));
    stranger.json(&join[..2]).await;
    town.assert_accounted_for(&[alice, bob]).await;
    town.world.guardians[2].start().await.unwrap();
}

/// Of the newest operation, while too few guardians are there; returns its id.
async fn stalled_payment_is_told(bob: &Moneta) -> String {
    let history = poll_until("a payment that takes long", PATIENCE, async || {
        let history = bob.json(&["history", "--limit", "1"]).await;
        Ok(match history["stalled"].as_array().is_some_and(|stalled| !stalled.is_empty()) {
            true => Probe::Ready(history),
            false => Probe::Waiting(history.to_string()),
        })
    })
    .await
    .unwrap();
    let id = history["operations"][0]["operation_id"].as_str().unwrap().to_owned();
    let info = bob.json(&["info"]).await;
    for stalled in [
        &history["stalled"],
        &bob.json(&["balance"]).await["stalled"],
        &bob.json(&["show", &id]).await["stalled"],
        &info["federation"]["stalled"],
    ] {
        assert_eq!(stalled[0]["operation_id"], id, "{stalled}");
        assert!(stalled[0]["for_s"].as_u64().unwrap() >= 10, "{stalled}");
    }
    let text = bob.run(&["balance"]).await.out;
    assert!(text.contains("Not accepted for") && text.contains("Nothing is lost"), "{text}");
    id
}

async fn bitcoin_may_be_away_for_a_while(town: &mut Town, alice: &Moneta, bob: &Moneta) {
    let address = town.world.bitcoind.new_address().await.unwrap();
    // Ended in order: a private chain has no peers that could give back blocks lost in a crash.
    town.world.bitcoind.stop().await.unwrap();
    pay(alice, bob, "10000").await;
    // Guardians that see no chain know no fee, so nothing is begun.
    let (to, before) = (address.to_string(), alice.balance().await);
    let withdraw = ["withdraw", to.as_str(), "50000", "--yes"];
    alice.fault(&withdraw).await.unavailable("know no network fee", "try again");
    assert_eq!(alice.balance().await, before);
    town.world.bitcoind.restart().await.unwrap();
    poll_until("a network fee", PATIENCE, async || {
        let ran = alice.run(&withdraw).await;
        Ok(match ran.code {
            0 => Probe::Ready(()),
            4 => Probe::Waiting(ran.err),
            _ => panic!("{ran:?}"),
        })
    })
    .await
    .unwrap();
    town.await_received(&address, 50_000).await;
    town.assert_accounted_for(&[alice, bob]).await;
}
