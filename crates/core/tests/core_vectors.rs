//! `core.json`: core, Bitcoin and curve types.

#![allow(missing_docs, clippy::unwrap_used)]

mod vectors;

use bitcoin::address::NetworkUnchecked;
use bitcoin::hashes::{hash160, sha256};
use bitcoin::secp256k1::{
    Keypair, PublicKey, Secp256k1, SecretKey, XOnlyPublicKey, ecdsa, schnorr,
};
use bitcoin::{Address, BlockHash, Network, Transaction, Txid};
use moneta_core::{
    AmountUnit, Amounts, ApiVersion, ChainId, CoreConsensusVersion, Decode, Encode, FederationSize,
    Feerate, IdxRange, LegacyNetwork, ModuleConsensusVersion, Msat, MultiApiVersion, OperationId,
    OutPoint, OutPointRange, TransactionId, TxOutProof,
};
use moneta_crypto::Scalar;
use moneta_crypto::tbs::{AggregatePublicKey, Message};
use vectors::{Case, Outcome, number, run};

#[test]
fn every_case_of_core_json_holds() {
    run("core.json", |case| match case.op.as_str() {
        "codec+json" => codec_and_json(case),
        "codec" => codec(case),
        "decode" => decode(case),
        "json-decode" if case.kind() == "multi api version" => {
            case.check_json_decode::<MultiApiVersion>()
        }
        "display" if case.kind() == "out point" => {
            let point: OutPoint = serde_json::from_value(case.input["json"].clone()).unwrap();
            assert_eq!(point.to_string(), case.out_str("text"));
            Outcome::Ran
        }
        "hex-wrapper" if case.kind() == "bitcoin txid" => {
            let txid: Txid = serde_json::from_value(case.input["json"].clone()).unwrap();
            assert_eq!(txid.to_string(), case.out_str("text"));
            Outcome::Ran
        }
        "operation-id" => operation_id(case),
        "feerate-fee" => {
            let rate = Feerate { sats_per_kvb: number(&case.input["sats_per_kvb"]) };
            let fee = rate.checked_fee(number(&case.input["weight"])).unwrap();
            assert_eq!(fee.to_sat(), number::<u64>(&case.output["sats"]));
            Outcome::Ran
        }
        "thresholds" => thresholds(case),
        "address" => address(case),
        _ => Outcome::Unknown,
    });
}

fn codec_and_json(case: &Case) -> Outcome {
    match case.kind() {
        "amount" => case.check_codec_and_json::<Msat>(),
        "amount unit" => case.check_codec_and_json::<AmountUnit>(),
        "transaction id" => case.check_codec_and_json::<TransactionId>(),
        "out point" => case.check_codec_and_json::<OutPoint>(),
        "idx range" => case.check_codec_and_json::<IdxRange>(),
        "out point range" => case.check_codec_and_json::<OutPointRange>(),
        "version" => {
            case.check_codec_and_json::<CoreConsensusVersion>();
            case.check_codec_and_json::<ModuleConsensusVersion>();
            case.check_codec_and_json::<ApiVersion>()
        }
        "multi api version" => case.check_codec_and_json::<MultiApiVersion>(),
        "operation id" => case.check_codec_and_json::<OperationId>(),
        "feerate" => case.check_codec_and_json::<Feerate>(),
        "chain id" => case.check_codec_and_json::<ChainId>(),
        "sha256" => case.check_codec_and_json::<sha256::Hash>(),
        "block hash" => case.check_codec_and_json::<BlockHash>(),
        "bitcoin txid" => case.check_codec_and_json::<Txid>(),
        "bitcoin outpoint" => case.check_codec_and_json::<bitcoin::OutPoint>(),
        "txout" => case.check_codec_and_json::<bitcoin::TxOut>(),
        "network" => case.check_codec_and_json::<Network>(),
        "schnorr signature" => case.check_codec_and_json::<schnorr::Signature>(),
        _ => Outcome::Unknown,
    }
}

