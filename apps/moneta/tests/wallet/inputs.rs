//! Bad input: refused with a word on what to do, and nobody loses anything.

use std::{
    collections::BTreeMap, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration,
};

use async_trait::async_trait;
use bitcoin::Network;
use moneta::world::{
    Guardian, Programs, ceremony,
    process::{Probe, poll_until},
};
use moneta_core::{
    ApiUrl, PeerId,
    amount::AmountUnit,
    api::{ApiError, ApiRequest},
    config::ClientConfig,
    envelope::Envelope,
    invite::InviteCode,
};
use moneta_mint::words::{ECash, SpendableNote};
use moneta_net::api::{ApiHandler, ApiServer, Limits, to_result};
use moneta_wallet::words::WalletConfig;
use serde_json::{Value, json, value::RawValue};
use tokio::process::Command;

use crate::{
    moneta::{Moneta, PROGRAM, finish},
    town::{DEPTH, Town},
};

/// A loaded machine gets time; a healthy one needs a moment.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_with_advice_and_costs_nothing() {
    let town = Town::start(1).await;
    let other = OtherFederation::start(&town).await;
    let alice = town.member("alice").await;
    bad_invites_are_refused(&town, &other).await;
    federation_on_another_network_is_kept_out_of_the_wallet(&town, &alice).await;
    town.deposit(&alice, 1_000_000).await;
    let before = alice.balance().await;
    amounts_and_addresses_that_make_no_withdrawal_are_refused(&town, &alice).await;
    second_process_full_disk_and_readonly_folder_change_nothing(&alice).await;
    assert_eq!(alice.balance().await, before, "a refused command cost something");
    let bob = town.member("bob").await;
    bad_ecash_is_refused(&town, &other, &alice, &bob).await;
    wallet_keeps_several_federations_apart(&town, &other, &alice).await;
    town.assert_accounted_for(&[&alice, &bob]).await;
    other.guardian.lock().await.stop().await.unwrap();
    town.world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposits_below_the_fee_are_told_and_kept() {
    // With four guardians a claim costs more than the least that a Bitcoin node takes for a payment.
    let town = Town::start(4).await;
    let (alice, bob) = (town.member("alice").await, town.member("bob").await);
    town.deposit(&alice, 1_000_000).await;
    deposit_below_the_fee_is_told_while_the_claims_queue(&town, &alice, &bob).await;
    good_deposit_beside_a_small_one_is_claimed(&town, &alice).await;
    town.world.stop().await.unwrap();
}

/// One guardian more, which is a federation of its own on the same chain.
struct OtherFederation {
    guardian: tokio::sync::Mutex<Guardian>,
    invite: InviteCode,
}

impl OtherFederation {
    async fn start(town: &Town) -> Self {
        let folder = town.folder.path().join("other");
        let (programs, node) = (Programs::find().unwrap(), town.world.bitcoind.report());
        let mut guardian = Guardian::prepare(0, 1, &folder, &programs, &node, "password").unwrap();
        guardian.start().await.unwrap();
        ceremony::exchange_codes(std::slice::from_ref(&guardian), "Others").await.unwrap();
        guardian.call_admin("start_dkg", Value::Null).await.unwrap();
        let invite = poll_until("the other invite", PATIENCE, async || {
            Ok(match guardian.call("invite_code", Value::Null).await {
                Ok(Value::String(invite)) => Probe::Ready(invite),
                Ok(answer) => Probe::Waiting(answer.to_string()),
                Err(error) => Probe::Waiting(format!("{error:#}")),
            })
        })
        .await
        .unwrap();
        let invite = invite.parse().unwrap();
        Self { guardian: tokio::sync::Mutex::new(guardian), invite }
    }
}

async fn bad_invites_are_refused(town: &Town, other: &OtherFederation) {
    let (invite, advice) = (town.world.invite.as_str(), "begins with fed1");
    let nobody = town.stranger("nobody");
    let cut = &invite[..invite.len() - 5];
    let mistyped = invite.replacen('p', "q", 1);
    for text in [cut, &mistyped, "", "hello", "lnbc1500n1p"] {
        nobody.fault(&["join", text]).await.refused("not an invite", advice);
    }
    // The guardian that is asked belongs to another federation than the invite says.
    let invite: InviteCode = invite.parse().unwrap();
    let mixed = InviteCode::new(invite.peers(), other.invite.federation_id(), None).unwrap();
    nobody
        .fault(&["join", &mixed.to_string()])
        .await
        .refused("answers for another federation", "ask for a new one");
    nobody.fault(&["balance"]).await.refused("no federation", "moneta join INVITE");
}

