//! Key generation among guardians in one process: over a bad network, with crashes, and with liars.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use moneta_core::{Decode, Encode, ModuleKind, PeerId};
use moneta_module::setup::ServerKind;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use zeroize::Zeroizing;

use super::super::ceremony::tests::agreements;
use super::super::message::{Answers, Complaints, Contribution};
use super::{Agreement, GuardianConfig, Keygen, KeygenError, Progress, Stage};
use crate::testing::FakeKind;

type Kinds = Vec<Box<dyn ServerKind>>;

fn kinds(tbs_keys: usize) -> Kinds {
    let kind = |name, tbs_keys| -> Box<dyn ServerKind> {
        Box::new(FakeKind { kind: ModuleKind::from_static(name), tbs_keys })
    };
    vec![kind("alpha", tbs_keys), kind("beta", 0)]
}

fn peer(index: usize) -> PeerId {
    PeerId::new(index as u16)
}

fn start<'a>(agreement: &Agreement, kinds: &'a Kinds) -> Keygen<'a> {
    let seed = Zeroizing::new([agreement.me.index() as u8 + 1; 32]);
    Keygen::new(agreement.clone(), &seed, Zeroizing::new(vec![1, 2, 3]), kinds).unwrap()
}

/// Checks what all guardians must have in common and what nobody may.
fn check(configs: &[GuardianConfig], kinds: &Kinds) {
    for config in configs {
        assert_eq!(config.consensus, configs[0].consensus);
        config.open_modules(kinds).unwrap();
    }
    let secrets: BTreeSet<_> =
        configs.iter().map(|config| config.private.broadcast_secret_key.secret_bytes()).collect();
    assert_eq!(secrets.len(), configs.len());
}

/// What one guardian has after any crash, beside its seed.
type Stored = Vec<(Stage, PeerId, Vec<u8>)>;

/// Runs over a network that loses, doubles and reorders, with crashes; everybody must be done.
fn run_badly(count: usize, tbs_keys: usize, seed: u64, loss: f64, crash: f64) {
    let kinds = kinds(tbs_keys);
    let agreements = agreements(count);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut keygens: Vec<_> = agreements.iter().map(|own| start(own, &kinds)).collect();
    let mut stored: Vec<Stored> = vec![Vec::new(); count];
    let mut configs: BTreeMap<usize, GuardianConfig> = BTreeMap::new();
    let mut network: VecDeque<(usize, usize, Stage, Vec<u8>)> = VecDeque::new();
    for _tick in 0..400 {
        for from in 0..count {
            if rng.gen_bool(crash) {
                keygens[from] = start(&agreements[from], &kinds);
                for (stage, peer, bytes) in stored[from].clone() {
                    keygens[from].receive(peer, stage, bytes).unwrap();
                }
            }
            if let Progress::Done(config) = keygens[from].advance().unwrap() {
                let known = configs.entry(from).or_insert_with(|| (*config).clone());
                assert_eq!(known.consensus, config.consensus, "done again is done alike");
                assert!(known.private == config.private);
            }
            for to in (0..count).filter(|to| *to != from) {
                for (stage, bytes) in keygens[from].outgoing(peer(to)) {
                    for _ in 0..rng.gen_range(1..3) {
                        network.push_back((from, to, stage, bytes.clone()));
                    }
                }
            }
        }
        while !network.is_empty() {
            let index = rng.gen_range(0..network.len());
            let Some((from, to, stage, bytes)) = network.swap_remove_back(index) else { break };
            if !rng.gen_bool(loss) {
                stored[to].push((stage, peer(from), bytes.clone()));
                keygens[to].receive(peer(from), stage, bytes).unwrap();
            }
        }
        if configs.len() == count {
            check(&configs.into_values().collect::<Vec<_>>(), &kinds);
            return;
        }
    }
    panic!("seed {seed}: {} of {count} are done", configs.len());
}

#[test]
fn one_guardian_needs_nobody() {
    run_badly(1, 2, 0, 0.0, 0.0);
}

#[test]
fn four_guardians_agree_over_a_bad_network() {
    for seed in 0..3 {
        run_badly(4, 2, seed, 0.6, 0.0);
    }
}

