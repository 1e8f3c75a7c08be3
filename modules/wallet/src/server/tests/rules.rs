use std::collections::BTreeMap;

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::ecdsa;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{Amount, Network, ScriptBuf, Transaction, TxOut};
use moneta_core::{FederationSize, Msat, PeerId, TransactionId};
use moneta_module::server::{ChainStatus, Fault, Need, ServerModule as _};
use moneta_module::setup::{GenesisError, OpenError, Seat, ServerKind as _, SetupParams};
use moneta_store::{Order, WriteSet};
use serde_json::json;

use super::super::tables::{LoggedOutput, OUTPUTS, SIGNATURES, UNCONFIRMED, UNSIGNED};
use super::guardians::{Guardians, block, key, paying};
use crate::WalletKind;
use crate::descriptor::{SECP, Tweak, claim_tweak};
use crate::words::{
    FederationWallet, OutputInfo, StandardScript, TxInfo, WalletInput, WalletInputError,
    WalletItem, WalletOutput, WalletOutputError, WalletOutputV0,
};

/// Guardians with a feerate of 1000 sat/kvB and a first coin of 10,000,000 sat.
fn funded() -> Guardians {
    let mut guardians = Guardians::new(4, Network::Regtest);
    guardians.set_feerate(1000);
    let index = guardians.deposit(&key(0), 10_000_000);
    guardians.claim(index, &key(0), 316).unwrap();
    guardians
}

fn chain(block_count: u64, feerate: u64) -> Option<ChainStatus> {
    Some(ChainStatus { block_count, feerate_sat_per_kvb: Some(feerate) })
}

#[test]
fn first_deposit_becomes_the_coin_without_a_transaction() {
    let mut guardians = Guardians::new(4, Network::Regtest);
    guardians.set_feerate(1000);
    let index = guardians.deposit(&key(0), 100_000);
    let effect = guardians.claim(index, &key(0), 400).unwrap();
    assert_eq!(effect.amount, Msat(99_600_000));
    assert_eq!((effect.fee, effect.net_msat), (Msat(100_000), 100_000_000));
    assert_eq!(effect.key, key(0).public_key(&SECP));
    assert_eq!(guardians.call("transaction_chain", &json!(null)), json!([]));
    guardians.assert_audit();
}

#[test]
fn claims_are_refused_in_the_order_of_the_protocol() {
    use WalletInputError as E;
    let mut guardians = Guardians::new(4, Network::Regtest);
    let index = guardians.deposit(&key(0), 100_000);
    assert_eq!(guardians.claim(9, &key(0), 0), Err(E::UnknownOutputIndex));
    assert_eq!(guardians.claim(index, &key(1), 0), Err(E::WrongTweak));
    assert_eq!(guardians.claim(index, &key(0), 0), Err(E::NoConsensusFeerateAvailable));
    guardians.set_feerate(1000);
    assert_eq!(guardians.claim(index, &key(0), 315), Err(E::InsufficientTotalFee));
    assert_eq!(guardians.claim(index, &key(0), 100_001), Err(E::ArithmeticOverflow));
    let unknown = WalletInput::Unknown { variant: 3, bytes: Vec::new() };
    assert_eq!(guardians.input(&unknown), Err(E::UnknownInputVariant { variant: 3 }));
    guardians.claim(index, &key(0), 316).unwrap();
    assert_eq!(guardians.claim(index, &key(1), 0), Err(E::OutputAlreadySpent));
}

