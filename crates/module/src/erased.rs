//! The one place with type erasure: modules as their hosts hold them, side by side.
//!
//! Values cross this border as bytes, or as [`Decoded`] where decoding is dear and the same value
//! is used more than once. A value whose re-encoding differs from the bytes that came is refused,
//! so that the bytes which are stored are the bytes which were hashed.

use std::any::Any;
use std::collections::BTreeMap;

use moneta_core::amount::{AmountUnit, Msat};
use moneta_core::api::ApiError;
use moneta_core::id::{ModuleKind, OutPoint, PeerId};
use moneta_core::transaction::ModuleFailure;
use moneta_core::version::ApiVersion;
use moneta_core::{Decode, DecodeError, Encode};
use moneta_store::{Read, StoreError};
use serde_json::Value;

use crate::client::{
    ClientModule, Draft, Host, Imbalance, Judgement, Origin, Outcome, Stop, SubmitError, Turn, Wait,
};
use crate::server::{
    Broken, ChainStatus, Endpoint, Fault, InputEffect, ItemRefused, OutputEffect, Processing,
    Reply, ServerModule, View, decode_canonical,
};

/// A module's value, decoded once.
pub struct Decoded(Box<dyn Any + Send + Sync>);

/// A server half without its types.
pub trait AnyServer: Send + Sync {
    /// See [`ServerModule::kind`].
    fn kind(&self) -> ModuleKind;
    /// Decodes an input.
    fn decode_input(&self, bytes: &[u8]) -> Result<Decoded, DecodeError>;
    /// Decodes an output.
    fn decode_output(&self, bytes: &[u8]) -> Result<Decoded, DecodeError>;
    /// Decodes a proposal.
    fn decode_item(&self, bytes: &[u8]) -> Result<Decoded, DecodeError>;
    /// See [`ServerModule::process_input`]; the error is encoded.
    fn process_input(
        &self,
        call: &mut Processing<'_>,
        input: &Decoded,
    ) -> Result<InputEffect, Fault<Vec<u8>>>;
    /// See [`ServerModule::process_output`]; the error is encoded.
    fn process_output(
        &self,
        call: &mut Processing<'_>,
        output: &Decoded,
        out_point: OutPoint,
    ) -> Result<OutputEffect, Fault<Vec<u8>>>;
    /// See [`ServerModule::process_item`].
    fn process_item(
        &self,
        call: &mut Processing<'_>,
        peer: PeerId,
        item: &Decoded,
    ) -> Result<(), Fault<ItemRefused>>;
    /// See [`ServerModule::proposals`]; encoded.
    fn proposals(
        &self,
        state: &dyn Read,
        chain: Option<&ChainStatus>,
    ) -> Result<Vec<Vec<u8>>, StoreError>;
    /// See [`ServerModule::broadcasts`].
    fn broadcasts(&self, state: &dyn Read) -> Result<Vec<bitcoin::Transaction>, StoreError>;
    /// See [`ServerModule::audit`].
    fn audit(&self, state: &dyn Read) -> Result<i128, StoreError>;
    /// See [`ServerModule::output_outcome`].
    fn output_outcome(
        &self,
        state: &dyn Read,
        out_point: OutPoint,
    ) -> Result<Option<Vec<u8>>, StoreError>;
    /// See [`ServerModule::prepare`].
    fn prepare(&self, inputs: &[&Decoded], outputs: &[&Decoded]);
    /// See [`ServerModule::prepare_together`].
    fn prepare_together(&self, inputs: &[&Decoded]) -> bool;
    /// See [`ServerModule::api_version`].
    fn api_version(&self) -> ApiVersion;
    /// See [`ServerModule::endpoints`].
    fn endpoints(&self) -> &'static [Endpoint];
    /// See [`ServerModule::call`].
    fn call(&self, view: &View<'_>, endpoint: &str, params: &Value) -> Result<Reply, ApiError>;
    /// The module itself, for hosts that know its type.
    fn as_any(&self) -> &dyn Any;
}

/// Wraps a server half.
pub fn erase_server<M: ServerModule>(module: M) -> Box<dyn AnyServer> {
    Box::new(ErasedServer(module))
}

struct ErasedServer<M>(M);

const FOREIGN: Broken = Broken::Invariant("a value was handed to another module than decoded it");

fn encode_refusal<E: Encode>(fault: Fault<E>) -> Fault<Vec<u8>> {
    fault.map_refused(|error| error.to_bytes())
}

impl<M: ServerModule> AnyServer for ErasedServer<M> {
    fn kind(&self) -> ModuleKind {
        self.0.kind()
    }

