#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::ReadCurveError;
use crate::dkg::{Shape, ThresholdKey, deal_trusted};
use crate::scalar::Scalar;
use crate::vectors::{Cases, array, bytes, parse, u64_of};

const INFINITY: &str = "c00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";

/// By guardian, then by key.
fn federation(keys: usize) -> Vec<Vec<ThresholdKey>> {
    deal_trusted(Shape::new(4, 3, keys).unwrap(), &[3; 32])
}

/// A valid note signature under key `key` of a single guardian.
fn note(keys: &[ThresholdKey], key: usize, nonce: &[u8]) -> BatchItem {
    let message = hash_to_message_v2(nonce);
    let signature = message.0.times(&keys[key].secret_share.0);
    (keys[key].aggregate, message, Signature(signature))
}

fn notes(count: usize, keys: usize) -> Vec<BatchItem> {
    let federation = deal_trusted(Shape::new(1, 1, keys).unwrap(), &[3; 32]);
    (0..count).map(|i| note(&federation[0], i % keys, &i.to_be_bytes())).collect()
}

fn shares_of(
    federation: &[Vec<ThresholdKey>],
    message: &BlindedMessage,
) -> BTreeMap<u64, BlindedSignatureShare> {
    (0..)
        .zip(federation)
        .map(|(peer, keys)| (peer, sign_share(message, &keys[0].secret_share)))
        .collect()
}

#[test]
fn verdicts_of_a_batch_are_those_of_single_checks() {
    let mut items = notes(13, 3);
    items[2].2 = items[3].2;
    items[7].1 = hash_to_message_v2(b"other");
    items[12].0 = items[11].0;
    let single: Vec<bool> = items.iter().map(|(k, m, s)| verify(m, s, k)).collect();
    assert_eq!(single.iter().filter(|valid| !**valid).count(), 3);
    for workers in [0, 1, 2, 5] {
        assert_eq!(verify_batch_with(&items, workers), single);
    }
}

#[test]
fn one_bad_item_is_found_at_every_position() {
    for bad in 0..7 {
        let mut items = notes(7, 2);
        items[bad].2 = Signature(items[bad].2.0.plus(&items[bad].1.0));
        let expected: Vec<bool> = (0..7).map(|position| position != bad).collect();
        assert_eq!(verify_batch(&items), expected, "bad item at {bad}");
        assert!(!all_valid_with(&items, 2), "bad item at {bad}");
    }
}

#[test]
fn good_batches_of_every_size_pass_on_several_threads() {
    for size in [0, 1, 2, 5, 9, 80] {
        assert_eq!(verify_batch_with(&notes(size, 3), 2), vec![true; size]);
        assert!(all_valid_with(&notes(size, 3), 2));
    }
}

/// Without coefficients, the errors of these two signatures would cancel in the sum.
#[test]
fn two_errors_that_cancel_are_both_found() {
    let mut items = notes(6, 1);
    let error = items[0].1.0;
    let minus_error = error.times(&Scalar::from(0).minus(&Scalar::from(1)));
    items[1].2 = Signature(items[1].2.0.plus(&error));
    items[4].2 = Signature(items[4].2.0.plus(&minus_error));
    assert_eq!(verify_batch(&items), [true, false, true, true, false, true]);
}

#[test]
fn swapped_signatures_are_both_found() {
    let mut items = notes(4, 1);
    (items[0].2, items[3].2) = (items[3].2, items[0].2);
    assert_eq!(verify_batch(&items), [false, true, true, false]);
}

#[test]
fn infinity_in_a_batch_is_decided_as_alone() {
    let infinity: Signature = INFINITY.parse().unwrap();
    let nothing: Message = INFINITY.parse().unwrap();
    let mut items = notes(9, 2);
    items[1].2 = infinity;
    items[2].1 = nothing;
    (items[3].1, items[3].2) = (nothing, infinity);
    let single: Vec<bool> = items.iter().map(|(k, m, s)| verify(m, s, k)).collect();
    assert!(!single[1] && !single[2] && single[3]);
    assert_eq!(verify_batch(&items), single);
}

