//! How signatures of sessions travel between guardians.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::secp256k1::schnorr::Signature;
use moneta_core::{Decode, Encode, PeerId, SessionIndex};
use moneta_net::links::Channel;
use tracing::debug;

use super::doubt::Nonce;
use super::shared::Node;

/// How often an unsigned session's signature and the own session count are repeated: a frame that
/// was lost with a broken link delays the session's end by this much.
const REPEAT: Duration = Duration::from_secs(1);

/// On the signature channel. Every message tells how many sessions the sender has signed, so that
/// whoever is behind notices.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) enum SignatureMessage {
    /// The sender's signature.
    One {
        /// Of which session.
        session: SessionIndex,
        /// Under its header.
        signature: Signature,
        /// Sessions signed at the sender.
        count: SessionIndex,
    },
    /// The signatures of a threshold, for a peer that misses them.
    All {
        /// Of which session.
        session: SessionIndex,
        /// By guardian.
        signatures: BTreeMap<PeerId, Signature>,
        /// Sessions signed at the sender.
        count: SessionIndex,
    },
    /// The sender's session count alone.
    Count {
        /// Sessions signed at the sender.
        count: SessionIndex,
    },
    /// The sender does not know what it has said, and asks what the receiver has signed.
    Ask {
        /// To be repeated in the answer.
        nonce: Nonce,
    },
    /// The answer; see [`doubt`](super::doubt).
    Answer {
        /// Of the question.
        nonce: Nonce,
        /// Sessions signed at the sender.
        count: SessionIndex,
        /// The first session that the sender never signed, as far as it remembers.
        signed_before: SessionIndex,
        /// The sender is in doubt itself.
        in_doubt: bool,
    },
}

/// Queues a message for one peer; a lost one is repeated.
pub(super) fn send(node: &Node, peer: PeerId, message: &SignatureMessage) {
    if let Some(links) = &node.links
        && let Err(error) = links.send(peer, Channel::SIGNATURE, message.to_bytes())
    {
        debug!(target: "moneta::node", %peer, %error, "signature not sent");
    }
}

/// Queues a message for every peer.
pub(super) fn send_to_all(node: &Node, message: &SignatureMessage) {
    if let Some(links) = &node.links
        && let Err(error) = links.broadcast(Channel::SIGNATURE, message.to_bytes())
    {
        debug!(target: "moneta::node", %error, "signature not sent");
    }
}

/// Repeats what peers may have missed, until dropped.
pub(super) async fn repeat(node: Arc<Node>) {
    let mut told = None;
    let mut tick = 0_u64;
    loop {
        tokio::time::sleep(REPEAT).await;
        tick += 1;
        let snapshot = node.store.snapshot();
        let Ok(count) = node.engine.session_count(&snapshot) else { continue };
        match node.engine.ended_session(&snapshot, count) {
            Ok(Some(header)) => {
                let keys = &node.config.consensus.broadcast_public_keys;
                let signature = header.sign(keys, &node.broadcast_key);
                send_to_all(&node, &SignatureMessage::One { session: count, signature, count });
            }
            // The count alone is repeated rarely: it changes once in minutes.
            _ if told != Some(count) || tick.is_multiple_of(10) => {
                send_to_all(&node, &SignatureMessage::Count { count });
            }
            _ => {}
        }
        told = Some(count);
    }
}
