#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;
use crate::scalar::Scalar;
use crate::tbs;

const CONTEXT: [u8; 32] = [9; 32];

fn shape() -> Shape {
    Shape::new(4, 3, 2).unwrap()
}

fn dealers(shape: Shape) -> Vec<Dealer> {
    (0..shape.guardians() as u64)
        .map(|peer| Dealer::from_seed(shape, peer, &CONTEXT, &[peer as u8 + 1; 32]))
        .collect()
}

fn dealt_to(own: u64, dealers: &[Dealer]) -> BTreeMap<u64, (Dealing, DealtShares)> {
    (0..)
        .zip(dealers)
        .map(|(peer, dealer)| (peer, (dealer.dealing().clone(), dealer.shares_for(own).unwrap())))
        .collect()
}

fn tamper(shares: &DealtShares, key: usize) -> DealtShares {
    let mut wrong = shares.clone();
    wrong.0[key] = wrong.0[key].plus(&Scalar::from(1));
    wrong
}

#[test]
fn any_threshold_of_guardians_signs_under_the_generated_keys() {
    let (shape, dealers) = (shape(), dealers(shape()));
    let keys: Vec<_> =
        (0..4).map(|own| finish(shape, own, &dealt_to(own, &dealers)).unwrap()).collect();
    let message = tbs::hash_to_message_v2(b"nonce");
    let blinded = tbs::BlindedMessage(message.0);
    for key in 0..shape.keys() {
        let aggregate = keys[0][key].aggregate;
        for own in &keys {
            assert_eq!(own[key].aggregate, aggregate);
            assert_eq!(own[key].public_shares, keys[0][key].public_shares);
        }
        for left_out in 0..4 {
            let shares = (0..4)
                .filter(|peer| *peer != left_out)
                .map(|peer| {
                    let secret = &keys[peer as usize][key].secret_share;
                    assert_eq!(tbs::public_key_share(secret), keys[0][key].public_shares[&peer]);
                    (peer, tbs::sign_share(&blinded, secret))
                })
                .collect();
            let signature = tbs::combine(&shares).unwrap();
            assert!(tbs::verify_blinded(&blinded, &signature, &aggregate));
        }
    }
    assert_ne!(keys[0][0].aggregate, keys[0][1].aggregate);
}

#[test]
fn aggregate_key_is_the_interpolation_of_public_shares() {
    let key = &deal_trusted(shape(), &[5; 32])[0][0];
    let first = key.public_shares.iter().take(3).map(|(peer, share)| (*peer, *share)).collect();
    assert_eq!(tbs::combine_public_keys(&first).unwrap(), key.aggregate);
}

#[test]
fn trusted_dealing_gives_each_guardian_the_secret_of_its_public_share() {
    for (peer, keys) in (0_u64..).zip(deal_trusted(shape(), &[5; 32])) {
        for key in keys {
            assert_eq!(tbs::public_key_share(&key.secret_share), key.public_shares[&peer]);
        }
    }
}

#[test]
fn a_single_guardian_holds_the_aggregate_key_itself() {
    let keys = deal_locally(42, &[5; 32]).unwrap();
    assert_eq!(keys.len(), 42);
    for key in keys {
        assert_eq!(tbs::public_key_share(&key.secret_share).to_bytes(), key.aggregate.to_bytes());
        assert_eq!(key.public_shares.len(), 1);
    }
    assert!(deal_locally(0, &[5; 32]).is_err());
}

#[test]
fn a_restarted_dealer_deals_the_same_and_another_ceremony_deals_anew() {
    let again = || Dealer::from_seed(shape(), 1, &CONTEXT, &[7; 32]);
    assert_eq!(again().dealing(), again().dealing());
    assert_eq!(again().shares_for(2), again().shares_for(2));
    let other_context = Dealer::from_seed(shape(), 1, &[8; 32], &[7; 32]);
    assert_ne!(again().dealing(), other_context.dealing());
    let other_peer = Dealer::from_seed(shape(), 2, &CONTEXT, &[7; 32]);
    assert_ne!(again().dealing(), other_peer.dealing());
}