#[test]
fn withdrawals_are_refused_in_the_order_of_the_protocol() {
    use WalletOutputError as E;
    let mut guardians = Guardians::new(4, Network::Regtest);
    assert_eq!(guardians.withdraw(9_999, 0), Err(E::UnderDustLimit));
    assert_eq!(guardians.withdraw(10_000, 0), Err(E::NoFederationUTXO));
    guardians.set_feerate(1000);
    let index = guardians.deposit(&key(0), 100_000);
    guardians.claim(index, &key(0), 316).unwrap();
    assert_eq!(guardians.withdraw(10_000, 227), Err(E::InsufficientTotalFee));
    assert_eq!(guardians.withdraw(u64::MAX, 228), Err(E::ArithmeticOverflow));
    assert_eq!(guardians.withdraw(100_000, 228), Err(E::ArithmeticOverflow));
    assert_eq!(guardians.withdraw(90_000 - 227, 228), Err(E::ChangeUnderDustLimit));
    let out_point = moneta_core::OutPoint { txid: TransactionId([9; 32]), out_idx: 0 };
    let unknown = |value| {
        let destination = StandardScript::Unknown { variant: 9, bytes: vec![] };
        let (value, fee) = (Amount::from_sat(value), Amount::from_sat(228));
        WalletOutput::V0(WalletOutputV0 { destination, value, fee })
    };
    assert_eq!(guardians.output(&unknown(50_000), out_point), Err(E::UnknownScriptVariant));
    assert_eq!(guardians.output(&unknown(1), out_point), Err(E::UnderDustLimit));
    let unknown = WalletOutput::Unknown { variant: 5, bytes: vec![] };
    let refused = guardians.output(&unknown, out_point);
    assert_eq!(refused, Err(E::UnknownOutputVariant { variant: 5 }));
    // What is left over is exactly the dust limit.
    guardians.withdraw(90_000 - 228, 228).unwrap();
    guardians.assert_audit();
}

#[test]
fn several_pending_transactions_form_one_chain_with_rising_fees() {
    let mut guardians = funded();
    let mut paid = Vec::new();
    for count in 0..6_u8 {
        let send = guardians.fee("send_fee").unwrap();
        let receive = guardians.fee("receive_fee").unwrap();
        assert_eq!(
            guardians.withdraw(20_000, send - 1),
            Err(WalletOutputError::InsufficientTotalFee)
        );
        if count % 2 == 0 {
            guardians.withdraw(20_000, send).unwrap();
            paid.push(send);
        } else {
            let index = guardians.deposit(&key(count), 50_000);
            guardians.claim(index, &key(count), receive).unwrap();
            paid.push(receive);
        }
        guardians.assert_audit();
    }
    // 250 * 2^m: at or below 1000 up to two pending, then 2000, 4000, 8000 for the whole stack.
    let stack = |vbytes: u64, price: u64, paid: u64| vbytes * price - paid;
    let third = (228 + 316 + 228 + 316) * 2 - (228 + 316 + 228);
    assert_eq!(paid[..4], [228, 316, 228, third]);
    let fourth = stack(228 * 3 + 316 * 2, 4, 228 + 316 + 228 + third);
    assert_eq!(paid[4], fourth);

    let log: Vec<TxInfo> =
        serde_json::from_value(guardians.call("transaction_chain", &json!(null))).unwrap();
    let mut pending = guardians.call("pending_transaction_chain", &json!(null));
    pending.as_array_mut().unwrap().reverse();
    assert_eq!(json!(log), pending);
    assert_eq!(log.len(), 6);
    for (one, next) in log.iter().zip(&log[1..]) {
        assert_eq!((one.index + 1, one.output), (next.index, next.input));
    }
    for peer in [3, 1, 2] {
        assert_eq!(guardians.sign(peer), 6);
    }
    let sent = guardians.server().broadcasts(&guardians.view()).unwrap();
    for (one, next) in sent.iter().zip(&sent[1..]) {
        assert_eq!(next.input[0].previous_output.txid, one.compute_txid());
        assert_eq!(next.input[0].previous_output.vout, 0);
    }
    let wallet: FederationWallet =
        serde_json::from_value(guardians.call("federation_wallet", &json!(null))).unwrap();
    assert_eq!(wallet.outpoint.txid, sent[5].compute_txid());
}