fn codec(case: &Case) -> Outcome {
    let value = &case.input["value"];
    let text = value.as_str().unwrap_or_default();
    match case.kind() {
        "amounts" => {
            let parts = value.as_object().unwrap().iter();
            let amounts = parts.fold(Amounts::ZERO, |sum, (unit, amount)| {
                sum.checked_add(AmountUnit(unit.parse().unwrap()), Msat(number(amount))).unwrap()
            });
            case.check_codec(&amounts)
        }
        "hash160" => case.check_codec(&text.parse::<hash160::Hash>().unwrap()),
        "bitcoin amount" => case.check_codec(&bitcoin::Amount::from_sat(number(value))),
        "bitcoin transaction" => {
            let transaction = Transaction::from_bytes(&case.out_hex("hex")).unwrap();
            assert_eq!(transaction.compute_txid().to_string(), value["txid"]);
            case.check_codec(&transaction)
        }
        "psbt" => Outcome::Skipped("no message carries one, and it has no length of its own"),
        "network legacy" => case.check_codec(&LegacyNetwork(text.parse().unwrap())),
        "secp x-only key" => case.check_codec(&text.parse::<XOnlyPublicKey>().unwrap()),
        "secp secret key" => case.check_codec(&text.parse::<SecretKey>().unwrap()),
        "secp key pair" => {
            case.check_codec(&Keypair::from_seckey_str(&Secp256k1::new(), text).unwrap())
        }
        "ecdsa signature" => {
            let compact = hex::decode(text).unwrap();
            case.check_codec(&ecdsa::Signature::from_compact(&compact).unwrap())
        }
        "scalar" => match text.parse::<u64>() {
            Ok(number) => {
                assert_eq!(hex::encode(Scalar::from(number).to_bytes()), case.out_str("hex"));
                case.check_reencoding::<Scalar>()
            }
            Err(_) => case.check_reencoding::<Scalar>(),
        },
        "G1" => {
            let point = Message::from_bytes(&case.out_hex("hex").try_into().unwrap()).unwrap();
            assert_eq!(point.is_infinity(), text == "0");
            case.check_codec(&point)
        }
        "G2" => {
            let bytes = case.out_hex("hex").try_into().unwrap();
            let point = AggregatePublicKey::from_bytes(&bytes).unwrap();
            assert_eq!(point.is_infinity(), text == "0");
            case.check_codec(&point)
        }
        "tx-out proof" => tx_out_proof(case),
        _ => Outcome::Unknown,
    }
}

fn decode(case: &Case) -> Outcome {
    match case.kind() {
        "network" => case.check_decode::<Network>(),
        "network legacy" => case.check_decode::<LegacyNetwork>(),
        "address" => case.check_decode::<Address<NetworkUnchecked>>(),
        "secp public key" => case.check_decode::<PublicKey>(),
        "secp secret key" => case.check_decode::<SecretKey>(),
        "scalar" => case.check_decode::<Scalar>(),
        "G1" => case.check_decode::<Message>(),
        "G2" => case.check_decode::<AggregatePublicKey>(),
        "tx-out proof" => case.check_decode::<TxOutProof>(),
        _ => Outcome::Unknown,
    }
}

fn tx_out_proof(case: &Case) -> Outcome {
    let proof = <TxOutProof as Decode>::from_bytes(&case.out_hex("hex")).unwrap();
    assert_eq!(proof.block_hash().to_string(), case.in_str("block_hash"));
    let matched: Vec<_> = proof.txids().iter().map(Txid::to_string).collect();
    assert_eq!(matched, [case.in_str("matched")]);
    case.check_codec(&proof)
}

fn operation_id(case: &Case) -> Outcome {
    let value = u64::from_bytes(&case.in_hex("hex")).unwrap();
    assert_eq!(OperationId::from_encodable(&value).to_string(), case.out_str("id"));
    Outcome::Ran
}

fn thresholds(case: &Case) -> Outcome {
    let size = FederationSize::new(number(&case.input["n"])).unwrap();
    let expected = |field: &str| number::<usize>(&case.output[field]);
    assert_eq!(size.max_faulty(), expected("max_faulty"));
    assert_eq!(size.one_honest(), expected("one_honest"));
    assert_eq!(size.threshold(), expected("threshold"));
    assert_eq!(size.degree(), expected("degree"));
    Outcome::Ran
}

fn address(case: &Case) -> Outcome {
    let address: Address<NetworkUnchecked> = case.in_str("text").parse().unwrap();
    assert_eq!(hex::encode(address.to_bytes()), case.out_str("hex"));
    let decoded = <Address<_> as Decode>::from_bytes(&case.out_hex("hex")).unwrap();
    assert_eq!(decoded.assume_checked().to_string(), case.out_str("decoded_text"));
    Outcome::Ran
}
