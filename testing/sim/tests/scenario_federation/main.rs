//! The ordered scenario of docs/protocol/vectors: four engines driven case by case, every answer
//! compared with what guardians of the reference answered.
//!
//! Kinds that this federation does not have (first generation, Lightning) are skipped by instance.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../../../crates/core/tests/vectors/mod.rs"]
mod vectors;

mod chain;
mod federation;
mod keys;

use std::cell::RefCell;

use federation::{Federation, Reached};
use moneta_core::transaction::ModuleFailure;
use moneta_core::{
    ApiError, ConsensusItemEnvelope, CoreConsensusVersion, Decode, Encode, MeHex, ModuleInstanceId,
    ModuleKind, PeerId, SubmissionOutcome, Transaction, TransactionError,
};
use moneta_crypto::tbs::verify;
use moneta_meta::words::{MetaInputError, MetaOutputError};
use moneta_mint::words::{Denomination, MintInputError, MintOutputError, Nonce};
use moneta_wallet::words::{WalletInputError, WalletOutputError};
use serde_json::{Value, json};
use vectors::{Case, Outcome, number, run};

const META: ModuleInstanceId = ModuleInstanceId::new(2);
const MINT: ModuleInstanceId = ModuleInstanceId::new(4);
const WALLET: ModuleInstanceId = ModuleInstanceId::new(6);

/// Why a case about `instance` is left out, if it is.
fn left_out(instance: ModuleInstanceId) -> Option<&'static str> {
    match instance.0 {
        0 => Some("kind `ln`, the first generation"),
        1 => Some("kind `lnv2`, not served yet"),
        3 => Some("kind `mint`, the first generation"),
        5 => Some("kind `wallet`, the first generation"),
        _ => None,
    }
}

#[test]
fn the_federation_answers_as_the_reference_did() {
    let federation = RefCell::new(None);
    run("scenario-federation.json", |case| {
        if case.op == "setup" {
            *federation.borrow_mut() = Some(Federation::new(case));
            return Outcome::Ran;
        }
        let instance = instance_of(case);
        if let Some(reason) = instance.and_then(left_out) {
            return Outcome::Skipped(reason);
        }
        let mut federation = federation.borrow_mut();
        let federation = federation.as_mut().expect("the setup came first");
        let at = |instance: Option<ModuleInstanceId>| instance.expect("the case names an instance");
        match case.op.as_str() {
            "tx" => transaction(federation, case),
            "item" => item(federation, case),
            "api" => same_answer(federation, at(instance), case),
            "api-each" => answer_of_each(federation, at(instance), case),
            "api-admin" => admin_answer(federation, at(instance), case),
            "api-refused" => refused_call(federation, at(instance), case),
            "api-versions" => api_versions(federation, at(instance), case),
            "output-outcome" => output_outcome(federation, case),
            "proposal" => proposal(federation, at(instance), case),
            "broadcast" => broadcast(federation, case),
            "audit" => audit(federation, case),
            "notes" => notes(federation, case),
            _ => Outcome::Unknown,
        }
    });
    let federation = federation.into_inner().expect("the file has a setup");
    federation.check_end();
}

/// The instance a case is about, if it is about one alone.
fn instance_of(case: &Case) -> Option<ModuleInstanceId> {
    if let Some(instance) = case.input["instance"].as_u64() {
        return Some(ModuleInstanceId::new(u16::try_from(instance).unwrap()));
    }
    let item = case.input["item_hex"].as_str()?;
    Some(ConsensusItemEnvelope::from_bytes(&hex::decode(item).unwrap()).unwrap().instance)
}