/// Checks one input as the network would: the script's hash, and one signature per required key in
/// the order of the keys.
fn check_witness(transaction: &Transaction, index: usize, spent: &TxOut, threshold: usize) {
    let witness: Vec<&[u8]> = transaction.input[index].witness.iter().collect();
    let (script, signatures) = witness.split_last().unwrap();
    let script = ScriptBuf::from_bytes(script.to_vec());
    assert_eq!(script.to_p2wsh(), spent.script_pubkey);
    assert_eq!((signatures.len(), signatures[0].len()), (threshold + 1, 0));
    let sighash = SighashCache::new(transaction)
        .p2wsh_signature_hash(index, &script, spent.value, EcdsaSighashType::All)
        .unwrap();
    let message = bitcoin::secp256k1::Message::from_digest(sighash.to_byte_array());
    let mut keys = script.instructions().filter_map(|instruction| {
        let bytes = instruction.unwrap().push_bytes()?.as_bytes().to_vec();
        bitcoin::secp256k1::PublicKey::from_slice(&bytes).ok()
    });
    for signature in &signatures[1..] {
        let signature = bitcoin::ecdsa::Signature::from_slice(signature).unwrap();
        assert_eq!(signature.sighash_type, EcdsaSighashType::All);
        let verifies = |key| SECP.verify_ecdsa(&message, &signature.signature, &key).is_ok();
        assert!(keys.any(verifies), "a signature fits no later key");
    }
}

#[test]
fn finished_witnesses_satisfy_their_scripts() {
    for (total, threshold) in [(1_u8, 1_usize), (4, 3), (7, 5)] {
        let mut guardians = Guardians::new(total, Network::Regtest);
        guardians.set_feerate(1000);
        let first = guardians.deposit(&key(0), 1_000_000);
        let second = guardians.deposit(&key(1), 500_000);
        let outputs: Vec<TxOut> = [first, second]
            .iter()
            .map(|index| OUTPUTS.get(&guardians.view(), index).unwrap().unwrap().output)
            .collect();
        guardians.claim(first, &key(0), 1000).unwrap();
        guardians.claim(second, &key(1), 1000).unwrap();
        for peer in (0..u16::from(total)).rev() {
            let items = guardians.sign(peer);
            let is_needed = usize::from(total) - usize::from(peer) <= threshold;
            assert_eq!(items, usize::from(is_needed), "{total} guardians, {peer}");
        }
        let sent = guardians.server().broadcasts(&guardians.view()).unwrap();
        assert_eq!(sent.len(), 1);
        check_witness(&sent[0], 0, &outputs[0], threshold);
        check_witness(&sent[0], 1, &outputs[1], threshold);
        assert_eq!(sent[0].output[0].value, Amount::from_sat(1_499_000));
        // The estimate in the configuration covers the real size.
        assert!(sent[0].vsize() as u64 <= guardians.server().config.receive_tx_vbytes);
    }
}

#[test]
fn signatures_count_once_and_only_when_all_are_right() {
    let mut guardians = funded();
    guardians.withdraw(20_000, 228).unwrap();
    let proposals = guardians.proposals(0, None);
    let WalletItem::Signatures(txid, signatures) = &proposals[0] else {
        panic!("one withdrawal needs signatures");
    };
    let (txid, signatures) = (*txid, signatures.clone());
    let mut refuse = |peer, txid, signatures: &[ecdsa::Signature]| {
        let item = WalletItem::Signatures(txid, signatures.to_vec());
        let result = guardians.item(peer, &item);
        assert!(matches!(result, Err(Fault::Refused(_))), "{result:?}");
    };
    refuse(1, txid, &signatures);
    refuse(9, txid, &signatures);
    refuse(0, txid, &[]);
    refuse(0, txid, &[signatures[0], signatures[0]]);
    refuse(0, bitcoin::Txid::all_zeros(), &signatures);
    assert_eq!(guardians.sign(0), 1);
    assert_eq!(guardians.sign(0), 0, "nothing is proposed twice");
    let again = WalletItem::Signatures(txid, signatures);
    assert!(guardians.item(0, &again).is_err());
    assert_eq!((guardians.sign(1), guardians.sign(2)), (1, 1));
    assert_eq!(guardians.sign(3), 0, "a complete transaction needs no more");
    assert!(guardians.item(0, &again).is_err());
}

