//! Finding the notes of a restored wallet in the federation's recovery log.
//!
//! ```text
//! Counting -> Hashing -> Fetching -> Hashing -> .. -> Completing -> done
//!              ^------------+   one slice per round, state saved after each
//! ```
//!
//! The wallet is usable meanwhile: what it issues itself lies behind the length that `Counting`
//! has fixed, and what it issues before that is marked. After a crash the current slice is fetched
//! again; nothing of a slice counts before all of it does.
//!
//! Signature shares are found by blinded message, and everybody can have another share stored for
//! a known message. So notes are asked for in small groups, each judged by itself, and a group that
//! guardians refuse is asked for in halves. What is left after that is searched for in history
//! (`search.rs`).
//!
//! Source: docs/protocol/mint.md, sections 3.11 and 6.2.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::hashes::sha256;
use moneta_core::amount::Msat;
use moneta_core::id::PeerId;
use moneta_core::{Decode, Encode};
use moneta_module::client::{
    Call, End, Judgement, NewOperation, Note, Outcome, Stop, Strategy, SubmitError, Target, Wait,
};
use moneta_store::{StoreError, Write};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::keys::NoteRequest;
use super::{MintClient, MintTurn, stock};
use crate::words::{KIND, MAX_SLICE_ITEMS, RecoveryItem, SliceRange, hash160, slice_hash};

/// Notes asked for at once.
const GROUP: usize = 50;

/// How far recovery is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Recovery {
    /// Asks how long the log is.
    Counting,
    /// Asks for the hash of the next slice.
    Hashing(Position),
    /// Fetches the next slice, which must have this hash.
    Fetching(Position, sha256::Hash),
    /// Asks for the signature shares of the notes found.
    Completing {
        /// Groups still to be asked for; the last one now.
        groups: Vec<Vec<NoteRequest>>,
        /// Face value of the notes recovered so far.
        recovered: Msat,
    },
}

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Position {
    /// The first item not looked at.
    pub next: u64,
    /// Where recovery ends.
    pub total: u64,
}

impl Position {
    fn slice(self) -> SliceRange {
        let end = self.next.saturating_add(MAX_SLICE_ITEMS).min(self.total);
        SliceRange(self.next, end)
    }
}

impl MintClient {
    pub(super) fn begin_recovery(&self, turn: &mut MintTurn<'_>) -> Result<(), Stop> {
        let details = json!({ "module_id": self.env.instance });
        let new = NewOperation { id: None, kind: "recover", details: details.clone() };
        turn.begin_operation(new).map_err(|error| match error {
            SubmitError::Store(error) => Stop::Store(error),
            other => Stop::Later(other.to_string()),
        })?;
        turn.note(Note { kind: "module-recovery-started", payload: details, end: None });
        stock::set_log_length_unknown(&mut *turn.state(), true);
        turn.spawn(&super::Machine::Recovery(Recovery::Counting));
        Ok(())
    }

    pub(super) fn wait_in_recovery(&self, recovery: &Recovery) -> Wait {
        let (endpoint, params, strategy) = match recovery {
            Recovery::Counting => ("recovery_count", Value::Null, Strategy::Agree),
            Recovery::Hashing(position) => {
                ("recovery_slice_hash", json!(position.slice()), Strategy::Agree)
            }
            Recovery::Fetching(position, _) => {
                ("recovery_slice", json!(position.slice()), Strategy::JudgeOne)
            }
            Recovery::Completing { groups, .. } => {
                let Some(group) = groups.last() else { return Wait::ready() };
                let blinded = group.iter().map(|request| self.secrets.keys(*request).blinded());
                let blinded = json!(blinded.collect::<Vec<_>>());
                ("recovery_signature_shares", blinded, Strategy::JudgeAll)
            }
        };
        Wait::call(Call { target: Target::Module(endpoint), params, strategy })
    }

    pub(super) fn judge_in_recovery(
        &self,
        recovery: &Recovery,
        answers: &BTreeMap<PeerId, Value>,
    ) -> Judgement {
        match recovery {
            Recovery::Fetching(position, hash) => {
                let fits = |answer: &Value| parse_slice(*position, hash, answer).is_some();
                let bad: BTreeSet<_> = answers
                    .iter()
                    .filter(|(_, answer)| !fits(answer))
                    .map(|(peer, _)| *peer)
                    .collect();
                match (bad.is_empty(), answers.is_empty()) {
                    (false, _) => Judgement::Bad(bad),
                    (true, true) => Judgement::More,
                    (true, false) => Judgement::Enough,
                }
            }
            Recovery::Completing { groups, .. } => match groups.last() {
                Some(group) => self.shares(group, answers).judge_each(self.env.size),
                None => Judgement::Enough,
            },
            Recovery::Counting | Recovery::Hashing(_) => Judgement::Enough,
        }
    }

