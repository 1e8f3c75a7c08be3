//! Transactions: inputs that fund, outputs that consume, and one signature per input.
//!
//! Module values stay [`Envelope`](crate::Envelope)s here, so a transaction is decoded, hashed and
//! stored without knowing any module. What a module says about an input (its amount, its fee and
//! the key that must sign) is given to the functions of this folder as plain values.
//!
//! Source: docs/protocol/core.md, section 3.

mod error;
pub mod funding;

pub use error::{ModuleFailure, SubmissionOutcome, TransactionError};

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{Keypair, PublicKey};

use crate::{Decode, Encode, InputEnvelope, OutputEnvelope, TransactionId, signature};

/// The largest encoding of a transaction that can be ordered: a consensus unit of the reference
/// holds 50,000 bytes, 32 of which are its own (core.md 3.3).
pub const MAX_TX_SIZE_BYTES: usize = 49_968;

/// A transaction as it is submitted, ordered and stored.
///
/// Shape: inputs, outputs, nonce, signatures (core.md 3.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Transaction {
    /// What funds the transaction, in the order of the signatures.
    pub inputs: Vec<InputEnvelope>,
    /// What the transaction pays for.
    pub outputs: Vec<OutputEnvelope>,
    /// Random bytes without a meaning; they keep equal transactions apart.
    pub nonce: [u8; 8],
    /// One signature per input. Not part of the transaction id.
    pub signatures: TransactionSignatures,
}

impl Transaction {
    /// Builds a transaction with one signature per input.
    ///
    /// Order: `keys[i]` is the key that input `i` asks for.
    pub fn new_signed(
        inputs: Vec<InputEnvelope>,
        outputs: Vec<OutputEnvelope>,
        nonce: [u8; 8],
        keys: &[Keypair],
    ) -> Self {
        let signatures = TransactionSignatures::NaiveMultisig(Vec::new());
        let mut transaction = Self { inputs, outputs, nonce, signatures };
        transaction.sign_all(keys);
        transaction
    }

    /// Returns the id: the hash of everything but the signatures (core.md 3.2).
    ///
    /// Two transactions that differ in signatures alone are the same transaction.
    pub fn txid(&self) -> TransactionId {
        let mut bytes = Vec::new();
        self.inputs.encode(&mut bytes);
        self.outputs.encode(&mut bytes);
        self.nonce.encode(&mut bytes);
        sha256::Hash::hash(&bytes).into()
    }

    /// Replaces the signatures by one of each of `keys`, in order, over the transaction id.
    pub fn sign_all(&mut self, keys: &[Keypair]) {
        let TransactionId(message) = self.txid();
        let signatures = keys.iter().map(|key| signature::sign(&message, key)).collect();
        self.signatures = TransactionSignatures::NaiveMultisig(signatures);
    }

    /// Checks the signatures against the keys that the inputs ask for, in input order.
    ///
    /// Errors, which all guardians must report alike (core.md 3.4, step 3):
    /// `UnsupportedSignatureScheme`; `InvalidWitnessLength` unless there are as many signatures
    /// as keys; `InvalidSignature` for the first that fails.
    pub fn verify_signatures(&self, keys: &[PublicKey]) -> Result<(), TransactionError> {
        let signatures = match &self.signatures {
            TransactionSignatures::NaiveMultisig(signatures) => signatures,
            TransactionSignatures::Unknown { variant, .. } => {
                return Err(TransactionError::UnsupportedSignatureScheme { variant: *variant });
            }
        };
        if signatures.len() != keys.len() {
            return Err(TransactionError::InvalidWitnessLength);
        }
        let TransactionId(message) = self.txid();
        for (signature, key) in signatures.iter().zip(keys) {
            if !signature::verify(&message, signature, key) {
                return Err(TransactionError::InvalidSignature {
                    tx: hex::encode(self.to_bytes()),
                    hash: hex::encode(message),
                    sig: hex::encode(signature.serialize()),
                    key: hex::encode(key.serialize()),
                });
            }
        }
        Ok(())
    }

    /// Returns whether the encoding is at most [`MAX_TX_SIZE_BYTES`] long. A larger transaction is
    /// never ordered.
    pub fn fits_size_limit(&self) -> bool {
        self.to_bytes().len() <= MAX_TX_SIZE_BYTES
    }
}

/// How a transaction is signed. Open: unknown schemes are kept, and refused when checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum TransactionSignatures {
    /// One BIP340 signature per input, in input order, over the transaction id.
    NaiveMultisig(Vec<Signature>),
    /// A scheme this code does not know.
    #[codec(unknown)]
    Unknown {
        /// The index on the wire.
        variant: u64,
        /// Its payload.
        bytes: Vec<u8>,
    },
}