#[test]
fn four_guardians_agree_although_they_crash_all_the_time() {
    for seed in 0..3 {
        run_badly(4, 1, seed, 0.3, 0.3);
    }
}

#[test]
fn seven_guardians_agree() {
    run_badly(7, 1, 1, 0.3, 0.1);
}

#[test]
fn federation_without_threshold_keys_is_set_up_too() {
    run_badly(4, 0, 1, 0.2, 0.1);
}

/// Guardian 3 lies: what it would send to `to` goes through `tamper`.
type Tamper<'a> = &'a dyn Fn(usize, Stage, Vec<u8>) -> Option<Vec<u8>>;

type End = Result<Option<GuardianConfig>, KeygenError>;

const LIAR: usize = 3;

/// Runs four guardians in lockstep; how it ends for the three honest ones.
fn run_with_liar(tamper: Tamper<'_>) -> Vec<End> {
    let kinds = kinds(1);
    run_with(&agreements(4), &kinds, &|from, to, stage, bytes| match from {
        LIAR => tamper(to, stage, bytes),
        _ => Some(bytes),
    })
}

fn run_with(
    agreements: &[Agreement],
    kinds: &Kinds,
    tamper: &dyn Fn(usize, usize, Stage, Vec<u8>) -> Option<Vec<u8>>,
) -> Vec<End> {
    let mut keygens: Vec<_> = agreements.iter().map(|own| start(own, kinds)).collect();
    let mut ends: Vec<End> = vec![Ok(None); 4];
    for _round in 0..2 * Stage::ALL.len() {
        for (index, keygen) in keygens.iter_mut().enumerate() {
            if matches!(ends[index], Ok(None)) {
                ends[index] = keygen.advance().map(|progress| match progress {
                    Progress::Done(config) => Some(*config),
                    Progress::Waiting { .. } => None,
                });
            }
        }
        for from in 0..4 {
            for to in (0..4).filter(|to| *to != from) {
                for (stage, bytes) in keygens[from].outgoing(peer(to)) {
                    let Some(bytes) = tamper(from, to, stage, bytes) else { continue };
                    if let Err(error) = keygens[to].receive(peer(from), stage, bytes) {
                        ends[to] = ends[to].clone().and(Err(error));
                    }
                }
            }
        }
    }
    ends.truncate(LIAR);
    ends
}

/// What went wrong for each honest guardian.
fn errors(ends: Vec<End>) -> Vec<KeygenError> {
    ends.into_iter().map(|end| end.expect_err("a lie went unnoticed")).collect()
}

fn changed<T: Encode + Decode>(bytes: &[u8], change: impl FnOnce(&mut T)) -> Option<Vec<u8>> {
    let mut value = T::from_bytes(bytes).unwrap();
    change(&mut value);
    Some(value.to_bytes())
}

#[test]
fn guardian_with_other_setup_codes_is_named() {
    let mut all = agreements(4);
    let other = agreements(4).remove(0).codes[&peer(1)].clone();
    all[LIAR].codes.get_mut(&peer(1)).unwrap().name = format!("{}!", other.name);
    let ends = run_with(&all, &kinds(1), &|_, _, _, bytes| Some(bytes));
    for error in errors(ends) {
        assert_eq!(error, KeygenError::OtherCodes { peers: vec![peer(LIAR)] });
    }
}

#[test]
fn malformed_message_is_named_with_its_stage() {
    let stages = [
        Stage::Hello,
        Stage::Contribution,
        Stage::Dealing,
        Stage::Echo,
        Stage::Complaints,
        Stage::Answers,
    ];
    for bad in stages {
        let ends = run_with_liar(&|_, stage, bytes| {
            Some(if stage == bad { vec![0xff, 1] } else { bytes })
        });
        for error in errors(ends) {
            let KeygenError::Malformed { peer: named, stage, .. } = error else {
                panic!("{bad:?}: {error}")
            };
            assert_eq!((named, stage), (peer(LIAR), bad));
        }
    }
}

