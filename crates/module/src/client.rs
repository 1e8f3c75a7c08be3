//! The client half: what a wallet can do with one module instance, as state machines without I/O.
//!
//! Shape. A *turn* is one atomic step: it reads and writes the module's state, may start
//! machines, submit a transaction and note what happened, and all of it becomes durable in one
//! commit before anything is sent. A turn is either an action of the user (a typed function of
//! the module crate that takes a [`Turn`]) or one [`ClientModule::advance`] of a machine.
//!
//! Crash contract. A machine is stored with its state. After a crash it is found as of its last
//! finished turn and waits for the same thing again, so waiting must be repeatable: calls are
//! idempotent, transactions are resubmitted under the same id.
//!
//! ```text
//! user action -> Turn { writes, machines, submissions, notes } -> commit -> driver waits
//!                                                                              |
//!        advance(machine, Outcome) <- what the machine's Wait asked for <------+
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use bitcoin::secp256k1::Keypair;
use moneta_core::amount::{AmountUnit, Msat};
use moneta_core::envelope::{InputEnvelope, OutputEnvelope};
use moneta_core::id::{
    FederationId, IdxRange, ModuleInstanceId, ModuleKind, OperationId, PeerId, TransactionId,
};
use moneta_core::peers::FederationSize;
use moneta_core::transaction::{ModuleFailure, TransactionError};
use moneta_core::{Decode, Encode};
use moneta_crypto::derive::DerivableSecret;
use moneta_store::{Read, StoreError, Write};
use rand::RngCore;
use serde_json::Value;

/// The client half of one module instance.
///
/// The value holds configuration and the module's secret; everything that changes lives in the
/// store.
pub trait ClientModule: Send + Sync + 'static {
    /// The states of all machines of this module, one enum.
    type Machine: Encode + Decode + Clone + Send + 'static;

    /// The kind of this module.
    fn kind(&self) -> ModuleKind;

    /// Called once, in the first turn after the wallet joined or was restored: starts the machines
    /// that run for the wallet's whole life (a deposit scanner) or until recovery is done.
    ///
    /// `recovering` is set when the words may have been used before.
    fn begin(&self, turn: &mut Turn<'_, Self::Machine>, recovering: bool) -> Result<(), Stop> {
        let _ = (turn, recovering);
        Ok(())
    }

    /// What `machine` waits for. Pure, and the same each time it is asked.
    fn wait(&self, machine: &Self::Machine, origin: Option<&Origin>) -> Wait;

    /// Looks at the answers to a call with [`Strategy::JudgeAll`] or [`Strategy::JudgeOne`].
    fn judge(
        &self,
        machine: &Self::Machine,
        origin: Option<&Origin>,
        answers: &BTreeMap<PeerId, Value>,
    ) -> Judgement {
        let _ = (machine, origin, answers);
        Judgement::Enough
    }

    /// Takes the machine one step further and returns its next state, or `None` when it is done.
    fn advance(
        &self,
        turn: &mut Turn<'_, Self::Machine>,
        machine: Self::Machine,
        outcome: Outcome,
    ) -> Result<Option<Self::Machine>, Stop>;

    /// Whether this module pays for transactions and takes their change in `unit`.
    fn can_balance(&self, unit: AmountUnit) -> bool {
        let _ = unit;
        false
    }

    /// Completes a transaction: adds inputs and outputs of this module so that inputs cover
    /// outputs and fees, its own fees included, and gives change. Reserves what it spends.
    ///
    /// Errors: `Insufficient` when the wallet holds too little; nothing is reserved then.
    fn balance(
        &self,
        turn: &mut Turn<'_, Self::Machine>,
        imbalance: Imbalance,
    ) -> Result<Draft<Self::Machine>, SubmitError> {
        let _ = turn;
        Err(SubmitError::Insufficient {
            needed: imbalance.outputs_and_fees,
            available: imbalance.inputs,
        })
    }

    /// The sentence that tells the user why an input or output of this module was refused. `None` if
    /// the error is none that this code knows.
    ///
    /// The texts are protocol: all clients print the same.
    fn failure_text(&self, failure: ModuleFailure<'_>) -> Option<String> {
        let _ = failure;
        None
    }

    /// What the wallet holds and can spend now.
    fn holdings(&self, state: &dyn Read) -> Result<Msat, StoreError> {
        let _ = state;
        Ok(Msat::ZERO)
    }
}