#[test]
fn share_batches_name_the_wrong_share() {
    let federation = federation(1);
    let message = BlindedMessage(hash_to_message_v2(b"m").0);
    let mut items: Vec<ShareBatchItem> = shares_of(&federation, &message)
        .into_iter()
        .map(|(peer, share)| (federation[0][0].public_shares[&peer], message, share))
        .collect();
    assert_eq!(verify_share_batch(&items), [true; 4]);
    items[2].2 = items[1].2;
    assert_eq!(verify_share_batch(&items), [true, true, false, true]);
}

#[test]
fn a_whole_flow_gives_a_note_that_verifies() {
    let federation = federation(1);
    let key = &federation[0][0];
    let message = hash_to_message_v2(b"nonce");
    let blinding = BlindingKey::from(Scalar::from_wide(&[5; 64]));
    let blinded = blind(&message, &blinding);
    let combined = combine_verified(
        &blinded,
        &key.aggregate,
        &key.public_shares,
        3,
        &shares_of(&federation, &blinded),
    )
    .unwrap();
    assert!(combined.bad_peers.is_empty());
    let signature = unblind(&combined.signature, &blinding);
    assert!(verify(&message, &signature, &key.aggregate));
    assert!(!verify(&hash_to_message_v2(b"other"), &signature, &key.aggregate));
}

#[test]
fn combining_survives_one_bad_guardian_and_names_it() {
    let federation = federation(1);
    let key = &federation[0][0];
    let message = BlindedMessage(hash_to_message_v2(b"m").0);
    let good = shares_of(&federation, &message);
    let run =
        |shares: &_| combine_verified(&message, &key.aggregate, &key.public_shares, 3, shares);

    let expected = run(&good).unwrap().signature;
    let mut one_bad = good.clone();
    one_bad.insert(1, good[&0]);
    let combined = run(&one_bad).unwrap();
    assert_eq!((combined.signature, combined.bad_peers), (expected, vec![1]));

    let mut two_bad = one_bad.clone();
    two_bad.insert(3, good[&0]);
    assert_eq!(
        run(&two_bad),
        Err(CombineError::TooFew { valid: 2, threshold: 3, bad_peers: vec![1, 3] })
    );
    let mut stranger: BTreeMap<_, _> = good.clone().into_iter().take(2).collect();
    stranger.insert(77, good[&0]);
    assert_eq!(
        run(&stranger),
        Err(CombineError::TooFew { valid: 2, threshold: 3, bad_peers: vec![77] })
    );
    assert_eq!(run(&BTreeMap::new()), Err(CombineError::Empty));
    let other_key = AggregatePublicKey(key.public_shares[&0].0);
    assert_eq!(
        combine_verified(&message, &other_key, &key.public_shares, 3, &good),
        Err(CombineError::InconsistentKeys)
    );
}

#[test]
fn combining_nothing_or_an_impossible_peer_is_refused() {
    assert_eq!(combine(&BTreeMap::new()), Err(CombineError::Empty));
    let share: BlindedSignatureShare = INFINITY.parse().unwrap();
    assert_eq!(combine(&BTreeMap::from([(u64::MAX, share)])), Err(CombineError::PeerOutOfRange));
}

#[test]
fn several_threads_sign_and_hash_the_same() {
    let federation = federation(1);
    let nonces: Vec<[u8; 1]> = (0..20).map(|i| [i]).collect();
    let one = hash_to_messages_v2(&nonces, 1);
    assert_eq!(one, hash_to_messages_v2(&nonces, 3));
    assert_eq!(one[7], hash_to_message_v2(&[7]));
    let items: Vec<_> = one
        .iter()
        .map(|message| (BlindedMessage(message.0), &federation[0][0].secret_share))
        .collect();
    let alone: Vec<_> = items.iter().map(|(message, key)| sign_share(message, key)).collect();
    assert_eq!(sign_shares(&items, 3), alone);
}

