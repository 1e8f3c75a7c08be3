use bitcoin::address::NetworkUnchecked;
use bitcoin::hashes::Hash as _;
use bitcoin::{Address, Amount, Network, Txid};
use moneta_core::transaction::TransactionError;
use moneta_core::{Msat, OperationId};
use moneta_module::client::{End, Outcome, SubmitError};
use serde_json::{Value, json};

use super::super::{SendError, parse_fee, send_fee_call};
use super::world::World;
use crate::words::{StandardScript, WalletOutput};

const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

fn send(world: &mut World, address: &str, value: u64, fee: u64) -> Result<OperationId, SendError> {
    let address: Address<NetworkUnchecked> = address.parse().unwrap();
    let (value, fee) = (Amount::from_sat(value), Amount::from_sat(fee));
    world.act(|client, turn| client.send(turn, &address, value, fee))
}

/// A wallet that can spend 50,328 sat: the cost of the withdrawal below.
fn rich() -> World {
    let mut world = World::new();
    world.money = Msat(50_328_000);
    world
}

#[test]
fn withdrawal_names_its_bitcoin_transaction_once_accepted() {
    let mut world = rich();
    world.crashes = true;
    let operation = send(&mut world, ADDRESS, 50_000, 228).unwrap();
    let [(_, draft)] = &world.transactions[..] else { panic!("one transaction") };
    let [output] = &draft.outputs[..] else { panic!("one output") };
    let cost =
        world.client.config().withdrawal_cost(Amount::from_sat(50_000), Amount::from_sat(228));
    assert_eq!(output.amount.checked_add(output.fee), cost);
    assert_eq!(cost, Some(world.money));
    let WalletOutput::V0(output) = output.output.decode().unwrap() else { panic!() };
    assert!(matches!(output.destination, StandardScript::P2WPKH(_)));
    assert_eq!((output.value.to_sat(), output.fee.to_sat()), (50_000, 228));
    let sent = json!({
        "operation_id": operation, "address": ADDRESS, "value": 50_000, "fee": 228,
    });
    assert_eq!(world.notes("payment-send"), [&sent]);

    // A guardian that is behind may not know the transaction yet.
    let withdrawal = *world.machines.last_key_value().unwrap().0;
    world.advance(withdrawal, Outcome::Accepted);
    world.advance(withdrawal, Outcome::Answer(Value::Null));
    assert_eq!(world.notes("payment-send-update").len(), 0);
    world.bitcoin_txid = Some(Txid::all_zeros());
    world.now = world.now.after_ms(1000);
    world.advance(withdrawal, Outcome::Due);
    world.advance(withdrawal, Outcome::Answer(json!(Txid::all_zeros())));
    let update = json!({ "operation_id": operation, "status": { "Success": Txid::all_zeros() } });
    assert_eq!(world.notes("payment-send-update"), [&update]);
    assert_eq!(world.notes.last().unwrap().1.end, Some(End::Succeeded));
    assert!(!world.machines.contains_key(&withdrawal));
}

#[test]
fn rejected_withdrawal_is_aborted() {
    let mut world = rich();
    let operation = send(&mut world, ADDRESS, 50_000, 228).unwrap();
    let withdrawal = *world.machines.last_key_value().unwrap().0;
    world.advance(withdrawal, Outcome::Rejected(TransactionError::InvalidWitnessLength));
    let update = json!({ "operation_id": operation, "status": "Aborted" });
    assert_eq!(world.notes("payment-send-update"), [&update]);
    assert_eq!(world.notes.last().unwrap().1.end, Some(End::Failed));
}

#[test]
fn bad_withdrawals_are_refused_with_their_reason() {
    let mut world = rich();
    let mainnet = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
    let wrong = send(&mut world, mainnet, 50_000, 228);
    assert!(matches!(wrong, Err(SendError::WrongNetwork { network: Network::Regtest })));
    let testnet = "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx";
    let wrong = send(&mut world, testnet, 50_000, 228);
    assert!(matches!(wrong, Err(SendError::WrongNetwork { .. })));
    let dust = send(&mut world, ADDRESS, 9_999, 228);
    assert!(matches!(dust, Err(SendError::BelowDust { .. })));
    let later_witness = Address::from_script(
        &bitcoin::ScriptBuf::from_bytes([&[0x52, 32][..], &[7; 32]].concat()),
        Network::Regtest,
    );
    let unsupported = send(&mut world, &later_witness.unwrap().to_string(), 50_000, 228);
    assert!(matches!(unsupported, Err(SendError::UnsupportedAddress)));
    // A taproot program that is no curve point.
    let no_point = Address::from_script(
        &bitcoin::ScriptBuf::from_bytes([&[0x51, 32][..], &[0; 31], &[5]].concat()),
        Network::Regtest,
    );
    let unsupported = send(&mut world, &no_point.unwrap().to_string(), 50_000, 228);
    assert!(matches!(unsupported, Err(SendError::UnsupportedAddress)));
    let overflow = send(&mut world, ADDRESS, u64::MAX, 228);
    assert!(matches!(overflow, Err(SendError::Overflow)));
    let poor = send(&mut world, ADDRESS, 50_001, 228);
    assert!(matches!(poor, Err(SendError::Submit(SubmitError::Insufficient { .. }))));
    assert_eq!((world.operations.len(), world.transactions.len()), (0, 0));
    assert_eq!(world.machines.len(), 1, "only the scanner");
}

#[test]
fn fee_is_read_from_the_answer() {
    assert_eq!(parse_fee(&json!(228)), Some(Amount::from_sat(228)));
    assert_eq!(parse_fee(&Value::Null), None);
    assert_eq!(send_fee_call().params, Value::Null);
}
