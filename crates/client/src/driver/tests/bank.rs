//! A client module with one coin: the whole balance, spent and returned as change.

#![cfg_attr(not(feature = "online"), allow(dead_code))]

use bitcoin::secp256k1::{Keypair, Secp256k1, SecretKey};
use moneta_core::amount::{AmountUnit, Msat};
use moneta_core::envelope::{InputEnvelope, OutputEnvelope};
use moneta_core::id::{ModuleInstanceId, ModuleKind, OperationId, PeerId};
use moneta_core::version::ApiVersion;
use moneta_core::{Decode, Encode};
use moneta_module::client::{
    Call, ClientKind, ClientModule, Draft, DraftInput, DraftOutput, End, Env, Imbalance, Judgement,
    NewOperation, Note, Origin, Outcome, Stop, Strategy, SubmitError, Target, Timestamp, Turn,
    Wait,
};
use moneta_module::erased::{AnyClient, erase_client};
use moneta_module::setup::OpenError;
use moneta_store::{Read, StoreError, Table};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The instance under test.
pub(crate) const BANK: ModuleInstanceId = ModuleInstanceId::new(5);

/// The fee of every transaction.
const FEE: Msat = Msat(10);

const COIN: Table<(), Msat> = Table::new(0x01);
const BEGUN: Table<(), u64> = Table::new(0x02);

pub(crate) struct Bank;

#[derive(Debug, Clone, Encode, Decode)]
pub(crate) enum Step {
    /// Tells the user what became of a payment.
    Payment,
    /// Takes the change, or the coin back.
    Change { spent: Msat, change: Msat },
    /// Cannot go on before a time.
    Later { ready_at_ms: u64 },
    /// Never goes on.
    Broken,
    /// Is a bug.
    Panics,
    /// Submits a transaction at a time.
    Timed { at_ms: u64 },
    /// Takes what three guardians say it is owed, if each names a number.
    Owed,
    /// The same of answers that prove its transaction to be accepted; guardians say nothing to `nobody`.
    Proof { to_nobody: bool },
}

type BankTurn<'a> = Turn<'a, Step>;

pub(crate) fn fund(_: &Bank, turn: &mut BankTurn<'_>, amount: u64) {
    COIN.insert(&mut *turn.state(), &(), &Msat(amount));
}

pub(crate) fn pay(
    _: &Bank,
    turn: &mut BankTurn<'_>,
    amount: u64,
    id: Option<OperationId>,
) -> Result<OperationId, SubmitError> {
    let details = json!({ "amount": amount });
    let id = turn.begin_operation(NewOperation { id, kind: "send", details })?;
    turn.submit(output_draft(amount))?;
    Ok(id)
}

pub(crate) fn spend_later(_: &Bank, turn: &mut BankTurn<'_>, at: Timestamp) {
    turn.spawn(&Step::Timed { at_ms: at.0 });
}

pub(crate) fn output_draft(amount: u64) -> Draft<Step> {
    let outputs = vec![output(Msat(amount), FEE)];
    Draft { inputs: Vec::new(), outputs, machine: Some(Step::Payment) }
}

/// Submits a transaction that costs nothing, behind which a machine waits for answers to a call and
/// not for the transaction's fate, as one that waits for signature shares does.
pub(crate) fn ask_beside(_: &Bank, turn: &mut BankTurn<'_>) -> Result<(), SubmitError> {
    let outputs = vec![output(Msat::ZERO, Msat::ZERO)];
    turn.submit(Draft { inputs: Vec::new(), outputs, machine: Some(Step::Owed) }).map(drop)
}

/// A payment behind which a machine waits for answers that prove its acceptance.
pub(crate) fn pay_proving(
    _: &Bank,
    turn: &mut BankTurn<'_>,
    amount: u64,
    to_nobody: bool,
) -> Result<(), SubmitError> {
    let machine = Some(Step::Proof { to_nobody });
    turn.submit(Draft { machine, ..output_draft(amount) }).map(drop)
}

pub(crate) fn begun(state: &dyn Read) -> u64 {
    BEGUN.get(state, &()).unwrap().unwrap_or_default()
}

fn output(amount: Msat, fee: Msat) -> DraftOutput {
    DraftOutput { output: OutputEnvelope::new(BANK, &amount), amount, fee }
}

fn owed(to: &str) -> Call {
    let (target, params) = (Target::Module("owed"), json!({ "to": to }));
    Call { target, params, strategy: Strategy::JudgeAll }
}

fn coin(state: &dyn Read) -> Result<Msat, StoreError> {
    Ok(COIN.get(state, &())?.unwrap_or_default())
}

fn give(turn: &mut BankTurn<'_>, amount: Msat) -> Result<(), StoreError> {
    let mut state = turn.state();
    let sum = coin(&*state)?.saturating_add(amount);
    COIN.insert(&mut *state, &(), &sum);
    Ok(())
}

impl ClientModule for Bank {
    type Machine = Step;

    fn kind(&self) -> ModuleKind {
        ModuleKind::from_static("bank")
    }

