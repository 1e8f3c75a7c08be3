#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::convert::Infallible;

use serde_json::json;

use super::*;

const T0: Timestamp = Timestamp(1_000_000);

fn query(strategy: Strategy, total: usize) -> Query {
    Query::new(strategy, FederationSize::new(total).unwrap(), Pace::CALLS, 0)
}

fn peers(numbers: &[u16]) -> Vec<PeerId> {
    numbers.iter().copied().map(PeerId::new).collect()
}

fn refusal() -> CallFailure {
    CallFailure::Refused { code: 400, message: "no".to_owned() }
}

/// Outcome without a judge.
fn outcome(query: &mut Query, now: Timestamp) -> Option<Outcome> {
    let judge = |_: &BTreeMap<PeerId, Value>| -> Result<Judgement, Infallible> {
        panic!("nothing to judge")
    };
    query.outcome(now, judge).unwrap()
}

#[test]
fn threshold_of_equal_answers_decides_without_the_slowest() {
    let mut query = query(Strategy::Agree, 4);
    assert_eq!(query.ask(T0), peers(&[0, 1, 2, 3]));
    for peer in peers(&[0, 3]) {
        query.answer(peer, Ok(json!(7)), T0);
        assert_eq!(outcome(&mut query, T0), None);
    }
    query.answer(PeerId::new(1), Ok(json!(7)), T0);
    assert_eq!(outcome(&mut query, T0), Some(Outcome::Answer(json!(7))));
}

#[test]
fn lying_guardian_does_not_decide_and_does_not_delay() {
    let mut query = query(Strategy::Agree, 4);
    query.ask(T0);
    query.answer(PeerId::new(0), Ok(json!("lie")), T0);
    for peer in peers(&[1, 2]) {
        query.answer(peer, Ok(json!(7)), T0);
        assert_eq!(outcome(&mut query, T0), None);
    }
    query.answer(PeerId::new(3), Ok(json!(7)), T0);
    assert_eq!(outcome(&mut query, T0), Some(Outcome::Answer(json!(7))));
}

#[test]
fn undecided_threshold_asks_those_again_and_takes_their_latest_answers() {
    let mut query = query(Strategy::Agree, 4);
    query.ask(T0);
    // Guardian 3 is dead; 0 lags one behind.
    for (peer, value) in [(0, 6), (1, 7), (2, 7)] {
        query.answer(PeerId::new(peer), Ok(json!(value)), T0);
    }
    assert_eq!(outcome(&mut query, T0), None);
    let again = query.next_wakeup().unwrap();
    assert_eq!(again, T0.after_ms(250));
    assert_eq!(query.ask(again), peers(&[0, 1, 2]));
    query.answer(PeerId::new(0), Ok(json!(7)), again);
    assert_eq!(outcome(&mut query, again), Some(Outcome::Answer(json!(7))));
}

#[test]
fn more_refusals_than_faulty_guardians_end_the_query() {
    let mut query = query(Strategy::Agree, 4);
    query.ask(T0);
    query.answer(PeerId::new(0), Err(refusal()), T0);
    assert_eq!(outcome(&mut query, T0), None, "one guardian may be faulty");
    query.answer(PeerId::new(1), Err(refusal()), T0);
    let refused = Outcome::CallRefused { code: 400, message: "no".to_owned() };
    assert_eq!(outcome(&mut query, T0), Some(refused));
}

#[test]
fn refusal_is_forgotten_when_the_guardian_answers_later() {
    let mut query = query(Strategy::Agree, 4);
    query.ask(T0);
    query.answer(PeerId::new(0), Err(refusal()), T0);
    assert_eq!(outcome(&mut query, T0), None);
    let later = T0.after_ms(250);
    assert_eq!(query.ask(later), peers(&[0]));
    query.answer(PeerId::new(0), Ok(json!(7)), later);
    query.answer(PeerId::new(1), Err(refusal()), later);
    assert_eq!(outcome(&mut query, later), None, "one refusal stands");
}

#[test]
fn unreachable_guardian_is_asked_again_with_growing_pauses() {
    let mut query = query(Strategy::Agree, 1);
    let mut now = T0;
    for pause in [250, 500, 1_000] {
        assert_eq!(query.ask(now), peers(&[0]));
        query.answer(PeerId::new(0), Err(CallFailure::unavailable("gone")), now);
        assert_eq!(outcome(&mut query, now), None);
        assert_eq!(query.next_wakeup(), Some(now.after_ms(pause)));
        assert_eq!(query.ask(now), []);
        now = now.after_ms(pause);
    }
}

