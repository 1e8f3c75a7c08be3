//! From guardians' signature shares to notes.
//!
//! Shares are combined first and the results verified in one batch; shares are checked one by one
//! only for notes that fail.
//!
//! Source: docs/protocol/mint.md, sections 1.3 and 3.7.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use moneta_core::id::PeerId;
use moneta_core::peers::FederationSize;
use moneta_crypto::tbs::{BlindedSignatureShare, combine, verify_batch, verify_share_batch};
use moneta_module::client::Judgement;
use serde::Deserialize as _;
use serde_json::Value;

use super::keys::{NoteKeys, NoteRequest, NoteSecrets};
use crate::words::{MintConfig, SpendableNote};

/// How many examinations are kept: the bundles of a few transactions. Recovery's are larger, but there
/// are only a few at a time as well.
const EXAMINATIONS: usize = 8;

/// What is known of answers that were examined.
///
/// They are examined as they come in, then to judge whether they suffice, and right after that to take
/// the notes, which is most of what a wallet computes for a payment. What one look brought is spared
/// the next one, so that little is left to do when the answer that decides is here. A cache and
/// nothing more; what it returns is what an examination from scratch would.
#[derive(Default)]
pub(super) struct Examined(Mutex<Vec<Examination>>);

struct Examination {
    requests: Vec<NoteRequest>,
    /// Of the notes, in the same order.
    keys: Vec<NoteKeys>,
    answers: BTreeMap<PeerId, Answer>,
    /// What came of these answers, if they brought every note.
    complete: Option<Shares>,
}

/// A guardian's answer.
struct Answer {
    text: Value,
    /// One share for each note; `None` if it has the wrong shape.
    shares: Option<Vec<BlindedSignatureShare>>,
}

impl Examined {
    /// Keeps the keys of notes that are asked for: most are wanted within a second, when somebody waits.
    pub(super) fn expect(&self, requests: &[NoteRequest], keys: Vec<NoteKeys>) {
        self.keep(Examination {
            requests: requests.to_vec(),
            keys,
            answers: BTreeMap::new(),
            complete: None,
        });
    }

    /// Looks at the answers to a request for the shares of `requests`.
    pub(super) fn examine(
        &self,
        config: &MintConfig,
        secrets: &NoteSecrets,
        size: FederationSize,
        requests: &[NoteRequest],
        answers: &BTreeMap<PeerId, Value>,
    ) -> Shares {
        let known = {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let position = kept.iter().position(|known| known.requests == requests);
            position.map(|position| kept.remove(position))
        };
        let mut examination = known.unwrap_or_else(|| Examination {
            requests: requests.to_vec(),
            keys: requests.iter().map(|request| secrets.keys(*request)).collect(),
            answers: BTreeMap::new(),
            complete: None,
        });
        if examination.take_in(answers) {
            examination.complete = None;
        }
        if let Some(shares) = examination.complete {
            return shares;
        }
        let shares = examination.shares(config, size);
        if !shares.notes.is_empty() && shares.notes.iter().all(|issued| issued.note.is_some()) {
            examination.complete = Some(shares.clone());
        }
        self.keep(examination);
        shares
    }

    fn keep(&self, examination: Examination) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(examination);
        let surplus = kept.len().saturating_sub(EXAMINATIONS);
        kept.drain(..surplus);
    }
}

impl Examination {
    /// Makes these the answers; returns whether they were others before.
    fn take_in(&mut self, answers: &BTreeMap<PeerId, Value>) -> bool {
        let count = self.answers.len();
        self.answers.retain(|peer, known| answers.get(peer) == Some(&known.text));
        let mut changed = self.answers.len() < count;
        for (peer, answer) in answers {
            if self.answers.contains_key(peer) {
                continue;
            }
            let shares = Vec::<BlindedSignatureShare>::deserialize(answer).ok();
            let shares = shares.filter(|shares| shares.len() == self.requests.len());
            self.answers.insert(*peer, Answer { text: answer.clone(), shares });
            changed = true;
        }
        changed
    }

    fn shares(&self, config: &MintConfig, size: FederationSize) -> Shares {
        let mut malformed = BTreeSet::new();
        let mut shares = BTreeMap::new();
        for (peer, answer) in &self.answers {
            match &answer.shares {
                Some(given) => {
                    shares.insert(*peer, given.as_slice());
                }
                None => {
                    malformed.insert(*peer);
                }
            }
        }
        let well_formed = shares.len();
        let notes = if well_formed < size.threshold() {
            self.requests.iter().map(|_| IssuedNote::default()).collect()
        } else {
            let (requests, keys) = (&self.requests, &self.keys);
            Answered { config, size, requests, keys, shares: &shares }.notes()
        };
        Shares { malformed, well_formed, notes }
    }
}

impl fmt::Debug for Examined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Examined(redacted)")
    }
}

