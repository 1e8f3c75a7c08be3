//! Finding the notes of a restored wallet in the federation's recovery log.
//!
//! ```text
//!              +-> Hashing -> Fetching --> its turn? --yes--> scanned, and those kept that follow
//! Counting ----+-> Hashing -> Fetching       '--no--> kept     '--> the next slices, or the end:
//!              +-> ..  (WINDOW at once)                             Completing -> done
//! ```
//!
//! Slices are fetched side by side, each by a machine of its own, since a round trip takes longer than
//! scanning. They are scanned strictly in the order of the log; one that comes early is kept, and
//! none is fetched that is further ahead than the window, so that a silent guardian costs time and
//! not memory.
//!
//! The wallet is usable meanwhile: what it issues itself lies behind the length that `Counting`
//! has fixed, and what it issues before that is marked. After a crash the slices under way are
//! fetched again; nothing of a slice counts before all of it does.
//!
//! Signature shares are found by blinded message, and everybody can have another share stored for
//! a known message. So notes are asked for in small groups, each judged by itself, and a group that
//! guardians refuse is asked for in halves. What is left after that is searched for in history
//! (`search.rs`).
//!
//! Source: docs/protocol/mint.md, sections 3.11 and 6.2.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::hashes::{hash160, sha256};
use moneta_core::amount::Msat;
use moneta_core::id::PeerId;
use moneta_core::{Decode, Encode};
use moneta_module::client::{
    Call, End, Judgement, NewOperation, Note, Outcome, Stop, Strategy, SubmitError, Target, Wait,
};
use moneta_store::{StoreError, Table, Write};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::keys::NoteRequest;
use super::log::{Position, Progress, agreed_length, parse_slice};
use super::{MintClient, MintTurn, stock};
use crate::words::{KIND, RecoveryItem, hash160};

/// Notes asked for at once.
const GROUP: usize = 50;
/// Up to this many nonces seen are held in memory while a slice is scanned; more are looked up.
const SEEN_IN_MEMORY: usize = 10_000;