#[test]
fn long_poll_that_ran_out_is_repeated_at_once() {
    let mut query = query(Strategy::Agree, 1);
    query.ask(T0);
    let end = T0.after_ms(50_000);
    let timeout = ApiErrorTimeout::failure();
    query.answer(PeerId::new(0), Err(timeout), end);
    assert_eq!(query.ask(end), peers(&[0]));
}

struct ApiErrorTimeout;

impl ApiErrorTimeout {
    fn failure() -> CallFailure {
        CallFailure::from_answer(moneta_core::api::ApiError::timeout())
    }
}

#[test]
fn timeout_answer_is_no_refusal() {
    assert!(matches!(ApiErrorTimeout::failure(), CallFailure::Unavailable { .. }));
}

#[test]
fn asking_once_ends_in_disagreement_when_no_threshold_can_agree() {
    let mut query = query(Strategy::AgreeOnce, 4);
    query.ask(T0);
    for (peer, value) in [(0, 1), (1, 2)] {
        query.answer(PeerId::new(peer), Ok(json!(value)), T0);
        assert_eq!(outcome(&mut query, T0), None);
    }
    query.answer(PeerId::new(2), Ok(json!(3)), T0);
    assert_eq!(outcome(&mut query, T0), Some(Outcome::Disagreement));
    assert_eq!(query.ask(T0.after_ms(60_000)), []);
}

#[test]
fn asking_once_agrees_at_the_threshold() {
    let mut query = query(Strategy::AgreeOnce, 4);
    query.ask(T0);
    for (peer, value) in [(0, 1), (1, 2), (2, 1)] {
        query.answer(PeerId::new(peer), Ok(json!(value)), T0);
        assert_eq!(outcome(&mut query, T0), None);
    }
    query.answer(PeerId::new(3), Ok(json!(1)), T0);
    assert_eq!(outcome(&mut query, T0), Some(Outcome::Answer(json!(1))));
}

#[test]
fn answer_judged_bad_is_forgotten_and_the_guardian_asked_again() {
    let mut query = query(Strategy::JudgeAll, 4);
    query.ask(T0);
    // Shares are numbers; negative ones do not verify, three good ones are enough.
    let judge = |answers: &BTreeMap<PeerId, Value>| -> Result<Judgement, Infallible> {
        let bad: BTreeSet<PeerId> =
            answers.iter().filter(|(_, v)| v.as_i64() < Some(0)).map(|(p, _)| *p).collect();
        Ok(match (bad.is_empty(), answers.len()) {
            (false, _) => Judgement::Bad(bad),
            (true, 3..) => Judgement::Enough,
            _ => Judgement::More,
        })
    };
    for (peer, value) in [(0, 5), (1, -1), (2, 6)] {
        query.answer(PeerId::new(peer), Ok(json!(value)), T0);
        assert_eq!(query.outcome(T0, judge).unwrap(), None);
    }
    assert_eq!(query.ask(T0.after_ms(250)), peers(&[1]));
    query.answer(PeerId::new(3), Ok(json!(7)), T0.after_ms(300));
    let Some(Outcome::Answers(answers)) = query.outcome(T0, judge).unwrap() else {
        panic!("three good answers")
    };
    assert_eq!(answers.into_keys().collect::<Vec<_>>(), peers(&[0, 2, 3]));
}

#[test]
fn one_after_another_goes_on_to_the_next_on_failure_bad_answer_and_silence() {
    let size = FederationSize::new(4).unwrap();
    let mut query = Query::new(Strategy::JudgeOne, size, Pace::CALLS, 2);
    let good = |answers: &BTreeMap<PeerId, Value>| -> Result<Judgement, Infallible> {
        assert_eq!(answers.len(), 1);
        let good = answers.values().all(|value| *value == json!(true));
        Ok(if good { Judgement::Enough } else { Judgement::More })
    };
    assert_eq!(query.ask(T0), peers(&[2]));
    query.answer(PeerId::new(2), Err(CallFailure::unavailable("gone")), T0);
    assert_eq!(query.outcome(T0, good).unwrap(), None);
    assert_eq!(query.ask(T0), peers(&[3]));
    query.answer(PeerId::new(3), Ok(json!(false)), T0);
    assert_eq!(query.outcome(T0, good).unwrap(), None);
    assert_eq!(query.ask(T0), peers(&[0]));
    // Guardian 0 stays silent.
    let late = T0.after_ms(HEAD_START_MS);
    assert!(query.next_wakeup().unwrap() <= late);
    assert!(query.ask(late).contains(&PeerId::new(1)));
    query.answer(PeerId::new(1), Ok(json!(true)), late);
    let expected = BTreeMap::from([(PeerId::new(1), json!(true))]);
    assert_eq!(query.outcome(late, good).unwrap(), Some(Outcome::Answers(expected)));
    assert_eq!(query.let_down(), peers(&[0, 2, 3]));
}
