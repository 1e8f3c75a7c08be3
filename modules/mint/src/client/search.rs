//! Finding signature shares by output, for notes whose shares by message are of no use.
//!
//! Guardians that keep the latest share for a blinded message can be made to lose the right one by
//! anybody who repeats the message in an output of another denomination. The share for the
//! output itself cannot be lost; it only takes reading the session history to learn which output
//! that is. Slow, and hardly ever needed, so it runs after recovery and beside everything else.
//!
//! ```text
//! Counting -> Session -> Session -> .. -> done (all found, or the history is at its end)
//!                |
//!                +-- output found --> Located --shares--> note in stock
//! ```
//! After a crash the current session is read again.
//!
//! Source: docs/protocol/mint.md, section 6.2; docs/protocol/core.md, section 8.

use std::collections::BTreeMap;

use moneta_core::api::endpoint;
use moneta_core::id::{OutPoint, OutPointRange, SessionIndex};
use moneta_core::session::{ConsensusItem, SessionOutcome};
use moneta_core::transaction::Transaction;
use moneta_core::{Decode, Encode, MeHex};
use moneta_module::client::{Call, Note, Outcome, Stop, Strategy, Target, Wait};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::keys::NoteRequest;
use super::{Machine, MintClient, MintTurn, stock};
use crate::words::{Denomination, MintOutput, Tweak, hash160};

/// How far the search through history is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Search {
    /// Asks how many sessions are finished.
    Counting,
    /// Reads a session.
    Session {
        /// Which.
        next: SessionIndex,
        /// The last one.
        last: SessionIndex,
    },
    /// Asks for the share of an output that was found.
    Located {
        /// The output.
        out_point: OutPoint,
        /// What it asked for.
        request: NoteRequest,
    },
}

impl MintClient {
    /// Starts the search if recovery left anything to search for.
    pub(super) fn begin_search(&self, turn: &mut MintTurn<'_>) -> Result<(), Stop> {
        if !stock::unresolved(&*turn.state())?.is_empty() {
            turn.spawn(&Machine::Search(Search::Counting));
        }
        Ok(())
    }

    pub(super) fn wait_in_search(&self, search: &Search) -> Wait {
        let (target, params, strategy) = match search {
            Search::Counting => {
                (Target::Core(endpoint::SESSION_COUNT), Value::Null, Strategy::Agree)
            }
            Search::Session { next, .. } => {
                (Target::Core(endpoint::AWAIT_SESSION_OUTCOME), json!(next), Strategy::Agree)
            }
            Search::Located { out_point, .. } => {
                let OutPoint { txid, out_idx } = *out_point;
                let idx_range = (out_idx..out_idx.saturating_add(1)).into();
                let range = json!(OutPointRange { txid, idx_range });
                (Target::Module("signature_shares"), range, Strategy::JudgeAll)
            }
        };
        Wait::call(Call { target, params, strategy })
    }

    pub(super) fn advance_search(
        &self,
        turn: &mut MintTurn<'_>,
        search: Search,
        outcome: Outcome,
    ) -> Result<Option<Search>, Stop> {
        match (search, outcome) {
            (Search::Counting, Outcome::Answer(count)) => {
                let last = SessionIndex::deserialize(&count)
                    .map_err(|_| Stop::Later("the number of sessions is no number".to_owned()))?;
                // The one that runs is read too, once it is finished.
                Ok(Some(Search::Session { next: SessionIndex(0), last }))
            }
            (Search::Session { next, last }, Outcome::Answer(session)) => {
                let MeHex(session) = MeHex::<SessionOutcome>::deserialize(&session)
                    .map_err(|_| Stop::Later("a session does not decode".to_owned()))?;
                let is_done = self.search_session(turn, &session)?;
                let following = next.next().filter(|next| !is_done && *next <= last);
                Ok(following.map(|next| Search::Session { next, last }))
            }
            (Search::Located { request, .. }, Outcome::Answers(answers)) => {
                let issued = self.shares(&[request], &answers).notes.pop();
                let note = issued.and_then(|issued| issued.note);
                let note = note.ok_or(Stop::Invariant("the public keys do not belong together"))?;
                stock::put(&mut *turn.state(), &note)?;
                let payload = json!({ "module_id": self.env.instance, "amount": note.value() });
                turn.note(Note { kind: "note-recovered-late", payload, end: None });
                Ok(None)
            }
            (_, Outcome::CallRefused { code, message }) => {
                Err(Stop::Later(format!("guardians refuse to show history: {message} ({code})")))
            }
            _ => Err(Stop::Invariant("the search was woken by what it does not wait for")),
        }
    }

    /// Looks for outputs that asked for missing notes; returns whether none is missing any more.
    fn search_session(
        &self,
        turn: &mut MintTurn<'_>,
        session: &SessionOutcome,
    ) -> Result<bool, Stop> {
        let missing = stock::unresolved(&*turn.state())?;
        let mut missing: BTreeMap<(Denomination, Tweak), NoteRequest> =
            missing.into_iter().map(|it| ((it.denomination, it.tweak), it)).collect();
        for item in &session.items {
            let ConsensusItem::Transaction(transaction) = &item.item else { continue };
            self.search_transaction(turn, transaction, &mut missing);
        }
        Ok(missing.is_empty())
    }

    fn search_transaction(
        &self,
        turn: &mut MintTurn<'_>,
        transaction: &Transaction,
        missing: &mut BTreeMap<(Denomination, Tweak), NoteRequest>,
    ) {
        for (out_idx, envelope) in (0..).zip(&transaction.outputs) {
            if envelope.instance != self.env.instance {
                continue;
            }
            let Ok(MintOutput::V0(output)) = envelope.decode::<MintOutput>() else { continue };
            let name = (output.denomination, output.tweak);
            let Some(request) = missing.get(&name).copied() else { continue };
            let keys = self.secrets.keys(request);
            if keys.blinded() != output.blinded {
                continue;
            }
            missing.remove(&name);
            let nonce_hash = hash160(&keys.nonce().to_array());
            stock::remove_unresolved(&mut *turn.state(), &nonce_hash);
            let out_point = OutPoint { txid: transaction.txid(), out_idx };
            turn.spawn(&Machine::Search(Search::Located { out_point, request }));
        }
    }
}
