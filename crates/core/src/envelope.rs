//! Module values inside core structures.
//!
//! The core passes inputs, outputs and the like through without understanding them. An envelope
//! is the id of the module instance and the module's own bytes; whoever knows the module decodes
//! them. What cannot be decoded is still stored, hashed and sent on unchanged.
//!
//! Source: docs/protocol/core.md, section 1.4.

use std::fmt;
use std::marker::PhantomData;

use crate::codec::DecodeError;
use crate::{Decode, Encode, ModuleInstanceId};

/// What an envelope holds. Zero-sized, so that an input cannot be taken for an output.
pub mod role {
    macro_rules! roles {
        ($($(#[$doc:meta])* $name:ident;)*) => {$(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum $name {}
        )*};
    }

    roles! {
        /// What a transaction spends.
        Input;
        /// What a transaction creates.
        Output;
        /// What became of an output.
        OutputOutcome;
        /// Why an input was refused.
        InputError;
        /// Why an output was refused.
        OutputError;
        /// What a module's instances on the guardians agree about.
        ConsensusItem;
        /// A module's part of the client config.
        ClientConfig;
        /// A module's part of a client backup.
        Backup;
    }
}

/// A module value: which instance it belongs to, and its bytes.
///
/// Encoding: the instance id, the length, the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Envelope<R> {
    /// The module instance.
    pub instance: ModuleInstanceId,
    /// The module's own encoding of the value.
    pub bytes: Vec<u8>,
    role: PhantomData<R>,
}

/// An input in its envelope.
pub type InputEnvelope = Envelope<role::Input>;
/// An output in its envelope.
pub type OutputEnvelope = Envelope<role::Output>;
/// An output's outcome in its envelope.
pub type OutputOutcomeEnvelope = Envelope<role::OutputOutcome>;
/// An input error in its envelope.
pub type InputErrorEnvelope = Envelope<role::InputError>;
/// An output error in its envelope.
pub type OutputErrorEnvelope = Envelope<role::OutputError>;
/// A module consensus item in its envelope.
pub type ConsensusItemEnvelope = Envelope<role::ConsensusItem>;
/// A module's client config in its envelope.
pub type ClientConfigEnvelope = Envelope<role::ClientConfig>;
/// A module's backup in its envelope.
pub type BackupEnvelope = Envelope<role::Backup>;

impl<R> Envelope<R> {
    /// Encloses `value` of the module `instance`.
    pub fn new<T: Encode + ?Sized>(instance: ModuleInstanceId, value: &T) -> Self {
        Self::from_raw(instance, value.to_bytes())
    }

    /// Encloses bytes that are already encoded.
    #[must_use]
    pub const fn from_raw(instance: ModuleInstanceId, bytes: Vec<u8>) -> Self {
        Self { instance, bytes, role: PhantomData }
    }

    /// Reads the value, which must fill the envelope exactly.
    ///
    /// Errors: as [`Decode::from_bytes`].
    pub fn decode<T: Decode>(&self) -> Result<T, DecodeError> {
        T::from_bytes(&self.bytes)
    }
}

impl<R> Encode for Envelope<R> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.instance.encode(out);
        self.bytes.encode(out);
    }
}

impl<R> Decode for Envelope<R> {
    fn decode(input: &mut crate::codec::Reader<'_>) -> Result<Self, DecodeError> {
        let instance = Decode::decode(input)?;
        Ok(Self::from_raw(instance, Decode::decode(input)?))
    }
}

/// Shows the first bytes only: values can be large.
impl<R> fmt::Debug for Envelope<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 16;
        let (shown, more) = match self.bytes.get(..SHOWN) {
            Some(first) => (first, ".."),
            None => (self.bytes.as_slice(), ""),
        };
        let (instance, length) = (self.instance, self.bytes.len());
        write!(f, "Envelope({instance}, {length} bytes, {}{more})", hex::encode(shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_must_fill_its_envelope() {
        let envelope = InputEnvelope::new(ModuleInstanceId(300), &7_u64);
        assert_eq!(envelope.to_bytes(), [0xfd, 0x01, 0x2c, 1, 7]);
        assert_eq!(envelope.decode::<u64>(), Ok(7));
        assert_eq!(envelope.decode::<()>(), Err(DecodeError::Trailing { count: 1 }));
    }
}
