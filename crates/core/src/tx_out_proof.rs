//! Proof that a Bitcoin transaction is in a block.
//!
//! Source: docs/protocol/core.md, section 1.6.

use bitcoin::block::Header;
use bitcoin::consensus::encode::{self, VarInt};
use bitcoin::{BlockHash, MerkleBlock, Txid};

use crate::codec::{DecodeError, Reader};
use crate::{Decode, Encode};

const HEADER_SIZE_BYTES: usize = 80;
const HASH_SIZE_BYTES: u64 = 32;

/// A block header and a partial merkle tree whose root is the header's.
///
/// It proves that the block holds the transactions, not that the block is on the chain.
/// Encoding: the header's 80 bytes, the partial merkle tree as Bitcoin serializes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxOutProof {
    block: MerkleBlock,
    txids: Vec<Txid>,
}

/// A partial merkle tree that is malformed or has another root than the header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the merkle proof does not lead to the block header")]
pub struct TxOutProofError;

impl TxOutProof {
    /// Checks a proof from a Bitcoin backend.
    ///
    /// Errors: the tree is malformed or its root is not the header's.
    pub fn new(block: MerkleBlock) -> Result<Self, TxOutProofError> {
        let mut txids = Vec::new();
        block.extract_matches(&mut txids, &mut Vec::new()).map_err(|_| TxOutProofError)?;
        Ok(Self { block, txids })
    }

    /// The header of the block.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.block.header
    }

    /// The hash of the block.
    #[must_use]
    pub fn block_hash(&self) -> BlockHash {
        self.block.header.block_hash()
    }

    /// The transactions that are proven to be in the block.
    #[must_use]
    pub fn txids(&self) -> &[Txid] {
        &self.txids
    }
}

impl Encode for TxOutProof {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&encode::serialize(&self.block));
    }
}

impl Decode for TxOutProof {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        const WHAT: DecodeError = DecodeError::Invalid("transaction proof");
        let size = declared_size(input.rest()).ok_or(WHAT)?;
        let block = encode::deserialize(input.take(size)?).map_err(|_| WHAT)?;
        Self::new(block).map_err(|_| WHAT)
    }
}

/// How many bytes the proof takes by its own counts, `None` if `bytes` are fewer. The decoder of
/// the `bitcoin` crate reserves memory by these counts, so they are checked before it runs.
fn declared_size(bytes: &[u8]) -> Option<usize> {
    // Behind the header: the number of transactions, counted hashes, counted bytes of flag bits.
    let hashes = HEADER_SIZE_BYTES + size_of::<u32>();
    let flags = hashes.checked_add(counted_size(bytes.get(hashes..)?, HASH_SIZE_BYTES)?)?;
    flags.checked_add(counted_size(bytes.get(flags..)?, 1)?)
}

/// The size of a CompactSize count and as many items of `item_size_bytes`, all within `bytes`.
fn counted_size(bytes: &[u8], item_size_bytes: u64) -> Option<usize> {
    let (VarInt(count), count_size): (VarInt, usize) = encode::deserialize_partial(bytes).ok()?;
    let items = usize::try_from(count.checked_mul(item_size_bytes)?).ok()?;
    count_size.checked_add(items).filter(|size| *size <= bytes.len())
}
