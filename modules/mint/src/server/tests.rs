//! The rules on stores in memory, with the keys of a federation of four.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bitcoin::secp256k1::{Keypair, Secp256k1};
use moneta_core::{Decode, Encode, TransactionId};
use moneta_crypto::tbs::{
    BlindedSignatureShare, BlindingKey, Signature, blind, combine, unblind, verify_share,
};
use moneta_module::server::Facts;
use moneta_module::setup::{OpenError, ServerKind as _};
use moneta_store::{Batch, Table, WriteSet};
use serde_json::{Value, json};

use super::*;
use crate::MintKind;
use crate::testing::{Federation, Refusal, genesis, seat};
use crate::words::{MAX_SLICE_ITEMS, Nonce, slice_hash};

const TX: TransactionId = TransactionId([1; 32]);

struct Wallet {
    key: Keypair,
    blinding: BlindingKey,
}

fn wallet(byte: u8) -> Wallet {
    let key = Keypair::from_seckey_slice(&Secp256k1::new(), &[byte; 32]).unwrap();
    Wallet { key, blinding: BlindingKey::from_bytes(&[byte; 32]).unwrap() }
}

impl Wallet {
    fn nonce(&self) -> Nonce {
        Nonce(self.key.public_key())
    }

    fn blinded(&self) -> BlindedMessage {
        blind(&self.nonce().message(), &self.blinding)
    }

    fn output(&self, denomination: u8) -> MintOutput {
        let (denomination, tweak) = (Denomination(denomination), [9; 16]);
        MintOutput::V0(OutputV0 { denomination, blinded: self.blinded(), tweak })
    }

