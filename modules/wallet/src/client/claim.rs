//! The claim of one deposit: e-cash for a logged output.
//!
//! Source: docs/protocol/wallet.md, sections 1.5 and 1.10.

use bitcoin::Amount;
use moneta_core::envelope::InputEnvelope;
use moneta_core::transaction::TransactionError;
use moneta_core::{Decode, Encode, Msat};
use moneta_module::client::{
    Draft, DraftInput, End, Note, Origin, Outcome, Stop, SubmitError, Submitted, Timestamp, Turn,
    Wait,
};
use serde_json::{Value, json};

use super::calls::{parse_fee, pending_chain_call, receive_fee_call};
use super::tables::{CLAIMING, DEPOSITS, Deposit, DepositStatus, VALID};
use super::{Machine, WalletClient, stop};
use crate::words::{WalletInput, WalletInputError, WalletInputV0};

/// With this many pending transactions a claim waits: each one doubles the floor of the fee.
const MAX_PENDING: usize = 3;
/// What a claim must bring at least. Below it the mint's fees for the notes could eat it up, and the
/// claim would cost money.
const MIN_GAIN: Msat = Msat(10_000);

/// Pause before a claim is looked at again while the user waits.
const WATCHED_REST_MS: u64 = 2000;
/// The same otherwise.
const REST_MS: u64 = 30_000;
/// Pause before an uneconomical deposit is looked at again: feerates move by the block.
const UNECONOMICAL_REST_MS: u64 = 600_000;
/// Pause after the first rejection; it doubles with each further one.
const REJECTED_REST_MS: u64 = 1000;
/// How often it doubles at most, which gives about 17 minutes.
const REJECTED_DOUBLINGS: u64 = 10;

/// A claim.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Claim {
    /// Position of the deposit in the federation's log.
    pub output_index: u64,
    /// How many of its transactions were rejected.
    pub rejections: u64,
    /// Where it stands.
    pub stage: ClaimStage,
}

/// Where a claim stands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ClaimStage {
    /// Asks how many transactions are pending.
    Queue,
    /// Asks for the fee.
    Price,
    /// Pauses until this time, in milliseconds since the Unix epoch.
    Rest(u64),
    /// Its transaction is on its way.
    Submitted,
    /// Too many transactions are pending; asks for the fee all the same, to tell at once if the deposit is
    /// not worth it.
    Crowded,
}

impl Claim {
    pub(super) fn new(output_index: u64) -> Self {
        Self { output_index, rejections: 0, stage: ClaimStage::Queue }
    }

    pub(super) fn wait(&self, origin: Option<&Origin>) -> Wait {
        match (&self.stage, origin) {
            (ClaimStage::Queue, _) => Wait::call(pending_chain_call()),
            (ClaimStage::Price | ClaimStage::Crowded, _) => Wait::call(receive_fee_call()),
            (ClaimStage::Rest(until), _) => Wait::until(Timestamp(*until)),
            (ClaimStage::Submitted, Some(origin)) => Wait::decided(origin.txid),
            (ClaimStage::Submitted, None) => Wait::ready(),
        }
    }

    fn at(self, stage: ClaimStage) -> Option<Self> {
        Some(Self { stage, ..self })
    }
}

impl WalletClient {
    pub(super) fn advance_claim(
        &self,
        turn: &mut Turn<'_, Machine>,
        claim: Claim,
        outcome: Outcome,
    ) -> Result<Option<Claim>, Stop> {
        match (&claim.stage, outcome) {
            (ClaimStage::Rest(_), _) => Ok(claim.at(ClaimStage::Queue)),
            (ClaimStage::Queue, Outcome::Answer(Value::Array(pending))) => {
                let has_room = pending.len() < MAX_PENDING;
                Ok(claim.at(if has_room { ClaimStage::Price } else { ClaimStage::Crowded }))
            }
            (ClaimStage::Price, Outcome::Answer(answer)) => match parse_fee(&answer) {
                Some(fee) => self.try_claim(turn, claim, fee),
                None => self.rest(turn, claim),
            },
            (ClaimStage::Crowded, Outcome::Answer(answer)) => {
                self.wait_for_room(turn, claim, parse_fee(&answer))
            }
            (ClaimStage::Queue | ClaimStage::Price | ClaimStage::Crowded, _) => {
                self.rest(turn, claim)
            }
            (ClaimStage::Submitted, Outcome::Accepted) => {
                self.accepted(turn, &claim).map(|()| None)
            }
            (ClaimStage::Submitted, Outcome::Rejected(error)) => self.rejected(turn, claim, &error),
            (ClaimStage::Submitted, _) => {
                Err(Stop::Invariant("a submitted claim has no transaction"))
            }
        }
    }