#[test]
fn infinity_is_read_only_in_its_canonical_form() {
    let point: Message = INFINITY.parse().unwrap();
    assert!(point.is_infinity());
    assert_eq!(point.to_string(), INFINITY);
    for wrong in ["e0", "40", "c1"] {
        let text = format!("{wrong}{}", &INFINITY[2..]);
        assert_eq!(text.parse::<Message>(), Err(ReadCurveError::Malformed), "{wrong}");
    }
    let trailing = format!("{}01", &INFINITY[..94]);
    assert_eq!(trailing.parse::<Message>(), Err(ReadCurveError::Malformed));
    let key = format!("{INFINITY}{}", "0".repeat(96));
    assert!(key.parse::<PublicKeyShare>().unwrap().is_infinity());
}

#[test]
fn points_outside_the_subgroup_or_not_on_the_curve_are_refused() {
    // x = 0 gives y = 2, on the curve and of small order.
    let small_order = format!("80{}", "0".repeat(94));
    assert_eq!(small_order.parse::<Signature>(), Err(ReadCurveError::OutsideSubgroup));
    let mut outcomes = BTreeMap::<&str, u32>::new();
    for x in 1..40 {
        let text = format!("80{}{x:02x}", "0".repeat(92));
        match text.parse::<Signature>() {
            Err(ReadCurveError::OutsideSubgroup) => *outcomes.entry("subgroup").or_default() += 1,
            Err(ReadCurveError::Malformed) => *outcomes.entry("curve").or_default() += 1,
            other => panic!("x = {x}: {other:?}"),
        }
    }
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
    let modulus = "9a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab";
    assert_eq!(modulus.parse::<Signature>(), Err(ReadCurveError::Malformed));
    let key = format!("80{}02", "0".repeat(188));
    assert!(key.parse::<AggregatePublicKey>().is_err());
}

#[test]
fn scalars_above_the_order_and_texts_of_wrong_length_are_refused() {
    assert_eq!(SecretKeyShare::from_bytes(&[0xff; 32]), Err(ReadCurveError::NonCanonicalScalar));
    assert_eq!("00".parse::<BlindingKey>(), Err(ReadCurveError::Hex { expected_bytes: 32 }));
    assert_eq!("zz".repeat(48).parse::<Message>(), Err(ReadCurveError::Hex { expected_bytes: 48 }));
    assert!(serde_json::from_value::<Message>(json!(7)).is_err());
}

#[test]
fn hex_of_mixed_case_is_read_and_lower_case_is_written() {
    let message = hash_to_message_v2(b"m");
    let lower = message.to_string();
    let mixed: String = lower
        .chars()
        .enumerate()
        .map(|(i, c)| if i % 2 == 0 { c.to_ascii_uppercase() } else { c })
        .collect();
    assert_eq!(parse::<Message>(&json!(mixed)), message);
    assert_eq!(serde_json::to_value(message).unwrap(), json!(lower));
    let key: BlindingKey = parse(&json!(format!("AB{}", "0".repeat(62))));
    assert_eq!(serde_json::to_value(&key).unwrap(), json!(format!("ab{}", "0".repeat(62))));
    assert_eq!(format!("{key:?}"), "BlindingKey(redacted)");
}