    /// The note, from shares of the first three guardians.
    fn note(&self, denomination: u8, shares: &[Value]) -> Note {
        let shares: BTreeMap<u64, BlindedSignatureShare> =
            (0..).zip(shares).take(3).map(|(i, share)| (i, parse(share))).collect();
        let signature = unblind(&combine(&shares).unwrap(), &self.blinding);
        Note { denomination: Denomination(denomination), nonce: self.nonce(), signature }
    }
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn value(reply: Reply) -> Value {
    match reply {
        Reply::Value(value) => value,
        Reply::Json(json) => serde_json::from_str(&json).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// What every guardian answers.
fn ask(federation: &Federation, endpoint: &str, params: &Value) -> Vec<Value> {
    let guardians = federation.guardians.iter();
    guardians.map(|guardian| value(guardian.call(endpoint, params).unwrap())).collect()
}

fn shares_of(federation: &Federation, txid: TransactionId, out_idx: u64) -> Vec<Value> {
    let range = json!({"txid": txid, "idx_range": {"start": out_idx, "end": out_idx + 1}});
    ask(federation, "signature_shares", &range)
        .into_iter()
        .map(|mut shares| shares[0].take())
        .collect()
}

/// A federation that has issued one note of 1024 msat.
fn with_one_note(byte: u8) -> (Federation, Note) {
    let federation = Federation::new(4, false);
    let wallet = wallet(byte);
    federation.process(TX, &[], &[(0, wallet.output(10))]).unwrap();
    let note = wallet.note(10, &shares_of(&federation, TX, 0));
    (federation, note)
}

#[test]
fn note_is_issued_spent_and_booked() {
    let (federation, note) = with_one_note(3);
    let guardian = &federation.guardians[2];
    assert_eq!(guardian.audit(), -1024);
    let (inputs, _) = federation.process(TX, &[MintInput::new(note)], &[]).unwrap();
    assert_eq!(inputs[0].amount, Msat(1024));
    assert_eq!(inputs[0].fee, Msat(100));
    assert_eq!(inputs[0].key, note.nonce.0);
    assert_eq!(inputs[0].net_msat, 1024);
    assert_eq!(guardian.audit(), 0);
}

#[test]
fn every_share_verifies_and_the_effect_costs_face_value_and_fee() {
    let federation = Federation::new(4, false);
    let wallet = wallet(4);
    let (_, outputs) = federation.process(TX, &[], &[(7, wallet.output(20))]).unwrap();
    assert_eq!((outputs[0].amount, outputs[0].fee), (Msat(1 << 20), Msat(100)));
    assert_eq!(outputs[0].net_msat, -(1 << 20));
    let keys = &federation.config.tbs_pks[&Denomination(20)];
    for (key, share) in keys.values().zip(shares_of(&federation, TX, 7)) {
        assert!(verify_share(&wallet.blinded(), &parse(&share), key));
    }
}

#[test]
fn trial_judges_as_the_final_pass_does_and_signs_nothing() {
    let federation = Federation::new(4, false);
    let guardian = &federation.guardians[0];
    let (server, snapshot) = (&guardian.server, guardian.store.snapshot());
    let out_point = OutPoint { txid: TX, out_idx: 0 };
    for pass in [Pass::Trial, Pass::Final] {
        let mut state = WriteSet::new(&snapshot);
        let mut call = Processing { state: &mut state, facts: &Facts::default(), pass };
        let unknown = server.process_output(&mut call, &wallet(4).output(63), out_point);
        assert!(matches!(unknown, Err(Fault::Refused(MintOutputError::InvalidDenomination))));
        let effect = server.process_output(&mut call, &wallet(4).output(20), out_point).unwrap();
        assert_eq!((effect.amount, effect.fee), (Msat(1 << 20), Msat(100)));
        assert_eq!(ISSUED.get(&state, &Denomination(20)).unwrap(), Some(1));
        let share = SHARE_AT.get(&state, &out_point).unwrap();
        assert_eq!(share.is_some(), pass == Pass::Final, "{pass:?}");
    }
}

#[test]
fn spent_note_is_refused_also_within_one_transaction() {
    let (federation, note) = with_one_note(5);
    let input = MintInput::new(note);
    let spent = Err(Refusal::Input(MintInputError::SpentCoin));
    let twice = [input.clone(), input.clone()];
    assert_eq!(federation.process(TX, &twice, &[]), spent);
    assert_eq!(federation.guardians[0].audit(), -1024, "the refused transaction left no trace");
    federation.process(TX, std::slice::from_ref(&input), &[]).unwrap();
    assert_eq!(federation.process(TX, &[input], &[]), spent);
}

#[test]
fn errors_come_in_the_order_of_the_rules() {
    let (federation, note) = with_one_note(6);
    let refused = |note: Note| federation.process(TX, &[MintInput::new(note)], &[]).unwrap_err();
    let unknown = MintInput::Unknown { variant: 7, bytes: vec![1] };
    assert_eq!(
        federation.process(TX, &[unknown], &[]),
        Err(Refusal::Input(MintInputError::UnknownInputVariant(7)))
    );
    let other_value = Note { denomination: Denomination(11), ..note };
    assert_eq!(refused(other_value), Refusal::Input(MintInputError::InvalidSignature));
    for denomination in [42, 64, 255] {
        let hostile = Note { denomination: Denomination(denomination), ..note };
        assert_eq!(refused(hostile), Refusal::Input(MintInputError::InvalidDenomination));
    }
    federation.process(TX, &[MintInput::new(note)], &[]).unwrap();
    let mut infinity = [0; 48];
    infinity[0] = 0xc0;
    let forged = Note { signature: Signature::from_bytes(&infinity).unwrap(), ..note };
    assert_eq!(refused(forged), Refusal::Input(MintInputError::InvalidSignature));
    let outputs = [(0, MintOutput::Unknown { variant: 300, bytes: Vec::new() })];
    let unknown = MintOutputError::UnknownOutputVariant(300);
    assert_eq!(federation.process(TX, &[], &outputs), Err(Refusal::Output(unknown)));
    let refused = federation.process(TX, &[], &[(0, wallet(6).output(42))]);
    assert_eq!(refused, Err(Refusal::Output(MintOutputError::InvalidDenomination)));
}

#[test]
fn preparing_changes_no_verdict() {
    let (federation, note) = with_one_note(7);
    let forged = Note { denomination: Denomination(12), ..note };
    let hostile = Note { denomination: Denomination(200), ..note };
    let inputs = [note, forged, hostile].map(MintInput::new);
    let outputs = [wallet(8).output(9), wallet(8).output(10), wallet(9).output(77)];
    let (guardian, others) = federation.guardians.split_first().unwrap();
    guardian.server.prepare(&inputs.each_ref(), &outputs.each_ref());
    assert!(guardian.server.verified.contains(&bytes_of(&note)));
    assert!(!guardian.server.verified.contains(&bytes_of(&forged)));
    for input in &inputs {
        let alone = std::slice::from_ref(input);
        assert_eq!(guardian.process(TX, alone, &[]), others[0].process(TX, alone, &[]));
    }
    for output in outputs {
        let alone = [(3, output)];
        assert_eq!(guardian.process(TX, &[], &alone), others[0].process(TX, &[], &alone));
    }
}

#[test]
fn strangers_notes_are_verified_together_or_not_at_all() {
    let (federation, note) = with_one_note(7);
    let forged = Note { denomination: Denomination(12), ..note };
    let hostile = Note { denomination: Denomination(200), ..note };
    let server = &federation.guardians[0].server;
    let spoiled = [note, forged].map(MintInput::new);
    assert!(!server.prepare_together(&spoiled.each_ref()));
    assert!(!server.verified.contains(&bytes_of(&note)), "nothing is known after one check");
    assert!(!server.verified.contains(&bytes_of(&forged)));
    // A denomination that is not issued is refused at its turn and spoils nothing.
    let good = [note, hostile].map(MintInput::new);
    assert!(server.prepare_together(&good.each_ref()));
    assert!(server.verified.contains(&bytes_of(&note)));
    assert!(!server.verified.contains(&bytes_of(&hostile)));
}

#[test]
fn note_that_nobody_paid_for_stops_the_guardian() {
    let (federation, note) = with_one_note(3);
    let guardian = &federation.guardians[0];
    guardian
        .store
        .commit({
            let mut batch = Batch::new();
            batch.put(ISSUED.key(&Denomination(10)), 0_u64.to_bytes());
            batch
        })
        .unwrap();
    let snapshot = guardian.store.snapshot();
    let mut state = WriteSet::new(&snapshot);
    let mut call = Processing { state: &mut state, facts: &Facts::default(), pass: Pass::Final };
    let fault = guardian.server.process_input(&mut call, &MintInput::new(note));
    assert!(matches!(fault, Err(Fault::Broken(Broken::Invariant(_)))));
}

/// Blinded messages are public. Somebody pays one more msat for an output with a stranger's message
/// at another denomination; the stranger's wallet must still find its share when it recovers.
#[test]
fn later_output_with_the_same_message_does_not_hide_the_first_share() {
    let federation = Federation::new(4, false);
    let victim = wallet(3);
    federation.process(TX, &[], &[(0, victim.output(10))]).unwrap();
    let replay = TransactionId([2; 32]);
    federation.process(replay, &[], &[(0, victim.output(0))]).unwrap();
    let by_message = ask(&federation, "recovery_signature_shares", &json!([victim.blinded()]));
    let by_message: Vec<_> = by_message.into_iter().map(|mut shares| shares[0].take()).collect();
    assert_eq!(by_message, shares_of(&federation, TX, 0));
    assert_ne!(by_message, shares_of(&federation, replay, 0));
}

#[test]
fn shares_wait_for_the_last_output_of_the_range() {
    let federation = Federation::new(4, false);
    let guardian = &federation.guardians[1];
    let range = json!({"txid": TX, "idx_range": {"start": 2, "end": 4}});
    let waits_for = match guardian.call("signature_shares", &range).unwrap() {
        Reply::WaitFor(key) => key,
        other => panic!("{other:?}"),
    };
    let outputs = [(2, wallet(3).output(9)), (3, wallet(4).output(10))];
    federation.process(TX, &[], &outputs).unwrap();
    assert!(guardian.store.snapshot().get(&waits_for).unwrap().is_some());
    let shares = value(guardian.call("signature_shares", &range).unwrap());
    assert_eq!(shares.as_array().unwrap().len(), 2);
    for (start, end) in [(0, 0), (5, 2)] {
        let range = json!({"txid": TX, "idx_range": {"start": start, "end": end}});
        assert_eq!(value(guardian.call("signature_shares", &range).unwrap()), json!([]));
    }
    let huge = json!({"txid": TX, "idx_range": {"start": 0, "end": u64::MAX}});
    assert_eq!(guardian.call("signature_shares", &huge).unwrap_err().code, 400);
}

#[test]
fn unknown_message_fails_the_whole_request() {
    let (federation, _) = with_one_note(3);
    let messages = json!([wallet(3).blinded(), wallet(4).blinded()]);
    let error = federation.guardians[0].call("recovery_signature_shares", &messages).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (400, "No blinded signature share found"));
    let malformed = federation.guardians[0].call("recovery_signature_shares", &json!(["00"]));
    assert_eq!(malformed.unwrap_err().code, 400);
}

#[test]
fn recovery_log_holds_inputs_and_outputs_in_order() {
    let (federation, note) = with_one_note(3);
    let outputs = [(1, wallet(4).output(9))];
    federation.process(TX, &[MintInput::new(note)], &outputs).unwrap();
    let guardian = &federation.guardians[3];
    let ask = |endpoint: &str, params: Value| value(guardian.call(endpoint, &params).unwrap());
    assert_eq!(ask("recovery_count", Value::Null), json!(3));
    let items: Vec<RecoveryItem> = parse(&ask("recovery_slice", json!([0, 99])));
    let output = |wallet: &Wallet, denomination| RecoveryItem::Output {
        denomination: Denomination(denomination),
        nonce_hash: hash160(&wallet.blinded().to_bytes()),
        tweak: [9; 16],
    };
    let spent = RecoveryItem::Input { nonce_hash: hash160(&note.nonce.to_array()) };
    assert_eq!(items, [output(&wallet(3), 10), spent, output(&wallet(4), 9)]);
    let hash = ask("recovery_slice_hash", json!([0, 99]));
    assert_eq!(hash, json!(items.consensus_hash()));
    assert_eq!(ask("recovery_slice", json!([2, 1])), json!([]));
    let empty: [&[u8]; 0] = [];
    assert_eq!(ask("recovery_slice_hash", json!([7, 9])), json!(slice_hash(empty.iter())));
}

#[test]
fn slices_are_bounded_and_full_ones_hash_alike_from_the_cache() {
    const LOG: Table<u64, RecoveryItem> = Table::new(0x03);
    const COUNT: Table<(), u64> = Table::new(0x04);
    let federation = Federation::new(1, true);
    let guardian = &federation.guardians[0];
    let snapshot = guardian.store.snapshot();
    let mut state = WriteSet::new(&snapshot);
    let count = 2 * MAX_SLICE_ITEMS + 5;
    for index in 0..count {
        let item = RecoveryItem::Input { nonce_hash: hash160(&index.to_be_bytes()) };
        LOG.insert(&mut state, &index, &item);
    }
    COUNT.insert(&mut state, &(), &count);
    let batch = state.into_batch();
    guardian.store.commit(batch).unwrap();
    let ask = |endpoint: &str, start: u64, end: u64| guardian.call(endpoint, &json!([start, end]));
    for (start, end) in [(0, 10_000), (10_000, 20_000), (10_000, 20_000), (20_000, 30_000)] {
        let items: Vec<RecoveryItem> = parse(&value(ask("recovery_slice", start, end).unwrap()));
        assert_eq!(items.len() as u64, end.min(count) - start);
        let hash = value(ask("recovery_slice_hash", start, end).unwrap());
        assert_eq!(hash, json!(items.consensus_hash()));
    }
    for endpoint in ["recovery_slice", "recovery_slice_hash"] {
        assert_eq!(ask(endpoint, 0, 10_001).unwrap_err().code, 400);
        assert!(ask(endpoint, count, u64::MAX).is_ok(), "only what exists counts");
    }
}

#[test]
fn consensus_state_is_equal_on_all_guardians_and_shares_are_not_part_of_it() {
    let (federation, note) = with_one_note(3);
    let outputs = [(0, wallet(5).output(9)), (1, wallet(6).output(9))];
    federation.process(TX, &[MintInput::new(note)], &outputs).unwrap();
    let consensus_state = |index: usize| {
        let range = moneta_store::KeyRange::between([0], [0x80]);
        let snapshot = federation.guardians[index].store.snapshot();
        snapshot.scan(range, Order::Ascending).map(Result::unwrap).collect::<Vec<_>>()
    };
    assert!(!consensus_state(0).is_empty());
    for index in 1..4 {
        assert_eq!(consensus_state(0), consensus_state(index));
    }
}

#[test]
fn items_are_refused_and_none_are_proposed() {
    let federation = Federation::new(1, false);
    let guardian = &federation.guardians[0];
    let snapshot = guardian.store.snapshot();
    let mut state = WriteSet::new(&snapshot);
    let mut call = Processing { state: &mut state, facts: &Facts::default(), pass: Pass::Final };
    let item = MintItem::from_bytes(&[0, 0]).unwrap();
    let refused = guardian.server.process_item(&mut call, PeerId::new(0), &item);
    assert!(matches!(refused, Err(Fault::Refused(_))));
    assert_eq!(guardian.server.proposals(&snapshot, None).unwrap(), []);
}

#[test]
fn guardian_opens_on_its_own_parts_only() {
    let all = genesis(4, false);
    let open = |seat, config: &[u8], private: &[u8]| MintKind.open(seat, config, private).map(drop);
    open(seat(1, 4), &all[1].config, &all[1].private).unwrap();
    let foreign = open(seat(1, 4), &all[1].config, &all[2].private);
    assert!(matches!(foreign, Err(OpenError::Mismatch(_))));
    let other_size = open(seat(1, 5), &all[1].config, &all[1].private);
    assert!(matches!(other_size, Err(OpenError::Mismatch(_))));
    let mut config = MintConfig::from_bytes(&all[1].config).unwrap();
    let wrong = config.tbs_agg_pks[&Denomination(3)];
    config.tbs_agg_pks.insert(Denomination(4), wrong);
    let inconsistent = open(seat(1, 4), &config.to_bytes(), &all[1].private);
    assert!(matches!(inconsistent, Err(OpenError::Mismatch(_))));
    assert!(matches!(open(seat(1, 4), &[1], &all[1].private), Err(OpenError::Decode(_))));
    assert_eq!(MintKind.client_config(&all[1].config).unwrap(), all[1].config);
    let free = genesis(1, true);
    assert_eq!(
        MintConfig::from_bytes(&free[0].config).unwrap().fee_consensus,
        crate::words::Fees::NONE
    );
}

/// Decoding is remembered, and must stay as strict as if it were not.
#[test]
fn remembered_values_decode_as_strictly_as_new_ones() {
    let (federation, note) = with_one_note(12);
    let server = &federation.guardians[0].server;
    let input = MintInput::new(note);
    let output = wallet(13).output(10);
    let (in_bytes, out_bytes) = (input.to_bytes(), output.to_bytes());
    assert_eq!((in_bytes.len(), out_bytes.len()), (INPUT_BYTES, OUTPUT_BYTES));
    for _ in 0..2 {
        assert_eq!(server.decode_input(&in_bytes).as_ref(), Ok(&input));
        assert_eq!(server.decode_output(&out_bytes).as_ref(), Ok(&output));
        // On the curve, outside the subgroup.
        let mut outside = out_bytes.clone();
        outside[3..51].fill(0);
        outside[3] = 0x80;
        assert!(MintOutput::from_bytes(&outside).is_err());
        for at in 0..INPUT_BYTES {
            let mut bad = in_bytes.clone();
            bad[at] ^= 1;
            assert_eq!(server.decode_input(&bad), decode_canonical(&bad), "byte {at}");
        }
        assert!(server.decode_output(&outside).is_err());
        assert!(server.decode_input(&[&in_bytes[..], &[0]].concat()).is_err());
        assert!(server.decode_output(&out_bytes[1..]).is_err());
        let unknown = [&[7, 65][..], &[1; 65]].concat();
        assert!(matches!(server.decode_output(&unknown), Ok(MintOutput::Unknown { .. })));
    }
}

#[test]
fn key_that_anything_verifies_under_is_not_opened() {
    let genesis = genesis(4, false).remove(0);
    let mut config = MintConfig::from_bytes(&genesis.config).unwrap();
    let mut infinity = [0; 96];
    infinity[0] = 0xc0;
    let mut private = MintPrivate::from_bytes(&genesis.private).unwrap();
    let nothing = moneta_crypto::tbs::PublicKeyShare::from_bytes(&infinity).unwrap();
    let ten = Denomination(10);
    config
        .tbs_agg_pks
        .insert(ten, moneta_crypto::tbs::AggregatePublicKey::from_bytes(&infinity).unwrap());
    for share in config.tbs_pks.get_mut(&ten).unwrap().values_mut() {
        *share = nothing;
    }
    private.tbs_sks.insert(ten, SecretKeyShare::from_bytes(&[0; 32]).unwrap());
    let opened = MintKind.open(seat(0, 4), &config.to_bytes(), &private.to_bytes());
    assert!(matches!(opened.err(), Some(OpenError::Mismatch(_))));
}
