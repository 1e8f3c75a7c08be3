//! A guardian that does not know all it has said.
//!
//! After a restore, or with its unit files gone, a guardian cannot know in which rounds of the
//! running sessions its former self spoke. Speaking there again would be the one offence that
//! agreement is built against. So it begins *in doubt*: it replays signed history and serves, but
//! opens no consensus. It asks the others, with a number drawn at this start, so that no answer can be
//! older than the death of its former self: *which is the first session you have never signed?*
//!
//! ```text
//! in doubt --2f+1 answers, history replayed--> sits out two sessions --> takes part
//!     ^ killed anywhere                             |
//!     +----- until its silence is on disk ----------+
//! ```
//!
//! Why two sessions. Let q be the first session that at least f+1 honest others have never signed.
//! Then no session from q on had a threshold of signatures when the former self died, so it had at
//! most q sessions signed. A guardian opens no session but its oldest unsigned one and the next: it
//! spoke in none after q+1. Of 2f+1 answers at least f+1 are honest, hence q is the largest of them.
//! Whoever boasts of sessions that it cannot give counts as one of the f liars.
//!
//! More: docs/decisions/0011-restored-guardian.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use moneta_core::{FederationSize, PeerId, SessionIndex};
use moneta_store::{Store, StoreError};

use super::files::{DataDir, FRESH_FILE};
use super::shared::Node;
use super::signing::{self, SignatureMessage};
use super::tables;

/// In [`tables::SILENT_BEFORE`] while the guardian is in doubt: silent in every session.
const ALL: SessionIndex = SessionIndex(u64::MAX);

/// How far an honest guardian's signatures may be ahead of the sessions that are signed at it: two
/// sessions run.
const OPEN_SESSIONS: u64 = 2;

/// Drawn once at every start.
pub(super) type Nonce = [u8; 16];

/// What another guardian said of itself after this guardian's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// Sessions signed at it.
    pub(super) count: SessionIndex,
    /// The first session that it has never signed, as far as it remembers.
    pub(super) signed_before: SessionIndex,
    /// It is in doubt itself, so its former self may have signed more.
    pub(super) in_doubt: bool,
}

impl Answer {
    /// Whether an honest guardian could say so.
    fn is_possible(&self) -> bool {
        self.signed_before.0 <= self.count.0.saturating_add(OPEN_SESSIONS)
    }
}

/// The doubt of a running guardian, if it has any.
pub(crate) struct Doubt(Mutex<Option<Inquiry>>);

struct Inquiry {
    nonce: Nonce,
    answers: BTreeMap<PeerId, Answer>,
}

impl Doubt {
    /// `nonce` must be drawn anew at every start.
    pub(super) fn new(is_in_doubt: bool, nonce: Nonce) -> Self {
        let inquiry = Inquiry { nonce, answers: BTreeMap::new() };
        Self(Mutex::new(is_in_doubt.then_some(inquiry)))
    }

    /// Whether the guardian may not speak yet.
    pub(crate) fn is_open(&self) -> bool {
        self.with(|_| ()).is_some()
    }

    /// The guardian may speak, as far as its unit files let it.
    pub(super) fn settle(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn with<T>(&self, look: impl FnOnce(&mut Inquiry) -> T) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(look)
    }

    /// Takes an answer; false if it is none to our question. Any of them is true for ever after, so
    /// the lowest counts.
    pub(super) fn hear(&self, peer: PeerId, nonce: Nonce, answer: Answer) -> bool {
        let heard = self.with(|inquiry| {
            if inquiry.nonce != nonce {
                return false;
            }
            let known = inquiry.answers.entry(peer).or_insert(answer);
            // In doubt it cannot vouch; once it can, that is what counts.
            let is_better = known.in_doubt || answer.signed_before < known.signed_before;
            if is_better && !answer.in_doubt {
                *known = answer;
            }
            true
        });
        heard.unwrap_or(false)
    }

    /// With `count` sessions replayed: the count from which this guardian may open consensus and sit
    /// out two sessions. `None` if too few have vouched so far.
    ///
    /// `unproven` are those that were just asked for session `count` and did not give it.
    pub(super) fn may_enter_at(
        &self,
        size: FederationSize,
        count: SessionIndex,
        unproven: &BTreeSet<PeerId>,
    ) -> Option<SessionIndex> {
        let answers = self.with(|inquiry| inquiry.answers.clone())?;
        let (mut vouchers, mut liars) = (Vec::new(), 0);
        for (peer, answer) in answers {
            if !answer.is_possible() || answer.count > count && unproven.contains(&peer) {
                liars += 1;
            } else if !answer.in_doubt && answer.count <= count {
                vouchers.push(answer.signed_before);
            }
        }
        let faulty = size.max_faulty();
        let enough = liars <= faulty && vouchers.len() + liars > 2 * faulty;
        // Not at 0: consensus tells a restored guardian from a new one by the sessions before.
        let first = vouchers.into_iter().max()?.max(SessionIndex(1));
        enough.then_some(first)
    }