#[test]
fn high_s_signature_is_refused() {
    let mut guardians = funded();
    guardians.withdraw(20_000, 228).unwrap();
    let proposals = guardians.proposals(0, None);
    let WalletItem::Signatures(txid, signatures) = &proposals[0] else { panic!() };
    // Negating s gives the other signature that plain ECDSA accepts.
    let mut bytes = signatures[0].serialize_compact();
    let s = bitcoin::secp256k1::SecretKey::from_slice(&bytes[32..]).unwrap();
    bytes[32..].copy_from_slice(&s.negate().secret_bytes());
    let high = ecdsa::Signature::from_compact(&bytes).unwrap();
    let result = guardians.item(0, &WalletItem::Signatures(*txid, vec![high]));
    assert!(matches!(result, Err(Fault::Refused(_))));
}

#[test]
fn block_scan_waits_until_the_blocks_are_buried() {
    let mut guardians = Guardians::new(4, Network::Regtest);
    let needs = |guardians: &mut Guardians| match guardians.item(2, &WalletItem::BlockCount(10)) {
        Err(Fault::Blocked(need)) => Some(need),
        Ok(()) => None,
        Err(other) => panic!("{other:?}"),
    };
    for peer in [0, 1] {
        guardians.item(peer, &WalletItem::BlockCount(10)).unwrap();
    }
    let need = Some(Need::Blocks { from: 0, to: 10, block_count: 16 });
    assert_eq!(needs(&mut guardians), need);
    guardians.set_chain(15, BTreeMap::new());
    assert_eq!(needs(&mut guardians), need);
    guardians.set_chain(16, BTreeMap::new());
    let third = guardians.facts.blocks.remove(&3);
    assert_eq!(needs(&mut guardians), need);
    guardians.facts.blocks.insert(3, third.unwrap());
    assert_eq!(guardians.call("consensus_block_count", &json!(null)), json!(0));
    assert_eq!(needs(&mut guardians), None);
    assert_eq!(guardians.call("consensus_block_count", &json!(null)), json!(10));
    assert!(guardians.item(2, &WalletItem::BlockCount(10)).is_err());
    assert!(guardians.item(2, &WalletItem::BlockCount(9)).is_err());
    // One vote further does not move consensus and needs no blocks.
    guardians.item(2, &WalletItem::BlockCount(1000)).unwrap();
}

#[test]
fn blocks_from_before_the_federation_are_scanned_on_regtest_only() {
    let mut guardians = Guardians::new(1, Network::Signet);
    guardians.item(0, &WalletItem::BlockCount(200_000)).unwrap();
    let result = guardians.item(0, &WalletItem::BlockCount(200_002));
    let need = Need::Blocks { from: 200_000, to: 200_002, block_count: 200_008 };
    assert!(matches!(result, Err(Fault::Blocked(blocked)) if blocked == need));
}

/// A script that the filter lets through, and the key that claims it if it is P2WSH.
fn logged_script(guardians: &Guardians) -> (ScriptBuf, bitcoin::secp256k1::SecretKey) {
    let descriptor = &guardians.server().descriptor;
    (1_u32..)
        .map(|number| {
            let mut bytes = [0; 32];
            bytes[28..].copy_from_slice(&number.to_be_bytes());
            let key = bitcoin::secp256k1::SecretKey::from_slice(&bytes).unwrap();
            (descriptor.script_pubkey(&claim_tweak(&key.public_key(&SECP))).unwrap(), key)
        })
        .find(|(script, _)| descriptor.is_logged(script))
        .unwrap()
}

