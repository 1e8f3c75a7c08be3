//! The wallet's part of the ordered scenarios that four guardians of the reference went through.
//! What other modules do in the same transactions is left out; testing/sim runs the whole.

use std::collections::BTreeMap;

use bitcoin::hashes::sha256;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, Block, Network, OutPoint, ScriptBuf, TxOut};
use moneta_core::envelope::ConsensusItemEnvelope;
use moneta_core::{Decode, Encode, ModuleInstanceId, Transaction};
use moneta_module::server::ServerModule as _;
use moneta_store::WriteSet;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::signing;
use super::super::tables::{LoggedOutput, OUTPUTS, UNSIGNED, WALLET};
use super::guardians::Guardians;
use crate::descriptor::claim_tweak;
use crate::words::{WalletInput, WalletItem, WalletOutput};

const WALLET_INSTANCE: ModuleInstanceId = ModuleInstanceId(6);

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    op: String,
    #[serde(rename = "in")]
    input: Value,
    #[serde(rename = "out")]
    output: Value,
}

fn load(file: &str) -> Vec<Case> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol/vectors");
    let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
    let mut file: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(file["cases"].take()).unwrap()
}

fn parsed<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn decoded<T: Decode>(hex: &Value) -> T {
    T::from_bytes(&hex::decode(hex.as_str().unwrap()).unwrap()).unwrap()
}

fn block_of(hex: &str) -> Block {
    bitcoin::consensus::deserialize(&hex::decode(hex).unwrap()).unwrap()
}

#[test]
fn sweep_goes_as_in_the_reference() {
    let mut cases = load("walletv2-sweep.json");
    let state = cases.remove(0).output;
    let mut guardians = Guardians::new(4, Network::Regtest);
    guardians.set_feerate(parsed(&state["feerate"]));
    let view = guardians.view();
    let mut writes = WriteSet::new(&view);
    WALLET.insert(&mut writes, &(), &parsed(&state["federation_wallet"]));
    let deposit = &state["output_1"];
    let claim_key: PublicKey = parsed(&deposit["claim_key"]);
    assert_eq!(claim_tweak(&claim_key), parsed::<sha256::Hash>(&deposit["tweak"]));
    let logged = LoggedOutput {
        outpoint: parsed::<OutPoint>(&deposit["outpoint"]),
        output: TxOut {
            value: Amount::from_sat(parsed(&deposit["value"])),
            script_pubkey: parsed::<ScriptBuf>(&deposit["script"]),
        },
    };
    OUTPUTS.insert(&mut writes, &1, &logged);
    guardians.store.commit(writes.into_batch()).unwrap();
    guardians.books = guardians.server().audit(&guardians.view()).unwrap();

    let ran = cases.iter().filter(|case| run(&mut guardians, case)).count();
    assert_eq!(ran, cases.len(), "every case must run");
}

#[test]
fn wallet_part_of_the_federation_scenario_goes_as_in_the_reference() {
    let mut cases = load("scenario-federation.json");
    let setup = cases.remove(0).input;
    let mut guardians = Guardians::new(4, Network::Regtest);
    let blocks: Vec<(u64, String)> = parsed(&setup["blocks_hex_nonempty"]);
    let blocks: BTreeMap<u64, Block> =
        blocks.into_iter().map(|(height, hex)| (height, block_of(&hex))).collect();
    guardians.set_chain(parsed(&setup["block_count_of_the_backend"]), blocks);
    let ran = cases.iter().filter(|case| run(&mut guardians, case)).count();
    assert!(ran > 90, "only {ran} cases ran");
}

/// Runs a case; `false` if it is not about this module.
fn run(guardians: &mut Guardians, case: &Case) -> bool {
    let Case { name, op, input, output } = case;
    let is_ours = input["instance"] == json!(WALLET_INSTANCE);
    match op.as_str() {
        "tx" => return transaction(guardians, case),
        "item" => {
            let envelope: ConsensusItemEnvelope = decoded(&input["item_hex"]);
            if envelope.instance != WALLET_INSTANCE {
                return false;
            }
            let item: WalletItem = envelope.decode().unwrap();
            let result = guardians.item(parsed(&input["peer"]), &item);
            assert_eq!(json!(result.is_ok()), output["accepted"], "{name}: {result:?}");
        }
        "api" if is_ours => {
            let answer = guardians.call(input["endpoint"].as_str().unwrap(), &input["params"]);
            assert_eq!(answer, output["result"], "{name}");
        }
        "api-versions" if is_ours => {
            assert_eq!(json!([guardians.server().api_version()]), *output);
        }
        "proposal" if is_ours || input.get("sighashes").is_some() => {
            proposal(guardians, case);
        }
        "broadcast" if output.get("transactions").is_some() || output.get("hex").is_none() => {
            broadcast(guardians, case);
        }
        "output-outcome" if is_ours => {
            let out_point = parsed(&input["out_point"]);
            let outcome = guardians.server().output_outcome(&guardians.view(), out_point);
            assert_eq!(outcome.unwrap(), None);
        }
        "audit" => {
            guardians.assert_audit();
            let expected = &output["module_summaries"]["6"]["net_assets"];
            assert_eq!(json!(i64::try_from(guardians.books).unwrap()), *expected, "{name}");
        }
        _ => return false,
    }
    true
}