fn transaction(federation: &mut Federation, case: &Case) -> Outcome {
    let transaction = Transaction::from_bytes(&case.in_hex("hex")).unwrap();
    assert_eq!(transaction.txid().to_string(), case.in_str("txid"));
    let inputs = transaction.inputs.iter().map(|input| input.instance);
    let outputs = transaction.outputs.iter().map(|output| output.instance);
    let foreign: Vec<_> =
        inputs.chain(outputs.clone()).filter(|at| left_out(*at).is_some()).collect();
    if let Some(reason) = foreign.first().and_then(|instance| left_out(*instance)) {
        if case.output["accepted"] == true {
            let inputs = transaction.inputs.iter().map(|input| input.instance);
            federation.missed.extend(inputs.chain(outputs));
        }
        return Outcome::Skipped(reason);
    }
    let version = &case.input["core_consensus"];
    let version = CoreConsensusVersion::new(number(&version["major"]), number(&version["minor"]));
    let in_consensus = &case.output["outcome"];
    let at_submission = case.output.get("submission_outcome").unwrap_or(in_consensus);
    for answer in federation.submit(version, &transaction) {
        check_outcome(&answer, at_submission);
    }
    let accepted = case.output["accepted"].as_bool().unwrap();
    assert_eq!(federation.order_transaction(version, &transaction), accepted, "accepted");
    if accepted {
        let outcome = SubmissionOutcome(Ok(transaction.txid()));
        check_outcome(&outcome, in_consensus);
    }
    Outcome::Ran
}

fn check_outcome(outcome: &SubmissionOutcome, expected: &Value) {
    assert_eq!(hex::encode(outcome.to_bytes()), expected["outcome_hex"].as_str().unwrap());
    assert_eq!(serde_json::to_value(MeHex(outcome)).unwrap(), expected["me_hex"]);
    let text = outcome.0.as_ref().err().map(error_text);
    assert_eq!(json!(text), expected["text"]);
}

/// The error as clients print it.
fn error_text(error: &TransactionError) -> String {
    fn text<T: Decode + ToString>(bytes: &[u8]) -> String {
        T::from_bytes(bytes).unwrap().to_string()
    }
    error.to_text(|failure| match failure {
        ModuleFailure::Input(error) => match error.instance {
            META => text::<MetaInputError>(&error.bytes),
            MINT => text::<MintInputError>(&error.bytes),
            _ => text::<WalletInputError>(&error.bytes),
        },
        ModuleFailure::Output(error) => match error.instance {
            META => text::<MetaOutputError>(&error.bytes),
            MINT => text::<MintOutputError>(&error.bytes),
            _ => text::<WalletOutputError>(&error.bytes),
        },
    })
}

fn item(federation: &mut Federation, case: &Case) -> Outcome {
    let envelope = ConsensusItemEnvelope::from_bytes(&case.in_hex("item_hex")).unwrap();
    let peer = PeerId::new(number(&case.input["peer"]));
    assert_eq!(json!(federation.order_item(peer, envelope)), case.output["accepted"]);
    Outcome::Ran
}

/// What an answer looks like in the vectors.
fn as_vector(reached: Reached) -> Value {
    match reached {
        Reached::Answer(value) => json!({ "result": value }),
        Reached::Pending => json!({ "pending": true }),
        Reached::Error(ApiError { code, message }) => {
            json!({ "error": { "code": code, "message": message } })
        }
    }
}

fn call(
    federation: &mut Federation,
    peer: usize,
    instance: ModuleInstanceId,
    case: &Case,
    is_admin: bool,
) -> Reached {
    federation.call(peer, instance, case.in_str("endpoint"), &case.input["params"], is_admin)
}

fn same_answer(federation: &mut Federation, instance: ModuleInstanceId, case: &Case) -> Outcome {
    for peer in 0..federation.guardians.len() {
        let reached = call(federation, peer, instance, case, false);
        assert_eq!(as_vector(reached), case.output, "guardian {peer}");
    }
    Outcome::Ran
}

fn answer_of_each(federation: &mut Federation, instance: ModuleInstanceId, case: &Case) -> Outcome {
    let each: Vec<Value> = (0..federation.guardians.len())
        .map(|peer| as_vector(call(federation, peer, instance, case, false)))
        .collect();
    assert_eq!(json!(each), case.output["by_peer"]);
    Outcome::Ran
}

fn admin_answer(federation: &mut Federation, instance: ModuleInstanceId, case: &Case) -> Outcome {
    let is_admin = case.input["authenticated"].as_bool().unwrap();
    let peer = number(&case.input["peer"]);
    assert_eq!(as_vector(call(federation, peer, instance, case, is_admin)), case.output);
    Outcome::Ran
}

fn refused_call(federation: &mut Federation, instance: ModuleInstanceId, case: &Case) -> Outcome {
    for peer in 0..federation.guardians.len() {
        match call(federation, peer, instance, case, false) {
            Reached::Error(error) => assert_eq!(json!(error.code), case.output["code"]),
            other => panic!("{other:?}"),
        }
    }
    Outcome::Ran
}

