//! Votes for the block count and the feerate, and the scan of blocks that follows from the first.
//!
//! Source: docs/protocol/wallet.md, sections 1.7.1 to 1.7.3.

use std::collections::BTreeSet;

use bitcoin::constants::COINBASE_MATURITY;
use bitcoin::{Block, Network, OutPoint, Txid};
use moneta_core::PeerId;
use moneta_module::server::{ChainStatus, Fault, ItemRefused, Need, Processing};
use moneta_store::{Order, Read, StoreError, Write};

use super::WalletServer;
use super::tables::{
    BLOCK_COUNT_VOTES, FEERATE_VOTES, IMMATURE, LoggedOutput, OUTPUTS, SIGNATURES, UNCONFIRMED,
    UNSIGNED,
};
use crate::words::WalletItem;

/// Blocks on top of a block before it is scanned. There is no handling of deeper reorganisations.
const FINALITY_DELAY: u64 = 6;
/// How far a vote stays behind the tip: the finality delay, and one block of slack so that other
/// guardians' chain sources have reached it too.
const VOTE_DELAY: u64 = FINALITY_DELAY + 1;
/// The least feerate a guardian votes for in sat/kvB: what the network relays.
const MIN_FEERATE: u64 = 1000;

impl WalletServer {
    /// The number of blocks that are scanned: the threshold-highest vote. Never decreases.
    pub(super) fn consensus_block_count(&self, state: &dyn Read) -> Result<u64, StoreError> {
        let mut votes = BLOCK_COUNT_VOTES
            .scan(state, Order::Ascending)
            .map(|row| row.map(|(_, count)| count))
            .collect::<Result<Vec<_>, _>>()?;
        votes.sort_unstable_by(|a, b| b.cmp(a));
        Ok(votes.get(self.seat.size.threshold() - 1).copied().unwrap_or(0))
    }

