//! Bitcoin and secp256k1 types.
//!
//! Most Bitcoin structures keep Bitcoin's own serialization inside ours. Amounts, networks and
//! addresses have forms of their own. A Bitcoin txid is 32 bytes in internal order; where the
//! protocol wraps a txid *directly* in hex, the text is its display form, so use `Display`
//! there and not [`crate::text::to_hex`].
//!
//! Source: docs/protocol/core.md, section 1.6.

use bitcoin::address::NetworkUnchecked;
use bitcoin::block::Header;
use bitcoin::consensus::encode as bitcoin_encode;
use bitcoin::hashes::{Hash as _, hash160, sha256};
use bitcoin::p2p::Magic;
use bitcoin::secp256k1::{Keypair, PublicKey, SecretKey, XOnlyPublicKey, ecdsa, schnorr};
use bitcoin::{
    Address, Amount, BlockHash, Network, OutPoint, ScriptBuf, Transaction, TxOut, Txid, secp256k1,
};

use super::{Decode, DecodeError, Encode, Reader};

/// Reads a value in Bitcoin's own serialization.
fn take_bitcoin<T: bitcoin::consensus::Decodable>(
    input: &mut Reader<'_>,
    what: &'static str,
) -> Result<T, DecodeError> {
    let (value, size) = bitcoin_encode::deserialize_partial(input.rest())
        .map_err(|_| DecodeError::Invalid(what))?;
    input.take(size)?;
    Ok(value)
}

macro_rules! impl_bitcoin {
    ($($name:ty, $what:literal;)*) => {$(
        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&bitcoin_encode::serialize(self));
            }
        }

        impl Decode for $name {
            fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                take_bitcoin(input, $what)
            }
        }
    )*};
}

impl_bitcoin! {
    Transaction, "bitcoin transaction";
    TxOut, "bitcoin transaction output";
    OutPoint, "bitcoin out point";
    ScriptBuf, "bitcoin script";
    Header, "bitcoin block header";
}

macro_rules! impl_hash {
    ($($name:ty),*) => {$(
        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_byte_array());
            }
        }

        impl Decode for $name {
            fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self::from_byte_array(input.take_array()?))
            }
        }
    )*};
}

impl_hash!(sha256::Hash, hash160::Hash, Txid, BlockHash);

macro_rules! impl_secp {
    ($($name:ty, $length:literal, $what:literal, $to:expr, $from:expr;)*) => {$(
        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                let to: fn(&$name) -> [u8; $length] = $to;
                out.extend_from_slice(&to(self));
            }
        }

        impl Decode for $name {
            fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let from: fn(&[u8]) -> Result<$name, secp256k1::Error> = $from;
                from(input.take($length)?).map_err(|_| DecodeError::Invalid($what))
            }
        }
    )*};
}

impl_secp! {
    PublicKey, 33, "public key", PublicKey::serialize, PublicKey::from_slice;
    XOnlyPublicKey, 32, "x-only public key", XOnlyPublicKey::serialize, XOnlyPublicKey::from_slice;
    SecretKey, 32, "secret key", SecretKey::secret_bytes, SecretKey::from_slice;
    Keypair, 32, "secret key", Keypair::secret_bytes, |bytes| {
        Keypair::from_seckey_slice(&crate::signature::CONTEXT, bytes)
    };
    schnorr::Signature, 64, "schnorr signature", schnorr::Signature::serialize,
        schnorr::Signature::from_slice;
    ecdsa::Signature, 64, "ecdsa signature", ecdsa::Signature::serialize_compact,
        ecdsa::Signature::from_compact;
}

/// Satoshis as an integer.
impl Encode for Amount {
    fn encode(&self, out: &mut Vec<u8>) {
        self.to_sat().encode(out);
    }
}

impl Decode for Amount {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u64::decode(input).map(Self::from_sat)
    }
}

/// The four magic bytes.
impl Encode for Network {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.magic().to_bytes());
    }
}

impl Decode for Network {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        network_from_magic(input.take_array()?)
    }
}

/// A network in the form of the first-generation wallet: the magic bytes read as a little-endian
/// integer. JSON is that of [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct LegacyNetwork(pub Network);

impl Encode for LegacyNetwork {
    fn encode(&self, out: &mut Vec<u8>) {
        u32::from_le_bytes(self.0.magic().to_bytes()).encode(out);
    }
}

impl Decode for LegacyNetwork {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        network_from_magic(u32::decode(input)?.to_le_bytes()).map(Self)
    }
}

fn network_from_magic(magic: [u8; 4]) -> Result<Network, DecodeError> {
    Network::from_magic(Magic::from_bytes(magic)).ok_or(DecodeError::Invalid("network"))
}

/// The network class (main, test or regtest) in the legacy form, and the script.
impl Encode for Address<NetworkUnchecked> {
    fn encode(&self, out: &mut Vec<u8>) {
        // Base58 addresses of all test networks look alike and count as testnet.
        let class = [Network::Bitcoin, Network::Testnet]
            .into_iter()
            .find(|network| self.is_valid_for_network(*network))
            .unwrap_or(Network::Regtest);
        LegacyNetwork(class).encode(out);
        self.assume_checked_ref().script_pubkey().encode(out);
    }
}

impl Decode for Address<NetworkUnchecked> {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let LegacyNetwork(network) = LegacyNetwork::decode(input)?;
        let script = ScriptBuf::decode(input)?;
        let address =
            Address::from_script(&script, network).map_err(|_| DecodeError::Invalid("address"))?;
        Ok(address.into_unchecked())
    }
}
