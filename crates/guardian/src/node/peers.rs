//! The other guardians: where they are, and where their frames go.

use std::collections::BTreeMap;
use std::sync::Arc;

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
use tracing::{debug, info};

use super::NodeError;
use super::gossip::{self, News};
use super::ordering::Command;
use super::shared::Node;
use super::signing::SignatureMessage;
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
    broadcast: Broadcast,
    commands: mpsc::Sender<Command>,
) {
    while let Some(frame) = frames.recv().await {
        let peer = frame.peer;
        match frame.channel {
            Channel::CONSENSUS | Channel::WAKE => broadcast.deliver(peer.index(), frame.payload),
            Channel::SIGNATURE => {
                let Ok(message) = SignatureMessage::from_bytes(&frame.payload) else { continue };
                // A full queue means that the writer is busy; signatures are repeated.
                let _ = commands.try_send(Command::Signature(peer, message));
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

/// Tells consensus and gossip when a link comes up, until dropped.
pub(super) async fn watch_links(node: Arc<Node>, links: Arc<GuardianLinks>) {
    let mut known: BTreeMap<PeerId, u64> = BTreeMap::new();
    loop {
        for (peer, status) in links.status() {
            let before = known.insert(peer, status.connections).unwrap_or(0);
            if status.connections > before {
                info!(target: "moneta::node", %peer, "guardian link up");
                node.broadcast.link_restored(peer.index());
                gossip::tell(&node, peer);
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
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