#[test]
fn dealing_and_shares_survive_their_bytes() {
    let dealer = &dealers(shape())[0];
    let bytes = dealer.dealing().to_bytes();
    assert_eq!(bytes.len(), 2 * 3 * 96);
    assert_eq!(&Dealing::from_bytes(shape(), &bytes).unwrap(), dealer.dealing());
    let shares = dealer.shares_for(3).unwrap();
    assert_eq!(DealtShares::from_bytes(shape(), &shares.to_bytes()).unwrap(), shares);
}

#[test]
fn hash_binds_dealer_context_and_every_commitment() {
    let dealers = dealers(shape());
    let dealing = dealers[0].dealing();
    let hash = dealing.hash(0, &CONTEXT);
    assert!(dealing.matches(0, &CONTEXT, &hash));
    assert!(!dealing.matches(1, &CONTEXT, &hash));
    assert!(!dealing.matches(0, &[0; 32], &hash));
    assert!(!dealers[1].dealing().matches(0, &CONTEXT, &hash));
}

#[test]
fn transcripts_differ_if_one_dealing_does() {
    let dealers = dealers(shape());
    let all = |last: &Dealer| {
        (0..).zip([&dealers[0], last]).map(|(peer, d)| (peer, d.dealing().clone())).collect()
    };
    let one = transcript_hash(&CONTEXT, &all(&dealers[1]));
    assert_eq!(one, transcript_hash(&CONTEXT, &all(&dealers[1])));
    assert_ne!(one, transcript_hash(&CONTEXT, &all(&dealers[2])));
}

#[test]
fn shares_off_the_polynomial_or_of_another_receiver_are_refused() {
    let dealer = &dealers(shape())[0];
    let shares = dealer.shares_for(2).unwrap();
    let dealing = dealer.dealing();
    assert_eq!(dealing.verify_shares(2, &shares), Ok(()));
    assert_eq!(dealing.verify_shares(1, &shares), Err(ShareError::Mismatch { key: 0 }));
    let wrong = tamper(&shares, 1);
    assert_eq!(dealing.verify_shares(2, &wrong), Err(ShareError::Mismatch { key: 1 }));
    assert_eq!(dealing.verify_shares(4, &shares), Err(ShareError::UnknownPeer));
    assert!(dealer.shares_for(4).is_none());
}

#[test]
fn complaint_is_answered_by_right_shares_and_convicts_on_anything_else() {
    let dealer = &dealers(shape())[0];
    let (dealing, shares) = (dealer.dealing(), dealer.shares_for(2).unwrap());
    let judge = |bytes: &[u8]| dealing.judge(2, bytes).unwrap();
    assert_eq!(judge(&shares.to_bytes()), Verdict::Answered(shares.clone()));
    assert_eq!(
        judge(&tamper(&shares, 0).to_bytes()),
        Verdict::DealerGuilty(ShareError::Mismatch { key: 0 })
    );
    assert_eq!(judge(&[]), Verdict::DealerGuilty(ShareError::WrongLength));
    assert_eq!(judge(&[0xff; 64]), Verdict::DealerGuilty(ShareError::NonCanonical { key: 0 }));
    assert_eq!(dealing.judge(9, &shares.to_bytes()), Err(ShareError::UnknownPeer));
}

#[test]
fn malformed_dealings_are_refused() {
    let good = dealers(shape())[0].dealing().to_bytes();
    let read = |bytes: &[u8]| Dealing::from_bytes(shape(), bytes).unwrap_err();
    assert_eq!(read(&good[1..]), DealingError::WrongLength);
    assert_eq!(read(&[&good[..], &[0]].concat()), DealingError::WrongLength);
    let mut zero_constant = good.clone();
    zero_constant[3 * 96..4 * 96].fill(0);
    zero_constant[3 * 96] = 0xc0;
    assert_eq!(read(&zero_constant), DealingError::ZeroConstant { key: 1 });
    let mut bad_point = good.clone();
    bad_point[96] &= 0x7f;
    assert!(matches!(read(&bad_point), DealingError::BadPoint { key: 0, degree: 1, .. }));
}