#[test]
fn scanned_blocks_log_deposits_and_confirm_transactions() {
    let mut guardians = Guardians::new(1, Network::Regtest);
    let (script_pubkey, deposit_key) = logged_script(&guardians);
    let pay =
        |value| TxOut { value: Amount::from_sat(value), script_pubkey: script_pubkey.clone() };
    let other = TxOut { value: Amount::from_sat(1), script_pubkey: ScriptBuf::new() };
    let deposits = paying(vec![other, pay(70_000), pay(80_000)]);
    guardians.set_chain(20, BTreeMap::from([(2, block(vec![deposits.clone()]))]));
    guardians.set_feerate(1000);
    guardians.item(0, &WalletItem::BlockCount(3)).unwrap();
    let slice = guardians.call("output_info_slice", &json!([0, 1000]));
    let slice: Vec<OutputInfo> = serde_json::from_value(slice).unwrap();
    let values: Vec<u64> = slice.iter().map(|output| output.value.to_sat()).collect();
    assert_eq!(values, [70_000, 80_000]);
    assert_eq!(slice[1].outpoint.unwrap().to_string(), format!("{}:2", deposits.compute_txid()));

    guardians.claim(0, &deposit_key, 192).unwrap();
    guardians.claim(1, &deposit_key, 192).unwrap();
    guardians.sign(0);
    let sweep = guardians.server().broadcasts(&guardians.view()).unwrap().remove(0);
    let txid = sweep.compute_txid();
    guardians.set_chain(20, BTreeMap::from([(4, block(vec![sweep]))]));
    guardians.item(0, &WalletItem::BlockCount(4)).unwrap();
    assert!(UNCONFIRMED.contains(&guardians.view(), &txid).unwrap());
    guardians.item(0, &WalletItem::BlockCount(5)).unwrap();
    assert!(guardians.server().broadcasts(&guardians.view()).unwrap().is_empty());
    assert_eq!(guardians.call("pending_transaction_chain", &json!(null)), json!([]));
    assert_eq!(guardians.call("transaction_chain", &json!(null))[0]["created"], 3);
}

/// A coinbase output was logged like any other. Claimed at once, it became an input of a sweep that
/// no miner may include for some ninety blocks, and every withdrawal after it hung on that sweep.
#[test]
fn coinbase_deposit_is_logged_only_when_it_can_be_spent() {
    let mut guardians = Guardians::new(1, Network::Regtest);
    let (script_pubkey, _) = logged_script(&guardians);
    let pay =
        |value| TxOut { value: Amount::from_sat(value), script_pubkey: script_pubkey.clone() };
    let coinbase = Transaction {
        input: vec![bitcoin::TxIn::default()],
        ..paying(vec![pay(10_000), pay(20_000)])
    };
    assert!(coinbase.is_coinbase());
    let mined = block(vec![coinbase, paying(vec![pay(30_000)])]);
    let later = block(vec![paying(vec![pay(40_000)])]);
    guardians.set_chain(120, BTreeMap::from([(2, mined), (102, later)]));
    let logged = |guardians: &Guardians| -> Vec<u64> {
        let slice = guardians.call("output_info_slice", &json!([0, 1000]));
        let slice: Vec<OutputInfo> = serde_json::from_value(slice).unwrap();
        slice.iter().map(|output| output.value.to_sat()).collect()
    };
    guardians.item(0, &WalletItem::BlockCount(3)).unwrap();
    assert_eq!(logged(&guardians), [30_000]);
    guardians.item(0, &WalletItem::BlockCount(102)).unwrap();
    assert_eq!(logged(&guardians), [30_000]);
    guardians.item(0, &WalletItem::BlockCount(103)).unwrap();
    assert_eq!(logged(&guardians), [30_000, 10_000, 20_000, 40_000]);
    guardians.item(0, &WalletItem::BlockCount(105)).unwrap();
    assert_eq!(logged(&guardians).len(), 4, "it is logged once");
}

