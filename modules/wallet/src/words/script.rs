//! Scripts that can be paid.
//!
//! Source: docs/protocol/wallet.md, section 1.6.

use bitcoin::hashes::{Hash as _, hash160, sha256};
use bitcoin::key::TweakedPublicKey;
use bitcoin::script::{Script, ScriptBuf};
use bitcoin::secp256k1::XOnlyPublicKey;
use bitcoin::{PubkeyHash, ScriptHash, WPubkeyHash, WScriptHash};
use moneta_core::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Where a withdrawal goes. An open enum.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum StandardScript {
    /// Pay to public key hash.
    P2PKH(hash160::Hash),
    /// Pay to script hash.
    P2SH(hash160::Hash),
    /// Pay to witness public key hash.
    P2WPKH(hash160::Hash),
    /// Pay to witness script hash.
    P2WSH(sha256::Hash),
    /// Pay to taproot: the output key, already tweaked.
    P2TR(XOnlyPublicKey),
    /// A script of a later protocol; cannot be paid.
    #[codec(unknown)]
    #[serde(rename = "Default")]
    Unknown {
        /// Its index.
        variant: u64,
        /// Its payload.
        bytes: Vec<u8>,
    },
}

impl StandardScript {
    /// Reads a script on the chain.
    ///
    /// `None` if the protocol has no word for it: other witness versions and lengths, and taproot
    /// programs that are no curve point.
    pub fn from_script_pubkey(script: &Script) -> Option<Self> {
        let bytes = script.as_bytes();
        let hash160_at = |start: usize| -> Option<hash160::Hash> {
            hash160::Hash::from_slice(bytes.get(start..start + 20)?).ok()
        };
        if script.is_p2pkh() {
            Some(Self::P2PKH(hash160_at(3)?))
        } else if script.is_p2sh() {
            Some(Self::P2SH(hash160_at(2)?))
        } else if script.is_p2wpkh() {
            Some(Self::P2WPKH(hash160_at(2)?))
        } else if script.is_p2wsh() {
            Some(Self::P2WSH(sha256::Hash::from_slice(bytes.get(2..)?).ok()?))
        } else if script.is_p2tr() {
            Some(Self::P2TR(XOnlyPublicKey::from_slice(bytes.get(2..)?).ok()?))
        } else {
            None
        }
    }

    /// The script as it stands in a transaction; `None` for one of a later protocol.
    pub fn to_script_pubkey(&self) -> Option<ScriptBuf> {
        Some(match self {
            Self::P2PKH(hash) => ScriptBuf::new_p2pkh(&PubkeyHash::from_raw_hash(*hash)),
            Self::P2SH(hash) => ScriptBuf::new_p2sh(&ScriptHash::from_raw_hash(*hash)),
            Self::P2WPKH(hash) => ScriptBuf::new_p2wpkh(&WPubkeyHash::from_raw_hash(*hash)),
            Self::P2WSH(hash) => ScriptBuf::new_p2wsh(&WScriptHash::from_raw_hash(*hash)),
            Self::P2TR(key) => {
                ScriptBuf::new_p2tr_tweaked(TweakedPublicKey::dangerous_assume_tweaked(*key))
            }
            Self::Unknown { .. } => return None,
        })
    }
}
