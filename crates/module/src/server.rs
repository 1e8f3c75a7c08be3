//! The server half: consensus processing, proposals, audit and endpoints of one module instance.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::secp256k1::PublicKey;
use moneta_core::amount::{AmountUnit, Msat};
use moneta_core::api::ApiError;
use moneta_core::id::{ModuleKind, OutPoint, PeerId};
use moneta_core::version::ApiVersion;
use moneta_core::{Decode, DecodeError, Encode};
use moneta_store::{Batch, Read, StoreError, Write};
use serde_json::Value;

/// The server half of one module instance.
///
/// The value holds configuration and keys and is shared by all threads of a guardian; the only
/// interior state it may keep are caches that change no answer.
///
/// Consensus processing is a function of `state` and the ordered value alone. Whatever a failed
/// call wrote is rolled back by the engine, so an implementation may write as it goes.
pub trait ServerModule: Send + Sync + 'static {
    /// What spends: encoded in a transaction's inputs.
    type Input: Encode + Decode + Send + Sync + 'static;
    /// What creates: encoded in a transaction's outputs.
    type Output: Encode + Decode + Send + Sync + 'static;
    /// What guardians propose to each other.
    type Item: Encode + Decode + Send + Sync + 'static;
    /// Why an input was refused; travels to the client.
    type InputError: Encode;
    /// Why an output was refused; travels to the client.
    type OutputError: Encode;

    /// The kind of this module.
    fn kind(&self) -> ModuleKind;

    /// Decodes an input.
    ///
    /// Must accept what [`decode_canonical`] accepts and give the same value. A guardian decodes an
    /// input when its transaction is submitted and again when it is ordered, so a module whose
    /// decoding is dear may remember what it has decoded.
    fn decode_input(&self, bytes: &[u8]) -> Result<Self::Input, DecodeError> {
        decode_canonical(bytes)
    }

    /// Decodes an output; as [`ServerModule::decode_input`].
    fn decode_output(&self, bytes: &[u8]) -> Result<Self::Output, DecodeError> {
        decode_canonical(bytes)
    }

    /// Consumes one input.
    ///
    /// Errors: `Refused` with the protocol's error, `Blocked` when outside data is missing,
    /// `Broken` when the own state is impossible.
    fn process_input(
        &self,
        call: &mut Processing<'_>,
        input: &Self::Input,
    ) -> Result<InputEffect, Fault<Self::InputError>>;

    /// Creates one output, which stands at `out_point`.
    ///
    /// Errors: as [`ServerModule::process_input`].
    fn process_output(
        &self,
        call: &mut Processing<'_>,
        output: &Self::Output,
        out_point: OutPoint,
    ) -> Result<OutputEffect, Fault<Self::OutputError>>;

    /// Applies what guardian `peer` proposed.
    ///
    /// Errors: `Refused` when the item changes nothing (it is left out of history), `Blocked`,
    /// `Broken`.
    fn process_item(
        &self,
        call: &mut Processing<'_>,
        peer: PeerId,
        item: &Self::Item,
    ) -> Result<(), Fault<ItemRefused>>;

    /// What this guardian wants ordered, given its state and its view of the chain (`None` while
    /// the chain source is unreachable). Asked again after every change of either; an item that is
    /// no longer wanted is simply not returned.
    fn proposals(
        &self,
        state: &dyn Read,
        chain: Option<&ChainStatus>,
    ) -> Result<Vec<Self::Item>, StoreError>;

    /// Bitcoin transactions that should reach the network now and are not confirmed yet.
    fn broadcasts(&self, state: &dyn Read) -> Result<Vec<bitcoin::Transaction>, StoreError> {
        let _ = state;
        Ok(Vec::new())
    }

    /// Assets minus liabilities in msat, from the module's own records. Must equal the sum of all
    /// `net_msat` that its effects reported since genesis.
    fn audit(&self, state: &dyn Read) -> Result<i128, StoreError>;

    /// The outcome of an accepted output, for the modules that have one.
    fn output_outcome(
        &self,
        state: &dyn Read,
        out_point: OutPoint,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let _ = (state, out_point);
        Ok(None)
    }

    /// Does expensive work ahead of [`ServerModule::process_input`] and
    /// [`ServerModule::process_output`], for a whole unit at once: a batch of signature checks,
    /// blind signing on several cores. A hint: results land in bounded caches, answers stay the
    /// same without it.
    fn prepare(&self, inputs: &[&Self::Input], outputs: &[&Self::Output]) {
        let _ = (inputs, outputs);
    }

    /// Like [`ServerModule::prepare`], for inputs of callers who do not vouch for each other: done
    /// together if all are good, and given up at a cost known beforehand if one is bad. Returns false
    /// then, and the caller prepares them apart.
    fn prepare_together(&self, inputs: &[&Self::Input]) -> bool {
        self.prepare(inputs, &[]);
        true
    }

    /// The highest API version, and with it every endpoint up to it.
    fn api_version(&self) -> ApiVersion;

    /// The endpoints, by name.
    fn endpoints(&self) -> &'static [Endpoint];

    /// Answers one call of an endpoint that [`ServerModule::endpoints`] names. The host has
    /// checked the password where `admin` is set.
    ///
    /// Errors: as they travel to the client, code 400 for parameters that do not parse.
    fn call(&self, view: &View<'_>, endpoint: &str, params: &Value) -> Result<Reply, ApiError>;
}