    pub(super) fn advance_recovery(
        &self,
        turn: &mut MintTurn<'_>,
        recovery: Recovery,
        outcome: Outcome,
    ) -> Result<Option<Recovery>, Stop> {
        match (recovery, outcome) {
            (Recovery::Counting, Outcome::Answer(count)) => {
                let total = u64::deserialize(&count)
                    .map_err(|_| Stop::Later("the length of the log is no number".to_owned()))?;
                stock::set_log_length_unknown(&mut *turn.state(), false);
                Ok(Some(next_slice(Position { next: 0, total })))
            }
            (Recovery::Hashing(position), Outcome::Answer(hash)) => {
                let hash = sha256::Hash::deserialize(&hash)
                    .map_err(|_| Stop::Later("the hash of a slice is no hash".to_owned()))?;
                Ok(Some(Recovery::Fetching(position, hash)))
            }
            (Recovery::Fetching(position, hash), Outcome::Answers(answers)) => {
                let fits = |answer| parse_slice(position, &hash, answer);
                let Some(items) = answers.values().find_map(fits) else {
                    return Ok(Some(Recovery::Hashing(position)));
                };
                let state = &mut *turn.state();
                for item in &items {
                    self.take_item(state, item)?;
                }
                let SliceRange(_, next) = position.slice();
                Ok(Some(next_slice(Position { next, ..position })))
            }
            (Recovery::Completing { mut groups, recovered }, outcome) => {
                let Some(group) = groups.pop() else { return self.next_group(turn, recovered) };
                let recovered = match outcome {
                    Outcome::Answers(answers) => {
                        let done = self.complete(turn, &group, &answers)?;
                        recovered.saturating_add(done)
                    }
                    Outcome::CallRefused { .. } => {
                        self.ask_in_halves(turn, group, &mut groups);
                        recovered
                    }
                    _ => return Err(UNEXPECTED),
                };
                Ok(Some(Recovery::Completing { groups, recovered }))
            }
            (_, Outcome::CallRefused { code, message }) => {
                Err(Stop::Later(format!("guardians refuse to help recovery: {message} ({code})")))
            }
            _ => Err(UNEXPECTED),
        }
    }

    fn take_item(&self, state: &mut dyn Write, item: &RecoveryItem) -> Result<(), StoreError> {
        match item {
            RecoveryItem::Output { denomination, nonce_hash, tweak } => {
                if !self.secrets.recognises(tweak) || !self.config.issues(*denomination) {
                    return Ok(());
                }
                let request = NoteRequest { denomination: *denomination, tweak: *tweak };
                let keys = self.secrets.keys(request);
                if hash160(&keys.blinded().to_bytes()) != *nonce_hash {
                    return Ok(());
                }
                let nonce_hash = hash160(&keys.nonce().to_array());
                if !stock::was_seen(state, &nonce_hash)? {
                    stock::mark_seen(state, &nonce_hash);
                    stock::put_found(state, &nonce_hash, &request);
                }
            }
            RecoveryItem::Input { nonce_hash } => {
                if stock::was_seen(state, nonce_hash)? {
                    stock::remove_found(state, nonce_hash);
                }
            }
        }
        Ok(())
    }

    /// Takes up the next notes found, or ends recovery.
    fn next_group(
        &self,
        turn: &mut MintTurn<'_>,
        recovered: Msat,
    ) -> Result<Option<Recovery>, Stop> {
        let group = stock::some_found(&*turn.state(), GROUP)?;
        if !group.is_empty() {
            return Ok(Some(Recovery::Completing { groups: vec![group], recovered }));
        }
        let payload = json!({
            "module_id": self.env.instance,
            "kind": KIND,
            "amount": recovered,
        });
        self.begin_search(turn)?;
        let end = Some(End::Succeeded);
        turn.note(Note { kind: "module-recovery-completed", payload, end });
        Ok(None)
    }

    /// Puts the notes of a group into the stock; returns their face value.
    fn complete(
        &self,
        turn: &mut MintTurn<'_>,
        group: &[NoteRequest],
        answers: &BTreeMap<PeerId, Value>,
    ) -> Result<Msat, Stop> {
        let mut recovered = Msat::ZERO;
        let shares = self.shares(group, answers);
        if shares.well_formed < self.env.size.threshold() {
            return Err(UNEXPECTED);
        }
        for (request, issued) in group.iter().zip(shares.notes) {
            let nonce_hash = hash160(&self.secrets.keys(*request).nonce().to_array());
            let state = &mut *turn.state();
            stock::remove_found(state, &nonce_hash);
            match issued.note {
                Some(note) => {
                    stock::put(state, &note);
                    recovered = recovered.saturating_add(note.value().unwrap_or(Msat::ZERO));
                }
                None => stock::put_unresolved(state, &nonce_hash, request),
            }
        }
        Ok(recovered)
    }

    /// Guardians refused a group, since they know no share for one of its messages.
    fn ask_in_halves(
        &self,
        turn: &mut MintTurn<'_>,
        mut group: Vec<NoteRequest>,
        groups: &mut Vec<Vec<NoteRequest>>,
    ) {
        if group.len() > 1 {
            let rest = group.split_off(group.len() / 2);
            groups.extend([rest, group]);
            return;
        }
        for request in group {
            let nonce_hash = hash160(&self.secrets.keys(request).nonce().to_array());
            let state = &mut *turn.state();
            stock::remove_found(state, &nonce_hash);
            stock::put_unresolved(state, &nonce_hash, &request);
        }
    }
}

const UNEXPECTED: Stop = Stop::Invariant("recovery was woken by what it does not wait for");

fn next_slice(position: Position) -> Recovery {
    if position.next < position.total {
        Recovery::Hashing(position)
    } else {
        Recovery::Completing { groups: Vec::new(), recovered: Msat::ZERO }
    }
}

/// The items of a slice, if they are those that the federation agrees on.
fn parse_slice(
    position: Position,
    hash: &sha256::Hash,
    answer: &Value,
) -> Option<Vec<RecoveryItem>> {
    let items = Vec::<RecoveryItem>::deserialize(answer).ok()?;
    let SliceRange(start, end) = position.slice();
    let encoded: Vec<_> = items.iter().map(Encode::to_bytes).collect();
    let fits = items.len() as u64 == end - start && slice_hash(encoded.iter()) == *hash;
    fits.then_some(items)
}