    /// Submits the claim at `fee`, if it pays and no other claim is on its way.
    fn try_claim(
        &self,
        turn: &mut Turn<'_, Machine>,
        claim: Claim,
        fee: Amount,
    ) -> Result<Option<Claim>, Stop> {
        if CLAIMING.contains(&*turn.state(), &())? {
            return Ok(rest_for(turn, claim, WATCHED_REST_MS));
        }
        let output_index = claim.output_index;
        let deposit = self.deposit(turn, output_index)?;
        let amount = deposit.value.checked_sub(fee).and_then(Msat::from_sat);
        let Some(amount) = amount.filter(|_| self.pays(&deposit, fee)) else {
            return self.uneconomical(turn, claim, deposit, fee);
        };
        let key = self.claim_key(deposit.address_index);
        let input = WalletInputV0 { output_index, tweak: key.public_key(), fee };
        let input = DraftInput {
            input: InputEnvelope::new(self.instance, &WalletInput::V0(input)),
            amount,
            fee: self.config.fee_consensus.fee(amount),
            key,
        };
        let follow_up = Claim { stage: ClaimStage::Submitted, ..claim.clone() };
        let machine = Some(Machine::Claim(follow_up));
        match turn.submit(Draft { inputs: vec![input], outputs: Vec::new(), machine }) {
            Ok(submitted) => {
                CLAIMING.insert(&mut *turn.state(), &(), &output_index);
                self.submitted(turn, output_index, deposit, fee, submitted)?;
                Ok(None)
            }
            Err(SubmitError::Insufficient { .. }) => self.uneconomical(turn, claim, deposit, fee),
            Err(error) => Err(stop(error)),
        }
    }

    /// Whether claiming at `fee` brings anything worth the name.
    fn pays(&self, deposit: &Deposit, fee: Amount) -> bool {
        self.config.claim_gain(deposit.value, fee).is_some_and(|gain| gain >= MIN_GAIN)
    }

    /// Has the claim wait until fewer transactions are pending. What would cost more than it brings now is
    /// told right away: whoever waits for it cannot see the queue.
    fn wait_for_room(
        &self,
        turn: &mut Turn<'_, Machine>,
        claim: Claim,
        fee: Option<Amount>,
    ) -> Result<Option<Claim>, Stop> {
        let deposit = self.deposit(turn, claim.output_index)?;
        let status = match fee {
            Some(fee) if !self.pays(&deposit, fee) => DepositStatus::Uneconomical { fee },
            _ => DepositStatus::Queued,
        };
        set_status(turn, claim.output_index, deposit, status);
        // The fee is lower once there is room, so neither rests for longer.
        self.rest(turn, claim)
    }

    fn submitted(
        &self,
        turn: &mut Turn<'_, Machine>,
        output_index: u64,
        deposit: Deposit,
        fee: Amount,
        submitted: Submitted,
    ) -> Result<(), Stop> {
        let Submitted { origin: Origin { txid, .. }, fees } = submitted;
        let script = VALID.get(&*turn.state(), &deposit.address_index)?;
        turn.note(Note {
            kind: "payment-receive",
            payload: json!({
                "operation_id": self.deposit_operation(output_index),
                "value": deposit.value.to_sat(),
                "fee": fee.to_sat(),
                // All that the federation keeps: for the claim, for the notes, and what no note fits.
                "federation_fee_msat": fees.0,
                "address": script.map(|script| self.address_of(&script).to_string()),
                "outpoint": deposit.outpoint,
            }),
            end: None,
        });
        set_status(turn, output_index, deposit, DepositStatus::Claiming { txid });
        Ok(())
    }