/// Words a module's failure by the `Display` texts of its error types, see
/// [`ClientModule::failure_text`].
pub fn text_of_failure<I, O>(failure: ModuleFailure<'_>) -> Option<String>
where
    I: Decode + fmt::Display,
    O: Decode + fmt::Display,
{
    match failure {
        ModuleFailure::Input(error) => error.decode::<I>().ok().map(|error| error.to_string()),
        ModuleFailure::Output(error) => error.decode::<O>().ok().map(|error| error.to_string()),
    }
}

/// What a client half is opened with.
#[derive(Clone)]
pub struct Env {
    /// Which instance.
    pub instance: ModuleInstanceId,
    /// Which federation.
    pub federation: FederationId,
    /// How many guardians.
    pub size: FederationSize,
    /// The module's node in the tree of secrets (core.md 9.5).
    pub secret: DerivableSecret,
}

/// One kind of module as a wallet's binary knows it: the factory of client halves.
pub trait ClientKind: Send + Sync {
    /// The kind string that stands in configs.
    fn kind(&self) -> ModuleKind;

    /// The major versions of the module's API it needs, with the least minor each.
    fn required_api(&self) -> Vec<moneta_core::version::ApiVersion>;

    /// Opens the client half on the bytes of its client config.
    fn open(
        &self,
        env: Env,
        config: &[u8],
    ) -> Result<Box<dyn crate::erased::AnyClient>, crate::setup::OpenError>;
}

/// One atomic step, typed for one module. See the module text.
pub struct Turn<'a, M> {
    host: &'a mut dyn Host,
    machine: PhantomData<fn(M)>,
}

impl<'a, M: Encode> Turn<'a, M> {
    /// Wraps what the driver offers.
    pub fn new(host: &'a mut dyn Host) -> Self {
        Self { host, machine: PhantomData }
    }

    /// The module's own keys, read and write.
    pub fn state(&mut self) -> Box<dyn Write + '_> {
        self.host.state()
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.host.now()
    }

    /// Randomness.
    pub fn rng(&mut self) -> &mut dyn RngCore {
        self.host.rng()
    }

    /// Where the machine that is being advanced comes from, if a transaction started it.
    pub fn origin(&self) -> Option<Origin> {
        self.host.origin()
    }

    /// Opens an operation that everything later in this turn belongs to.
    ///
    /// Errors: `OperationExists` when `id` was given and is known already.
    pub fn begin_operation(&mut self, new: NewOperation) -> Result<OperationId, SubmitError> {
        self.host.begin_operation(new)
    }

    /// Starts a machine of this module in the current operation.
    pub fn spawn(&mut self, machine: &M) {
        self.host.spawn(machine.to_bytes());
    }

    /// Completes, signs, saves and submits a transaction in the current operation. The draft's
    /// machine starts with the transaction as its [`Origin`].
    ///
    /// Errors: nothing is written or sent then, the turn may go on.
    pub fn submit(&mut self, draft: Draft<M>) -> Result<Submitted, SubmitError> {
        let Draft { inputs, outputs, machine } = draft;
        let machine = machine.map(|machine| machine.to_bytes());
        self.host.submit(Draft { inputs, outputs, machine })
    }

    /// Notes what happened in the current operation, for the user's history.
    pub fn note(&mut self, note: Note) {
        self.host.note(note);
    }
}