    fn decode_input(&self, bytes: &[u8]) -> Result<Decoded, DecodeError> {
        Ok(Decoded(Box::new(self.0.decode_input(bytes)?)))
    }

    fn decode_output(&self, bytes: &[u8]) -> Result<Decoded, DecodeError> {
        Ok(Decoded(Box::new(self.0.decode_output(bytes)?)))
    }

    fn decode_item(&self, bytes: &[u8]) -> Result<Decoded, DecodeError> {
        Ok(Decoded(Box::new(decode_canonical::<M::Item>(bytes)?)))
    }

    fn process_input(
        &self,
        call: &mut Processing<'_>,
        input: &Decoded,
    ) -> Result<InputEffect, Fault<Vec<u8>>> {
        let input = input.0.downcast_ref().ok_or(FOREIGN)?;
        self.0.process_input(call, input).map_err(encode_refusal)
    }

    fn process_output(
        &self,
        call: &mut Processing<'_>,
        output: &Decoded,
        out_point: OutPoint,
    ) -> Result<OutputEffect, Fault<Vec<u8>>> {
        let output = output.0.downcast_ref().ok_or(FOREIGN)?;
        self.0.process_output(call, output, out_point).map_err(encode_refusal)
    }

    fn process_item(
        &self,
        call: &mut Processing<'_>,
        peer: PeerId,
        item: &Decoded,
    ) -> Result<(), Fault<ItemRefused>> {
        let item = item.0.downcast_ref().ok_or(FOREIGN)?;
        self.0.process_item(call, peer, item)
    }

    fn proposals(
        &self,
        state: &dyn Read,
        chain: Option<&ChainStatus>,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let items = self.0.proposals(state, chain)?;
        Ok(items.iter().map(Encode::to_bytes).collect())
    }

    fn broadcasts(&self, state: &dyn Read) -> Result<Vec<bitcoin::Transaction>, StoreError> {
        self.0.broadcasts(state)
    }

    fn audit(&self, state: &dyn Read) -> Result<i128, StoreError> {
        self.0.audit(state)
    }

    fn output_outcome(
        &self,
        state: &dyn Read,
        out_point: OutPoint,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.output_outcome(state, out_point)
    }

    fn prepare(&self, inputs: &[&Decoded], outputs: &[&Decoded]) {
        let inputs: Vec<_> = inputs.iter().filter_map(|value| value.0.downcast_ref()).collect();
        let outputs: Vec<_> = outputs.iter().filter_map(|value| value.0.downcast_ref()).collect();
        self.0.prepare(&inputs, &outputs);
    }

    fn prepare_together(&self, inputs: &[&Decoded]) -> bool {
        let inputs: Vec<_> = inputs.iter().filter_map(|value| value.0.downcast_ref()).collect();
        self.0.prepare_together(&inputs)
    }

    fn api_version(&self) -> ApiVersion {
        self.0.api_version()
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        self.0.endpoints()
    }

    fn call(&self, view: &View<'_>, endpoint: &str, params: &Value) -> Result<Reply, ApiError> {
        self.0.call(view, endpoint, params)
    }