    fn accepted(&self, turn: &mut Turn<'_, Machine>, claim: &Claim) -> Result<(), Stop> {
        let deposit = self.deposit(turn, claim.output_index)?;
        let Some(Origin { txid, .. }) = turn.origin() else {
            return Err(Stop::Invariant("a submitted claim has no transaction"));
        };
        CLAIMING.remove(&mut *turn.state(), &());
        set_status(turn, claim.output_index, deposit, DepositStatus::Claimed { txid });
        self.note_update(turn, claim.output_index, "Success", Some(End::Succeeded));
        Ok(())
    }

    /// Nothing happened to the deposit. Whatever the reason was, it is tried again with a new fee,
    /// except when somebody else has the money.
    fn rejected(
        &self,
        turn: &mut Turn<'_, Machine>,
        claim: Claim,
        error: &TransactionError,
    ) -> Result<Option<Claim>, Stop> {
        let deposit = self.deposit(turn, claim.output_index)?;
        CLAIMING.remove(&mut *turn.state(), &());
        if self.is_claimed_elsewhere(error) {
            set_status(turn, claim.output_index, deposit, DepositStatus::ClaimedElsewhere);
            self.note_update(turn, claim.output_index, "Aborted", Some(End::Failed));
            return Ok(None);
        }
        set_status(turn, claim.output_index, deposit, DepositStatus::Waiting);
        self.note_update(turn, claim.output_index, "Aborted", None);
        let pause = REJECTED_REST_MS << claim.rejections.min(REJECTED_DOUBLINGS);
        let rejections = claim.rejections.saturating_add(1);
        Ok(rest_for(turn, Claim { rejections, ..claim }, pause))
    }

    fn is_claimed_elsewhere(&self, error: &TransactionError) -> bool {
        let TransactionError::Input(error) = error else { return false };
        error.instance == self.instance
            && error.decode() == Ok(WalletInputError::OutputAlreadySpent)
    }

    fn uneconomical(
        &self,
        turn: &mut Turn<'_, Machine>,
        claim: Claim,
        deposit: Deposit,
        fee: Amount,
    ) -> Result<Option<Claim>, Stop> {
        set_status(turn, claim.output_index, deposit, DepositStatus::Uneconomical { fee });
        Ok(rest_for(turn, claim, UNECONOMICAL_REST_MS))
    }

    fn rest(&self, turn: &mut Turn<'_, Machine>, claim: Claim) -> Result<Option<Claim>, Stop> {
        let pause = if self.is_watched(turn)? { WATCHED_REST_MS } else { REST_MS };
        Ok(rest_for(turn, claim, pause))
    }

    fn deposit(&self, turn: &mut Turn<'_, Machine>, output_index: u64) -> Result<Deposit, Stop> {
        let deposit = DEPOSITS.get(&*turn.state(), &output_index)?;
        deposit.ok_or(Stop::Invariant("a claim without its deposit"))
    }

    fn note_update(
        &self,
        turn: &mut Turn<'_, Machine>,
        output_index: u64,
        status: &str,
        end: Option<End>,
    ) {
        let operation_id = self.deposit_operation(output_index);
        let payload = json!({ "operation_id": operation_id, "status": status });
        turn.note(Note { kind: "payment-receive-update", payload, end });
    }
}

fn rest_for(turn: &Turn<'_, Machine>, claim: Claim, pause_ms: u64) -> Option<Claim> {
    let until = turn.now().after_ms(pause_ms).0;
    claim.at(ClaimStage::Rest(until))
}

fn set_status(
    turn: &mut Turn<'_, Machine>,
    output_index: u64,
    deposit: Deposit,
    status: DepositStatus,
) {
    DEPOSITS.insert(&mut *turn.state(), &output_index, &Deposit { status, ..deposit });
}