/// Serves one config and knows nothing else.
struct ConfigOnly(Value);

#[async_trait]
impl ApiHandler for ConfigOnly {
    fn knows(&self, method: &str) -> bool {
        method == "client_config"
    }

    async fn call(&self, _: &str, _: ApiRequest) -> Result<Arc<RawValue>, ApiError> {
        to_result(&self.0)
    }
}

/// A federation like the town's, but with real bitcoin.
async fn federation_on_mainnet(town: &Town) -> (ApiServer, InviteCode) {
    let guardian = &town.world.guardians[0];
    let config = guardian.call("client_config", Value::Null).await.unwrap();
    let mut config: ClientConfig = serde_json::from_value(config).unwrap();
    let wallet =
        config.modules.values_mut().find(|entry| entry.kind.as_str() == "walletv2").unwrap();
    let mut words: WalletConfig = wallet.config.decode().unwrap();
    words.network = Network::Bitcoin;
    wallet.config = Envelope::new(wallet.config.instance, &words);
    let port = moneta::world::ReservedPort::reserve().unwrap();
    let at_port: ApiUrl = format!("ws://{}/", port.address()).parse().unwrap();
    config.global.api_endpoints.get_mut(&PeerId::new(0)).unwrap().url = at_port.clone();
    let peers = BTreeMap::from([(PeerId::new(0), at_port)]);
    let invite = InviteCode::new(peers, config.federation_id(), None).unwrap();
    let (address, handler) = (port.address().parse().unwrap(), Arc::new(ConfigOnly(json!(config))));
    let server = ApiServer::bind(address, Limits::operation(), Vec::new(), handler).await.unwrap();
    (server, invite)
}

async fn federation_on_another_network_is_kept_out_of_the_wallet(town: &Town, alice: &Moneta) {
    let nobody = town.stranger("careful");
    nobody
        .fault(&["join", &town.world.invite, "--network", "bitcoin"])
        .await
        .refused("the federation is on regtest, this wallet is on bitcoin", "another folder");
    assert!(!nobody.folder().exists(), "a wallet nobody wanted");
    let (_server, mainnet) = federation_on_mainnet(town).await;
    alice
        .fault(&["join", &mainnet.to_string()])
        .await
        .refused("the federation is on bitcoin, this wallet is on regtest", "another folder");
    assert_eq!(alice.json(&["info"]).await["federations"].as_array().unwrap().len(), 1);
}

async fn amounts_and_addresses_that_make_no_withdrawal_are_refused(town: &Town, alice: &Moneta) {
    let address = town.world.bitcoind.new_address().await.unwrap().to_string();
    let withdraw =
        async |to: &str, amount: &str| alice.fault(&["withdraw", to, amount, "--yes"]).await;
    withdraw(&address, "9999").await.refused("too little", "the least is 10 000 sat");
    withdraw(&address, "2000000").await.refused("the wallet holds", "smaller amount");
    let mainnet = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq";
    withdraw(mainnet, "20000").await.refused("network", "give an address of regtest");
    withdraw(&address[..address.len() - 1], "20000").await.refused("no bitcoin address", "again");
    withdraw(&address, "20000.5").await.check(2, "whole number of sat", "--help");
    withdraw(&address, "0").await.check(2, "more than nothing", "--help");
    alice.fault(&["send", "5000000"]).await.refused("the wallet holds", "smaller amount");
    alice.fault(&["send", "99999999999999999999"]).await.check(2, "larger than all", "--help");
}

async fn second_process_full_disk_and_readonly_folder_change_nothing(alice: &Moneta) {
    let mut first = alice.script().start(&["deposit"]).unwrap();
    first.next_report().await.unwrap().unwrap();
    alice.fault(&["balance"]).await.unavailable("open in another process", "one command at a time");
    drop(first);
    poll_until("the end of the other process", PATIENCE, async || {
        Ok(match alice.run(&["balance"]).await {
            ran if ran.code == 0 => Probe::Ready(()),
            ran => Probe::Waiting(ran.err),
        })
    })
    .await
    .unwrap();

    // A disk on which nothing can be written any more.
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
    command.args(["-c", script, PROGRAM, "--wallet"]).arg(alice.folder());
    command.args(["--json", "send", "1000"]);
    let fault = finish(command, "").await.fault();
    fault.unavailable("File too large", "check that the");
    if let Some(_locked) = ReadOnly::make(alice.folder()) {
        alice.fault(&["balance"]).await.unavailable("cannot use", "writable");
    }
}