    /// Whether all `size - 1` others have answered, and none has more than `session` sessions or has
    /// signed that one.
    pub(super) fn nobody_has_signed(&self, size: FederationSize, session: SessionIndex) -> bool {
        let all = |inquiry: &mut Inquiry| {
            let mut answers = inquiry.answers.values();
            inquiry.answers.len() + 1 == size.total()
                && answers.all(|it| it.count <= session && it.signed_before <= session)
        };
        self.with(all).unwrap_or(false)
    }

    /// The others that have not vouched: silent ones, and those in doubt themselves.
    pub(super) fn awaited(&self, size: FederationSize, me: PeerId) -> (Vec<PeerId>, Vec<PeerId>) {
        let awaited = |inquiry: &mut Inquiry| {
            let others = size.peer_ids().filter(|peer| *peer != me);
            let silent = others.filter(|peer| !inquiry.answers.contains_key(peer)).collect();
            let doubts = inquiry.answers.iter().filter(|(_, answer)| answer.in_doubt);
            (silent, doubts.map(|(peer, _)| *peer).collect())
        };
        self.with(awaited).unwrap_or_default()
    }
}

/// Asks all others; repeated by the caller, for frames get lost.
pub(super) fn ask(node: &Node) {
    if let Some(nonce) = node.doubt.with(|inquiry| inquiry.nonce) {
        signing::send_to_all(node, &SignatureMessage::Ask { nonce });
    }
}

/// Answers another guardian in doubt.
///
/// From one snapshot: what is signed after it can be of no use to a guardian that is dead already.
pub(super) fn answer(node: &Node, nonce: Nonce) -> Result<SignatureMessage, StoreError> {
    let snapshot = node.store.snapshot();
    let count = node.engine.session_count(&snapshot)?;
    let mut signed_before = count;
    // A session is stored as ended before it is signed.
    for session in (count.0..count.0.saturating_add(OPEN_SESSIONS)).map(SessionIndex) {
        if node.engine.ended_session(&snapshot, session)?.is_some() {
            signed_before = SessionIndex(session.0 + 1);
        }
    }
    // A former self may have signed what it spoke in.
    let silent_before = tables::SILENT_BEFORE.get(&snapshot, &())?.filter(|before| *before != ALL);
    let signed_before = signed_before.max(silent_before.unwrap_or(SessionIndex(0)));
    let in_doubt = node.doubt.is_open();
    Ok(SignatureMessage::Answer { nonce, count, signed_before, in_doubt })
}

/// Finds out at the start whether this guardian is in doubt, and makes that durable.
///
/// It is if it was before; or if its database or all its unit files are missing and it does not come
/// fresh from the ceremony. A guardian alone has a log that says itself when it is incomplete.
pub(super) fn open(
    dir: &DataDir,
    units: &Path,
    store: &Store,
    size: FederationSize,
) -> Result<bool, StoreError> {
    let snapshot = store.snapshot();
    let was = tables::SILENT_BEFORE.get(&snapshot, &())? == Some(ALL);
    let is_fresh = dir.join(FRESH_FILE).exists();
    let has_run = tables::OWNER.get(&snapshot, &())?.is_some();
    let lost = !has_run || size.total() > 1 && !has_unit_file(units);
    let is_in_doubt = was || lost && !is_fresh;
    if is_in_doubt && !was {
        store.update(|writes| {
            tables::SILENT_BEFORE.insert(writes, &(), &ALL);
            Ok::<_, StoreError>(())
        })?;
    }
    Ok(is_in_doubt)
}