    fn begin(&self, turn: &mut BankTurn<'_>, _: bool) -> Result<(), Stop> {
        let mut state = turn.state();
        let times = begun(&*state) + 1;
        BEGUN.insert(&mut *state, &(), &times);
        Ok(())
    }

    fn wait(&self, machine: &Step, origin: Option<&Origin>) -> Wait {
        match (machine, origin) {
            (Step::Payment | Step::Change { .. }, Some(origin)) => Wait::decided(origin.txid),
            (Step::Timed { at_ms }, _) => Wait::until(Timestamp(*at_ms)),
            (Step::Owed, _) => Wait::call(owed("me")),
            (Step::Proof { to_nobody }, Some(origin)) => {
                Wait::call(owed(if *to_nobody { "nobody" } else { "me" })).proving(origin.txid)
            }
            _ => Wait::ready(),
        }
    }

    fn judge(&self, _: &Step, _: Option<&Origin>, answers: &BTreeMap<PeerId, Value>) -> Judgement {
        let bad = answers.iter().filter(|(_, answer)| !answer.is_u64());
        let bad: BTreeSet<PeerId> = bad.map(|(peer, _)| *peer).collect();
        match (bad.is_empty(), answers.len()) {
            (false, _) => Judgement::Bad(bad),
            (true, 3..) => Judgement::Enough,
            (true, _) => Judgement::More,
        }
    }

    fn advance(
        &self,
        turn: &mut BankTurn<'_>,
        machine: Step,
        outcome: Outcome,
    ) -> Result<Option<Step>, Stop> {
        let accepted = outcome == Outcome::Accepted;
        match machine {
            Step::Payment => {
                let end = if accepted { End::Succeeded } else { End::Failed };
                let payload = json!({ "status": if accepted { "Success" } else { "Aborted" } });
                turn.note(Note { kind: "payment-send-update", payload, end: Some(end) });
            }
            Step::Change { spent, change } => give(turn, if accepted { change } else { spent })?,
            Step::Later { ready_at_ms } if turn.now().0 < ready_at_ms => {
                return Err(Stop::Later("too early".to_owned()));
            }
            Step::Later { .. } => {}
            Step::Panics => panic!("a bug, on purpose"),
            Step::Broken => return Err(Stop::Invariant("broken on purpose")),
            Step::Proof { .. } if matches!(outcome, Outcome::Rejected(_)) => {}
            Step::Owed | Step::Proof { .. } => {
                let answers = match outcome {
                    Outcome::Answers(answers) => answers,
                    Outcome::CallRefused { message, .. } => return Err(Stop::Later(message)),
                    _ => return Err(Stop::Invariant("asked for answers")),
                };
                let sum = answers.values().filter_map(Value::as_u64).sum();
                give(turn, Msat(sum))?;
            }
            Step::Timed { .. } => {
                turn.submit(output_draft(0)).map_err(|error| Stop::Later(error.to_string()))?;
            }
        }
        Ok(None)
    }

    fn can_balance(&self, unit: AmountUnit) -> bool {
        unit == AmountUnit::BITCOIN
    }

    fn balance(
        &self,
        turn: &mut BankTurn<'_>,
        imbalance: Imbalance,
    ) -> Result<Draft<Step>, SubmitError> {
        let spent = {
            let mut state = turn.state();
            let spent = coin(&*state)?;
            // Taken before it is known whether it is enough: the driver must undo this.
            COIN.insert(&mut *state, &(), &Msat::ZERO);
            spent
        };
        let available = imbalance.inputs.checked_add(spent).ok_or(SubmitError::Overflow)?;
        let needed = imbalance.outputs_and_fees;
        if available == Msat::ZERO && needed == Msat::ZERO {
            return Ok(Draft::default());
        }
        let change = available.checked_sub(needed);
        let change = change.ok_or(SubmitError::Insufficient { needed, available })?;
        let secret = SecretKey::from_slice(&[3; 32]).unwrap();
        let key = Keypair::from_secret_key(&Secp256k1::new(), &secret);
        let input = InputEnvelope::new(BANK, &spent);
        let inputs = vec![DraftInput { input, amount: spent, fee: Msat::ZERO, key }];
        let outputs = vec![output(change, Msat::ZERO)];
        Ok(Draft { inputs, outputs, machine: Some(Step::Change { spent, change }) })
    }

    fn holdings(&self, state: &dyn Read) -> Result<Msat, StoreError> {
        coin(state)
    }
}

/// The kind, as a wallet's binary knows it.
pub(crate) struct BankKind;

impl ClientKind for BankKind {
    fn kind(&self) -> ModuleKind {
        ModuleKind::from_static("bank")
    }

    fn required_api(&self) -> Vec<ApiVersion> {
        vec![ApiVersion::new(0, 1)]
    }

    fn open(&self, _: Env, _: &[u8]) -> Result<Box<dyn AnyClient>, OpenError> {
        Ok(erase_client(Bank))
    }
}
