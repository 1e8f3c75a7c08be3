//! Transactions of ours that were ordered in a session without room for them.
//!
//! They are proposed again when that session is over; who submitted one notices nothing but a wait.
//! Memory only, like the queue of consensus: after a restart submitters ask again.

use std::collections::VecDeque;

use moneta_core::{ConsensusItem, Encode, SessionIndex, Transaction, TransactionId};
use moneta_store::StoreError;
use tracing::debug;

use super::shared::Node;

/// Most bytes kept: as many as wait to be ordered at most. A session that has no room ends within
/// some rounds of one unit each, so this is reached only while consensus does not get on.
const LIMIT_BYTES: usize = 16 << 20;

/// Transactions by the session that had no room for them, oldest first.
#[derive(Default)]
pub(super) struct Postponed {
    waiting: VecDeque<(SessionIndex, TransactionId, Vec<u8>)>,
    bytes: usize,
}

impl Postponed {
    /// Keeps a transaction until `session` is over. Beyond the bound its submitter tries again.
    pub(super) fn keep(&mut self, node: &Node, session: SessionIndex, transaction: Transaction) {
        let txid = transaction.txid();
        if !self.push(session, txid, ConsensusItem::Transaction(transaction).to_bytes()) {
            give_back(node, txid);
        }
    }

    /// Hands to consensus again what sessions up to `session` had no room for.
    pub(super) fn propose_again(
        &mut self,
        node: &Node,
        session: SessionIndex,
    ) -> Result<(), StoreError> {
        let over = self.take(session);
        if over.is_empty() {
            return Ok(());
        }
        debug!(target: "moneta::node", %session, transactions = over.len(), "proposed once more");
        let snapshot = node.store.snapshot();
        for (txid, item) in over {
            let proposed = !node.engine.is_accepted(&snapshot, txid)?
                && node.broadcast().is_some_and(|broadcast| broadcast.relay(item).is_ok());
            match proposed {
                true => drop(node.queued.insert(txid)),
                false => give_back(node, txid),
            }
        }
        Ok(())
    }

    /// False if there is no room.
    fn push(&mut self, session: SessionIndex, txid: TransactionId, item: Vec<u8>) -> bool {
        // Ordered in batches of several guardians, none of which had room.
        if self.waiting.iter().any(|(.., known)| *known == item) {
            return true;
        }
        let is_kept = self.bytes + item.len() <= LIMIT_BYTES;
        if is_kept {
            self.bytes += item.len();
            self.waiting.push_back((session, txid, item));
        }
        is_kept
    }

    fn take(&mut self, session: SessionIndex) -> Vec<(TransactionId, Vec<u8>)> {
        let (over, left): (VecDeque<_>, _) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(of, ..)| *of <= session);
        self.waiting = left;
        self.bytes = self.waiting.iter().map(|(.., item)| item.len()).sum();
        over.into_iter().map(|(_, txid, item)| (txid, item)).collect()
    }
}

/// Whoever waits for the transaction judges and submits it anew.
fn give_back(node: &Node, txid: TransactionId) {
    node.queued.remove(&txid);
    let key = node.engine.accepted_key(txid);
    node.waiters.wake([key.as_slice()]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{coin, transaction};

    #[test]
    fn what_is_postponed_waits_for_the_end_of_its_own_session_and_is_bounded() {
        let txid = |number| transaction(&[], &[coin(number, 0)]).txid();
        let mut postponed = Postponed::default();
        assert!(postponed.push(SessionIndex(3), txid(1), vec![1; 10]));
        assert!(postponed.push(SessionIndex(4), txid(2), vec![2; 10]));
        assert!(postponed.push(SessionIndex(4), txid(2), vec![2; 10]), "it is kept already");
        assert_eq!(postponed.bytes, 20);
        assert!(!postponed.push(SessionIndex(4), txid(3), vec![3; LIMIT_BYTES]));
        assert!(postponed.take(SessionIndex(2)).is_empty());
        assert_eq!(postponed.take(SessionIndex(3)), [(txid(1), vec![1; 10])]);
        assert!(postponed.push(SessionIndex(4), txid(3), vec![3; LIMIT_BYTES - 10]));
        assert_eq!(postponed.take(SessionIndex(4)).len(), 2);
        assert_eq!(postponed.bytes, 0);
    }
}
