//! Notes on their way: spent and asked for in one transaction.
//!
//! ```text
//! accepted, nothing asked for -> done
//! shares for all notes        -> notes in stock, or handed out as e-cash
//! rejected                    -> what was asked for is void (its tweaks are never used again, but
//!                                see `void.rs`);
//!                                what was to be spent is reissued whole, then in halves, down to
//!                                single notes: one spent note sinks no other
//! ```
//!
//! A bundle is stored with its notes and tweaks from the turn in which the transaction is saved
//! until the turn in which all of them are accounted for. After a crash it waits again.
//!
//! The shares are asked for before the transaction is accepted; guardians answer once it is. So notes made
//! of a threshold's shares prove that it was, and nobody is asked for that beside.

use std::collections::BTreeMap;

use moneta_core::amount::Msat;
use moneta_core::id::{OperationId, OutPointRange, PeerId};
use moneta_core::invite::InviteCode;
use moneta_core::{Decode, Encode};
use moneta_module::client::{
    Call, End, Note, Origin, Outcome, Stop, Strategy, SubmitError, Target, Wait,
};
use serde_json::{Value, json};

use super::keys::NoteRequest;
use super::{MintClient, MintTurn, stock};
use crate::words::{ECash, SpendableNote};

/// Notes that one transaction spends and asks for. See the module text.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Bundle {
    /// What for.
    pub purpose: Purpose,
    /// What is spent.
    pub notes: Vec<SpendableNote>,
    /// What is asked for, in the order of the outputs.
    pub requests: Vec<NoteRequest>,
}

/// What a bundle is for.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Purpose {
    /// Pays for a transaction and takes its change.
    Change,
    /// Reissues own notes after a transaction was rejected.
    Refund,
    /// Reissues notes that somebody else handed over.
    Receive {
        /// The operation.
        operation: OperationId,
    },
    /// Makes exact notes to hand out.
    Send {
        /// The operation.
        operation: OperationId,
        /// What the notes are worth together.
        amount: Msat,
        /// To be put into the e-cash.
        invite: Option<InviteCode>,
    },
    /// Makes notes for payments to come.
    Restock,
}

impl Bundle {
    pub(super) fn wait(&self, origin: Option<&Origin>) -> Wait {
        // Without an origin `advance_bundle` reports what is broken.
        let Some(Origin { txid, outputs, .. }) = origin.copied() else { return Wait::ready() };
        if self.requests.is_empty() {
            return Wait::decided(txid);
        }
        let range = OutPointRange { txid, idx_range: outputs };
        let call = Call {
            target: Target::Module("signature_shares"),
            params: json!(range),
            strategy: Strategy::JudgeAll,
        };
        Wait::call(call).proving(txid)
    }
}

impl MintClient {
    pub(super) fn advance_bundle(
        &self,
        turn: &mut MintTurn<'_>,
        bundle: Bundle,
        outcome: Outcome,
    ) -> Result<(), Stop> {
        match outcome {
            Outcome::Accepted if bundle.requests.is_empty() => {
                self.settled(turn, bundle, Vec::new())
            }
            Outcome::Answers(answers) => {
                let notes = self.collect(&bundle.requests, &answers)?;
                self.settled(turn, bundle, notes)
            }
            Outcome::Rejected(_) => self.rejected(turn, bundle),
            Outcome::CallRefused { code, message } => {
                Err(Stop::Later(format!("guardians refuse signature shares: {message} ({code})")))
            }
            _ => Err(Stop::Invariant("a bundle of notes was woken by what it does not wait for")),
        }
    }

    pub(super) fn collect(
        &self,
        requests: &[NoteRequest],
        answers: &BTreeMap<PeerId, Value>,
    ) -> Result<Vec<SpendableNote>, Stop> {
        let issued = self.shares(requests, answers).notes.into_iter();
        let notes: Option<Vec<_>> = issued.map(|issued| issued.note).collect();
        notes.ok_or(Stop::Invariant("the federation's public keys do not belong together"))
    }

    /// The transaction happened and `issued` are its new notes.
    fn settled(
        &self,
        turn: &mut MintTurn<'_>,
        bundle: Bundle,
        issued: Vec<SpendableNote>,
    ) -> Result<(), Stop> {
        match bundle.purpose {
            Purpose::Change | Purpose::Refund => {
                Self::put_all(&mut *turn.state(), &issued)?;
                Ok(())
            }
            Purpose::Restock => {
                Self::put_all(&mut *turn.state(), &issued)?;
                stock::set_restocking(&mut *turn.state(), false);
                Ok(())
            }
            Purpose::Receive { operation } => {
                Self::put_all(&mut *turn.state(), &issued)?;
                let received = value_of(&bundle.notes);
                self.reception_moved(turn, operation, 0, received, Msat::ZERO)
            }
            Purpose::Send { operation, amount, invite } => {
                let unit = self.config.amount_unit;
                // Largest first, as wallets write it.
                let notes = issued.into_iter().rev();
                let ecash = ECash::new(self.env.federation, notes, invite.as_ref(), unit);
                self.hand_out(turn, operation, amount, &ecash);
                Ok(())
            }
        }
    }

