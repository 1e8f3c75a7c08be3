//! Taking e-cash.
//!
//! Everything that can be checked without the federation is: a forged or foreign note never gets
//! into a transaction. Whether a note was spent only the federation knows; then the notes are tried
//! in parts and the unspent ones are still received.
//!
//! Source: docs/protocol/mint.md, sections 3.10 and 6.3.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::thread;

use moneta_core::amount::{AmountUnit, Msat};
use moneta_core::id::{FederationId, OperationId};
use moneta_crypto::tbs::{AggregatePublicKey, Signature, verify_batch};
use moneta_module::client::{End, NewOperation, Note, Stop, SubmitError};
use moneta_store::StoreError;
use serde_json::json;

use super::bundle::Purpose;
use super::stock::Reception;
use super::{MintClient, MintTurn, stock};
use crate::words::{Denomination, ECash, Nonce, SpendableNote};

/// The most notes reissued in one transaction: leaves a fifth of its size for change.
const NOTES_PER_TRANSACTION: usize = 256;
/// The most notes in one e-cash: more than anybody needs, and a bound on the work.
const NOTES_MAX: usize = 10_000;

/// Why e-cash was not received. Nothing was sent; the notes are as good as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Refused: the notes are another federation's.
    #[error("the e-cash belongs to another federation than {expected}")]
    WrongFederation {
        /// Whose wallet this is.
        expected: FederationId,
        /// Whose notes these are, if the e-cash says so.
        found: Option<FederationId>,
    },
    /// Refused: the notes count something else than this mint issues.
    #[error("the e-cash counts {found}, this mint issues {expected}")]
    WrongUnit {
        /// What this mint issues.
        expected: AmountUnit,
        /// What the e-cash counts.
        found: AmountUnit,
    },
    /// Refused: no notes.
    #[error("the e-cash holds no notes")]
    Empty,
    /// Refused: too many notes.
    #[error("the e-cash holds {count} notes, at most {NOTES_MAX} are taken")]
    TooManyNotes {
        /// How many.
        count: usize,
    },
    /// Refused: the federation issues no such notes.
    #[error("the e-cash holds a note of a denomination that the federation does not issue: {0}")]
    UnknownDenomination(Denomination),
    /// Refused: the same note more than once.
    #[error("the e-cash holds the note {0} more than once")]
    Duplicate(Nonce),
    /// Refused: the federation did not sign these notes.
    #[error("{count} notes of the e-cash are forged")]
    Forged {
        /// How many.
        count: usize,
    },
    /// Refused: the fee would eat a note, or all of them together.
    #[error("the e-cash is worth less than it costs to receive it")]
    Uneconomical,
    /// Refused: this very e-cash was received before, or is being received.
    #[error("this e-cash was received already, in operation {0}")]
    AlreadyReceived(OperationId),
    /// Refused or broken: the transaction.
    #[error(transparent)]
    Submit(SubmitError),
}

impl From<SubmitError> for ReceiveError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::OperationExists(id) => Self::AlreadyReceived(id),
            other => Self::Submit(other),
        }
    }
}

impl From<StoreError> for ReceiveError {
    fn from(error: StoreError) -> Self {
        Self::Submit(SubmitError::Store(error))
    }
}

/// Why e-cash was not taken back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError {
    /// Refused: no e-cash was handed out in this operation, or not yet.
    #[error("operation {0} has handed out no e-cash")]
    NothingSent(OperationId),
    /// See there. Most of all `AlreadyReceived`: it was taken back before.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
}

/// Notes whose signatures are to be verified.
struct Signed(Vec<(AggregatePublicKey, Nonce, Signature)>);

impl Signed {
    fn verify(&self) -> Result<(), ReceiveError> {
        let item = |(key, nonce, signature): &(_, Nonce, _)| (*key, nonce.message(), *signature);
        let items: Vec<_> = self.0.iter().map(item).collect();
        match verify_batch(&items).into_iter().filter(|valid| !valid).count() {
            0 => Ok(()),
            count => Err(ReceiveError::Forged { count }),
        }
    }
}

impl MintClient {
    /// Checks e-cash without asking anybody.
    ///
    /// Errors: `WrongFederation`, `WrongUnit`, `Empty`, `TooManyNotes`, `UnknownDenomination`,
    /// `Duplicate`, `Uneconomical`, `Forged`.
    pub fn check(&self, ecash: &ECash) -> Result<Msat, ReceiveError> {
        let signed = self.check_words(ecash)?;
        signed.verify()?;
        ecash.amount().ok_or(ReceiveError::Submit(SubmitError::Overflow))
    }

