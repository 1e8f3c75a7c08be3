//! Setup codes: what guardians tell each other before a federation exists.
//!
//! Source: docs/protocol/guardian.md, section 3.3; docs/protocol/core.md, section 8.5.

mod release;

pub use release::{ReleaseVersion, ReleaseVersionError};

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use bitcoin::Network;
use serde::{Deserialize, Serialize};

use crate::codec::Reader;
use crate::{
    ApiUrl, Decode, DecodeError, Encode, ModuleKind, TextError, hex_bytes, hex_encoded, text,
};

/// One guardian's setup code.
///
/// Order: by the fields in turn, so by name first. The position among all codes of a federation
/// becomes the guardian's id. Text: `fedimint` and base32.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
pub struct PeerSetupCode {
    /// The guardian's name.
    pub name: String,
    /// Where it can be reached.
    pub endpoints: PeerEndpoints,
    /// Set by the leader alone.
    pub federation_name: Option<String>,
    /// Set by at most one guardian.
    pub disable_base_fees: Option<bool>,
    /// Set by at most one guardian.
    pub enabled_modules: Option<BTreeSet<ModuleKind>>,
    /// Set by the leader alone.
    pub federation_size: Option<u32>,
    /// The Bitcoin network. All guardians must be on one.
    pub network: Network,
    /// The release it runs.
    pub fedimint_version: ReleaseVersion,
}

/// Where a guardian can be reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
pub enum PeerEndpoints {
    /// Over TCP.
    Tcp {
        /// The client API.
        api_url: ApiUrl,
        /// The link for other guardians.
        p2p_url: ApiUrl,
        /// The TLS certificate of that link, DER. In JSON hex with its length in front.
        #[serde(with = "hex_encoded")]
        cert: Vec<u8>,
    },
    /// Over iroh.
    Iroh {
        /// Key of the client API.
        api_pk: IrohKey,
        /// Key of the link for other guardians.
        p2p_pk: IrohKey,
    },
}

/// An iroh public key: an ed25519 point, checked to be one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Serialize, Deserialize)]
#[serde(try_from = "HexKey", into = "HexKey")]
pub struct IrohKey([u8; 32]);

/// The bytes are not a point of ed25519.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an ed25519 public key")]
pub struct IrohKeyError;

impl IrohKey {
    /// Checks that the bytes are a point.
    pub fn from_byte_array(bytes: [u8; 32]) -> Result<Self, IrohKeyError> {
        let point = curve25519_dalek::edwards::CompressedEdwardsY(bytes).decompress();
        point.map(|_| Self(bytes)).ok_or(IrohKeyError)
    }

    /// Returns the bytes.
    pub const fn as_byte_array(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for IrohKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for IrohKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IrohKey({self})")
    }
}

impl Decode for IrohKey {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_byte_array(Decode::decode(input)?)
            .map_err(|_| DecodeError::Invalid("ed25519 public key"))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct HexKey(#[serde(with = "hex_bytes")] [u8; 32]);

impl From<IrohKey> for HexKey {
    fn from(key: IrohKey) -> Self {
        Self(key.0)
    }
}

impl TryFrom<HexKey> for IrohKey {
    type Error = IrohKeyError;

    fn try_from(hex: HexKey) -> Result<Self, IrohKeyError> {
        Self::from_byte_array(hex.0)
    }
}

impl fmt::Display for PeerSetupCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::encode_prefixed(self))
    }
}

impl FromStr for PeerSetupCode {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        text::decode_prefixed(text)
    }
}

/// Why another guardian's code cannot be added. The texts are what operators see, with code 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupCodeError {
    /// The code is the guardian's own.
    #[error("You cannot add your own setup code")]
    Own,
    /// One is on TCP, the other on iroh.
    #[error("Guardian has different endpoint variant (TCP/Iroh) than us.")]
    EndpointVariant,
    /// The releases do not understand each other.
    #[error("Guardian uses Fedimint version {theirs} but we use {ours}")]
    Version {
        /// Major and minor number and vendor of theirs.
        theirs: String,
        /// The same of ours.
        ours: String,
    },
    /// The networks differ.
    #[error("Guardian uses Bitcoin network {theirs} but we use {ours}")]
    Network {
        /// Theirs.
        theirs: Network,
        /// Ours.
        ours: Network,
    },
    /// A second guardian sets the federation's name.
    #[error("Federation name has already been set to {0}")]
    FederationName(String),
    /// A second guardian sets the fee switch.
    #[error("Base fees setting has already been configured to disabled={0}")]
    BaseFees(bool),
    /// A second guardian chooses the modules.
    #[error("Enabled modules have already been configured by another guardian")]
    EnabledModules,
    /// A second guardian sets the number of guardians.
    #[error("Federation size has already been set to {0}")]
    FederationSize(u32),
}

impl PeerSetupCode {
    /// Decides whether a guardian with this own code may add `new`.
    ///
    /// `others` are the codes added so far; adding one of them again is fine and changes nothing.
    /// At most one guardian may set each of the optional fields.
    pub fn check_addition<'a>(
        &'a self,
        others: impl IntoIterator<Item = &'a Self>,
        new: &Self,
    ) -> Result<(), SetupCodeError> {
        if self == new {
            return Err(SetupCodeError::Own);
        }
        let known: Vec<&Self> = std::iter::once(self).chain(others).collect();
        if known.contains(&new) {
            return Ok(());
        }
        self.check_compatible(new)?;
        known.into_iter().try_for_each(|known| known.check_one_leader(new))
    }

    fn check_compatible(&self, new: &Self) -> Result<(), SetupCodeError> {
        if std::mem::discriminant(&self.endpoints) != std::mem::discriminant(&new.endpoints) {
            return Err(SetupCodeError::EndpointVariant);
        }
        let (ours, theirs) =
            (self.fedimint_version.compatibility(), new.fedimint_version.compatibility());
        if ours != theirs {
            return Err(SetupCodeError::Version { theirs, ours });
        }
        if self.network != new.network {
            let (ours, theirs) = (self.network, new.network);
            return Err(SetupCodeError::Network { theirs, ours });
        }
        Ok(())
    }

    fn check_one_leader(&self, new: &Self) -> Result<(), SetupCodeError> {
        if let (Some(name), Some(_)) = (&self.federation_name, &new.federation_name) {
            return Err(SetupCodeError::FederationName(name.clone()));
        }
        if let (Some(disabled), Some(_)) = (self.disable_base_fees, new.disable_base_fees) {
            return Err(SetupCodeError::BaseFees(disabled));
        }
        if self.enabled_modules.is_some() && new.enabled_modules.is_some() {
            return Err(SetupCodeError::EnabledModules);
        }
        if let (Some(size), Some(_)) = (self.federation_size, new.federation_size) {
            return Err(SetupCodeError::FederationSize(size));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