/// What the driver offers to a turn. Modules use [`Turn`] instead.
pub trait Host {
    /// See [`Turn::state`].
    fn state(&mut self) -> Box<dyn Write + '_>;
    /// See [`Turn::now`].
    fn now(&self) -> Timestamp;
    /// See [`Turn::rng`].
    fn rng(&mut self) -> &mut dyn RngCore;
    /// See [`Turn::origin`].
    fn origin(&self) -> Option<Origin>;
    /// See [`Turn::begin_operation`].
    fn begin_operation(&mut self, new: NewOperation) -> Result<OperationId, SubmitError>;
    /// See [`Turn::spawn`].
    fn spawn(&mut self, machine: Vec<u8>);
    /// See [`Turn::submit`].
    fn submit(&mut self, draft: Draft<Vec<u8>>) -> Result<Submitted, SubmitError>;
    /// See [`Turn::note`].
    fn note(&mut self, note: Note);
}

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This time plus `ms` milliseconds, at most the end of time.
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// The transaction that started a machine, and which of its inputs and outputs are the machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Origin {
    /// The transaction.
    pub txid: TransactionId,
    /// Indices of the draft's inputs in it.
    pub inputs: IdxRange,
    /// Indices of the draft's outputs in it.
    pub outputs: IdxRange,
}

/// What a machine waits for: whichever of the conditions comes first. With none set the machine
/// is advanced at once with [`Outcome::Due`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wait {
    /// A call to the guardians.
    pub call: Option<Call>,
    /// The fate of a transaction that this wallet submitted.
    pub transaction: Option<TransactionWait>,
    /// A time.
    pub until: Option<Timestamp>,
}

/// Which fate of a transaction to wait for. Rejection always ends the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionWait {
    /// Which transaction.
    pub txid: TransactionId,
    /// Whether acceptance ends the wait too. If not, the answers to the call prove it once they suffice.
    pub accepted: bool,
}

impl Wait {
    /// For the answer to a call.
    pub fn call(call: Call) -> Self {
        Self { call: Some(call), ..Self::default() }
    }

    /// For acceptance or rejection of a transaction.
    pub fn decided(txid: TransactionId) -> Self {
        Self { transaction: Some(TransactionWait { txid, accepted: true }), ..Self::default() }
    }

    /// For a time.
    pub fn until(time: Timestamp) -> Self {
        Self { until: Some(time), ..Self::default() }
    }

    /// Not at all.
    pub fn ready() -> Self {
        Self::default()
    }

    /// ... which nobody can give before a transaction is accepted, or for the rejection of that one.
    ///
    /// A machine that goes on with the answers has proved the acceptance: nobody is asked for it any more,
    /// and whoever waits for it goes on in the same commit.
    #[must_use]
    pub fn proving(mut self, txid: TransactionId) -> Self {
        self.transaction = Some(TransactionWait { txid, accepted: false });
        self
    }

    /// ... or for a time.
    #[must_use]
    pub fn or_until(mut self, time: Timestamp) -> Self {
        self.until = Some(time);
        self
    }
}

/// A call to the guardians.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// What is called.
    pub target: Target,
    /// Its parameters.
    pub params: Value,
    /// Whom to ask and when it is answered.
    pub strategy: Strategy,
}

/// An endpoint.
///
/// The answer of a module's `recovery_slice` is long, and may come as its JSON text in a
/// [`Value::String`], for the module to read in one pass. It may come as the value itself as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Of this module instance, by its bare name.
    Module(&'static str),
    /// Of the core API.
    Core(&'static str),
}

/// Whom to ask and when a call is answered. Every strategy asks again, with backoff, whoever is
/// unreachable or timed out, and whoever was judged bad; none waits for the slowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Ask all until a threshold gives equal answers. Gives [`Outcome::Answer`].
    Agree,
    /// Ask each once; if no threshold agrees that is a failure. Gives [`Outcome::Answer`].
    AgreeOnce,
    /// Ask all; after each answer [`ClientModule::judge`] decides. Gives [`Outcome::Answers`].
    JudgeAll,
    /// Ask one guardian after another until [`ClientModule::judge`] is satisfied with the one
    /// answer. Gives [`Outcome::Answers`].
    JudgeOne,
}

/// A verdict on the answers so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Not enough yet.
    More,
    /// Enough: advance with exactly these answers.
    Enough,
    /// These guardians answered wrongly: forget their answers, ask them again later.
    Bad(BTreeSet<PeerId>),
}

/// What a machine waited for has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The transaction was accepted.
    Accepted,
    /// The transaction was rejected for good; nothing of it happened.
    Rejected(TransactionError),
    /// The agreed answer.
    Answer(Value),
    /// The answers that were judged to be enough.
    Answers(BTreeMap<PeerId, Value>),
    /// More guardians refused the call than can be faulty.
    CallRefused {
        /// Code of one refusal.
        code: i32,
        /// Its text.
        message: String,
    },
    /// No threshold agreed ([`Strategy::AgreeOnce`]).
    Disagreement,
    /// The time has come, or nothing was waited for.
    Due,
}