    /// All but the signatures, which come back to be verified.
    fn check_words(&self, ecash: &ECash) -> Result<Signed, ReceiveError> {
        let (expected, found) = (self.env.federation, ecash.federation());
        if found != Some(expected) {
            return Err(ReceiveError::WrongFederation { expected, found });
        }
        let (expected, found) = (self.config.amount_unit, ecash.unit());
        if found != expected {
            return Err(ReceiveError::WrongUnit { expected, found });
        }
        let notes: Vec<SpendableNote> = ecash.notes().copied().collect();
        match notes.len() {
            0 => return Err(ReceiveError::Empty),
            count if count > NOTES_MAX => return Err(ReceiveError::TooManyNotes { count }),
            _ => {}
        }
        let mut nonces = BTreeSet::new();
        let mut signed = Signed(Vec::with_capacity(notes.len()));
        for note in &notes {
            let key = self.config.tbs_agg_pks.get(&note.denomination);
            let known = key.filter(|_| self.config.issues(note.denomination));
            let key = known.ok_or(ReceiveError::UnknownDenomination(note.denomination))?;
            if self.terms.net(note.denomination).is_none() {
                return Err(ReceiveError::Uneconomical);
            }
            if !nonces.insert(note.nonce()) {
                return Err(ReceiveError::Duplicate(note.nonce()));
            }
            signed.0.push((*key, note.nonce(), note.signature));
        }
        if !notes.chunks(NOTES_PER_TRANSACTION).all(|chunk| self.buys_a_note(chunk)) {
            return Err(ReceiveError::Uneconomical);
        }
        Ok(signed)
    }

    /// Takes e-cash: checks it, then has the federation turn its notes into fresh ones that only
    /// this wallet can spend. The money is safe once the operation has ended well; its last event
    /// tells whether notes were spent already.
    ///
    /// Errors: every variant of [`ReceiveError`]; drop the turn then.
    pub fn receive(
        &self,
        turn: &mut MintTurn<'_>,
        ecash: &ECash,
    ) -> Result<OperationId, ReceiveError> {
        let signed = self.check_words(ecash)?;
        // Pairings take as long as all else here, and neither needs the other: the turn is dropped if
        // the notes are forged.
        thread::scope(|scope| {
            let verifying = thread::Builder::new().spawn_scoped(scope, || signed.verify());
            let begun = self.begin_reception(turn, ecash);
            match verifying {
                Ok(verifying) => verifying.join().unwrap_or_else(|panic| resume_unwind(panic))?,
                // Where there are no threads (the browser).
                Err(_) => signed.verify()?,
            }
            begun
        })
    }

    fn begin_reception(
        &self,
        turn: &mut MintTurn<'_>,
        ecash: &ECash,
    ) -> Result<OperationId, ReceiveError> {
        let amount = ecash.amount().ok_or(ReceiveError::Submit(SubmitError::Overflow))?;
        let new = NewOperation {
            id: Some(ecash.receive_operation()),
            kind: "receive",
            details: json!({ "amount": amount }),
        };
        let operation = turn.begin_operation(new)?;
        let payload = json!({ "operation_id": operation, "amount": amount });
        turn.note(Note { kind: "payment-receive", payload, end: None });
        let notes: Vec<SpendableNote> = ecash.notes().copied().collect();
        for note in &notes {
            // A copy of an own note must not be spent a second time from the stock.
            stock::remove(&mut *turn.state(), note)?;
        }
        let chunks = notes.chunks(NOTES_PER_TRANSACTION);
        let reception = Reception { open: chunks.len() as u64, ..Reception::default() };
        stock::set_reception(&mut *turn.state(), operation, &reception);
        for chunk in chunks {
            let purpose = Purpose::Receive { operation };
            let draft = self.draft(purpose, chunk.to_vec(), Vec::new())?;
            turn.submit(draft)?;
        }
        Ok(operation)
    }

    /// Takes back e-cash that a `send` operation handed out. Succeeds unless the receiver was
    /// faster.
    ///
    /// Errors: every variant of [`CancelError`]; drop the turn then.
    pub fn cancel(
        &self,
        turn: &mut MintTurn<'_>,
        sent: OperationId,
    ) -> Result<OperationId, CancelError> {
        let ecash = stock::sent(&*turn.state(), sent).map_err(ReceiveError::from)?;
        let ecash = ecash.ok_or(CancelError::NothingSent(sent))?;
        Ok(self.receive(turn, &ecash)?)
    }

    /// One bundle of a reception is settled; `begun` new ones stand for parts of it.
    pub(super) fn reception_moved(
        &self,
        turn: &mut MintTurn<'_>,
        operation: OperationId,
        begun: u64,
        received: Msat,
        refused: Msat,
    ) -> Result<(), Stop> {
        let mut reception = stock::reception(&*turn.state(), operation)?;
        reception.open = reception.open.saturating_add(begun).saturating_sub(1);
        reception.received = reception.received.saturating_add(received);
        reception.refused = reception.refused.saturating_add(refused);
        stock::set_reception(&mut *turn.state(), operation, &reception);
        if reception.open > 0 {
            return Ok(());
        }
        let complete = reception.refused == Msat::ZERO;
        let payload = json!({
            "operation_id": operation,
            "status": if complete { "Success" } else { "Rejected" },
            "received": reception.received,
            "refused": reception.refused,
        });
        let end = if complete { End::Succeeded } else { End::Failed };
        turn.note(Note { kind: "payment-receive-update", payload, end: Some(end) });
        Ok(())
    }
}