/// A folder that nobody can write to while this lives. Modes do not stop root, mounts do, which only root
/// can make; where there is neither way, there is no such folder.
struct ReadOnly<'a>(&'a Path);

impl<'a> ReadOnly<'a> {
    fn make(folder: &'a Path) -> Option<Self> {
        let mount = |options: &[&str]| {
            let done = std::process::Command::new("mount").args(options).arg(folder).output();
            done.is_ok_and(|done| done.status.success())
        };
        if !rustix::process::geteuid().is_root() {
            let mode = |mode: u32| std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(folder.join("lock"), mode(0o400)).unwrap();
            return Some(Self(folder));
        }
        if !mount(&["--bind", folder.to_str().unwrap()]) {
            return None;
        }
        let made = Self(folder);
        mount(&["-o", "remount,bind,ro"]).then_some(made)
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        if rustix::process::geteuid().is_root() {
            let _ = std::process::Command::new("umount").arg("-l").arg(self.0).output();
        } else {
            let mode = std::fs::Permissions::from_mode(0o600);
            let _ = std::fs::set_permissions(self.0.join("lock"), mode);
        }
    }
}

async fn bad_ecash_is_refused(town: &Town, other: &OtherFederation, alice: &Moneta, bob: &Moneta) {
    let sent = alice.json(&["send", "3000"]).await;
    let good = sent["ecash"].as_str().unwrap();
    let receive = async |wallet: &Moneta, text: &str| wallet.fault(&["receive", text]).await;

    let cut = &good[..good.len() - 3];
    let mistyped = format!("{}!{}", &good[..20], &good[21..]);
    for text in [cut, &mistyped, "", "cashuA", &town.world.invite] {
        receive(bob, text).await.refused("not e-cash", "whole text again");
    }
    let parsed: ECash = good.parse().unwrap();
    let notes: Vec<SpendableNote> = parsed.notes().copied().collect();
    let made = |federation, notes: &[SpendableNote]| {
        ECash::new(federation, notes.iter().copied(), None, AmountUnit::BITCOIN).to_string()
    };
    let federation = parsed.federation().unwrap();
    let foreign = made(other.invite.federation_id(), &notes);
    receive(bob, &foreign).await.refused("has not joined", "ask the sender for an invite");
    // A signature of another note.
    let mut forged = notes.clone();
    forged[0].signature = notes[1].signature;
    receive(bob, &made(federation, &forged)).await.refused("", "do not accept");
    let doubled = [notes[0], notes[0]];
    receive(bob, &made(federation, &doubled)).await.refused("", "do not accept");

    // Nothing of that spoiled the good notes. Whoever comes second gets nothing and is told.
    bob.json(&["receive", good]).await;
    receive(bob, good).await.refused("received that e-cash before", "moneta show");
    receive(alice, good).await.refused("nothing was received", "nobody has used");
    // One note that was spent among good ones costs that note, not the others.
    let sent = alice.json(&["send", "3000"]).await;
    let fresh: ECash = sent["ecash"].as_str().unwrap().parse().unwrap();
    let mut mixed: Vec<SpendableNote> = fresh.notes().copied().collect();
    mixed.push(notes[0]);
    let before = bob.balance().await;
    receive(bob, &made(federation, &mixed)).await.refused("part of the e-cash", "the rest");
    assert!(bob.balance().await > before + 2_900_000);
    rejection_is_shown_as_a_sentence(bob).await;
}

/// Of the newest operation, which guardians rejected in part.
async fn rejection_is_shown_as_a_sentence(bob: &Moneta) {
    let history = bob.json(&["history", "--limit", "1"]).await;
    let id = history["operations"][0]["operation_id"].as_str().unwrap();
    let shown = bob.json(&["show", id]).await;
    let events = shown["events"].as_array().unwrap();
    let rejected = events.iter().find(|event| event["kind"] == "tx-rejected").unwrap();
    let rejection = &rejected["rejection"];
    let refused = (&rejection["part"], &rejection["module"]);
    assert_eq!(refused, (&json!("input"), &json!("mintv2")), "{shown}");
    let reason = rejection["reason"].as_str().unwrap();
    let text = bob.run(&["show", id]).await.out;
    let sentence =
        format!("the e-cash module (mintv2) refused what the transaction spends: {reason}");
    assert!(text.contains(&sentence) && !text.contains("Envelope"), "{text}");
}