/// Signatures are public before they are ordered. A transaction that somebody put together of them
/// and had mined stayed among the pending ones for ever, and doubled every fee from then on.
#[test]
fn transaction_mined_before_its_signatures_were_ordered_is_not_pending() {
    let mut guardians = funded();
    guardians.withdraw(20_000, 228).unwrap();
    let proposals = (0..3).flat_map(|peer| guardians.proposals(peer, None));
    let items: Vec<_> =
        proposals.filter(|item| matches!(item, WalletItem::Signatures(..))).collect();
    assert_eq!(items.len(), 3);
    guardians.item(0, &items[0]).unwrap();
    let log = guardians.call("transaction_chain", &json!(null));
    let txid = serde_json::from_value::<Vec<TxInfo>>(log).unwrap()[0].txid;
    let mined = UNSIGNED.get(&guardians.view(), &txid).unwrap().unwrap().transaction;
    guardians.set_chain(20, BTreeMap::from([(2, block(vec![mined]))]));
    for peer in 0..3 {
        guardians.item(peer, &WalletItem::BlockCount(3)).unwrap();
    }
    assert_eq!(guardians.call("pending_transaction_chain", &json!(null)), json!([]));
    assert!(guardians.item(1, &items[1]).is_err(), "its signatures are needed no more");
    assert!(SIGNATURES.scan(&guardians.view(), Order::Ascending).next().is_none());
    assert_eq!(guardians.fee("send_fee"), Some(228));
}

#[test]
fn votes_are_proposed_only_when_they_change_something() {
    let mut guardians = Guardians::new(4, Network::Regtest);
    guardians.set_chain(100, BTreeMap::new());
    // Far behind: the first vote may be any number, later ones go in steps.
    assert_eq!(
        guardians.proposals(0, chain(50, 2000)),
        [WalletItem::BlockCount(43), WalletItem::Feerate(Some(2000))]
    );
    assert_eq!(guardians.proposals(0, None), [], "nothing is known and nothing was voted");
    assert_eq!(guardians.proposals(0, chain(3, 1)), [WalletItem::Feerate(Some(1000))]);
    for peer in 0..4 {
        for item in guardians.proposals(peer, chain(50, 2000)) {
            guardians.item(peer, &item).unwrap();
        }
    }
    assert_eq!(guardians.proposals(0, chain(50, 2000)), []);
    assert_eq!(guardians.proposals(0, chain(40, 2000)), [], "a count never goes back");
    assert_eq!(guardians.proposals(0, chain(90, 2000)), [WalletItem::BlockCount(48)]);
    let withdrawn = [WalletItem::Feerate(None)];
    assert_eq!(guardians.proposals(0, None), withdrawn);
    let no_estimate = ChainStatus { block_count: 50, feerate_sat_per_kvb: None };
    assert_eq!(guardians.proposals(0, Some(no_estimate)), withdrawn);
}

#[test]
fn slice_of_outputs_is_bounded_and_serves_a_thousand_positions() {
    let guardians = Guardians::new(1, Network::Regtest);
    let p2wsh = ScriptBuf::new_p2wsh(&bitcoin::WScriptHash::all_zeros());
    let view = guardians.view();
    let mut writes = WriteSet::new(&view);
    for index in 0..25_000_u64 {
        let is_shown = index < 2000 || index == 11_999 || index == 12_000;
        let script_pubkey = if is_shown { p2wsh.clone() } else { ScriptBuf::new() };
        let outpoint = bitcoin::OutPoint::null();
        let output = TxOut { value: Amount::ZERO, script_pubkey };
        OUTPUTS.insert(&mut writes, &index, &LoggedOutput { outpoint, output });
    }
    guardians.store.commit(writes.into_batch()).unwrap();
    let slice = |start: u64, end: u64| -> Vec<u64> {
        let slice = guardians.call("output_info_slice", &json!([start, end]));
        let slice: Vec<OutputInfo> = serde_json::from_value(slice).unwrap();
        slice.into_iter().map(|output| output.index).collect()
    };
    assert_eq!(slice(0, 1000), (0..1000).collect::<Vec<_>>());
    assert_eq!(slice(500, 1500), (500..1500).collect::<Vec<_>>());
    assert_eq!(slice(500, u64::MAX), (500..1500).collect::<Vec<_>>());
    assert_eq!(slice(2000, u64::MAX), [11_999]);
    assert!(slice(u64::MAX - 1, u64::MAX).is_empty());
    assert_eq!((slice(7, 7), slice(9, 3)), (vec![], vec![]));
    for wrong in [json!(null), json!([1]), json!([-1, 3]), json!(["0", "1"])] {
        let answer = guardians.server().answer(&guardians.view(), "output_info_slice", &wrong);
        assert_eq!(answer.unwrap_err().code, 400);
    }
    assert!(guardians.server().answer(&guardians.view(), "nothing", &json!(null)).is_err());
}

