#![allow(clippy::unwrap_used)]
use super::*;

fn rules() -> Pacing {
    Pacing { heat_rounds: 4, linger_rounds: 2, round_budget: 100, ..Pacing::default() }
}

/// Guardian 0 of 4, in a session open since `now`.
fn open(now: Instant) -> Pace {
    let mut pace = Pace::new(rules(), 0, 1, 3);
    pace.release(now);
    pace
}

fn at(now: Instant) -> Situation {
    Situation { now, asked_at: now, queued: false, congested: false }
}

fn seen(creator: usize, round: u16) -> SeenUnit {
    SeenUnit { creator, round, size_bytes: 100, heats: false, close: false }
}

const EMPTY: Decision = Decision::Answer { close: false, items: false };
const ITEMS: Decision = Decision::Answer { close: false, items: true };
const MARK: Decision = Decision::Answer { close: true, items: false };

#[test]
fn idle_session_waits_for_the_tick() {
    let now = Instant::now();
    let pace = open(now);
    let tick = now + rules().idle_tick;
    assert_eq!(pace.decide(at(now)), Decision::Wait(Some(tick)));
    assert_eq!(pace.decide(Situation { now: tick, ..at(now) }), EMPTY);
}

#[test]
fn queued_items_are_taken_at_once_unless_the_application_is_behind() {
    let now = Instant::now();
    let pace = open(now);
    let queued = Situation { queued: true, ..at(now) };
    assert_eq!(pace.decide(queued), ITEMS);
    let congested = Situation { congested: true, ..queued };
    assert_eq!(pace.decide(congested), Decision::Wait(Some(now + rules().idle_tick)));
}

#[test]
fn held_session_creates_nothing_until_released() {
    let now = Instant::now();
    let mut pace = Pace::new(rules(), 0, 1, 3);
    let later = now + Duration::from_secs(3600);
    let queued = Situation { now: later, queued: true, ..at(now) };
    assert_eq!(pace.decide(queued), Decision::Wait(None));
    pace.release(later);
    assert_eq!(pace.decide(queued), ITEMS);
}

#[test]
fn guardian_that_sits_out_creates_nothing() {
    let now = Instant::now();
    let mut pace = open(now);
    pace.sit_out();
    let queued = Situation { now: now + Duration::from_secs(3600), queued: true, ..at(now) };
    assert_eq!(pace.decide(queued), Decision::Wait(None));
}

#[test]
fn unordered_items_of_a_peer_keep_us_awake_until_ordered_and_a_little_longer() {
    let now = Instant::now();
    let mut pace = open(now);
    pace.saw(SeenUnit { heats: true, ..seen(2, 0) });
    assert_eq!(pace.decide(at(now)), EMPTY);
    pace.saw(seen(0, 0));
    pace.ordered(2, 0, false);
    for round in 1..=2 {
        assert_eq!(pace.decide(at(now)), EMPTY, "lingers before round {round}");
        pace.saw(seen(0, round));
    }
    assert!(matches!(pace.decide(at(now)), Decision::Wait(Some(_))));
}

#[test]
fn heat_of_a_unit_that_is_never_ordered_expires() {
    let now = Instant::now();
    let mut pace = open(now);
    pace.saw(SeenUnit { heats: true, ..seen(2, 0) });
    for round in 0..4 {
        assert_eq!(pace.decide(at(now)), EMPTY);
        pace.saw(seen(0, round));
        // Seen again, as rebroadcasts are: not hotter for that.
        if round < 3 {
            pace.saw(SeenUnit { heats: true, ..seen(2, 0) });
        }
    }
    assert!(matches!(pace.decide(at(now)), Decision::Wait(Some(_))));
}

#[test]
fn wake_hint_is_worth_two_rounds() {
    let now = Instant::now();
    let mut pace = open(now);
    for _ in 0..1000 {
        pace.wake();
    }
    for round in 0..2 {
        assert_eq!(pace.decide(at(now)), EMPTY);
        pace.saw(seen(0, round));
    }
    assert!(matches!(pace.decide(at(now)), Decision::Wait(Some(_))));
}

#[test]
fn old_session_is_marked_at_once_and_then_idles_until_others_agree() {
    let now = Instant::now();
    let mut pace = open(now);
    let due = now + rules().max_age;
    let asked_at = due - Duration::from_millis(300);
    let waiting = Situation { now: asked_at, ..at(asked_at) };
    assert_eq!(pace.decide(waiting), Decision::Wait(Some(due)));
    assert_eq!(pace.decide(Situation { now: due, ..waiting }), MARK);
    pace.saw(SeenUnit { close: true, ..seen(0, 0) });
    assert!(matches!(pace.decide(at(due)), Decision::Wait(Some(_))), "a single mark heats nobody");
    pace.saw(SeenUnit { close: true, ..seen(1, 0) });
    assert_eq!(pace.decide(at(due)), MARK, "one of two marks is honest");
}

