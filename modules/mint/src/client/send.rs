//! Handing out e-cash.
//!
//! Source: docs/protocol/mint.md, section 3.10.

use moneta_core::amount::Msat;
use moneta_core::id::OperationId;
use moneta_core::invite::InviteCode;
use moneta_module::client::{End, NewOperation, Note, SubmitError};
use moneta_store::StoreError;
use serde_json::json;

use super::bundle::Purpose;
use super::{MintClient, MintTurn, selection, stock};
use crate::words::{Denomination, ECash};

/// How far a `send` is.
#[derive(Debug, Clone, PartialEq)]
pub enum SendProgress {
    /// Here is the e-cash. It left the stock and can be taken back with [`MintClient::cancel`].
    Ready {
        /// The operation.
        operation: OperationId,
        /// What to hand over.
        ecash: ECash,
    },
    /// The stock lacks the notes, so the federation is asked for them. The e-cash will be in the
    /// operation's `payment-send` event and in [`MintClient::sent`].
    Pending {
        /// The operation.
        operation: OperationId,
    },
}

/// Why nothing was sent. Nothing left the stock.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Refused: there is nothing to send.
    #[error("the amount is zero")]
    Zero,
    /// Refused: larger than amounts can be.
    #[error("the amount is too large")]
    Overflow,
    /// Refused or broken: the transaction that makes the notes.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

impl From<StoreError> for SendError {
    fn from(error: StoreError) -> Self {
        Self::Submit(SubmitError::Store(error))
    }
}

impl MintClient {
    /// What [`MintClient::send`] will hand out for `amount`: the next multiple of the smallest
    /// note. `None` on overflow.
    pub fn sendable(amount: Msat) -> Option<Msat> {
        let unit = Denomination::MIN_MINTED.value()?;
        amount.0.checked_next_multiple_of(unit.0).map(Msat)
    }

    /// Hands out e-cash worth `amount`, rounded up to a multiple of 512 msat, with an invite for
    /// a receiver who does not know the federation.
    ///
    /// From stock if that has the exact notes: at once, without network, without fee. Otherwise
    /// the exact notes are made first. There is no time limit and no automatic refund.
    ///
    /// Errors: every variant of [`SendError`]; drop the turn then.
    pub fn send(
        &self,
        turn: &mut MintTurn<'_>,
        amount: Msat,
        invite: Option<InviteCode>,
    ) -> Result<SendProgress, SendError> {
        if amount == Msat::ZERO {
            return Err(SendError::Zero);
        }
        let held = stock::counts(&*turn.state())?;
        let available = selection::total(&held).unwrap_or(Msat(u64::MAX));
        // The last few amounts cannot be rounded up. Nobody has as much, which is the reason to tell.
        let needed = Self::sendable(amount).unwrap_or(amount);
        if available < needed {
            return Err(SubmitError::Insufficient { needed, available }.into());
        }
        let amount = Self::sendable(amount).ok_or(SendError::Overflow)?;
        let new = NewOperation {
            id: None,
            kind: "send",
            details: json!({ "amount": amount, "include_invite": invite.is_some() }),
        };
        let operation = turn.begin_operation(new)?;
        self.note_payment(turn)?;
        if let Some(counts) = selection::exact(&held, amount) {
            let mut notes = Vec::new();
            for (denomination, count) in counts.iter().rev() {
                notes.extend(stock::take(&mut *turn.state(), *denomination, *count)?);
            }
            let unit = self.config.amount_unit;
            let ecash = ECash::new(self.env.federation, notes, invite.as_ref(), unit);
            self.hand_out(turn, operation, amount, &ecash);
            self.restock_if_low(turn, amount)?;
            return Ok(SendProgress::Ready { operation, ecash });
        }
        let counts = self.terms.decompose(amount).ok_or(SendError::Overflow)?;
        let requests = self.request(turn, &counts)?;
        let purpose = Purpose::Send { operation, amount, invite };
        let draft = self.draft(purpose, Vec::new(), requests)?;
        turn.submit(draft)?;
        Ok(SendProgress::Pending { operation })
    }

    /// Records e-cash as handed out.
    pub(super) fn hand_out(
        &self,
        turn: &mut MintTurn<'_>,
        operation: OperationId,
        amount: Msat,
        ecash: &ECash,
    ) {
        stock::record_sent(&mut *turn.state(), operation, ecash);
        let payload = json!({
            "operation_id": operation,
            "amount": amount,
            "ecash": ecash.to_string(),
        });
        turn.note(Note { kind: "payment-send", payload, end: Some(End::Succeeded) });
    }
}