/// What came of guardians' answers.
#[derive(Clone)]
pub(super) struct Shares {
    /// Guardians whose answers have the wrong shape.
    pub(super) malformed: BTreeSet<PeerId>,
    /// How many guardians' answers have the right one.
    pub(super) well_formed: usize,
    /// Per note that was asked for, in order.
    pub(super) notes: Vec<IssuedNote>,
}

/// What came of one note.
#[derive(Clone, Default)]
pub(super) struct IssuedNote {
    /// The note, verified.
    pub(super) note: Option<SpendableNote>,
    /// Guardians whose shares for it are wrong, as far as that was looked at.
    pub(super) wrong: BTreeSet<PeerId>,
}

impl Shares {
    /// The verdict where every honest guardian has every share: all notes, or who is to blame.
    pub(super) fn judge_all(&self, size: FederationSize) -> Judgement {
        if !self.malformed.is_empty() {
            return Judgement::Bad(self.malformed.clone());
        }
        if self.well_formed < size.threshold() {
            return Judgement::More;
        }
        if self.notes.iter().all(|issued| issued.note.is_some()) {
            return Judgement::Enough;
        }
        let wrong: BTreeSet<_> =
            self.notes.iter().flat_map(|issued| &issued.wrong).copied().collect();
        // Nobody to blame: the public keys are inconsistent, which asking again does not mend.
        if wrong.is_empty() { Judgement::Enough } else { Judgement::Bad(wrong) }
    }

    /// The verdict where an honest guardian may have been led to hold another share for the same
    /// message: a note is given up once an honest guardian is among those with a wrong share.
    pub(super) fn judge_each(&self, size: FederationSize) -> Judgement {
        if !self.malformed.is_empty() {
            return Judgement::Bad(self.malformed.clone());
        }
        let settled =
            |issued: &IssuedNote| issued.note.is_some() || issued.wrong.len() >= size.one_honest();
        if self.well_formed >= size.threshold() && self.notes.iter().all(settled) {
            return Judgement::Enough;
        }
        Judgement::More
    }
}

/// Answers of at least a threshold, of the right length each.
struct Answered<'a> {
    config: &'a MintConfig,
    size: FederationSize,
    requests: &'a [NoteRequest],
    keys: &'a [NoteKeys],
    shares: &'a BTreeMap<PeerId, &'a [BlindedSignatureShare]>,
}

impl Answered<'_> {
    fn notes(&self) -> Vec<IssuedNote> {
        let first: Vec<PeerId> = self.shares.keys().copied().take(self.size.threshold()).collect();
        let mut notes: Vec<_> = self
            .combine_and_verify((0..self.requests.len()).map(|index| (index, first.as_slice())))
            .into_iter()
            .map(|note| IssuedNote { note, wrong: BTreeSet::new() })
            .collect();
        for (index, issued) in notes.iter_mut().enumerate() {
            if issued.note.is_none() {
                *issued = self.sort_out(index);
            }
        }
        notes
    }

    /// Checks every share of one note.
    fn sort_out(&self, index: usize) -> IssuedNote {
        let request = self.requests[index];
        let blinded = self.keys[index].blinded();
        let public = self.config.tbs_pks.get(&request.denomination);
        let mut peers = Vec::new();
        let mut items = Vec::new();
        let mut wrong = BTreeSet::new();
        for (peer, shares) in self.shares {
            match public.and_then(|keys| keys.get(peer)) {
                Some(key) => {
                    peers.push(*peer);
                    items.push((*key, blinded, shares[index]));
                }
                None => {
                    wrong.insert(*peer);
                }
            }
        }
        let mut good = Vec::new();
        for (peer, valid) in peers.into_iter().zip(verify_share_batch(&items)) {
            if valid {
                good.push(peer);
            } else {
                wrong.insert(peer);
            }
        }
        good.truncate(self.size.threshold());
        let enough = good.len() == self.size.threshold();
        let note = enough.then(|| self.combine_and_verify([(index, good.as_slice())]).pop());
        IssuedNote { note: note.flatten().flatten(), wrong }
    }

    /// Combines the shares of the given guardians, a threshold of them, for each of the given
    /// notes.
    fn combine_and_verify<'p>(
        &self,
        notes: impl IntoIterator<Item = (usize, &'p [PeerId])>,
    ) -> Vec<Option<SpendableNote>> {
        let mut results = Vec::new();
        let mut positions = Vec::new();
        let mut items = Vec::new();
        for (index, peers) in notes {
            let key = self.config.tbs_agg_pks.get(&self.requests[index].denomination);
            let shares = peers.iter().map(|peer| (u64::from(peer.0), self.shares[peer][index]));
            if let (Some(key), Ok(combined)) = (key, combine(&shares.collect())) {
                let keys = &self.keys[index];
                let signature = keys.unblind(&combined);
                positions.push((results.len(), keys.note(signature)));
                items.push((*key, keys.message(), signature));
            }
            results.push(None);
        }
        for ((position, note), valid) in positions.into_iter().zip(verify_batch(&items)) {
            results[position] = valid.then_some(note);
        }
        results
    }
}