fn transaction(guardians: &mut Guardians, case: &Case) -> bool {
    let transaction: Transaction = decoded(&case.input["hex"]);
    let text = case.output["outcome"]["text"].as_str();
    let before = (guardians.view(), guardians.books);
    let refusal = process(guardians, &transaction);
    guardians.assert_audit();
    match (case.output["accepted"].as_bool().unwrap(), refusal) {
        (true, None) => {}
        (true, Some(refusal)) => panic!("{}: {refusal}", case.name),
        (false, Some(refusal)) => assert_eq!(Some(refusal.as_str()), text, "{}", case.name),
        (false, None) => {
            // Another module or the funding rule refused it: nothing of it happened.
            assert!(!text.unwrap_or_default().contains("6-"), "{}", case.name);
            restore(guardians, before.0);
            guardians.books = before.1;
        }
    }
    let mut instances = transaction.inputs.iter().map(|input| input.instance);
    let mut others = transaction.outputs.iter().map(|output| output.instance);
    instances.any(|instance| instance == WALLET_INSTANCE)
        || others.any(|instance| instance == WALLET_INSTANCE)
}

fn restore(guardians: &mut Guardians, view: moneta_store::Snapshot) {
    use moneta_store::{KeyRange, Order, Read as _};
    let store = moneta_store::Memory::store();
    let mut batch = moneta_store::Batch::new();
    for entry in view.scan(KeyRange::prefix([]), Order::Ascending) {
        let (key, value) = entry.unwrap();
        batch.put(key, value);
    }
    store.commit(batch).unwrap();
    guardians.store = store;
}

/// Processes the wallet's inputs and outputs; returns the text of the refusal.
fn process(guardians: &mut Guardians, transaction: &Transaction) -> Option<String> {
    for input in transaction.inputs.iter().filter(|input| input.instance == WALLET_INSTANCE) {
        let input: WalletInput = input.decode().unwrap();
        if let Err(error) = guardians.input(&input) {
            return Some(format!("The transaction had an invalid input: 6-{error}"));
        }
    }
    let txid = transaction.txid();
    for (out_idx, output) in (0..).zip(&transaction.outputs) {
        if output.instance != WALLET_INSTANCE {
            continue;
        }
        let output: WalletOutput = output.decode().unwrap();
        if let Err(error) = guardians.output(&output, moneta_core::OutPoint { txid, out_idx }) {
            return Some(format!("The transaction had an invalid output: 6-{error}"));
        }
    }
    None
}

fn proposal(guardians: &Guardians, case: &Case) {
    let Case { input, output, name, .. } = case;
    let proposals = guardians.proposals(parsed(&input["peer"]), None);
    let mut proposed: Vec<String> = proposals
        .iter()
        .filter(|item| matches!(item, WalletItem::Signatures(..)))
        .map(|item| hex::encode(ConsensusItemEnvelope::new(WALLET_INSTANCE, item).to_bytes()))
        .collect();
    let mut expected: Vec<String> = match output.get("items") {
        Some(items) => items.as_array().unwrap().iter().map(|item| parsed(&item["hex"])).collect(),
        None => vec![parsed(&output["hex"])],
    };
    proposed.sort();
    expected.sort();
    assert_eq!(proposed, expected, "{name}");
    if let Some(sighashes) = input.get("sighashes") {
        let transaction = bitcoin::consensus::deserialize::<bitcoin::Transaction>(
            &hex::decode(input["unsigned_tx"].as_str().unwrap()).unwrap(),
        );
        let txid = transaction.unwrap().compute_txid();
        let unsigned = UNSIGNED.get(&guardians.view(), &txid).unwrap().unwrap();
        let messages = signing::messages(&guardians.server().descriptor, &unsigned).unwrap();
        let messages: Vec<String> =
            messages.iter().map(|message| hex::encode(message.as_ref())).collect();
        assert_eq!(json!(messages), *sighashes, "{name}");
    }
}

fn broadcast(guardians: &Guardians, case: &Case) {
    let transactions = guardians.server().broadcasts(&guardians.view()).unwrap();
    let mut sent: Vec<String> =
        transactions.iter().map(bitcoin::consensus::encode::serialize_hex).collect();
    let expected = case.output["transactions"].as_array().unwrap();
    let mut expected: Vec<String> =
        expected.iter().map(|transaction| parsed(&transaction["hex"])).collect();
    sent.sort();
    expected.sort();
    assert_eq!(sent, expected, "{}", case.name);
}
