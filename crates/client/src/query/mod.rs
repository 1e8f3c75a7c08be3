//! Asking guardians: whom, when again, and when the answers are enough.
//!
//! A [`Query`] is one call to a federation as a plain value. It says which guardians to ask now,
//! takes what they answered, and tells when the matter is decided. It never waits for the slowest:
//! as soon as the rule of its [`Strategy`] is met it is over, whoever is still out.
//!
//! ```text
//! due --ask--> asked --answer--> answered --(no decision at a threshold, or judged bad)--> due
//!                |--refusal--> due after a pause, counts as a refusal until it answers
//!                '--unreachable, timed out--> due after a pause (at once after a long poll)
//! ```
//!
//! A guardian that refuses is asked again like one that is unreachable: it may only lag behind. Its
//! refusal stands meanwhile, and more refusals than guardians can be faulty end the query.
//!
//! Source: docs/protocol/core.md, section 9.1.

mod failure;
mod pace;
#[cfg(test)]
mod tests;

pub use failure::CallFailure;
pub(crate) use failure::harmless;
pub use pace::Pace;

use std::collections::BTreeMap;

use moneta_core::id::PeerId;
use moneta_core::peers::FederationSize;
use moneta_module::client::{Judgement, Outcome, Strategy, Timestamp};
use serde_json::Value;

/// A call that was held this long was a long poll that ran out, and is made again at once. Servers
/// end long polls at 50 to 60 s; anything that fails within 10 s deserves a pause.
const LONG_POLL_MS: u64 = 10_000;

/// How long one guardian alone may take before the next one is asked beside it
/// ([`Strategy::JudgeOne`]).
const HEAD_START_MS: u64 = 5_000;

/// One call to the guardians of a federation.
#[derive(Debug, Clone)]
pub struct Query {
    strategy: Strategy,
    size: FederationSize,
    pace: Pace,
    /// By guardian number.
    peers: Vec<Peer>,
    /// The latest answer of each guardian that gave one.
    answers: BTreeMap<PeerId, Value>,
    /// The guardian that is asked first where they are asked one after another.
    first: usize,
    /// Whether something came in that was not judged yet.
    fresh: bool,
    /// When the last guardian was asked ([`Strategy::JudgeOne`]).
    last_asked: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Peer {
    turn: Turn,
    refusal: Option<(i32, String)>,
    /// How often it must be asked again; sets the next pause.
    repeats: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// To be asked then.
    Due(Timestamp),
    /// A call is out.
    Asked(Timestamp),
    /// Not to be asked (again) for now.
    Resting,
}

impl Query {
    /// A query that has asked nobody yet.
    ///
    /// `first` is the guardian [`Strategy::JudgeOne`] begins with, modulo their number; draw it,
    /// so that not all wallets load the same one.
    pub fn new(strategy: Strategy, size: FederationSize, pace: Pace, first: usize) -> Self {
        let first = first % size.total();
        let one = strategy == Strategy::JudgeOne;
        let turn = |index| match one && index != first {
            true => Turn::Resting,
            false => Turn::Due(Timestamp(0)),
        };
        let peer = |index| Peer { turn: turn(index), refusal: None, repeats: 0 };
        let peers = (0..size.total()).map(peer).collect();
        let answers = BTreeMap::new();
        Self { strategy, size, pace, peers, answers, first, fresh: false, last_asked: None }
    }

    /// Returns the guardians to ask now, who count as asked from here on.
    pub fn ask(&mut self, now: Timestamp) -> Vec<PeerId> {
        if self.head_start_end().is_some_and(|end| end <= now) {
            self.wake_next(now);
        }
        let mut asked = Vec::new();
        for (peer, id) in self.peers.iter_mut().zip(self.size.peer_ids()) {
            if matches!(peer.turn, Turn::Due(due) if due <= now) {
                peer.turn = Turn::Asked(now);
                self.last_asked = Some(now);
                asked.push(id);
            }
        }
        asked
    }

