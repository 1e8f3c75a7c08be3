#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use moneta_core::config::ClientConfig;
use moneta_core::id::PeerId;
use moneta_core::invite::InviteCode;
use serde_json::{Value, json};

use super::*;
use crate::query::CallFailure;

fn config(total: usize, name: &str) -> Value {
    let endpoint = |peer: usize| {
        let url = format!("wss://g{peer}.example/");
        (peer.to_string(), json!({ "url": url, "name": format!("{name}-{peer}") }))
    };
    let endpoints: serde_json::Map<_, _> = (0..total).map(endpoint).collect();
    json!({
        "api_endpoints": endpoints,
        "consensus_version": {"major": 2, "minor": 1},
        "meta": {},
        "modules": {"2": {"kind": "meta", "version": {"major": 0, "minor": 0}, "config": "0200"}},
    })
}

fn invite(config: &Value, peers: &[u16]) -> InviteCode {
    let config: ClientConfig = serde_json::from_value(config.clone()).unwrap();
    let url = |peer: &u16| (PeerId::new(*peer), format!("wss://g{peer}.example/").parse().unwrap());
    let apis: BTreeMap<_, _> = peers.iter().map(url).collect();
    InviteCode::new(apis, config.federation_id(), None).unwrap()
}

fn gone() -> CallFailure {
    CallFailure::unavailable("gone")
}

fn all_asked(step: Step) -> Vec<Ask> {
    match step {
        Step::Ask(asks) => asks,
        other => panic!("{other:?}"),
    }
}

#[test]
fn first_valid_config_then_a_threshold_joins_without_the_slowest() {
    let config = config(4, "g");
    let (mut attempt, asks) = Attempt::new(invite(&config, &[0, 1]));
    assert_eq!(asks.len(), 2);
    assert!(matches!(attempt.answer(&asks[0], Err(gone())), Step::Wait));
    let all = all_asked(attempt.answer(&asks[1], Ok(config.clone())));
    assert_eq!(all.len(), 4);
    assert!(matches!(attempt.answer(&all[0], Err(gone())), Step::Wait));
    for ask in &all[1..3] {
        assert!(matches!(attempt.answer(ask, Ok(config.clone())), Step::Wait));
    }
    let Step::Joined(joined) = attempt.answer(&all[3], Ok(config.clone())) else { panic!() };
    assert_eq!(serde_json::to_value(&*joined).unwrap()["modules"], config["modules"]);
}

#[test]
fn guardians_of_another_federation_end_the_join_for_good() {
    let (mut attempt, asks) = Attempt::new(invite(&config(4, "g"), &[0]));
    let Step::Failed(error) = attempt.answer(&asks[0], Ok(config(4, "other"))) else { panic!() };
    assert!(error.is_final());
    let text = error.to_string();
    assert!(text.contains("another federation") && text.contains("ask for a new one"), "{text}");
}

#[test]
fn unreachable_invite_names_the_guardians_and_may_be_tried_again() {
    let (mut attempt, asks) = Attempt::new(invite(&config(4, "g"), &[0, 3]));
    assert!(matches!(attempt.answer(&asks[0], Err(gone())), Step::Wait));
    let Step::Failed(error) = attempt.answer(&asks[1], Err(gone())) else { panic!() };
    assert!(!error.is_final());
    let text = error.to_string();
    assert!(text.contains("wss://g0.example/") && text.contains("wss://g3.example/"), "{text}");
}

#[test]
fn config_that_too_few_guardians_confirm_is_refused() {
    let honest = config(4, "g");
    // Same id, other modules: only the threshold can tell.
    let mut lie = honest.clone();
    lie["modules"] = json!({});
    let (mut attempt, asks) = Attempt::new(invite(&honest, &[0]));
    let all = all_asked(attempt.answer(&asks[0], Ok(lie.clone())));
    assert!(matches!(attempt.answer(&all[0], Ok(lie)), Step::Wait));
    assert!(matches!(attempt.answer(&all[1], Ok(honest.clone())), Step::Wait));
    let Step::Failed(error) = attempt.answer(&all[2], Err(gone())) else { panic!() };
    assert!(matches!(error, JoinError::Threshold { needed: 3, agreeing: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("g-2"), "{error}");
}

/// The id covers the addresses in the config and neither keys nor modules. With an invite that names
/// servers of their own for all guardians, somebody could stand for a federation that is not theirs.
#[test]
fn invite_cannot_move_more_guardians_than_may_be_faulty() {
    let honest = config(4, "g");
    let true_invite = invite(&honest, &[0, 1, 2, 3]);
    let elsewhere = |peer: PeerId| {
        let url = format!("wss://evil{}.example/", peer.index()).parse().unwrap();
        (peer, url)
    };
    let apis = true_invite.peers().into_keys().map(elsewhere).collect();
    let forged = InviteCode::new(apis, true_invite.federation_id(), None).unwrap();
    let (mut attempt, asks) = Attempt::new(forged);
    let all = all_asked(attempt.answer(&asks[0], Ok(honest)));
    let moved = all.iter().filter(|ask| ask.url.to_string().contains("evil"));
    assert_eq!(moved.count(), 1);
}

#[test]
fn missing_secret_is_said() {
    let (mut attempt, asks) = Attempt::new(invite(&config(1, "g"), &[0]));
    let refused = CallFailure::Refused { code: 401, message: "Unauthorized".to_owned() };
    let Step::Failed(error) = attempt.answer(&asks[0], Err(refused)) else { panic!() };
    assert!(error.to_string().contains("private"), "{error}");
}

/// Whoever lost patience was once told nothing but the time.
#[test]
fn roll_call_names_those_that_have_not_answered_and_keeps_their_trouble() {
    let config = config(4, "g");
    let roll = RollCall::default();
    let absent = || roll.absent().iter().map(ToString::to_string).collect::<Vec<_>>();
    let (mut attempt, asks) = Attempt::watched(invite(&config, &[0, 1]), roll.clone());
    let waiting = |who, peer| format!("{who} at wss://g{peer}.example/: no answer yet");
    assert_eq!(absent(), [waiting("guardian 0", 0), waiting("guardian 1", 1)]);
    attempt.answer(&asks[0], Err(gone()));
    let all = all_asked(attempt.answer(&asks[1], Ok(config.clone())));
    let gone_0 = "g-0 at wss://g0.example/: no answer: gone".to_owned();
    assert_eq!(absent(), [gone_0.clone(), waiting("g-2", 2), waiting("g-3", 3)]);
    attempt.answer(&all[2], Ok(config.clone()));
    attempt.answer(&all[3], Err(gone()));
    let gone_3 = "g-3 at wss://g3.example/: no answer: gone".to_owned();
    // The next attempt begins: what is known stays known until there is something newer.
    let (mut attempt, asks) = Attempt::watched(invite(&config, &[0, 1]), roll.clone());
    assert_eq!(absent(), [gone_0, gone_3.clone()]);
    attempt.answer(&asks[0], Ok(config));
    assert_eq!(absent(), [gone_3]);
}

#[test]
fn roll_call_shows_no_credentials() {
    let url = "wss://user:hidden@g0.example/?token=hidden".parse().unwrap();
    let apis = BTreeMap::from([(PeerId::new(0), url)]);
    let federation = moneta_core::id::FederationId([7; 32]);
    let roll = RollCall::default();
    let _ = Attempt::watched(InviteCode::new(apis, federation, None).unwrap(), roll.clone());
    assert!(!roll.absent()[0].to_string().contains("hidden"));
}