/// How far the log is scanned. Absent before its length is known.
const PROGRESS: Table<(), Progress> = Table::new(0x10);
/// Slices that came before their turn, by their first position.
const KEPT: Table<u64, Vec<RecoveryItem>> = Table::new(0x11);

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
            // The log grows all the time, so no threshold need ever name the same length.
            Recovery::Counting => ("recovery_count", Value::Null, Strategy::JudgeAll),
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
                let fits = |answer: &Value| self.judged.take_in(*position, *hash, answer);
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
            Recovery::Counting => {
                let bad = answers.iter().filter(|(_, answer)| !answer.is_u64());
                let bad: BTreeSet<_> = bad.map(|(peer, _)| *peer).collect();
                match (bad.is_empty(), agreed_length(answers, self.env.size)) {
                    (false, _) => Judgement::Bad(bad),
                    (true, Some(_)) => Judgement::Enough,
                    (true, None) => Judgement::More,
                }
            }
            Recovery::Hashing(_) => Judgement::Enough,
        }
    }

    pub(super) fn advance_recovery(
        &self,
        turn: &mut MintTurn<'_>,
        recovery: Recovery,
        outcome: Outcome,
    ) -> Result<Option<Recovery>, Stop> {
        match (recovery, outcome) {
            (Recovery::Counting, Outcome::Answers(counts)) => {
                let total = agreed_length(&counts, self.env.size).ok_or(UNEXPECTED)?;
                stock::set_log_length_unknown(&mut *turn.state(), false);
                self.go_on(turn, Progress { scanned: 0, claimed: 0, total })
            }
            (Recovery::Hashing(position), Outcome::Answer(hash)) => {
                let hash = sha256::Hash::deserialize(&hash)
                    .map_err(|_| Stop::Later("the hash of a slice is no hash".to_owned()))?;
                Ok(Some(Recovery::Fetching(position, hash)))
            }
            (Recovery::Fetching(position, hash), Outcome::Answers(answers)) => {
                let mut answers = answers.values();
                let mut judge = || answers.find_map(|answer| parse_slice(position, &hash, answer));
                let items = self.judged.take_out(position, hash).or_else(&mut judge);
                self.take_slice(turn, position, items.ok_or(UNEXPECTED)?)
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

    /// Scans a slice and those kept that follow it, or keeps it until its turn.
    fn take_slice(
        &self,
        turn: &mut MintTurn<'_>,
        position: Position,
        items: Vec<RecoveryItem>,
    ) -> Result<Option<Recovery>, Stop> {
        let mut progress = {
            let state = &mut *turn.state();
            let progress = PROGRESS.get(state, &())?.ok_or(NO_PROGRESS)?;
            if position.next != progress.scanned {
                KEPT.insert(state, &position.next, &items);
                return Ok(None);
            }
            progress
        };
        let mut next = Some(items);
        while let Some(items) = next {
            let state = &mut *turn.state();
            self.scan(state, &items)?;
            progress.scanned = progress.scanned.saturating_add(items.len() as u64);
            next = KEPT.get(state, &progress.scanned)?;
            KEPT.remove(state, &progress.scanned);
        }
        self.go_on(turn, progress)
    }

    /// Has the next slices fetched, or the notes found asked for when all are scanned.
    fn go_on(
        &self,
        turn: &mut MintTurn<'_>,
        mut progress: Progress,
    ) -> Result<Option<Recovery>, Stop> {
        if progress.scanned >= progress.total {
            PROGRESS.remove(&mut *turn.state(), &());
            return Ok(Some(Recovery::Completing { groups: Vec::new(), recovered: Msat::ZERO }));
        }
        let next = progress.claim();
        while let Some(position) = progress.claim() {
            turn.spawn(&super::Machine::Recovery(Recovery::Hashing(position)));
        }
        PROGRESS.insert(&mut *turn.state(), &(), &progress);
        Ok(next.map(Recovery::Hashing))
    }

    /// Takes note of what a slice says of this wallet's notes.
    fn scan(&self, state: &mut dyn Write, items: &[RecoveryItem]) -> Result<(), StoreError> {
        // Half of the items ask whether a nonce was seen, and hardly ever it was.
        let mut seen = stock::seen(state, SEEN_IN_MEMORY)?;
        for item in items {
            match item {
                RecoveryItem::Output { denomination, nonce_hash, tweak } => {
                    let request = NoteRequest { denomination: *denomination, tweak: *tweak };
                    let Some(nonce_hash) = self.recognise(request, nonce_hash) else { continue };
                    if !stock::was_seen(state, &nonce_hash)? {
                        stock::mark_seen(state, &nonce_hash);
                        stock::put_found(state, &nonce_hash, &request);
                        if let Some(seen) = &mut seen {
                            seen.insert(nonce_hash);
                        }
                    }
                }
                RecoveryItem::Input { nonce_hash } => {
                    let was_seen = match &seen {
                        Some(seen) => seen.contains(nonce_hash),
                        None => stock::was_seen(state, nonce_hash)?,
                    };
                    if was_seen {
                        stock::remove_found(state, nonce_hash);
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the hash of a note's nonce if the note is this wallet's.
    fn recognise(
        &self,
        request: NoteRequest,
        blinded_hash: &hash160::Hash,
    ) -> Option<hash160::Hash> {
        let NoteRequest { denomination, tweak } = request;
        if !self.secrets.recognises(&tweak) || !self.config.issues(denomination) {
            return None;
        }
        let keys = self.secrets.keys(request);
        let is_own = hash160(&keys.blinded().to_bytes()) == *blinded_hash;
        is_own.then(|| hash160(&keys.nonce().to_array()))
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
                    stock::put(state, &note)?;
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

const NO_PROGRESS: Stop = Stop::Invariant("a slice came while no log is scanned");
