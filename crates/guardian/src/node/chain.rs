//! The bitcoin side of a guardian: the view of the chain, blocks on request, broadcasts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bitcoin::Txid;
use futures::{StreamExt, stream};
use moneta_module::server::{ChainStatus, Facts, Need};
use moneta_net::Backoff;
use moneta_net::chain::{ChainError, is_chain_of};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, info, warn};

use super::NodeError;
use super::shared::Node;

/// Pauses between tries to fetch a block, which go on until the source answers.
const FETCH_FIRST: Duration = Duration::from_millis(200);
const FETCH_CAP: Duration = Duration::from_secs(30);

/// Blocks asked for at the same time. A vote may lead over many, and each is two calls.
const FETCHED_AT_ONCE: usize = 4;

/// Polls the chain source and broadcasts transactions, until dropped.
///
/// Errors: `WrongChain` if the source follows another network than the federation.
pub(super) async fn watch(node: Arc<Node>) -> Result<(), NodeError> {
    let mut polls = tokio::time::interval(node.pace.chain_poll);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = HashSet::new();
    let mut rejected = HashMap::new();
    let mut next_repeat = Instant::now() + node.pace.rebroadcast;
    loop {
        tokio::select! {
            _ = polls.tick() => {
                if node.chain_id.get().is_none() {
                    identify(&node).await?;
                }
                let status = look(&node).await;
                let changed = node.chain_status.send_if_modified(|known| {
                    let changed = *known != status;
                    *known = status;
                    changed
                });
                if changed {
                    debug!(target: "moneta::chain", ?status, "view of the chain");
                }
            }
            // A freshly signed withdrawal should not wait for the next poll.
            () = node.state_changed.notified() => {}
        }
        if node.chain_status.borrow().is_none() {
            continue;
        }
        if Instant::now() >= next_repeat {
            sent.clear();
            next_repeat = Instant::now() + node.pace.rebroadcast;
        }
        broadcast(&node, &mut sent, &mut rejected).await;
    }
}

async fn identify(node: &Node) -> Result<(), NodeError> {
    let network = node.config.consensus.network;
    match node.chain.chain_id().await {
        Ok(found) if is_chain_of(&found, network) => {
            info!(target: "moneta::chain", %network, "bitcoin source connected");
            let _ = node.chain_id.set(found);
            Ok(())
        }
        Ok(found) => Err(NodeError::WrongChain { network, found }),
        Err(error) => {
            debug!(target: "moneta::chain", %error, "no answer from the bitcoin source");
            Ok(())
        }
    }
}

/// One look; `None` if the source did not answer both questions.
async fn look(node: &Node) -> Option<ChainStatus> {
    node.chain_id.get()?;
    let status = async {
        let block_count = node.chain.block_count().await?;
        let feerate_sat_per_kvb = node.chain.feerate_sat_per_kvb().await?;
        Ok::<_, ChainError>(ChainStatus { block_count, feerate_sat_per_kvb })
    };
    match status.await {
        Ok(status) => Some(status),
        Err(error) => {
            if node.chain_status.borrow().is_some() {
                warn!(target: "moneta::chain", %error, "bitcoin source lost; deposits wait");
            }
            None
        }
    }
}

/// Broadcasts what was not yet, and notes it in `sent`; of what the source rejects, the reason goes
/// into `rejected` and, when it is a new one, to the operator.
async fn broadcast(node: &Node, sent: &mut HashSet<Txid>, rejected: &mut HashMap<Txid, String>) {
    let transactions = match node.engine.broadcasts(&node.store.snapshot()) {
        Ok(transactions) => transactions,
        Err(error) => {
            warn!(target: "moneta::chain", %error, "cannot read unconfirmed transactions");
            return;
        }
    };
    let transactions: Vec<_> = transactions
        .into_iter()
        .map(|transaction| (transaction.compute_txid(), transaction))
        .collect();
    rejected.retain(|txid, _| transactions.iter().any(|(wanted, _)| wanted == txid));
    for (txid, transaction) in transactions {
        if !sent.insert(txid) {
            continue;
        }
        match node.chain.broadcast(&transaction).await {
            Ok(()) => debug!(target: "moneta::chain", %txid, "broadcast"),
            // Mined and spent already, at best. If not, all withdrawals after it wait with it.
            Err(ChainError::Rejected { reason }) => {
                if rejected.get(&txid) != Some(&reason) {
                    warn!(target: "moneta::chain", %txid, %reason, "a transaction of the \
                        federation is rejected by the bitcoin source");
                    rejected.insert(txid, reason);
                }
            }
            // It is sent again with all others.
            Err(error) => debug!(target: "moneta::chain", %txid, %error, "not broadcast"),
        }
    }
}

/// Fetches what the engine needs; waits as long as it takes.
///
/// Adds to `facts`: one unit may need one range after another, and is run from its beginning each
/// time. The caller clears them when the unit is done.
pub(super) async fn fetch(node: &Node, need: Need, facts: &mut Facts) {
    let Need::Blocks { from, to, block_count } = need;
    let mut status = node.chain_status.subscribe();
    let buried = |status: &Option<ChainStatus>| {
        status.as_ref().is_some_and(|status| status.block_count >= block_count)
    };
    // Fails only if the sender is gone, which lives as long as the node.
    if let Ok(status) = status.wait_for(buried).await {
        facts.block_count = status.as_ref().map(|status| status.block_count);
    }
    let missing: Vec<u64> =
        (from..to).filter(|height| !facts.blocks.contains_key(height)).collect();
    let blocks = stream::iter(missing)
        .map(|height| async move { (height, Arc::new(fetch_block(node, height).await)) });
    let blocks: Vec<_> = blocks.buffered(FETCHED_AT_ONCE).collect().await;
    facts.blocks.extend(blocks);
}

async fn fetch_block(node: &Node, height: u64) -> bitcoin::Block {
    let mut backoff = Backoff::new(FETCH_FIRST, FETCH_CAP);
    loop {
        let block = async {
            let hash = node.chain.block_hash(height).await?;
            node.chain.block(&hash).await
        };
        match block.await {
            Ok(block) => return block,
            Err(error) => {
                warn!(target: "moneta::chain", height, %error, "block not available yet");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}