#[test]
fn second_different_message_is_a_lie_and_a_repeated_one_is_not() {
    let kinds = kinds(0);
    let mut keygen = start(&agreements(4)[0], &kinds);
    keygen.receive(peer(1), Stage::Echo, vec![1]).unwrap();
    keygen.receive(peer(1), Stage::Echo, vec![1]).unwrap();
    let error = keygen.receive(peer(1), Stage::Echo, vec![2]).unwrap_err();
    assert_eq!(error, KeygenError::TwoMessages { peer: peer(1), stage: Stage::Echo });
    // Strangers and ourselves are not heard at all.
    keygen.receive(peer(0), Stage::Hello, vec![9]).unwrap();
    keygen.receive(peer(9), Stage::Hello, vec![9]).unwrap();
    let Progress::Waiting { stage: Stage::Hello, missing } = keygen.advance().unwrap() else {
        panic!("went on")
    };
    assert_eq!(missing, [peer(1), peer(2), peer(3)]);
}

#[test]
fn dealing_other_than_committed_is_named() {
    let ends = run_with_liar(&|_, stage, bytes| match stage {
        Stage::Contribution => changed::<Contribution>(&bytes, |part| part.dealing = [9; 32]),
        _ => Some(bytes),
    });
    for error in errors(ends) {
        assert_eq!(error, KeygenError::BrokenCommitment { peer: peer(LIAR) });
    }
}

#[test]
fn key_of_another_guardian_is_not_taken_as_ones_own() {
    let kinds = kinds(1);
    let mut honest = start(&agreements(4)[0], &kinds);
    honest.advance().unwrap();
    let stolen = honest.broadcast.public_key();
    let ends = run_with_liar(&|_, stage, bytes| match stage {
        Stage::Contribution => changed::<Contribution>(&bytes, |part| part.broadcast_key = stolen),
        _ => Some(bytes),
    });
    for error in errors(ends) {
        let KeygenError::Malformed { peer: named, stage, .. } = error else { panic!("{error}") };
        assert_eq!((named, stage), (peer(LIAR), Stage::Contribution));
    }
}

#[test]
fn different_stories_to_different_guardians_are_named() {
    let ends = run_with_liar(&|to, stage, bytes| match (to, stage) {
        (2, Stage::Contribution) => {
            changed::<Contribution>(&bytes, |part| part.modules[0] = vec![5; 8])
        }
        _ => Some(bytes),
    });
    let story = |witness| KeygenError::TwoStories { peer: peer(LIAR), witness: peer(witness) };
    assert_eq!(errors(ends), [story(2), story(2), story(0)]);
}

#[test]
fn complaint_to_some_only_does_not_fall_back_on_the_accused() {
    let ends = run_with_liar(&|to, stage, bytes| match (to, stage) {
        (1, Stage::Complaints) => changed::<Complaints>(&bytes, |complaints| {
            complaints.dealers.insert(peer(0));
        }),
        _ => Some(bytes),
    });
    for error in errors(ends) {
        assert!(
            matches!(error, KeygenError::TwoStories { peer: named, .. } if named == peer(LIAR)),
            "{error}"
        );
    }
}

#[test]
fn bad_share_that_is_mended_harms_nobody() {
    let ends = run_with_liar(&|to, stage, bytes| match (to, stage) {
        (1, Stage::Shares) => Some(vec![3; 7]),
        _ => Some(bytes),
    });
    let configs: Vec<_> = ends.into_iter().map(|end| end.unwrap().unwrap()).collect();
    check(&configs, &kinds(1));
}

#[test]
fn bad_share_that_is_not_mended_is_named_by_all() {
    let ends = run_with_liar(&|to, stage, bytes| match (to, stage) {
        (1, Stage::Shares) => Some(vec![3; 7]),
        (_, Stage::Answers) => changed::<Answers>(&bytes, |answers| answers.shares.clear()),
        _ => Some(bytes),
    });
    for error in errors(ends) {
        assert_eq!(error, KeygenError::BadShares { peer: peer(LIAR), accuser: peer(1) });
    }
}