/// Reads a value that fills `bytes` and is written as just these bytes, so that the bytes which are
/// stored are the bytes which were hashed.
pub fn decode_canonical<T: Encode + Decode>(bytes: &[u8]) -> Result<T, DecodeError> {
    let value = T::from_bytes(bytes)?;
    if value.to_bytes() != bytes {
        return Err(DecodeError::Invalid("canonical encoding"));
    }
    Ok(value)
}

/// One endpoint of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Bare name; on the wire `module_<instance>_<name>`.
    pub name: &'static str,
    /// Whether it needs the guardian's password.
    pub admin: bool,
    /// Whether a call takes milliseconds. Of such calls few run at a time, beside the runtime.
    pub heavy: bool,
}

impl Endpoint {
    /// An endpoint for everybody.
    pub const fn public(name: &'static str) -> Self {
        Self { name, admin: false, heavy: false }
    }

    /// An endpoint that needs the guardian's password.
    pub const fn admin(name: &'static str) -> Self {
        Self { name, admin: true, heavy: false }
    }

    /// The same endpoint, whose calls take milliseconds.
    pub const fn heavy(self) -> Self {
        Self { heavy: true, ..self }
    }
}

/// What one call of consensus processing may touch.
pub struct Processing<'a> {
    /// The module instance's own keys.
    pub state: &'a mut dyn Write,
    /// What the host has fetched from outside so far.
    pub facts: &'a Facts,
    /// What becomes of the outcome.
    pub pass: Pass,
}

/// What becomes of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// A submission is judged: nothing that is written is kept. The verdict must be what it would be in a
    /// final pass; values that are dear to make and that no verdict depends on may be left out.
    Trial,
    /// Consensus has ordered it.
    Final,
}

/// What an endpoint may look at.
pub struct View<'a> {
    /// The module instance's own keys, as of the last durable commit.
    pub state: &'a dyn Read,
    /// A fresh random number, for the endpoints that need one (salts).
    pub salt: u64,
}

/// Outside data that consensus processing asked for.
#[derive(Debug, Default, Clone)]
pub struct Facts {
    /// Tip height plus one, as this guardian's chain source reports it.
    pub block_count: Option<u64>,
    /// Blocks by height.
    pub blocks: BTreeMap<u64, Arc<bitcoin::Block>>,
}

/// A guardian's view of the bitcoin network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainStatus {
    /// Tip height plus one.
    pub block_count: u64,
    /// Estimated feerate for the next block in sat per 1000 vbytes, if the source has one.
    pub feerate_sat_per_kvb: Option<u64>,
}

/// Outside data without which an ordered value cannot be processed yet. The engine rolls back,
/// the node fetches it, the engine runs the value again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// All blocks of heights `from..to`, once this guardian's chain source reports at least
    /// `block_count` blocks.
    Blocks {
        /// First height.
        from: u64,
        /// Height behind the last.
        to: u64,
        /// Block count the source must have reached first, so that `to` is buried.
        block_count: u64,
    },
}

/// Why processing stopped.
#[derive(Debug)]
pub enum Fault<E> {
    /// Refused: the value is not valid now. The same on every guardian.
    Refused(E),
    /// Not yet: outside data is missing.
    Blocked(Need),
    /// Broken: the own state is impossible; the guardian must halt before it signs anything.
    Broken(Broken),
}

/// The own state is impossible or unreadable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// An invariant does not hold.
    #[error("an invariant does not hold: {0}")]
    Invariant(&'static str),
}

impl<E> Fault<E> {
    /// Replaces the protocol's error, leaves the rest.
    pub fn map_refused<F>(self, map: impl FnOnce(E) -> F) -> Fault<F> {
        match self {
            Self::Refused(error) => Fault::Refused(map(error)),
            Self::Blocked(need) => Fault::Blocked(need),
            Self::Broken(broken) => Fault::Broken(broken),
        }
    }
}

impl<E> From<StoreError> for Fault<E> {
    fn from(error: StoreError) -> Self {
        Self::Broken(Broken::Store(error))
    }
}

impl<E> From<Broken> for Fault<E> {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// An ordered item changed nothing; for the log only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ItemRefused(pub &'static str);

/// What an accepted input brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputEffect {
    /// The unit of both amounts.
    pub unit: AmountUnit,
    /// Funds the transaction.
    pub amount: Msat,
    /// Charged on top.
    pub fee: Msat,
    /// Whose signature the transaction must carry for this input.
    pub key: PublicKey,
    /// Change of assets minus liabilities of this module, in msat.
    pub net_msat: i128,
}

/// What an accepted output costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputEffect {
    /// The unit of both amounts.
    pub unit: AmountUnit,
    /// Consumes funding.
    pub amount: Msat,
    /// Charged on top.
    pub fee: Msat,
    /// Change of assets minus liabilities of this module, in msat.
    pub net_msat: i128,
}

/// What an endpoint answers.
#[derive(Debug)]
pub enum Reply {
    /// The result.
    Value(Value),
    /// The result, serialised as JSON already.
    Json(String),
    /// No answer yet: call again once this key of the module's state has been written, until the
    /// long poll ends.
    WaitFor(Vec<u8>),
    /// Write these (guardian-local tables only), then answer; proposals are asked for afterwards.
    Write {
        /// Keys of the module's own space.
        batch: Batch,
        /// The result.
        value: Value,
    },
}
