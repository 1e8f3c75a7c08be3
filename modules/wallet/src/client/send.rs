//! Withdrawals.
//!
//! Source: docs/protocol/wallet.md, sections 1.6 and 1.10.

use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Amount, Network, Txid};
use moneta_core::envelope::OutputEnvelope;
use moneta_core::{Decode, Encode, Msat, OperationId, OutPoint};
use moneta_module::client::{
    Draft, DraftOutput, End, NewOperation, Note, Origin, Outcome, Stop, SubmitError, Timestamp,
    Turn, Wait,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::calls::transaction_id_call;
use super::{Machine, WalletClient};
use crate::words::{StandardScript, WalletOutput, WalletOutputV0};

/// Pause before the bitcoin transaction is asked for again. Guardians that are behind know it a
/// moment later.
const LOOKUP_REST_MS: u64 = 1000;

/// A withdrawal on its way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Withdrawal {
    /// Its transaction is on its way.
    Submitted(OperationId),
    /// Asks for the bitcoin transaction of the accepted output.
    Lookup(OperationId, OutPoint),
    /// Pauses until this time, in milliseconds since the Unix epoch, then asks again.
    Rest(OperationId, OutPoint, u64),
}

/// Why a withdrawal was not started. Nothing was spent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Refused: an address of another bitcoin network.
    #[error("the address is not one of the network {network}")]
    WrongNetwork {
        /// The federation's network.
        network: Network,
    },
    /// Refused: too little for an output on the chain.
    #[error("{value} is below the least withdrawal of {dust_limit}")]
    BelowDust {
        /// What was wished for.
        value: Amount,
        /// The least.
        dust_limit: Amount,
    },
    /// Refused: the federation has no word for this kind of address.
    #[error("this kind of address cannot be paid")]
    UnsupportedAddress,
    /// Refused: the amounts are out of range.
    #[error("the amounts are out of range")]
    Overflow,
    /// The transaction was not made; `Insufficient` if the wallet holds too little.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

impl Withdrawal {
    pub(super) fn wait(&self, origin: Option<&Origin>) -> Wait {
        match (self, origin) {
            (Self::Submitted(_), Some(origin)) => Wait::decided(origin.txid),
            (Self::Submitted(_), None) => Wait::ready(),
            (Self::Lookup(_, out_point), _) => Wait::call(transaction_id_call(*out_point)),
            (Self::Rest(_, _, until), _) => Wait::until(Timestamp(*until)),
        }
    }
}

impl WalletClient {
    /// Checks an address and an amount as [`WalletClient::send`] does, before a fee is asked for.
    ///
    /// Errors: `WrongNetwork`, `UnsupportedAddress`, `BelowDust`.
    pub fn check_destination(
        &self,
        address: &Address<NetworkUnchecked>,
        value: Amount,
    ) -> Result<StandardScript, SendError> {
        let (network, dust_limit) = (self.config.network, self.config.dust_limit);
        let address = address.clone().require_network(network);
        let address = address.map_err(|_| SendError::WrongNetwork { network })?;
        if value < dust_limit {
            return Err(SendError::BelowDust { value, dust_limit });
        }
        StandardScript::from_script_pubkey(&address.script_pubkey())
            .ok_or(SendError::UnsupportedAddress)
    }

    /// Starts a withdrawal of `value` to `address`; `fee` goes to miners on top. Ask for it with
    /// [`super::send_fee_call`] just before.
    ///
    /// The operation succeeds once the federation has accepted it, and names the bitcoin
    /// transaction then. If the fee has risen meanwhile it fails and the money is back.
    pub fn send(
        &self,
        turn: &mut Turn<'_, Machine>,
        address: &Address<NetworkUnchecked>,
        value: Amount,
        fee: Amount,
    ) -> Result<OperationId, SendError> {
        let destination = self.check_destination(address, value)?;
        let amount = value.checked_add(fee).and_then(Msat::from_sat).ok_or(SendError::Overflow)?;
        let address = address.assume_checked_ref().to_string();
        let mut details =
            json!({ "address": address, "value": value.to_sat(), "fee": fee.to_sat() });
        let new = NewOperation { id: None, kind: "withdraw", details: details.clone() };
        let operation = turn.begin_operation(new)?;
        let output = WalletOutput::V0(WalletOutputV0 { destination, value, fee });
        let output = DraftOutput {
            output: OutputEnvelope::new(self.instance, &output),
            amount,
            fee: self.config.fee_consensus.fee(amount),
        };
        let machine = Some(Machine::Withdraw(Withdrawal::Submitted(operation)));
        turn.submit(Draft { inputs: Vec::new(), outputs: vec![output], machine })?;
        details["operation_id"] = json!(operation);
        turn.note(Note { kind: "payment-send", payload: details, end: None });
        Ok(operation)
    }

    pub(super) fn advance_withdrawal(
        &self,
        turn: &mut Turn<'_, Machine>,
        withdrawal: Withdrawal,
        outcome: Outcome,
    ) -> Result<Option<Withdrawal>, Stop> {
        match (withdrawal, outcome) {
            (Withdrawal::Submitted(operation), Outcome::Accepted) => {
                let origin = turn.origin();
                let Some(Origin { txid, outputs, .. }) = origin else {
                    return Err(Stop::Invariant("a submitted withdrawal has no transaction"));
                };
                Ok(Some(Withdrawal::Lookup(operation, OutPoint { txid, out_idx: outputs.start })))
            }
            (Withdrawal::Submitted(operation), Outcome::Rejected(_)) => {
                note_update(turn, operation, json!("Aborted"), End::Failed);
                Ok(None)
            }
            (Withdrawal::Submitted(_), _) => {
                Err(Stop::Invariant("a submitted withdrawal has no transaction"))
            }
            (Withdrawal::Rest(operation, out_point, _), _) => {
                Ok(Some(Withdrawal::Lookup(operation, out_point)))
            }
            (Withdrawal::Lookup(operation, out_point), outcome) => {
                let txid = match &outcome {
                    Outcome::Answer(answer) => Txid::deserialize(answer).ok(),
                    _ => None,
                };
                let Some(txid) = txid else {
                    // It was accepted, so there is one.
                    let until = turn.now().after_ms(LOOKUP_REST_MS).0;
                    return Ok(Some(Withdrawal::Rest(operation, out_point, until)));
                };
                note_update(turn, operation, json!({ "Success": txid }), End::Succeeded);
                Ok(None)
            }
        }
    }
}

fn note_update(turn: &mut Turn<'_, Machine>, operation: OperationId, status: Value, end: End) {
    let payload = json!({ "operation_id": operation, "status": status });
    turn.note(Note { kind: "payment-send-update", payload, end: Some(end) });
}
