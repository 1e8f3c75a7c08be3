//! Submits what the modules want ordered, after every change of state or chain.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::shared::Node;

/// An item that is still wanted this long after it was submitted was ordered and changed nothing,
/// or is stuck; only then it is submitted again.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Runs until dropped.
pub(super) async fn run(node: Arc<Node>) {
    let mut chain = node.chain_status.subscribe();
    let mut submitted: HashMap<Vec<u8>, Instant> = HashMap::new();
    loop {
        let status = *chain.borrow_and_update();
        let snapshot = node.store.snapshot();
        match node.engine.proposals(&snapshot, status.as_ref()) {
            Ok(items) => submit(&node, items, &mut submitted),
            Err(error) => warn!(target: "moneta::node", %error, "cannot read proposals"),
        }
        drop(snapshot);
        let again = tokio::time::sleep(AGAIN_AFTER);
        tokio::pin!(again);
        tokio::select! {
            () = node.proposals_due.notified() => {}
            changed = chain.changed() => if changed.is_err() { return },
            () = &mut again => {}
        }
    }
}

fn submit(node: &Node, items: Vec<Vec<u8>>, submitted: &mut HashMap<Vec<u8>, Instant>) {
    // A guardian in doubt votes once it takes part.
    let Some(broadcast) = node.broadcast() else { return };
    let now = Instant::now();
    submitted.retain(|item, _| items.contains(item));
    for item in items {
        let recent = submitted.get(&item).is_some_and(|at| now - *at < AGAIN_AFTER);
        if recent {
            continue;
        }
        match broadcast.submit(item.clone()) {
            Ok(()) => {
                submitted.insert(item, now);
            }
            // The others may still fit; this one is tried again.
            Err(error) => debug!(target: "moneta::node", %error, "proposal waits"),
        }
    }
}