    fn rejected(&self, turn: &mut MintTurn<'_>, bundle: Bundle) -> Result<(), Stop> {
        let Bundle { purpose, notes, requests } = bundle;
        if let Some(Origin { txid, outputs, .. }) = turn.origin() {
            self.note_void(turn, OutPointRange { txid, idx_range: outputs }, requests);
        }
        match purpose {
            Purpose::Send { operation, amount, .. } => {
                let payload = json!({ "operation_id": operation, "amount": amount });
                turn.note(Note { kind: "payment-send-failed", payload, end: Some(End::Failed) });
                Ok(())
            }
            // Not put back as they are: whoever has seen the rejected transaction could submit it
            // again later.
            Purpose::Change | Purpose::Restock => {
                if purpose == Purpose::Restock {
                    stock::set_restocking(&mut *turn.state(), false);
                }
                if !notes.is_empty() && !self.reissue(turn, Purpose::Refund, notes.clone())? {
                    Self::put_all(&mut *turn.state(), &notes)?;
                }
                Ok(())
            }
            Purpose::Refund => self.reissue_in_parts(turn, &Purpose::Refund, notes).map(drop),
            Purpose::Receive { operation } => {
                let parts = self.reissue_in_parts(turn, &Purpose::Receive { operation }, notes)?;
                let Parts { begun, refused } = parts;
                self.reception_moved(turn, operation, begun, Msat::ZERO, refused)
            }
        }
    }

    /// Tries both halves of refused notes; a single one is at the end of its way.
    fn reissue_in_parts(
        &self,
        turn: &mut MintTurn<'_>,
        purpose: &Purpose,
        mut notes: Vec<SpendableNote>,
    ) -> Result<Parts, Stop> {
        let mut parts = Parts { begun: 0, refused: Msat::ZERO };
        let rest = notes.split_off(notes.len() / 2);
        let single = notes.is_empty();
        for half in [notes, rest] {
            if half.is_empty() {
                continue;
            }
            if !single && self.reissue(turn, purpose.clone(), half.clone())? {
                parts.begun += 1;
                continue;
            }
            let refused = value_of(&half);
            parts.refused = parts.refused.saturating_add(refused);
            for note in &half {
                stock::set_aside(&mut *turn.state(), note);
            }
            let payload = json!({ "amount": refused, "notes": half.len() });
            turn.note(Note { kind: "notes-set-aside", payload, end: None });
        }
        Ok(parts)
    }

    /// Submits a transaction that turns `notes` into fresh ones; `false` if they buy none.
    fn reissue(
        &self,
        turn: &mut MintTurn<'_>,
        purpose: Purpose,
        notes: Vec<SpendableNote>,
    ) -> Result<bool, Stop> {
        if !self.buys_a_note(&notes) {
            return Ok(false);
        }
        let submitted =
            self.draft(purpose, notes, Vec::new()).and_then(|draft| turn.submit(draft).map(drop));
        match submitted {
            Ok(()) => Ok(true),
            Err(SubmitError::Store(error)) => Err(Stop::Store(error)),
            // Nothing was written; the same outcome is offered again after a pause.
            Err(error) => Err(Stop::Later(error.to_string())),
        }
    }

    /// Whether spending `notes` together brings enough for any new note.
    pub(super) fn buys_a_note(&self, notes: &[SpendableNote]) -> bool {
        let net = notes.iter().filter_map(|note| self.terms.net(note.denomination));
        let net = net.fold(Msat::ZERO, Msat::saturating_add);
        self.terms.least_cost().is_some_and(|cost| net >= cost)
    }
}

/// What came of trying notes again in parts.
struct Parts {
    /// Parts that are on their way again.
    begun: u64,
    /// Face value of those at the end of theirs.
    refused: Msat,
}

/// The face value of `notes`.
pub(super) fn value_of(notes: &[SpendableNote]) -> Msat {
    let values = notes.iter().filter_map(SpendableNote::value);
    values.fold(Msat::ZERO, Msat::saturating_add)
}