    fn as_any(&self) -> &dyn Any {
        &self.0
    }
}

/// A client half without its types.
pub trait AnyClient: Send + Sync {
    /// See [`ClientModule::kind`].
    fn kind(&self) -> ModuleKind;
    /// See [`ClientModule::begin`].
    fn begin(&self, host: &mut dyn Host, recovering: bool) -> Result<(), Stop>;
    /// See [`ClientModule::wait`].
    fn wait(&self, machine: &[u8], origin: Option<&Origin>) -> Result<Wait, Stop>;
    /// See [`ClientModule::judge`].
    fn judge(
        &self,
        machine: &[u8],
        origin: Option<&Origin>,
        answers: &BTreeMap<PeerId, Value>,
    ) -> Result<Judgement, Stop>;
    /// See [`ClientModule::advance`].
    fn advance(
        &self,
        host: &mut dyn Host,
        machine: &[u8],
        outcome: Outcome,
    ) -> Result<Option<Vec<u8>>, Stop>;
    /// See [`ClientModule::can_balance`].
    fn can_balance(&self, unit: AmountUnit) -> bool;
    /// See [`ClientModule::balance`].
    fn balance(
        &self,
        host: &mut dyn Host,
        imbalance: Imbalance,
    ) -> Result<Draft<Vec<u8>>, SubmitError>;
    /// See [`ClientModule::failure_text`].
    fn failure_text(&self, failure: ModuleFailure<'_>) -> Option<String>;
    /// See [`ClientModule::holdings`].
    fn holdings(&self, state: &dyn Read) -> Result<Msat, StoreError>;
    /// The module itself, for callers that know its type.
    fn as_any(&self) -> &dyn Any;
}

/// Wraps a client half.
pub fn erase_client<M: ClientModule>(module: M) -> Box<dyn AnyClient> {
    Box::new(ErasedClient(module))
}

struct ErasedClient<M>(M);

fn stored_machine<M: Decode>(bytes: &[u8]) -> Result<M, Stop> {
    M::from_bytes(bytes).map_err(|_| Stop::Invariant("a stored machine does not decode"))
}

impl<M: ClientModule> AnyClient for ErasedClient<M> {
    fn kind(&self) -> ModuleKind {
        self.0.kind()
    }

    fn begin(&self, host: &mut dyn Host, recovering: bool) -> Result<(), Stop> {
        self.0.begin(&mut Turn::new(host), recovering)
    }

    fn wait(&self, machine: &[u8], origin: Option<&Origin>) -> Result<Wait, Stop> {
        Ok(self.0.wait(&stored_machine(machine)?, origin))
    }

    fn judge(
        &self,
        machine: &[u8],
        origin: Option<&Origin>,
        answers: &BTreeMap<PeerId, Value>,
    ) -> Result<Judgement, Stop> {
        Ok(self.0.judge(&stored_machine(machine)?, origin, answers))
    }

    fn advance(
        &self,
        host: &mut dyn Host,
        machine: &[u8],
        outcome: Outcome,
    ) -> Result<Option<Vec<u8>>, Stop> {
        let next = self.0.advance(&mut Turn::new(host), stored_machine(machine)?, outcome)?;
        Ok(next.map(|machine| machine.to_bytes()))
    }

    fn can_balance(&self, unit: AmountUnit) -> bool {
        self.0.can_balance(unit)
    }

    fn balance(
        &self,
        host: &mut dyn Host,
        imbalance: Imbalance,
    ) -> Result<Draft<Vec<u8>>, SubmitError> {
        let Draft { inputs, outputs, machine } = self.0.balance(&mut Turn::new(host), imbalance)?;
        Ok(Draft { inputs, outputs, machine: machine.map(|machine| machine.to_bytes()) })
    }

    fn failure_text(&self, failure: ModuleFailure<'_>) -> Option<String> {
        self.0.failure_text(failure)
    }

    fn holdings(&self, state: &dyn Read) -> Result<Msat, StoreError> {
        self.0.holdings(state)
    }

    fn as_any(&self) -> &dyn Any {
        &self.0
    }
}