/// docs/protocol/vectors/tbs.json
#[test]
fn vectors_of_the_reference() {
    Cases::load("tbs.json").run(|op, input, out| {
        match op {
            "seed-to-g1" => {
                let (point, odd, tries) = seed_to_point(&array(&input["seed"]));
                assert_eq!(point.to_compressed(), array(&out["point"]));
                assert_eq!(u64::from(odd), u64_of(&out["odd"]));
                assert_eq!(u64::from(tries), u64_of(&out["tries"]));
            }
            "seed-to-g1-run" => check_many_seeds(out),
            "chacha-stream" => check_stream(input, out),
            "wide-scalar" => {
                let scalar = Scalar::from_wide(&array(&input["bytes"]));
                assert_eq!(*scalar.to_bytes(), array(&out["scalar_le"]));
            }
            "message-to-g1" => check_message(input, out),
            "tbs-flow" => check_flow(input, out),
            "tbs-verify-share" => {
                let (blinded, share, key) = (
                    parse(&input["blinded"]),
                    parse(&input["share"]),
                    parse(&input["public_share"]),
                );
                assert_eq!(json!(verify_share(&blinded, &share, &key)), out["valid"]);
                assert_eq!(json!(verify_share_batch(&[(key, blinded, share)])[0]), out["valid"]);
            }
            "tbs-combine" => {
                let combined = combine(&parse(&input["shares"])).unwrap();
                assert_eq!(combined, parse(&out["signature"]));
            }
            "tbs-combine-keys" => {
                let shares: Vec<PublicKeyShare> = parse(&input["public_shares"]);
                let combined = combine_public_keys(&(0..).zip(shares).collect()).unwrap();
                assert_eq!(combined, parse(&out["aggregate_key"]));
            }
            "tbs-sign" => {
                let blinded: BlindedMessage = parse(&input["blinded"]);
                let secret: SecretKeyShare = parse(&input["secret_share_le"]);
                let share = sign_share(&blinded, &secret);
                assert_eq!(share, parse(&out["share"]));
                let verifies = verify_share(&blinded, &share, &public_key_share(&secret));
                assert_eq!(json!(verifies), out["verifies"]);
            }
            "codec+json" => check_forms(input, out),
            other => panic!("unknown op {other}"),
        }
        None
    });
}

fn check_many_seeds(out: &Value) {
    use sha2::{Digest, Sha256};
    let mut all = Sha256::new();
    for i in 0..2000_u64 {
        all.update(seed_to_point(&Sha256::digest(i.to_be_bytes()).into()).0.to_compressed());
    }
    let digest: [u8; 32] = all.finalize().into();
    assert_eq!(digest, array(&out["sha256_of_all_points"]));
}

fn check_stream(input: &Value, out: &Value) {
    use chacha20::cipher::{KeyIvInit, StreamCipher};
    let seed: [u8; 32] = array(&input["seed"]);
    let mut stream = [0; 64];
    chacha20::ChaCha20::new(&seed.into(), &[0; 12].into()).apply_keystream(&mut stream);
    assert_eq!(stream, array(&out["first_64"]));
}

fn check_message(input: &Value, out: &Value) {
    let message = bytes(&input["msg"]);
    assert_eq!(hash_to_message_v1(&message), parse(&out["v1"]));
    assert_eq!(hash_to_message_v2(&message), parse(&out["v2"]));
    for generation in ["v1", "v2"] {
        // Some cases give the points only.
        let Some(seed) = out.get(format!("{generation}_seed")) else { continue };
        let (point, _, tries) = seed_to_point(&array(seed));
        assert_eq!(Message(point), parse(&out[generation]));
        assert_eq!(u64::from(tries), u64_of(&out[format!("{generation}_tries")]));
    }
}

fn check_flow(input: &Value, out: &Value) {
    let msg = bytes(&input["msg"]);
    let message: Message = parse(&out["message"]);
    assert!(message == hash_to_message_v1(&msg) || message == hash_to_message_v2(&msg));
    let blinding: BlindingKey = parse(&input["blinding_key_le"]);
    let blinded = blind(&message, &blinding);
    assert_eq!(blinded, parse(&out["blinded"]));
    let secrets: Vec<SecretKeyShare> = parse(&out["secret_shares_le"]);
    let public: Vec<PublicKeyShare> = secrets.iter().map(public_key_share).collect();
    assert_eq!(public, parse::<Vec<_>>(&out["public_shares"]));
    let shares: Vec<_> = secrets.iter().map(|secret| sign_share(&blinded, secret)).collect();
    assert_eq!(shares, parse::<Vec<_>>(&out["signature_shares"]));
    let pick = |peers: &[u64]| {
        combine(&peers.iter().map(|p| (*p, shares[*p as usize])).collect()).unwrap()
    };
    for combination in out["combinations"].as_array().unwrap() {
        let peers: Vec<u64> = parse(&combination["peers"]);
        assert_eq!(pick(&peers), parse(&combination["signature"]));
    }
    assert_eq!(pick(&[0, 1, 2, 3]), parse(&out["combined_from_all_4"]));
    let signature = unblind(&pick(&[0, 1, 2]), &blinding);
    assert_eq!(signature, parse(&out["signature"]));
    let from_two = parse(&out["combined_from_2_is_wrong"]);
    assert!([[0, 1], [0, 2], [1, 2]].iter().any(|peers| pick(peers) == from_two));
    let key: AggregatePublicKey = parse(&out["aggregate_key"]);
    assert!(!verify_blinded(&blinded, &from_two, &key));
    assert_eq!(json!(verify(&message, &signature, &key)), out["verifies"]);
    let under_share = verify(&message, &signature, &AggregatePublicKey(public[0].0));
    assert_eq!(json!(under_share), out["verifies_under_public_share_0"]);
}