    /// Takes what `peer` answered. Answers nobody waits for are dropped.
    pub fn answer(&mut self, peer: PeerId, result: Result<Value, CallFailure>, now: Timestamp) {
        let pace = self.pace;
        let once = self.strategy == Strategy::AgreeOnce;
        let Some(state) = self.peers.get_mut(peer.index()) else { return };
        let Turn::Asked(since) = state.turn else { return };
        let failed = result.is_err();
        match result {
            Ok(value) => {
                self.answers.insert(peer, value);
                state.refusal = None;
                state.turn = Turn::Resting;
            }
            Err(CallFailure::Refused { code, message }) => {
                self.answers.remove(&peer);
                state.refusal = Some((code, message));
                state.turn = if once { Turn::Resting } else { state.pause(pace, now) };
            }
            Err(CallFailure::Unavailable { .. }) => {
                let held_ms = now.0.saturating_sub(since.0);
                state.turn = match held_ms >= LONG_POLL_MS {
                    true => Turn::Due(now),
                    false => state.pause(pace, now),
                };
            }
        }
        self.fresh = true;
        if failed {
            self.wake_next(now);
        }
    }

    /// Returns what the query came to, if the answers so far decide. `judge` is asked by the
    /// judging strategies only, and only when something new came in.
    ///
    /// Errors: those of `judge`.
    pub fn outcome<E>(
        &mut self,
        now: Timestamp,
        judge: impl FnMut(&BTreeMap<PeerId, Value>) -> Result<Judgement, E>,
    ) -> Result<Option<Outcome>, E> {
        if !std::mem::take(&mut self.fresh) {
            return Ok(None);
        }
        if let Some(refused) = self.refused() {
            return Ok(Some(refused));
        }
        match self.strategy {
            Strategy::Agree => Ok(self.agreed(now)),
            Strategy::AgreeOnce => Ok(self.agreed_once()),
            Strategy::JudgeAll => self.judged_all(now, judge),
            Strategy::JudgeOne => self.judged_one(now, judge),
        }
    }

    /// Of a finished query that asks one after another: the guardians that were asked and gave
    /// nothing of use, because they were silent, refused, or answered wrongly.
    pub fn let_down(&self) -> Vec<PeerId> {
        let one = self.strategy == Strategy::JudgeOne;
        let peers = self.size.peer_ids().zip(&self.peers);
        // Those that were never asked rest, and so does the one whose answer was taken.
        peers.filter(|(_, peer)| one && peer.turn != Turn::Resting).map(|(id, _)| id).collect()
    }

