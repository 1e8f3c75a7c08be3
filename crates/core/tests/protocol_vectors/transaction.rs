use bitcoin::secp256k1::PublicKey;
use moneta_core::{
    AmountUnit, Amounts, CoreConsensusVersion, Decode, Encode, InputEnvelope, MAX_TX_SIZE_BYTES,
    MeHex, Msat, OutputEnvelope, SubmissionOutcome, Transaction, TransactionError, TransactionId,
    funding,
};
use serde_json::Value;

use crate::check::{assert_json, is_accepted, json_round_trip, round_trip, text};
use crate::vectors::{Case, Outcome, bytes, run};

#[test]
fn transactions_agree_with_the_reference() {
    run("transaction.json", |case| {
        match case.op.as_str() {
            "transaction" => transaction(case),
            "transaction-decode" if case.name.contains("unknown instance") => {
                return Outcome::Skipped("which instances exist is known to moneta-module");
            }
            "transaction-decode" => {
                let decoded = Transaction::from_bytes(&bytes(&case.input["hex"]));
                assert_eq!(decoded.is_ok(), is_accepted(case));
            }
            "transaction-decode-fallback" => {
                let transaction: Transaction = round_trip(&case.input["hex"]);
                assert_eq!(case.input["hex"], case.output["reencoded"]);
                assert_eq!(transaction.txid().to_string(), text(&case.output["txid"]));
            }
            "constant" => assert_eq!(case.output["max_tx_size"], MAX_TX_SIZE_BYTES),
            "submission-outcome" => submission_outcome(case),
            "submission-outcome-decode" if case.name.contains("unknown instance") => {
                return Outcome::Skipped("which instances exist is known to moneta-module");
            }
            "submission-outcome-decode" => {
                let decoded = SubmissionOutcome::from_bytes(&bytes(&case.input["hex"]));
                assert_eq!(decoded.is_ok(), is_accepted(case));
            }
            _ => return Outcome::Unknown,
        }
        Outcome::Ran
    });
}

fn transaction(case: &Case) {
    let transaction: Transaction = round_trip(&case.output["hex"]);
    let MeHex(same) = json_round_trip::<MeHex<Transaction>>(&case.output["me_hex"]);
    assert_eq!(same, transaction);
    assert_eq!(transaction.txid().to_string(), text(&case.output["txid"]));
    assert_eq!(case.output["len"], transaction.to_bytes().len());
    assert!(transaction.fits_size_limit());
    let parts = |name: &str| case.input[name].as_array().unwrap().clone();
    let inputs: Vec<InputEnvelope> =
        parts("inputs").iter().map(|part| round_trip(&part["dyn_hex"])).collect();
    let outputs: Vec<OutputEnvelope> =
        parts("outputs").iter().map(|part| round_trip(&part["dyn_hex"])).collect();
    assert_eq!((&transaction.inputs, &transaction.outputs), (&inputs, &outputs));
    for (input, part) in inputs.iter().zip(parts("inputs")) {
        assert_eq!(part["instance"], input.instance.0);
    }
    assert_eq!(transaction.nonce.as_slice(), bytes(&case.input["nonce"]));
    let keys: Vec<PublicKey> =
        parts("input_keys").iter().map(|key| text(key).parse().unwrap()).collect();
    let checked = transaction.verify_signatures(&keys);
    assert_eq!(checked.is_ok(), case.output["signatures_valid"] == true);
    let error = checked.err().map_or(Value::Null, |error| hex::encode(error.to_bytes()).into());
    assert_eq!(error, case.output["signature_error_hex"]);
}

fn submission_outcome(case: &Case) {
    let outcome: SubmissionOutcome = round_trip(&case.output["outcome_hex"]);
    let MeHex(same) = json_round_trip::<MeHex<SubmissionOutcome>>(&case.output["me_hex"]);
    assert_eq!(same, outcome);
    let error = match &outcome.0 {
        Ok(txid) => {
            assert_eq!(*txid, text(&case.input["txid"]).parse::<TransactionId>().unwrap());
            return;
        }
        Err(error) => error,
    };
    assert_eq!(*error, round_trip::<TransactionError>(&case.output["error_hex"]));
    // The frame is the core's, what stands behind the dash the module's.
    let expected = text(&case.output["client_text"]);
    let module_text = |_: moneta_core::transaction::ModuleFailure<'_>| {
        expected.split_once('-').unwrap().1.to_owned()
    };
    assert_eq!(error.to_text(module_text), expected);
}

#[test]
fn funding_rule_agrees_with_the_reference() {
    run("funding.json", |case| {
        match case.op.as_str() {
            "funding" => {
                for version in [CoreConsensusVersion::new(2, 0), CoreConsensusVersion::new(2, 1)] {
                    let expected = &case.output[version.to_string()];
                    match fund(case, version) {
                        Ok(()) => assert_eq!(expected, "ok"),
                        Err(error) => {
                            assert_eq!(hex::encode(error.to_bytes()), text(&expected["error_hex"]));
                            assert_eq!(error.to_string(), text(&expected["text"]));
                        }
                    }
                }
            }
            _ => return Outcome::Unknown,
        }
        Outcome::Ran
    });
}

fn fund(case: &Case, version: CoreConsensusVersion) -> Result<(), TransactionError> {
    let mut tally = funding::Tally::default();
    for input in case.input["inputs"].as_array().unwrap() {
        tally.add_input(&amounts(&input["amounts"]), &amounts(&input["fees"]))?;
    }
    for output in case.input["outputs"].as_array().unwrap() {
        tally.add_output(&amounts(&output["amounts"]), &amounts(&output["fees"]))?;
    }
    tally.check(version)
}

fn amounts(rows: &Value) -> Amounts {
    let rows = rows.as_array().unwrap().iter();
    rows.fold(Amounts::ZERO, |sum, row| {
        let amount = Msat(text(&row[1]).parse().unwrap());
        sum.checked_add(AmountUnit(row[0].as_u64().unwrap()), amount).unwrap()
    })
}

#[test]
fn empty_transaction_has_the_json_of_the_page() {
    let empty = Transaction::new_signed(Vec::new(), Vec::new(), [0; 8], &[]);
    assert_json(&MeHex(empty), &serde_json::json!(["0d00000000000000000000000100"]));
}