fn check_forms(input: &Value, out: &Value) {
    match input["type"].as_str().unwrap() {
        "tbs scalar" => {
            let value: SecretKeyShare = parse(&input["json"]);
            assert_eq!(*value.to_bytes(), array(&out["hex"]));
            assert_eq!(SecretKeyShare::from_bytes(&array(&out["hex"])).unwrap(), value);
            assert_eq!(serde_json::to_value(&value).unwrap(), input["json"]);
        }
        "tbs G1" => {
            let value: BlindedMessage = parse(&input["json"]);
            assert_eq!(value.to_bytes(), array(&out["hex"]));
            assert_eq!(BlindedMessage::from_bytes(&array(&out["hex"])).unwrap(), value);
            assert_eq!(serde_json::to_value(value).unwrap(), input["json"]);
        }
        "tbs G2" => {
            let value: PublicKeyShare = parse(&input["json"]);
            assert_eq!(value.to_bytes(), array(&out["hex"]));
            assert_eq!(PublicKeyShare::from_bytes(&array(&out["hex"])).unwrap(), value);
            assert_eq!(serde_json::to_value(value).unwrap(), input["json"]);
        }
        other => panic!("unknown type {other}"),
    }
}

/// Prints the cost of the main operations: `cargo test -p moneta-crypto -- --ignored --nocapture`.
#[test]
#[ignore = "measures, asserts nothing"]
fn cost_per_operation() {
    use std::time::Instant;
    let nonces: Vec<[u8; 8]> = (0..1000_u64).map(u64::to_be_bytes).collect();
    let start = Instant::now();
    hash_to_messages_v2(&nonces, 1);
    println!("hash: {:?} per message", start.elapsed() / 1000);
    let items = notes(1000, 12);
    for (count, workers) in [(1, 1), (100, 1), (1000, 1), (100, 2), (1000, 2)] {
        let start = Instant::now();
        assert!(verify_batch_with(&items[..count], workers).iter().all(|valid| *valid));
        let each = start.elapsed() / u32::try_from(count).unwrap();
        println!("verify: {each:?} per note, batch of {count}, {workers} threads");
    }
    let mut one_bad = items.clone();
    one_bad[777].2 = one_bad[776].2;
    let start = Instant::now();
    verify_batch(&one_bad);
    println!("verify: {:?} for a batch of 1000 with one bad note", start.elapsed());
    let federation = federation(1);
    let secret = &federation[0][0].secret_share;
    let blinded: Vec<_> =
        items.iter().map(|item| (BlindedMessage(item.1.0), secret)).take(200).collect();
    let start = Instant::now();
    sign_shares(&blinded, 1);
    println!("sign: {:?} per share", start.elapsed() / 200);
    let shares = shares_of(&federation, &blinded[0].0);
    let key = &federation[0][0];
    let start = Instant::now();
    combine_verified(&blinded[0].0, &key.aggregate, &key.public_shares, 3, &shares).unwrap();
    println!("combine and verify: {:?}", start.elapsed());
}