#[test]
fn budgets_and_requests_close_a_session() {
    let now = Instant::now();
    let mut long = open(now);
    long.saw(seen(0, 99));
    assert_eq!(long.decide(at(now)), MARK);
    let mut heavy = open(now);
    heavy.saw(SeenUnit { size_bytes: rules().byte_budget, ..seen(1, 0) });
    assert_eq!(heavy.decide(at(now)), MARK);
    let mut asked = open(now);
    asked.ask_close();
    assert_eq!(asked.decide(at(now)), MARK);
}

/// As long as AlephBFT 0.45 waits for a guardian that is down.
const COLLECTION: Duration = Duration::from_secs(5);

#[test]
fn session_at_full_pace_outlasts_the_collection_of_the_next() {
    let Pacing { round_delay, round_budget, .. } = Pacing::default();
    assert!(round_delay * u32::from(round_budget) > COLLECTION);
}

#[test]
fn two_ordered_marks_of_four_pull_us_along_and_three_end_the_session() {
    let now = Instant::now();
    let mut pace = open(now);
    assert!(!pace.ordered(1, 0, true));
    assert!(!pace.ordered(1, 1, true), "a guardian's second mark does not count");
    assert!(matches!(pace.decide(at(now)), Decision::Wait(Some(_))));
    assert!(!pace.ordered(2, 1, true));
    assert_eq!(pace.decide(at(now)), MARK);
    assert!(pace.ordered(3, 2, true));
    assert_eq!(pace.phase(), Phase::Ended);
    assert!(!pace.ordered(0, 3, true), "a session ends once");
}

#[test]
fn closing_session_takes_no_items_and_hurries_to_its_end() {
    let now = Instant::now();
    let mut pace = open(now);
    let queued = Situation { queued: true, ..at(now) };
    for creator in 1..=2 {
        pace.saw(SeenUnit { close: true, ..seen(creator, 5) });
        assert!(pace.takes_items(), "one of two marks may be a liar's and never be ordered");
        assert_eq!(pace.decide(queued), ITEMS);
    }
    pace.saw(SeenUnit { close: true, ..seen(3, 5) });
    assert!(pace.is_closing() && !pace.takes_items());
    assert_eq!(pace.decide(queued), EMPTY, "two of three marks are honest and pull all along");
}

#[test]
fn unit_with_our_first_mark_leaves_the_items_to_the_next() {
    let now = Instant::now();
    let mut pace = open(now);
    pace.ask_close();
    let queued = Situation { queued: true, ..at(now) };
    assert_eq!(pace.decide(queued), MARK);
    pace.saw(SeenUnit { close: true, ..seen(0, 0) });
    assert_eq!(pace.decide(queued), Decision::Answer { close: true, items: true });
}

#[test]
fn ended_session_takes_no_items_and_calms_down() {
    let now = Instant::now();
    let mut pace = open(now);
    for creator in 1..4 {
        pace.ordered(creator, 0, true);
    }
    let queued = Situation { queued: true, ..at(now) };
    for round in 0..2 {
        assert_eq!(pace.decide(queued), EMPTY, "lingers before round {round}");
        pace.saw(seen(0, round));
    }
    assert_eq!(pace.decide(queued), Decision::Wait(Some(now + rules().idle_tick)));
}

#[test]
fn maker_of_a_void_batch_heats_nobody_and_is_not_forgiven() {
    let now = Instant::now();
    let mut credits = Credits::new(3, 4, now);
    credits.void(2);
    credits.verdict(2, true, now);
    assert!(!credits.heats(2, now + Duration::from_secs(3600)));
    assert!(credits.heats(1, now));
}

#[test]
fn steady_nuisance_heats_nobody_but_is_forgiven() {
    let now = Instant::now();
    let mut credits = Credits::new(3, 4, now);
    for _ in 0..3 {
        assert!(credits.heats(2, now));
        credits.verdict(2, false, now);
    }
    assert!(!credits.heats(2, now));
    assert!(credits.heats(1, now), "others are not affected");
    assert!(credits.heats(2, now + Duration::from_secs(1)));
    credits.verdict(2, false, now + Duration::from_secs(1));
    assert!(!credits.heats(2, now + Duration::from_secs(1)));
    credits.verdict(2, true, now + Duration::from_secs(1));
    assert!(credits.heats(2, now + Duration::from_secs(1)));
    assert!(!credits.heats(9, now), "unknown creators do not exist");
}