fn has_unit_file(units: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(units) else { return false };
    entries.any(|entry| {
        entry.is_ok_and(|entry| entry.path().extension().is_some_and(|it| it == "units"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use moneta_store::Memory;

    use super::*;

    const NONCE: Nonce = [7; 16];

    fn said(count: u64, signed_before: u64) -> Answer {
        let (count, signed_before) = (SessionIndex(count), SessionIndex(signed_before));
        Answer { count, signed_before, in_doubt: false }
    }

    fn in_doubt(count: u64) -> Answer {
        Answer { in_doubt: true, ..said(count, count) }
    }

    fn doubt(answers: &[(u16, Answer)]) -> Doubt {
        let doubt = Doubt::new(true, NONCE);
        for (peer, answer) in answers {
            doubt.hear(PeerId::new(*peer), NONCE, *answer);
        }
        doubt
    }

    fn entry(total: usize, count: u64, answers: &[(u16, Answer)], unproven: &[u16]) -> Option<u64> {
        let unproven = unproven.iter().copied().map(PeerId::new).collect();
        let size = FederationSize::new(total).unwrap();
        doubt(answers).may_enter_at(size, SessionIndex(count), &unproven).map(|at| at.0)
    }

    #[test]
    fn three_of_three_others_must_vouch_among_four() {
        let all = [(0, said(5, 5)), (1, said(5, 6)), (2, said(5, 5))];
        assert_eq!(entry(4, 5, &all, &[]), Some(6), "one of them has signed session 5 already");
        assert_eq!(entry(4, 5, &all[..2], &[]), None);
        assert_eq!(entry(4, 4, &all, &[]), None, "their history is not replayed yet");
        assert_eq!(entry(4, 7, &all, &[]), Some(6));
    }

    #[test]
    fn two_of_six_others_may_be_silent_or_lie_among_seven() {
        let five: Vec<_> = (0..5).map(|peer| (peer, said(5, 5))).collect();
        assert_eq!(entry(7, 5, &five[..4], &[]), None);
        assert_eq!(entry(7, 5, &five, &[]), Some(5));
    }

    #[test]
    fn boasting_guardian_counts_as_liar_once_it_could_not_prove_it() {
        let answers = [(0, said(5, 5)), (1, said(5, 5)), (2, said(1000, 1000))];
        assert_eq!(entry(4, 5, &answers, &[]), None, "it may be true");
        assert_eq!(entry(4, 5, &answers, &[2]), Some(5));
        let impossible = [(0, said(5, 5)), (1, said(5, 5)), (2, said(5, u64::MAX))];
        assert_eq!(entry(4, 5, &impossible, &[]), Some(5));
        let two = [(0, said(5, 5)), (1, said(9, 9)), (2, said(1000, 1000))];
        assert_eq!(entry(4, 5, &two, &[1, 2]), None, "more liars than there can be");
    }

    #[test]
    fn guardian_in_doubt_itself_cannot_vouch_until_it_remembers() {
        let answers = [(0, said(5, 5)), (1, said(5, 5)), (2, in_doubt(5))];
        assert_eq!(entry(4, 5, &answers, &[]), None);
        let doubt = doubt(&answers);
        doubt.hear(PeerId::new(2), NONCE, said(5, 7));
        let size = FederationSize::new(4).unwrap();
        let at = doubt.may_enter_at(size, SessionIndex(5), &BTreeSet::new());
        assert_eq!(at, Some(SessionIndex(7)));
    }

    #[test]
    fn answer_from_before_this_start_is_not_heard() {
        let doubt = doubt(&[(0, said(5, 5)), (1, said(5, 5))]);
        doubt.hear(PeerId::new(2), [8; 16], said(5, 5));
        let size = FederationSize::new(4).unwrap();
        assert!(doubt.may_enter_at(size, SessionIndex(5), &BTreeSet::new()).is_none());
        let (silent, _) = doubt.awaited(size, PeerId::new(3));
        assert_eq!(silent, [PeerId::new(2)]);
    }

    #[test]
    fn nobody_enters_a_session_zero_of_which_there_is_a_former_self() {
        let all = [(0, said(0, 0)), (1, said(0, 0)), (2, said(0, 0))];
        assert_eq!(entry(4, 0, &all, &[]), Some(1));
    }

    #[test]
    fn word_of_the_operator_needs_all_others_and_none_ahead() {
        let size = FederationSize::new(4).unwrap();
        let told =
            |answers: &[(u16, Answer)]| doubt(answers).nobody_has_signed(size, SessionIndex(5));
        assert!(told(&[(0, in_doubt(5)), (1, in_doubt(4)), (2, said(5, 5))]));
        assert!(!told(&[(0, in_doubt(5)), (1, in_doubt(5))]));
        assert!(!told(&[(0, in_doubt(5)), (1, in_doubt(5)), (2, in_doubt(6))]));
        assert!(!told(&[(0, in_doubt(5)), (1, in_doubt(5)), (2, said(5, 6))]));
        assert!(!Doubt::new(false, NONCE).nobody_has_signed(size, SessionIndex(5)));
    }

    #[test]
    fn doubt_begins_with_what_is_missing_and_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path()).unwrap();
        let units = dir.join("units");
        let four = FederationSize::new(4).unwrap();
        let own = |store: &Store| {
            store.update(|writes| {
                tables::OWNER.insert(writes, &(), &"me".to_owned());
                Ok::<_, StoreError>(())
            })
        };
        let fresh = Memory::store();
        dir.write(FRESH_FILE, b"").unwrap();
        assert!(!open(&dir, &units, &fresh, four).unwrap(), "from the ceremony");
        own(&fresh).unwrap();
        assert!(!open(&dir, &units, &fresh, four).unwrap(), "crashed before its first unit");
        fs::create_dir(&units).unwrap();
        fs::write(units.join("session-0.units"), b"").unwrap();
        dir.remove(FRESH_FILE).unwrap();
        assert!(!open(&dir, &units, &fresh, four).unwrap(), "as every day");
        fs::remove_dir_all(&units).unwrap();
        assert!(open(&dir, &units, &fresh, four).unwrap(), "unit files are gone");
        fs::create_dir(&units).unwrap();
        fs::write(units.join("session-0.units"), b"").unwrap();
        assert!(open(&dir, &units, &fresh, four).unwrap(), "remembered");

        let restored = Memory::store();
        assert!(open(&dir, &units, &restored, four).unwrap(), "the database is gone");
        let one = FederationSize::new(1).unwrap();
        let alone = Memory::store();
        assert!(open(&dir, &units, &alone, one).unwrap(), "restored");
        let alone = Memory::store();
        own(&alone).unwrap();
        fs::remove_dir_all(&units).unwrap();
        assert!(!open(&dir, &units, &alone, one).unwrap(), "its log speaks for itself");
    }
}