async fn wallet_keeps_several_federations_apart(
    town: &Town,
    other: &OtherFederation,
    alice: &Moneta,
) {
    let before = alice.balance().await;
    let joined = alice.json(&["join", &other.invite.to_string()]).await;
    assert_eq!((&joined["name"], &joined["new_wallet"]), (&json!("Others"), &json!(false)));
    let info = alice.json(&["info"]).await;
    assert_eq!(info["federations"].as_array().unwrap().len(), 2);
    // The first one stays the one that is meant.
    assert_eq!(alice.balance().await, before);
    let others = alice.json(&["balance", "--federation", "Others"]).await;
    assert_eq!(others["balance_msat"], 0);
    let id = other.invite.federation_id().to_string();
    assert_eq!(
        alice.json(&["info", "--federation", &id[..10]]).await["federation"]["federation_id"],
        id
    );
    alice.fault(&["balance", "--federation", "Nobody"]).await.refused("Nobody", "moneta info");
    alice.fault(&["send", "10", "--federation", "Others"]).await.refused("holds 0 sat", "deposit");

    // E-cash finds its federation by itself, and does not get into another one by force.
    let sent = alice.json(&["send", "1000", "--federation", "Local world"]).await;
    let ecash = sent["ecash"].as_str().unwrap();
    alice.fault(&["receive", ecash, "--federation", "Others"]).await.refused("", "--federation");
    let received = alice.json(&["receive", ecash]).await;
    let invite: InviteCode = town.world.invite.parse().unwrap();
    assert_eq!(received["federation_id"], json!(invite.federation_id()));
}

/// The least that a Bitcoin node takes for a payment to such an address.
const LEAST_SAT: u64 = 330;

async fn deposit_below_the_fee_is_told_while_the_claims_queue(
    town: &Town,
    alice: &Moneta,
    bob: &Moneta,
) {
    let sent = alice.json(&["send", "60000"]).await;
    bob.json(&["receive", sent["ecash"].as_str().unwrap()]).await;
    let before = alice.balance().await;
    let mut command = alice.script().start(&["deposit"]).unwrap();
    let first = command.next_report().await.unwrap().unwrap();
    town.pay(first["address"].as_str().unwrap(), LEAST_SAT).await;
    town.world.bitcoind.mine(DEPTH - 1).await.unwrap();
    // While this many are in no block, no claim is begun.
    for _ in 0..3 {
        let nobody = town.world.bitcoind.new_address().await.unwrap().to_string();
        bob.json(&["withdraw", &nobody, "10000", "--yes"]).await;
    }
    town.world.bitcoind.mine(1).await.unwrap();
    let error = command.finish().await.unwrap_err().to_string();
    for part in ["exit status: 3", "not worth the network fee", "it is not lost"] {
        assert!(error.contains(part), "{error}");
    }
    let balance = alice.json(&["balance"]).await;
    let (msat, under_way) = (&balance["balance_msat"], &balance["operations_under_way"]);
    assert_eq!((msat, under_way), (&json!(before), &json!(1)));
}

async fn good_deposit_beside_a_small_one_is_claimed(town: &Town, alice: &Moneta) {
    let before = alice.json(&["balance"]).await["balance_msat"].as_u64().unwrap();
    let mut command = alice.script().start(&["deposit"]).unwrap();
    let first = command.next_report().await.unwrap().unwrap();
    let address = first["address"].as_str().unwrap();
    town.pay(address, LEAST_SAT).await;
    town.pay(address, 20_000).await;
    town.world.bitcoind.mine(DEPTH).await.unwrap();
    let claimed = command.next_report().await.unwrap().unwrap();
    assert_eq!((&claimed["value_sat"], &claimed["status"]), (&json!(20_000), &json!("claimed")));
    let credited = claimed["credited_msat"].as_u64().unwrap();
    assert_eq!(claimed["balance_msat"], before + credited, "{claimed}");
    let small = command.finish().await.unwrap();
    assert_eq!((&small["value_sat"], &small["status"]), (&json!(330), &json!("uneconomical")));
    assert_eq!(small["credited_msat"], Value::Null, "{small}");
}
