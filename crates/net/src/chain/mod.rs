//! Where a guardian learns about the Bitcoin chain.
//!
//! [`ChainSource`] is what the wallet module's shell asks; [`Bitcoind`] and [`Esplora`] answer it, and
//! [`Both`] joins the two. Nothing here retries: the caller polls and knows its own patience.
//!
//! Differences to the reference (docs/protocol/wallet.md section 3.1):
//! * The network is told by the genesis block, which is fixed for every network, testnet4 included. The
//!   reference takes every chain it does not know by block 1 for regtest.
//! * The feerate is asked on every network but regtest; without an estimate it is 1000 sat/kvB on test
//!   networks and unknown on mainnet. The reference never asks on chains it does not know.
//! * When both backends are given and only one answers at the start, their chain ids are compared as soon
//!   as both answer, not only at the start.

mod bitcoind;
mod both;
mod esplora;
mod network;

use async_trait::async_trait;
use bitcoin::{Block, BlockHash, Network, Transaction};
use moneta_core::ChainId;

pub use bitcoind::{Bitcoind, Credentials};
pub use both::Both;
pub use esplora::Esplora;
pub use network::{is_chain_of, network_of_chain, network_of_genesis};

/// Feerate in sat per 1000 virtual bytes on regtest, and on test networks without an estimate.
pub const FIXED_FEERATE_SAT_PER_KVB: u64 = 1000;

/// The longest block in its serialised form (consensus limit: 4,000,000 weight units).
const MAX_BLOCK_BYTES: usize = 4_000_000;

/// A view of the Bitcoin chain. All heights count from the genesis block at 0.
#[async_trait]
pub trait ChainSource: Send + Sync + 'static {
    /// The hash of the block at height 1, which names the chain.
    async fn chain_id(&self) -> Result<ChainId, ChainError>;

    /// The number of blocks, which is the height of the newest one plus 1.
    async fn block_count(&self) -> Result<u64, ChainError>;

    /// What a transaction should pay to be mined in the next block; `None` if the source has no estimate.
    async fn feerate_sat_per_kvb(&self) -> Result<Option<u64>, ChainError>;

    /// How much of the chain is verified, from 0 to 1; `None` if the source does not say.
    async fn sync_progress(&self) -> Result<Option<f64>, ChainError>;

    /// The hash of the block at `height`.
    async fn block_hash(&self, height: u64) -> Result<BlockHash, ChainError>;

    /// The block with `hash`, checked to be that block: header, merkle root, no transaction twice.
    async fn block(&self, hash: &BlockHash) -> Result<Block, ChainError>;

    /// The network, told by the genesis block; `None` if it is none of Bitcoin's own.
    async fn network(&self) -> Result<Option<Network>, ChainError> {
        Ok(network_of_genesis(&self.block_hash(0).await?))
    }

    /// Hands a transaction to the network. One that is known or mined already is a success.
    async fn broadcast(&self, transaction: &Transaction) -> Result<(), ChainError>;
}

/// Why the chain gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Unavailable: no connection, no answer in time, or the source is overloaded.
    #[error("{source_name} cannot be reached: {reason}")]
    Unreachable {
        /// Which source.
        source_name: &'static str,
        /// What went wrong, for people.
        reason: String,
    },
    /// Refused: user and password, or the cookie file, are wrong.
    #[error("{source_name} does not accept our credentials: {reason}")]
    WrongCredentials {
        /// Which source.
        source_name: &'static str,
        /// What to look at.
        reason: String,
    },
    /// Unavailable: the node starts up or loads its block index.
    #[error("{source_name} is starting: {reason}")]
    Starting {
        /// Which source.
        source_name: &'static str,
        /// What the node says it is doing.
        reason: String,
    },
    /// Unavailable: the source does not have this block, yet or any more (pruned).
    #[error("{source_name} does not have the block: {reason}")]
    NoSuchBlock {
        /// Which source.
        source_name: &'static str,
        /// What the source said.
        reason: String,
    },
    /// Refused: the network does not take the transaction.
    #[error("transaction is refused: {reason}")]
    Rejected {
        /// What the node said.
        reason: String,
    },
    /// Broken: the answer is not what the question asked for.
    #[error("{source_name} gave a wrong answer: {reason}")]
    BadAnswer {
        /// Which source.
        source_name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Broken: two sources follow different chains. Nothing they say can be used.
    #[error("bitcoind follows chain {bitcoind} and esplora follows chain {esplora}")]
    DifferentChains {
        /// What bitcoind says.
        bitcoind: ChainId,
        /// What Esplora says.
        esplora: ChainId,
    },
}

/// Whether the feerate is fixed without asking: nobody competes for blocks there.
fn has_fixed_feerate(network: Option<Network>) -> bool {
    matches!(network, None | Some(Network::Regtest))
}

/// What to use when there is no estimate: nothing on mainnet, where a guess costs money.
fn feerate_without_estimate(network: Option<Network>) -> Option<u64> {
    (network != Some(Network::Bitcoin)).then_some(FIXED_FEERATE_SAT_PER_KVB)
}

/// Decodes a block and checks that it is the one asked for.
fn checked_block(
    source_name: &'static str,
    hash: &BlockHash,
    bytes: &[u8],
) -> Result<Block, ChainError> {
    let bad = |reason: &str| ChainError::BadAnswer { source_name, reason: reason.to_owned() };
    let block: Block = bitcoin::consensus::deserialize(bytes).map_err(|e| bad(&e.to_string()))?;
    if block.block_hash() != *hash {
        return Err(bad("block has another hash"));
    }
    if !block.check_merkle_root() {
        return Err(bad("transactions do not fit the merkle root"));
    }
    // The merkle root stays the same when trailing transactions are repeated (CVE-2012-2459).
    let mut txids: Vec<_> = block.txdata.iter().map(Transaction::compute_txid).collect();
    txids.sort_unstable();
    if txids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(bad("block holds a transaction twice"));
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bitcoin::{Network, constants::genesis_block};

    use super::*;

    #[test]
    fn altered_block_is_refused() {
        let block = genesis_block(Network::Regtest);
        let hash = block.block_hash();
        let bytes = bitcoin::consensus::serialize(&block);
        assert_eq!(checked_block("test", &hash, &bytes).unwrap(), block);

        let other = genesis_block(Network::Bitcoin).block_hash();
        assert!(checked_block("test", &other, &bytes).is_err());
        assert!(checked_block("test", &hash, &bytes[..bytes.len() - 1]).is_err());

        let mut doubled = block.clone();
        doubled.txdata.push(block.txdata[0].clone());
        doubled.header.merkle_root = doubled.compute_merkle_root().unwrap();
        assert_eq!(
            doubled.header.merkle_root,
            bitcoin::TxMerkleNode::from_raw_hash(*pair_hash(&block).as_raw_hash())
        );
        let bytes = bitcoin::consensus::serialize(&doubled);
        let refused = checked_block("test", &doubled.block_hash(), &bytes).unwrap_err();
        assert!(refused.to_string().contains("twice"), "{refused}");
    }

    /// The merkle root of a block's only transaction paired with itself.
    fn pair_hash(block: &Block) -> bitcoin::TxMerkleNode {
        use bitcoin::hashes::{Hash, HashEngine};
        let txid = block.txdata[0].compute_txid();
        let mut engine = bitcoin::TxMerkleNode::engine();
        engine.input(txid.as_ref());
        engine.input(txid.as_ref());
        bitcoin::TxMerkleNode::from_engine(engine)
    }
}
