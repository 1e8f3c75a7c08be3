//! The other guardians: where they are, and where their frames go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moneta_consensus::{Broadcast, Links};
use moneta_core::announcement::current_url as choose_url;
use moneta_core::{ApiUrl, Decode, PeerId};
use moneta_net::links::{
    Channel, GuardianLinks, LinkIdentity, LinkLimits, LinkReceiver, LinkSetup, LinkTiming,
    PeerAddress,
};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::NodeError;
use super::doubt::{self, Answer};
use super::gossip::{self, News};
use super::latecomers::Latecomers;
use super::ordering::Command;
use super::shared::Node;
use super::signing::{self, SignatureMessage};
use super::tables;
use crate::setup::config::LinkEndpoint;

/// Opens the links to all other guardians.
pub(super) fn open_links(
    me: PeerId,
    tls_key: &[u8],
    endpoints: &BTreeMap<PeerId, LinkEndpoint>,
    listener: TcpListener,
    limits: LinkLimits,
) -> Result<(GuardianLinks, LinkReceiver), NodeError> {
    let mut peers = BTreeMap::new();
    let mut own = Vec::new();
    for (peer, endpoint) in endpoints {
        if *peer == me {
            own = endpoint.cert.clone();
            continue;
        }
        let address = PeerAddress::from_url(endpoint.url.as_url())
            .map_err(|source| NodeError::Address { peer: *peer, source })?;
        peers.insert(*peer, (address, CertificateDer::from(endpoint.cert.clone())));
    }
    let identity = LinkIdentity::from_der(own, tls_key.to_vec());
    let timing = LinkTiming::default();
    Ok(GuardianLinks::start(LinkSetup { me, identity, peers, listener, limits, timing })?)
}

/// The links as consensus sees them.
pub(super) struct ConsensusLinks(pub(super) Option<Arc<GuardianLinks>>);

impl Links for ConsensusLinks {
    fn send(&self, to: usize, frame: Bytes) {
        let Some(links) = &self.0 else { return };
        if let Err(error) = links.send(PeerId::new(to as u16), Channel::CONSENSUS, frame) {
            debug!(target: "moneta::node", to, %error, "consensus frame not sent");
        }
    }
}

/// Hands received frames to their tasks, until the links end.
pub(super) async fn dispatch(
    node: Arc<Node>,
    mut frames: LinkReceiver,
    commands: mpsc::Sender<Command>,
    mut latecomers: Latecomers,
) {
    while let Some(frame) = frames.recv().await {
        let peer = frame.peer;
        if frame.channel == Channel::SETUP {
            let answer = latecomers.answer(peer, &frame.payload);
            if let (Some(answer), Some(links)) = (answer, &node.links)
                && let Err(error) = links.send(peer, Channel::SETUP, answer)
            {
                warn!(target: "moneta::node", %peer, %error, "setup messages not sent");
            }
            continue;
        }
        latecomers.arrived(peer);
        match frame.channel {
            Channel::CONSENSUS | Channel::WAKE => {
                if let Some(broadcast) = node.broadcast() {
                    broadcast.deliver(peer.index(), frame.payload);
                }
            }
            Channel::SIGNATURE => {
                let Ok(message) = SignatureMessage::from_bytes(&frame.payload) else { continue };
                match message {
                    SignatureMessage::Ask { nonce } => match doubt::answer(&node, nonce) {
                        Ok(answer) => signing::send(&node, peer, &answer),
                        Err(error) => warn!(target: "moneta::node", %error, "cannot answer"),
                    },
                    SignatureMessage::Answer { nonce, count, signed_before, in_doubt } => {
                        let answer = Answer { count, signed_before, in_doubt };
                        if node.doubt.hear(peer, nonce, answer) {
                            node.claim(peer, count);
                        }
                    }
                    // A full queue means that the writer is busy; signatures are repeated.
                    other => drop(commands.try_send(Command::Signature(peer, other))),
                }
            }
            Channel::GOSSIP => {
                if let Ok(news) = News::from_bytes(&frame.payload) {
                    gossip::hear(&node, peer, news);
                }
            }
            other => debug!(target: "moneta::node", %peer, channel = other.0, "unknown channel"),
        }
    }
}

/// A running session grows once a second or faster; this long without a unit of anybody means that
/// it is stuck.
const STUCK: Duration = Duration::from_secs(8);

/// The pause before the same link is made anew once more.
const MEND_AGAIN: Duration = Duration::from_secs(30);

/// Makes links anew, whose guardians are connected and silent, when the session is stuck; until
/// dropped. A link that comes up repeats what the other side may have missed.
pub(super) async fn mend(node: Arc<Node>, links: Arc<GuardianLinks>) {
    let mut mended: BTreeMap<PeerId, Instant> = BTreeMap::new();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(status) = node.broadcast().map(Broadcast::status) else { continue };
        // With batches waiting for the writer, it is this guardian that is slow.
        if status.since_progress < STUCK || status.backlog_batches > 0 {
            continue;
        }
        let connected = links.status();
        for (index, unit) in status.peers.iter().enumerate() {
            let peer = PeerId::new(index as u16);
            let is_connected = connected.get(&peer).is_some_and(|link| link.connected);
            let is_silent = unit.last_unit_age.is_none_or(|age| age >= STUCK);
            let is_due = mended.get(&peer).is_none_or(|at| at.elapsed() >= MEND_AGAIN);
            if is_connected && is_silent && is_due {
                warn!(target: "moneta::node", %peer, session = status.session,
                    stuck_for = ?status.since_progress, "consensus is stuck: making the link anew");
                links.reconnect(peer);
                mended.insert(peer, Instant::now());
            }
        }
    }
}

/// Tells consensus and gossip when a link comes up, and the peer how many sessions are signed here,
/// until dropped.
pub(super) async fn watch_links(node: Arc<Node>, links: Arc<GuardianLinks>) {
    let mut known: BTreeMap<PeerId, u64> = BTreeMap::new();
    let mut made = links.connections();
    loop {
        made.mark_unchanged();
        for (peer, status) in links.status() {
            let before = known.insert(peer, status.connections).unwrap_or(0);
            if status.connections > before {
                info!(target: "moneta::node", %peer, "guardian link up");
                if let Some(broadcast) = node.broadcast() {
                    broadcast.link_restored(peer.index());
                }
                gossip::tell(&node, peer);
                // A peer that was away learns at once how far it is behind.
                if let Ok(count) = node.session_count() {
                    signing::send(&node, peer, &SignatureMessage::Count { count });
                }
            }
        }
        if made.changed().await.is_err() {
            // The links have ended; whoever owns this task ends it with them.
            std::future::pending::<()>().await;
        }
    }
}

/// Where a guardian's API is now (guardian.md 5).
pub(super) fn current_url(node: &Node, peer: PeerId) -> Option<ApiUrl> {
    let configured = &node.config.consensus.api_endpoints.get(&peer)?.url;
    let snapshot = node.store.snapshot();
    let announced = tables::ANNOUNCEMENTS.get(&snapshot, &peer).ok().flatten();
    let metadata = tables::METADATA.get(&snapshot, &peer).ok().flatten();
    let url = choose_url(
        configured,
        announced.as_ref().map(|signed| &signed.api_announcement),
        metadata.as_ref().map(|signed| signed.metadata()),
    );
    Some(url.clone())
}
