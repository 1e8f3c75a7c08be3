//! A wallet's life: from the invite to the words typed into a new machine.

use bitcoin::Amount;
use moneta_mint::words::ECash;
use serde_json::{Value, json};

use crate::{
    alone::plant_damaged_store,
    moneta::{Moneta, finish, plain_command},
    town::{DEPTH, Town},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_goes_in_around_and_out_and_is_found_again() {
    let mut town = Town::start(4).await;
    let alice = newcomer_joins_and_has_nothing(&town).await;
    deposit_names_an_address_and_becomes_ecash(&town, &alice).await;
    let bob = town.member("bob").await;
    ecash_changes_hands_and_no_msat_is_lost(&town, &alice, &bob).await;
    one_guardian_away_is_not_noticed(&mut town, &alice, &bob).await;
    let carol = invite_in_ecash_brings_a_newcomer_in(&town, &alice).await;
    withdrawal_is_asked_for_and_arrives(&town, &alice).await;
    everything_can_be_withdrawn(&town, &bob).await;
    history_tells_what_was_done_and_shows_ecash_again(&alice).await;
    operator_looks_after_a_guardian(&town).await;
    words_find_every_note_and_an_unclaimed_deposit(&town, &alice, &[&bob, &carol]).await;
    damaged_store_beside_a_sound_one_is_in_nobodys_way(&town, &alice).await;
    town.world.stop().await.unwrap();
}

async fn newcomer_joins_and_has_nothing(town: &Town) -> Moneta {
    let alice = town.stranger("alice");
    let joined = alice.json(&["join", &town.world.invite]).await;
    let (name, network) = (&joined["name"], &joined["network"]);
    assert_eq!((name, network), (&json!("Local world"), &json!("regtest")));
    assert_eq!(joined["new_wallet"], true);
    alice
        .fault(&["join", &town.world.invite])
        .await
        .refused("has joined federation", "nothing to do");

    let info = alice.json(&["info"]).await;
    assert_eq!(info["federations"].as_array().unwrap().len(), 1);
    let details = &info["federation"];
    assert_eq!(details["federation_id"], joined["federation_id"]);
    assert_eq!(details["guardians"].as_object().unwrap().len(), 4);
    assert_eq!((&details["stuck"], &details["stalled"]), (&json!([]), &json!([])));
    assert_eq!(details["balance_msat"], 0);
    assert_eq!(alice.balance().await, 0);
    assert_eq!(alice.json(&["history"]).await, json!({"operations": [], "stalled": []}));
    let meta = alice.json(&["meta"]).await;
    assert_eq!(meta["fields"]["federation_name"], "Local world");
    let words = alice.json(&["words"]).await;
    assert_eq!(words["words"].as_str().unwrap().split(' ').count(), 12);

    // The same for people: results on standard output, colours nowhere but on a terminal.
    let info = alice.run(&["info"]).await;
    assert_eq!((info.code, info.err.as_str()), (0, ""));
    assert!(info.out.contains("* Local world") && !info.out.contains('\x1b'), "{info:?}");
    alice
}

async fn damaged_store_beside_a_sound_one_is_in_nobodys_way(town: &Town, alice: &Moneta) {
    let before = alice.json(&["info"]).await;
    let sound = before["federation"]["federation_id"].as_str().unwrap().to_owned();
    let damaged = "00".repeat(32);
    plant_damaged_store(alice, &damaged);
    let info = alice.json(&["info"]).await;
    assert_eq!(info["federation"], before["federation"]);
    assert_eq!(info["federations"][0]["failure"]["kind"], "broken");
    assert_eq!(info["federations"][1], before["federations"][0]);
    alice.balance().await;
    for named in [&sound[..8], "Local world"] {
        assert_eq!(alice.json(&["balance", "--federation", named]).await["federation_id"], sound);
    }
    alice.fault(&["balance", "--federation", "0000"]).await.check(1, "damaged", "12 words");
    let again = alice.fault(&["join", &town.world.invite]).await;
    again.refused("has joined federation", "nothing to do");
}

async fn deposit_names_an_address_and_becomes_ecash(town: &Town, alice: &Moneta) {
    let claimed = town.deposit(alice, 1_000_000).await;
    assert_eq!((&claimed["value_sat"], &claimed["status"]), (&json!(1_000_000), &json!("claimed")));
    let balance = claimed["balance_msat"].as_u64().unwrap();
    let fee_msat = claimed["fee_sat"].as_u64().unwrap() * 1000;
    let federation_fee_msat = claimed["federation_fee_msat"].as_u64().unwrap();
    // What left between the coins and the e-cash is told to the last msat.
    assert_eq!(balance + fee_msat + federation_fee_msat, 1_000_000_000, "{claimed}");
    assert_eq!(claimed["credited_msat"], balance, "{claimed}");
    assert!(federation_fee_msat >= 100_000 && balance > 990_000_000, "{claimed}");
    assert_eq!(alice.balance().await, balance);
    town.assert_accounted_for(&[alice]).await;
}

async fn ecash_changes_hands_and_no_msat_is_lost(town: &Town, alice: &Moneta, bob: &Moneta) {
    let sent = alice.json(&["send", "250000"]).await;
    let ecash = sent["ecash"].as_str().unwrap();
    let amount = ecash.parse::<ECash>().unwrap().amount().unwrap().0;
    assert_eq!(sent["amount_msat"], amount);
    assert!((250_000_000..250_001_000).contains(&amount), "{sent}");
    let received = bob.json(&["receive", ecash]).await;
    assert_eq!(received["amount_msat"], amount);
    assert_eq!(received["balance_msat"], bob.balance().await);

    // In a pipe: the e-cash alone on standard output, taken from standard input with its line break.
    let sent = alice.run(&["send", "1000sat"]).await;
    assert_eq!(sent.code, 0, "{sent:?}");
    assert!(sent.out.starts_with("fedimint") && sent.out.lines().count() == 1, "{sent:?}");
    assert!(sent.err.contains("Whoever has the text has the money"), "{sent:?}");
    bob.json_with(&sent.out, &["receive", "-"]).await;

    // What nobody redeemed can be taken back.
    let sent = alice.json(&["send", "5000"]).await;
    alice.json(&["receive", sent["ecash"].as_str().unwrap()]).await;
    town.assert_accounted_for(&[alice, bob]).await;
}

async fn one_guardian_away_is_not_noticed(town: &mut Town, alice: &Moneta, bob: &Moneta) {
    town.world.guardians[3].kill();
    let sent = alice.json(&["send", "2000"]).await;
    bob.json(&["receive", sent["ecash"].as_str().unwrap()]).await;
    town.assert_accounted_for(&[alice, bob]).await;
    town.world.guardians[3].start().await.unwrap();
}

async fn invite_in_ecash_brings_a_newcomer_in(town: &Town, alice: &Moneta) -> Moneta {
    let sent = alice.json(&["send", "20000", "--include-invite"]).await;
    let ecash = sent["ecash"].as_str().unwrap();
    let carol = town.stranger("carol");
    carol.fault(&["receive", ecash]).await.refused("holds no wallet", "moneta join INVITE");
    let invite = ecash.parse::<ECash>().unwrap().invite().unwrap().to_string();
    carol.json(&["join", &invite]).await;
    carol.json(&["receive", ecash]).await;
    carol
}

async fn withdrawal_is_asked_for_and_arrives(town: &Town, alice: &Moneta) {
    let address = town.world.bitcoind.new_address().await.unwrap();
    let (to, before) = (address.to_string(), alice.balance().await);
    alice
        .fault(&["withdraw", &to, "100000"])
        .await
        .refused("nobody is there to be asked", "repeat the command with --yes");
    assert_eq!(alice.balance().await, before);
    let sent = alice.json(&["withdraw", &to, "100000", "--yes"]).await;
    assert_eq!(sent["value_sat"], 100_000);
    let after = sent["balance_msat"].as_u64().unwrap();
    let fees_msat =
        sent["fee_sat"].as_u64().unwrap() * 1000 + sent["federation_fee_msat"].as_u64().unwrap();
    assert!(before - after >= 100_000_000 + fees_msat, "{sent}");
    // The rest is the fee for e-cash notes.
    assert!(before - after < 100_020_000 + fees_msat, "{sent}");
    town.await_received(&address, 100_000).await;
    let txid = sent["txid"].as_str().unwrap();
    let known: Value =
        town.world.bitcoind.call("getrawtransaction", json!([txid, true])).await.unwrap();
    assert_eq!(known["txid"], txid);
}

async fn everything_can_be_withdrawn(town: &Town, bob: &Moneta) {
    let address = town.world.bitcoind.new_address().await.unwrap();
    let sent = bob.json(&["withdraw", &address.to_string(), "all", "--yes"]).await;
    let value = Amount::from_sat(sent["value_sat"].as_u64().unwrap());
    town.await_received(&address, value.to_sat()).await;
    // Less than a satoshi and what the smallest notes cost stays behind.
    assert!(bob.balance().await < 5_000, "{sent}");
}

async fn history_tells_what_was_done_and_shows_ecash_again(alice: &Moneta) {
    let history = alice.json(&["history"]).await;
    let operations = history["operations"].as_array().unwrap();
    let kinds: Vec<_> = operations.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    let newest_first = ["withdraw", "send", "send", "receive", "send", "send", "send", "deposit"];
    assert_eq!(kinds, newest_first);
    assert!(operations.iter().all(|one| one["state"] == "succeeded"), "{history}");
    assert_eq!(
        alice.json(&["history", "--limit", "1"]).await["operations"],
        json!([operations[0]])
    );

    let id = operations[1]["operation_id"].as_str().unwrap();
    let shown = alice.json(&["show", &id[..16]]).await;
    assert_eq!(shown["operation"], operations[1]);
    assert!(shown["ecash"].as_str().unwrap().parse::<ECash>().is_ok(), "{shown}");
    let withdrawal = alice.json(&["show", operations[0]["operation_id"].as_str().unwrap()]).await;
    assert_eq!(withdrawal["ecash"], Value::Null);
    assert!(!withdrawal["events"].as_array().unwrap().is_empty(), "{withdrawal}");
    alice.fault(&["show", "00"]).await.refused("no operation", "moneta history");
}

async fn operator_looks_after_a_guardian(town: &Town) {
    let guardian = &town.world.guardians[1];
    let operate = async |password: &str, arguments: &[&str]| {
        let mut command = plain_command();
        command.args(["--json", "guardian", "--url", guardian.api_url()]).args(arguments);
        if !password.is_empty() {
            command.env("MONETA_PASSWORD_API", password);
        }
        finish(command, "").await
    };
    let password = town.world.admin_password.as_str();
    let status = operate("", &["status"]).await.json();
    assert_eq!(status["setup"], "ConsensusIsRunning");
    assert_eq!(status["running"]["peers"].as_object().unwrap().len(), 3);
    let audit = operate(password, &["audit"]).await.json();
    assert!(audit["net_assets"].as_i64().unwrap() >= 0, "{audit}");
    operate("wrong", &["audit"]).await.fault().refused("refused the password", "password");
    operate("", &["audit"]).await.fault().refused("nobody is there", "MONETA_PASSWORD_API");

    let file = town.folder.path().join("backup");
    let file = file.to_str().unwrap();
    let saved = operate(password, &["backup", file]).await.json();
    assert_eq!(saved["bytes"], std::fs::metadata(file).unwrap().len());
    operate(password, &["backup", file]).await.fault().refused("cannot write", "not exist");
    let restored = town.folder.path().join("restored");
    let restored = restored.to_str().unwrap();
    let report = operate("", &["restore", file, "--data-dir", restored]).await.json();
    assert_eq!(report["peer_id"], 1);
    operate("", &["restore", file, "--data-dir", restored])
        .await
        .fault()
        .refused("already holds a guardian", "empty or new folder");

    let announced = operate(password, &["announce", guardian.api_url()]).await.json();
    assert_eq!(announced["peer_id"], 1);
    operate(password, &["announce", "http://127.0.0.1:1"]).await.fault().refused("ws://", "API");
    let ordered = operate(password, &["shutdown", "1000000"]).await.json();
    assert_eq!(ordered["scheduled_shutdown"], 1_000_000);
    let withdrawn = operate(password, &["shutdown", "--cancel"]).await.json();
    assert_eq!(withdrawn["scheduled_shutdown"], Value::Null);
    operate(password, &["setup", "code"]).await.fault().refused("does not offer", "setup status");
}

/// The old folder is not used again: two wallets with the same words would spend the same notes.
async fn words_find_every_note_and_an_unclaimed_deposit(
    town: &Town,
    alice: &Moneta,
    others: &[&Moneta],
) {
    let before = alice.balance().await;
    let address = alice.json(&["deposit", "--no-wait"]).await;
    town.pay(address["address"].as_str().unwrap(), 300_000).await;
    town.world.bitcoind.mine(DEPTH).await.unwrap();
    let words = alice.json(&["words"]).await;
    let words = words["words"].as_str().unwrap();

    let again = town.stranger("alice-again");
    let recover = ["recover", town.world.invite.as_str()];
    again.fault_with("", &recover).await.refused("12 to 24 words", "in order");
    let mistyped = words.replacen(' ', " x", 1);
    again.fault_with(&mistyped, &recover).await.refused("", "in order");
    assert!(!again.folder().exists(), "a wallet of wrong words");
    let found = again.json_with(words, &recover).await;
    assert_eq!(found["deposits"], 1, "{found}");
    assert_eq!(found["operations_under_way"], 0, "{found}");
    let after = found["balance_msat"].as_u64().unwrap();
    assert!(after > before + 295_000_000 && after < before + 300_000_000, "{before} {found}");
    let mut wallets = vec![&again];
    wallets.extend(others);
    // What Alice handed out and Carol redeemed is Carol's, and nothing is counted twice.
    town.assert_accounted_for(&wallets).await;

    let others = "abandon ".repeat(11) + "about";
    again
        .fault_with(&others, &recover)
        .await
        .refused("other words, which would be lost", "--wallet");
}