fn params(total: usize, me: u16) -> SetupParams {
    SetupParams {
        size: FederationSize::new(total).unwrap(),
        me: PeerId::new(me),
        network: Network::Regtest,
        disable_base_fees: me == 3,
    }
}

#[test]
fn ceremony_gives_all_guardians_one_config_that_opens_with_their_own_secret_only() {
    let kind = WalletKind::default();
    let mut rng = rand::rngs::mock::StepRng::new(1, 0x0123_4567_89ab_cdef);
    let parts: Vec<_> = (0..4).map(|me| kind.contribute(&params(4, me), &mut rng)).collect();
    let publics: BTreeMap<_, _> =
        (0..).map(PeerId::new).zip(parts.iter().map(|part| part.public.clone())).collect();
    let genesis = |me: u16| {
        let own = &parts[usize::from(me)];
        kind.genesis(&params(4, me), own, &publics, Vec::new()).unwrap()
    };
    let (zero, one) = (genesis(0), genesis(1));
    assert_eq!(zero.config, one.config);
    assert_eq!(kind.client_config(&zero.config).unwrap(), zero.config);
    let json = kind.client_config_json(&zero.config).unwrap();
    assert_eq!(json["fee_consensus"], json!({ "base": 100_000, "parts_per_million": 0 }));
    let free = kind.client_config_json(&genesis(3).config).unwrap();
    assert_eq!(free["fee_consensus"]["base"], 0);

    let seat = |me| Seat { me: PeerId::new(me), size: FederationSize::new(4).unwrap() };
    assert!(kind.open(seat(0), &zero.config, &zero.private).is_ok());
    let wrong = kind.open(seat(0), &zero.config, &one.private);
    assert!(matches!(wrong.err(), Some(OpenError::Mismatch(_))));

    let mut bad = publics.clone();
    bad.insert(PeerId::new(2), vec![2; 33]);
    bad.insert(PeerId::new(3), vec![0; 33]);
    let refused = kind.genesis(&params(4, 0), &parts[0], &bad, Vec::new()).err();
    assert!(matches!(refused, Some(GenesisError::BadContribution { peer }) if peer.index() == 3));
    // Shown in the clear, a key can be copied; so could its signatures, to count as two.
    let mut copied = publics.clone();
    copied.insert(PeerId::new(3), publics[&PeerId::new(1)].clone());
    let refused = kind.genesis(&params(4, 0), &parts[0], &copied, Vec::new()).err();
    assert!(matches!(refused, Some(GenesisError::Unsupported(_))));

    let crowd = kind.genesis(&params(21, 0), &parts[0], &publics, Vec::new()).err();
    assert!(matches!(crowd, Some(GenesisError::Unsupported(_))));
}

#[test]
fn change_cannot_be_claimed_as_a_deposit() {
    let mut guardians = funded();
    guardians.withdraw(20_000, 228).unwrap();
    // Even if the change script passed the filter: its tweak is no hash of a key.
    let wallet: FederationWallet =
        serde_json::from_value(guardians.call("federation_wallet", &json!(null))).unwrap();
    let tweak: Tweak = wallet.tweak;
    assert_ne!(tweak, sha256::Hash::hash(&key(0).public_key(&SECP).serialize()));
    let change = guardians.server().descriptor.script_pubkey(&tweak).unwrap();
    let view = guardians.view();
    let mut writes = WriteSet::new(&view);
    let logged = LoggedOutput {
        outpoint: wallet.outpoint,
        output: TxOut { value: wallet.value, script_pubkey: change },
    };
    OUTPUTS.insert(&mut writes, &1, &logged);
    guardians.store.commit(writes.into_batch()).unwrap();
    assert_eq!(guardians.claim(1, &key(0), 316), Err(WalletInputError::WrongTweak));
}