#[test]
fn false_complaint_harms_nobody() {
    let ends = run_with_liar(&|_, stage, bytes| match stage {
        Stage::Complaints => changed::<Complaints>(&bytes, |complaints| {
            complaints.dealers.insert(peer(0));
        }),
        // The liar does not see its own complaint in its own messages, so it has to lie on.
        Stage::Answers => None,
        _ => Some(bytes),
    });
    // Nobody blames the accused; what is missing is the liar's next message.
    assert!(ends.iter().all(|end| matches!(end, Ok(None))), "{ends:?}");
}

#[test]
fn malformed_part_of_a_module_is_named() {
    let ends = run_with_liar(&|_, stage, bytes| match stage {
        Stage::Contribution => changed::<Contribution>(&bytes, |part| part.modules[1] = vec![5; 3]),
        // As it would be if the liar stood by its story.
        Stage::Echo => None,
        _ => Some(bytes),
    });
    assert!(ends.iter().all(|end| matches!(end, Ok(None))), "an echo is missing");
    let ends = run_with_liar(&|_, stage, bytes| match stage {
        Stage::Contribution => changed::<Contribution>(&bytes, |part| part.modules.clear()),
        _ => Some(bytes),
    });
    for error in errors(ends) {
        let KeygenError::Malformed { peer: named, stage, .. } = error else { panic!("{error}") };
        assert_eq!((named, stage), (peer(LIAR), Stage::Contribution));
    }
}

#[test]
fn one_other_configuration_stops_nobody_and_two_stop_all() {
    let one = run_with_liar(&|_, stage, bytes| {
        Some(if stage == Stage::Finished { vec![9; 32] } else { bytes })
    });
    assert!(one.iter().all(|end| matches!(end, Ok(Some(_)))), "{one:?}");

    let kinds = kinds(1);
    let two = run_with(&agreements(4), &kinds, &|from, _, stage, bytes| {
        Some(if from >= 2 && stage == Stage::Finished { vec![9; 32] } else { bytes })
    });
    let expected = KeygenError::OtherConfig { peers: vec![peer(2), peer(LIAR)] };
    assert_eq!(two[0].as_ref().err(), Some(&expected));
    assert_eq!(two[1].as_ref().err(), Some(&expected));
}

#[test]
fn last_message_that_is_withheld_holds_up_nobody_once_others_are_done() {
    let kinds = kinds(1);
    let all = agreements(4);
    let mut keygens: Vec<_> = all.iter().map(|own| start(own, &kinds)).collect();
    for _round in 0..2 * Stage::ALL.len() {
        for keygen in &mut keygens {
            keygen.advance().unwrap();
        }
        for from in 0..4 {
            for to in (0..4).filter(|to| *to != from) {
                for (stage, bytes) in keygens[from].outgoing(peer(to)) {
                    if (from, to, stage) != (LIAR, 0, Stage::Finished) {
                        keygens[to].receive(peer(from), stage, bytes).unwrap();
                    }
                }
            }
        }
    }
    let is_done = |keygen: &mut Keygen<'_>| matches!(keygen.advance(), Ok(Progress::Done(_)));
    assert!(is_done(&mut keygens[1]) && !is_done(&mut keygens[0]));
    assert!(keygens[0].is_committed());
    // The liar's word that it is done proves nothing; an honest guardian's beside it does.
    keygens[0].receive_done(peer(LIAR));
    assert!(!is_done(&mut keygens[0]));
    keygens[0].receive_done(peer(1));
    assert!(is_done(&mut keygens[0]));
}

#[test]
fn word_of_one_guardian_ends_key_generation_only_before_the_point_of_no_return() {
    let kinds = kinds(0);
    let mut keygen = start(&agreements(4)[0], &kinds);
    let gave_up = keygen.receive_giving_up(peer(2), "tired\n".to_owned()).unwrap_err();
    assert_eq!(gave_up.to_string(), "guardian 2 gave up: \"tired\\n\"");

    let kinds = self::kinds(1);
    let all = agreements(1);
    let mut alone = start(&all[0], &kinds);
    alone.advance().unwrap();
    assert!(alone.is_committed());
    alone.receive_giving_up(peer(2), "tired".to_owned()).unwrap();
}