fn api_versions(federation: &Federation, instance: ModuleInstanceId, case: &Case) -> Outcome {
    for guardian in &federation.guardians {
        let version = guardian.engine.module(instance).unwrap().api_version();
        assert_eq!(json!([version]), case.output);
    }
    Outcome::Ran
}

fn output_outcome(federation: &Federation, case: &Case) -> Outcome {
    let out_point = serde_json::from_value(case.input["out_point"].clone()).unwrap();
    let each: Vec<_> = federation.each(|guardian, state| {
        let outcome = guardian.engine.output_outcome(state, out_point).unwrap();
        outcome.expect("the output exists").1.map(hex::encode)
    });
    assert_eq!(json!(each), case.output["by_peer"]);
    Outcome::Ran
}

fn proposal(federation: &Federation, instance: ModuleInstanceId, case: &Case) -> Outcome {
    let proposed = federation.proposals(number(&case.input["peer"]), instance);
    if let Some(items) = case.output["items"].as_array() {
        let expected: Vec<&str> = items.iter().map(|item| item["hex"].as_str().unwrap()).collect();
        let proposed: Vec<String> =
            proposed.iter().map(|envelope| hex::encode(envelope.to_bytes())).collect();
        assert_eq!(proposed, expected);
        return Outcome::Ran;
    }
    // Of the meta module, whose items hold a salt that the guardian drew.
    assert_eq!(json!(proposed.len()), case.output["count"]);
    for envelope in proposed {
        let item: moneta_meta::words::MetaItem = envelope.decode().unwrap();
        assert_eq!(json!(item.key), case.output["key"]);
        assert_eq!(json!(item.value), case.output["value"]);
    }
    Outcome::Ran
}

fn broadcast(federation: &Federation, case: &Case) -> Outcome {
    let Some(expected) = case.output["transactions"].as_array() else {
        return Outcome::Skipped("kind `wallet`, the first generation");
    };
    // The reference lists them by txid; ours has parents first, so that each can be relayed.
    let by_txid = |one: &Value| one["txid"].as_str().unwrap().to_owned();
    let mut expected = expected.clone();
    expected.sort_by_key(by_txid);
    for sent in federation.each(|guardian, state| guardian.engine.broadcasts(state).unwrap()) {
        let mut sent: Vec<Value> = sent
            .iter()
            .map(|transaction| {
                let bytes = bitcoin::consensus::serialize(transaction);
                json!({ "hex": hex::encode(bytes), "txid": transaction.compute_txid() })
            })
            .collect();
        sent.sort_by_key(by_txid);
        assert_eq!(sent, expected);
    }
    Outcome::Ran
}

/// Compares each line of a module that had part in all that the reference did.
fn audit(federation: &Federation, case: &Case) -> Outcome {
    let expected = case.output["module_summaries"].as_object().unwrap();
    for (instance, summary) in expected {
        let instance = ModuleInstanceId::new(instance.parse().unwrap());
        if left_out(instance).is_some() || federation.missed.contains(&instance) {
            continue;
        }
        for lines in federation.each(|guardian, state| guardian.engine.audit(state).unwrap()) {
            let line = lines.into_iter().find(|line| line.instance == instance).unwrap();
            assert_eq!(
                line.kind,
                serde_json::from_value::<ModuleKind>(summary["kind"].clone()).unwrap()
            );
            assert_eq!(line.net_msat, i128::from(summary["net_assets"].as_i64().unwrap()));
        }
    }
    if federation.missed.contains(&MINT) {
        return Outcome::Skipped("in part: the mint had no part in skipped transactions");
    }
    Outcome::Ran
}

/// The finished notes verify under the federation's keys; each has exactly one valid signature.
fn notes(federation: &Federation, case: &Case) -> Outcome {
    for note in case.output["notes"].as_array().unwrap() {
        let denomination = Denomination(number(&note["denomination"]));
        let key = &federation.mint.tbs_agg_pks[&denomination];
        let nonce: Nonce = serde_json::from_value(note["nonce"].clone()).unwrap();
        let signature = note["signature"].as_str().unwrap().parse().unwrap();
        assert!(verify(&nonce.message(), &signature, key));
    }
    Outcome::Ran
}