#[test]
fn keys_are_refused_from_too_few_dealers_or_unverified_shares() {
    let (shape, dealers) = (shape(), dealers(shape()));
    let all = dealt_to(1, &dealers);
    let two: BTreeMap<_, _> = all.clone().into_iter().take(2).collect();
    assert_eq!(
        finish(shape, 1, &two),
        Err(FinishError::TooFewDealers { dealers: 2, threshold: 3 })
    );
    assert_eq!(finish(shape, 4, &all), Err(FinishError::UnknownPeer { peer: 4 }));
    let mut wrong = all.clone();
    let entry = wrong.get_mut(&3).unwrap();
    entry.1 = tamper(&entry.1, 1);
    assert_eq!(finish(shape, 1, &wrong), Err(FinishError::SharesDoNotMatch { key: 1 }));
    let other = Shape::new(4, 3, 1).unwrap();
    assert_eq!(finish(other, 1, &all), Err(FinishError::OtherShape { dealer: 0 }));
}

#[test]
fn senseless_shapes_are_refused() {
    for (guardians, threshold, keys) in
        [(0, 0, 1), (4, 0, 1), (4, 5, 1), (4, 3, 0), (101, 68, 1), (4, 3, 257)]
    {
        assert!(Shape::new(guardians, threshold, keys).is_err());
    }
}

#[test]
fn secrets_of_the_ceremony_do_not_print() {
    let dealer = &dealers(shape())[0];
    assert!(format!("{dealer:?}").ends_with("redacted)"));
    assert_eq!(format!("{:?}", dealer.shares_for(0).unwrap()), "DealtShares(2 keys, redacted)");
}

/// Prints the cost of a large ceremony: `cargo test -p moneta-crypto -- --ignored --nocapture`.
#[test]
#[ignore = "measures, asserts nothing"]
fn cost_of_a_ceremony() {
    use std::time::Instant;
    let shape = Shape::new(13, 9, 42).unwrap();
    let start = Instant::now();
    let dealers = dealers(shape);
    println!("deal: {:?} per dealer", start.elapsed() / 13);
    let dealt = dealt_to(5, &dealers);
    let start = Instant::now();
    for (dealing, shares) in dealt.values() {
        dealing.verify_shares(5, shares).unwrap();
    }
    println!("verify: {:?} for all dealers", start.elapsed());
    let start = Instant::now();
    finish(shape, 5, &dealt).unwrap();
    println!("finish: {:?}", start.elapsed());
}

/// docs/protocol/vectors/dkg.json
#[test]
fn vectors_of_the_reference() {
    use crate::curve::{G1, G2};
    use crate::vectors::{Cases, array, u64_of};

    let scalar = |value: &serde_json::Value| Scalar::from(u64_of(value));
    Cases::load("dkg.json").run(|op, input, out| {
        match op {
            "dkg-eval" => {
                let polynomial = super::polynomial::Polynomial(
                    input["coefficients"].as_array().unwrap().iter().map(scalar).collect(),
                );
                let peer = u64_of(&input["peer"]);
                let x = super::polynomial::point(peer);
                assert_eq!(*Scalar::from(x).to_bytes(), array::<32>(&out["x_le"]));
                assert_eq!(*polynomial.share(peer).to_bytes(), array::<32>(&out["share_le"]));
                let g2: Vec<G2> = input["g2_commitments"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|point| G2::from_compressed(&array(point)).unwrap())
                    .collect();
                assert_eq!(polynomial.commitments(), g2);
                assert_eq!(G2::evaluate(&g2, x).to_compressed(), array(&out["g2"]));
                let g1: Vec<G1> = input["g1_commitments"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|point| G1::from_compressed(&array(point)).unwrap())
                    .collect();
                assert_eq!(G1::evaluate(&g1, x).to_compressed(), array(&out["g1"]));
            }
            other => panic!("unknown op {other}"),
        }
        None
    });
}