    /// The feerate in sat/kvB: the threshold-lowest of those who know one.
    pub(super) fn consensus_feerate(&self, state: &dyn Read) -> Result<Option<u64>, StoreError> {
        let mut votes = FEERATE_VOTES
            .scan(state, Order::Ascending)
            .filter_map(|row| row.map(|(_, feerate)| feerate).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        votes.sort_unstable();
        Ok(votes.get(self.seat.size.threshold() - 1).copied())
    }

    /// Applies a vote for the block count and scans the blocks that became buried by it.
    pub(super) fn vote_block_count(
        &self,
        call: &mut Processing<'_>,
        peer: PeerId,
        count: u64,
    ) -> Result<(), Fault<ItemRefused>> {
        let state = &mut *call.state;
        if count <= BLOCK_COUNT_VOTES.get(&*state, &peer)?.unwrap_or(0) {
            return Err(Fault::Refused(ItemRefused("a block count not above the last one")));
        }
        let from = self.consensus_block_count(&*state)?;
        BLOCK_COUNT_VOTES.insert(state, &peer, &count);
        let to = self.consensus_block_count(&*state)?;
        // Blocks from before the federation can hold no deposit to it. On regtest a federation may
        // start on an empty chain, and everything is scanned.
        let is_first = from == 0 && self.config.network != Network::Regtest;
        if from == to || is_first {
            return Ok(());
        }
        let block_count = to.saturating_add(FINALITY_DELAY);
        let need = Need::Blocks { from, to, block_count };
        if call.facts.block_count.is_none_or(|known| known < block_count) {
            return Err(Fault::Blocked(need));
        }
        for height in from..to {
            let Some(block) = call.facts.blocks.get(&height) else {
                return Err(Fault::Blocked(need));
            };
            self.scan_block(state, height, block)?;
        }
        Ok(())
    }

    /// Takes note of our confirmed transactions and of outputs that may be deposits.
    ///
    /// An output of a coinbase transaction is logged when it can be spent, 100 blocks later. Claimed
    /// before, it would make a sweep that no miner may include, and since all transactions form one
    /// chain, nobody could withdraw until then.
    fn scan_block(
        &self,
        state: &mut dyn Write,
        height: u64,
        block: &Block,
    ) -> Result<(), StoreError> {
        let mature_height = height.checked_sub(u64::from(COINBASE_MATURITY));
        if let Some(mature_height) = mature_height
            && let Some(mature) = IMMATURE.get(&*state, &mature_height)?
        {
            IMMATURE.remove(state, &mature_height);
            log_outputs(state, &mature)?;
        }
        let pending = pending_txids(&*state)?;
        for transaction in &block.txdata {
            let txid = transaction.compute_txid();
            if pending.contains(&txid) {
                confirmed(state, txid)?;
            }
            let passed: Vec<LoggedOutput> = (0..)
                .zip(&transaction.output)
                .filter(|(_, output)| self.descriptor.is_logged(&output.script_pubkey))
                .map(|(vout, output)| LoggedOutput {
                    outpoint: OutPoint { txid, vout },
                    output: output.clone(),
                })
                .collect();
            if passed.is_empty() {
                continue;
            }
            if transaction.is_coinbase() {
                IMMATURE.insert(state, &height, &passed);
            } else {
                log_outputs(state, &passed)?;
            }
        }
        Ok(())
    }

    /// Applies a vote for the feerate.
    pub(super) fn vote_feerate(
        &self,
        state: &mut dyn Write,
        peer: PeerId,
        feerate: Option<u64>,
    ) -> Result<(), Fault<ItemRefused>> {
        if FEERATE_VOTES.get(&*state, &peer)? == Some(feerate) {
            return Err(Fault::Refused(ItemRefused("the feerate is this guardian's vote already")));
        }
        FEERATE_VOTES.insert(state, &peer, &feerate);
        Ok(())
    }

    /// The block count to vote for, if it is above our last vote.
    pub(super) fn block_count_proposal(
        &self,
        state: &dyn Read,
        chain: Option<&ChainStatus>,
    ) -> Result<Option<WalletItem>, StoreError> {
        let Some(chain) = chain else { return Ok(None) };
        let mut vote = chain.block_count.saturating_sub(VOTE_DELAY);
        let consensus = self.consensus_block_count(state)?;
        if consensus > 0 {
            // Later blocks wait for their turn, so that no single item has us scan for hours.
            vote = vote.min(consensus.saturating_add(self.block_vote_step));
        }
        let last = BLOCK_COUNT_VOTES.get(state, &self.seat.me)?.unwrap_or(0);
        Ok((vote > last).then_some(WalletItem::BlockCount(vote)))
    }

    /// The feerate to vote for, if it is not our last vote. An unreachable chain source withdraws
    /// the vote.
    pub(super) fn feerate_proposal(
        &self,
        state: &dyn Read,
        chain: Option<&ChainStatus>,
    ) -> Result<Option<WalletItem>, StoreError> {
        let estimate = chain.and_then(|chain| chain.feerate_sat_per_kvb);
        let vote = estimate.map(|estimate| estimate.max(MIN_FEERATE));
        let last = FEERATE_VOTES.get(state, &self.seat.me)?.flatten();
        Ok((vote != last).then_some(WalletItem::Feerate(vote)))
    }
}

/// Appends to the log of outputs.
fn log_outputs(state: &mut dyn Write, outputs: &[LoggedOutput]) -> Result<(), StoreError> {
    let next_index = OUTPUTS.last_key(&*state, &())?.map_or(0, |last| last + 1);
    for (index, logged) in (next_index..).zip(outputs) {
        OUTPUTS.insert(state, &index, logged);
    }
    Ok(())
}

/// All transactions of ours that no scanned block contains: a few at most, see [`super::fees`].
fn pending_txids(state: &dyn Read) -> Result<BTreeSet<Txid>, StoreError> {
    let unsigned = UNSIGNED.scan(state, Order::Ascending);
    let pending = unsigned.chain(UNCONFIRMED.scan(state, Order::Ascending));
    pending.map(|row| row.map(|(txid, _)| txid)).collect()
}

/// A transaction of ours is in a block. It may lack signatures here still: they are public before
/// they are ordered, and anybody may put them together.
fn confirmed(state: &mut dyn Write, txid: Txid) -> Result<(), StoreError> {
    UNCONFIRMED.remove(state, &txid);
    if UNSIGNED.contains(&*state, &txid)? {
        UNSIGNED.remove(state, &txid);
        let signers = SIGNATURES
            .starting_with(&*state, &txid, Order::Ascending)
            .map(|row| row.map(|((_, signer), _)| signer))
            .collect::<Result<Vec<_>, _>>()?;
        for signer in signers {
            SIGNATURES.remove(state, &(txid, signer));
        }
    }
    Ok(())
}