    /// When somebody is to be asked next, if nothing comes in before.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let due = self.peers.iter().filter_map(|peer| match peer.turn {
            Turn::Due(due) => Some(due),
            _ => None,
        });
        due.chain(self.head_start_end()).min()
    }

    /// More refusals than guardians can be faulty: an honest one refused.
    fn refused(&self) -> Option<Outcome> {
        let mut refusals = self.peers.iter().filter_map(|peer| peer.refusal.as_ref());
        let count = refusals.clone().count();
        let (code, message) = refusals.next()?.clone();
        (count > self.size.max_faulty()).then_some(Outcome::CallRefused { code, message })
    }

    fn agreed(&mut self, now: Timestamp) -> Option<Outcome> {
        let (value, count) = self.most_frequent_answer()?;
        if count >= self.size.threshold() {
            return Some(Outcome::Answer(value.clone()));
        }
        self.ask_again_at_threshold(now);
        None
    }

    fn agreed_once(&self) -> Option<Outcome> {
        let most = self.most_frequent_answer();
        let count = most.map_or(0, |(_, count)| count);
        if let Some((value, _)) = most.filter(|_| count >= self.size.threshold()) {
            return Some(Outcome::Answer(value.clone()));
        }
        let refusals = self.peers.iter().filter(|peer| peer.refusal.is_some()).count();
        // Whoever refused has no answer.
        let open = self.size.total().saturating_sub(self.answers.len() + refusals);
        (count + open < self.size.threshold()).then_some(Outcome::Disagreement)
    }

    fn judged_all<E>(
        &mut self,
        now: Timestamp,
        mut judge: impl FnMut(&BTreeMap<PeerId, Value>) -> Result<Judgement, E>,
    ) -> Result<Option<Outcome>, E> {
        // Every round that goes on forgets an answer, so it ends.
        loop {
            if self.answers.is_empty() {
                return Ok(None);
            }
            match judge(&self.answers)? {
                Judgement::Enough => {
                    return Ok(Some(Outcome::Answers(std::mem::take(&mut self.answers))));
                }
                Judgement::Bad(bad) if bad.iter().any(|peer| self.answers.contains_key(peer)) => {
                    for peer in bad {
                        self.forget(peer, now);
                    }
                }
                Judgement::Bad(_) | Judgement::More => {
                    self.ask_again_at_threshold(now);
                    return Ok(None);
                }
            }
        }
    }

    fn judged_one<E>(
        &mut self,
        now: Timestamp,
        mut judge: impl FnMut(&BTreeMap<PeerId, Value>) -> Result<Judgement, E>,
    ) -> Result<Option<Outcome>, E> {
        while let Some((peer, value)) = self.answers.pop_first() {
            let answer = BTreeMap::from([(peer, value)]);
            if judge(&answer)? == Judgement::Enough {
                return Ok(Some(Outcome::Answers(answer)));
            }
            self.forget(peer, now);
            self.wake_next(now);
        }
        Ok(None)
    }

    fn most_frequent_answer(&self) -> Option<(&Value, usize)> {
        let count = |value: &Value| self.answers.values().filter(|other| *other == value).count();
        self.answers.values().map(|value| (value, count(value))).max_by_key(|(_, count)| *count)
    }

    /// With a threshold of answers that do not decide, those guardians are asked again; their
    /// latest answers count until the new ones are here.
    fn ask_again_at_threshold(&mut self, now: Timestamp) {
        let pace = self.pace;
        if self.answers.len() < self.size.threshold() {
            return;
        }
        for id in self.answers.keys() {
            let peer = &mut self.peers[id.index()];
            if peer.turn == Turn::Resting {
                peer.turn = peer.pause(pace, now);
            }
        }
    }

    fn forget(&mut self, peer: PeerId, now: Timestamp) {
        let pace = self.pace;
        self.answers.remove(&peer);
        let peer = self.peers.get_mut(peer.index()).filter(|peer| peer.turn == Turn::Resting);
        if let Some(peer) = peer {
            peer.turn = peer.pause(pace, now);
        }
    }

    /// Lets the next guardian in the row be asked ([`Strategy::JudgeOne`]).
    fn wake_next(&mut self, now: Timestamp) {
        if let Some(index) = self.next_in_row() {
            self.peers[index].turn = Turn::Due(now);
        }
    }

    fn next_in_row(&self) -> Option<usize> {
        if self.strategy != Strategy::JudgeOne {
            return None;
        }
        let ids: Vec<PeerId> = self.size.peer_ids().collect();
        let mut row = (0..ids.len()).map(|step| (self.first + step) % ids.len());
        row.find(|index| {
            self.peers[*index].turn == Turn::Resting && !self.answers.contains_key(&ids[*index])
        })
    }

    fn head_start_end(&self) -> Option<Timestamp> {
        self.next_in_row()?;
        Some(self.last_asked?.after_ms(HEAD_START_MS))
    }
}

impl Peer {
    fn pause(&mut self, pace: Pace, now: Timestamp) -> Turn {
        let due = now.after_ms(pace.delay_ms(self.repeats));
        self.repeats = self.repeats.saturating_add(1);
        Turn::Due(due)
    }
}
