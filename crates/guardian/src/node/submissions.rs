//! Checks submitted transactions, those that wait at the same time together.
//!
//! A lone submission is checked at once. While a group is being checked others gather, and are the
//! next group: the more there is to do, the less each costs.

use std::sync::Arc;

use moneta_core::{SubmissionOutcome, Transaction};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::shared::Node;
use crate::engine::Verdict;

/// Submissions that wait to be taken into a group. Callers beyond that wait for room; the limits
/// of the API bound them.
const WAITING: usize = 256;

/// A group is full with this many inputs: a pairing divided by so many is small beside the rest, and
/// the first of a group waits for some 50 ms at most.
const GROUP_INPUTS: usize = 256;

/// A submission and who waits for the verdict.
struct Waiting {
    transaction: Arc<Transaction>,
    verdict: oneshot::Sender<Verdict>,
}

/// Where callers bring their submissions.
pub(crate) struct Submissions {
    inbox: mpsc::Sender<Waiting>,
    outbox: Mutex<mpsc::Receiver<Waiting>>,
}

impl Default for Submissions {
    fn default() -> Self {
        let (inbox, outbox) = mpsc::channel(WAITING);
        Self { inbox, outbox: Mutex::new(outbox) }
    }
}

impl Submissions {
    /// Waits for the verdict on a submission; `None` if the guardian stops before.
    pub(crate) async fn check(&self, transaction: Arc<Transaction>) -> Option<Verdict> {
        let (verdict, answered) = oneshot::channel();
        self.inbox.send(Waiting { transaction, verdict }).await.ok()?;
        answered.await.ok()
    }

    /// The next group, at least one submission. Cancellation safe but for one group, whose callers
    /// learn that the guardian stops.
    async fn group(&self) -> Option<Vec<Waiting>> {
        let mut outbox = self.outbox.lock().await;
        let mut group = vec![outbox.recv().await?];
        let mut inputs = group[0].transaction.inputs.len();
        while inputs < GROUP_INPUTS
            && let Ok(next) = outbox.try_recv()
        {
            inputs += next.transaction.inputs.len();
            group.push(next);
        }
        Some(group)
    }
}

/// Checks group after group. Ends only with the guardian; several may run side by side.
pub(crate) async fn run(node: Arc<Node>) {
    while let Some(mut group) = node.submissions.group().await {
        // Nobody waits any more for those whose client went away.
        group.retain(|waiting| !waiting.verdict.is_closed());
        let transactions: Vec<_> = group.iter().map(|waiting| &*waiting.transaction).collect();
        let verdicts = tokio::task::block_in_place(|| {
            node.engine.check_submissions(&node.store.snapshot(), &transactions)
        });
        let mut passed = Vec::new();
        for (Waiting { transaction, verdict: answer }, verdict) in group.into_iter().zip(verdicts) {
            if matches!(verdict, Ok(SubmissionOutcome(Ok(_)))) {
                passed.push(transaction);
            }
            // Its client may have gone away meanwhile.
            let _ = answer.send(verdict);
        }
        // Beside consensus, which takes longer to order them.
        let passed: Vec<_> = passed.iter().map(|transaction| &**transaction).collect();
        tokio::task::block_in_place(|| node.engine.prepare_outputs(&passed));
    }
}