/// Inputs and outputs of one module for a transaction, and the machine that follows them.
#[derive(Clone)]
pub struct Draft<M> {
    /// What funds.
    pub inputs: Vec<DraftInput>,
    /// What costs.
    pub outputs: Vec<DraftOutput>,
    /// Starts when the transaction is saved, with it as origin.
    pub machine: Option<M>,
}

impl<M> Default for Draft<M> {
    fn default() -> Self {
        Self { inputs: Vec::new(), outputs: Vec::new(), machine: None }
    }
}

/// One input, ready to be signed.
#[derive(Clone)]
pub struct DraftInput {
    /// As it goes into the transaction.
    pub input: InputEnvelope,
    /// What it brings.
    pub amount: Msat,
    /// What the federation charges for it.
    pub fee: Msat,
    /// Signs the transaction for it.
    pub key: Keypair,
}

/// One output.
#[derive(Clone)]
pub struct DraftOutput {
    /// As it goes into the transaction.
    pub output: OutputEnvelope,
    /// What it takes.
    pub amount: Msat,
    /// What the federation charges for it.
    pub fee: Msat,
}

/// What a transaction holds before it is balanced, in msat of bitcoin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imbalance {
    /// Sum of the inputs.
    pub inputs: Msat,
    /// Sum of the outputs and of all fees.
    pub outputs_and_fees: Msat,
    /// How many more bytes of inputs, outputs and signatures fit.
    pub space_bytes: usize,
}

/// A transaction that was saved and is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submitted {
    /// The transaction, and where the draft's own items ended up.
    pub origin: Origin,
    /// All fees of the transaction, change included.
    pub fees: Msat,
}

/// Why a transaction was not made. Nothing was reserved or sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Refused: too little money.
    #[error("the wallet holds {available}, this needs {needed} with fees")]
    Insufficient {
        /// What it takes, fees included.
        needed: Msat,
        /// What there is.
        available: Msat,
    },
    /// Refused: larger than a federation orders.
    #[error("the transaction would be {size_bytes} bytes long, the limit is {limit_bytes}")]
    TooLarge {
        /// What it would be.
        size_bytes: usize,
        /// The most it may be.
        limit_bytes: usize,
    },
    /// Refused: an amount does not fit.
    #[error("an amount is out of range")]
    Overflow,
    /// Refused: this operation was started before.
    #[error("operation {0} exists already")]
    OperationExists(OperationId),
    /// Broken: a module did not keep its part of the contract.
    #[error("an invariant does not hold: {0}")]
    Invariant(&'static str),
    /// Broken: the wallet's store failed.
    #[error("the wallet's store failed: {0}")]
    Store(#[from] StoreError),
}

/// Why a machine could not go on. Its last state stays as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// Broken: the wallet's store failed.
    #[error("the wallet's store failed: {0}")]
    Store(#[from] StoreError),
    /// Unavailable: tried again after a pause.
    #[error("not now: {0}")]
    Later(String),
    /// Broken: an invariant does not hold.
    #[error("an invariant does not hold: {0}")]
    Invariant(&'static str),
}

/// A new entry of the user's history.
#[derive(Debug, Clone, PartialEq)]
pub struct NewOperation {
    /// Fixed when the same thing must not be done twice; drawn by the driver otherwise.
    pub id: Option<OperationId>,
    /// What the user did: `deposit`, `withdraw`, `send`, `receive`, `recover`.
    pub kind: &'static str,
    /// What it was about, as it is shown. No secrets.
    pub details: Value,
}

/// Something that happened in an operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// Event kind, as in guardian.md section 9 where it has a name there.
    pub kind: &'static str,
    /// Its members. No secrets, except e-cash that was handed out.
    pub payload: Value,
    /// How the operation ended, if this ends it.
    pub end: Option<End>,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum End {
    /// As wished.
    Succeeded,
    /// Not, and the money is back in the wallet.
    Failed,
}
