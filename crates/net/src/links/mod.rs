//! Encrypted connections between the guardians of one federation.
//!
//! Every pair of guardians shares one TCP connection with TLS 1.3. Both sides show a self-signed
//! certificate that the other knows from its setup code; anybody else is refused before a byte is
//! exchanged. The guardian with the lower id dials, the other accepts, so that there is never a second
//! connection to choose from; a new authenticated connection replaces the old one, since the peer only
//! dials again after it has given the old one up.
//!
//! # Contract
//!
//! Frames of one channel arrive in order, at most once, or not at all: what is in flight when a connection
//! breaks is lost. Whoever sends must be able to send again (consensus and key generation both are).
//! Sending never blocks. Each peer has its own queue, bounded in bytes; at the bound the oldest frames on
//! [`Channel::CONSENSUS`] are dropped first, and the oldest others only if that is not enough. While a
//! peer is away, less is kept. Frames on other channels overtake consensus frames.
//!
//! Receiving is bounded per peer, too: when the reader of [`LinkReceiver`] is slow, the flooding peer's
//! connection is no longer read, and nobody else's suffers.
//!
//! # Wire format (between guardians running this software)
//!
//! ALPN `moneta-guardian/1`. Each frame: length (u32, big-endian, counting what follows it), channel (u8),
//! payload. Channel 255 is the link's own: payload `00` and an 8-byte number is a ping, `01` and the same
//! number its answer. Every side pings when connected and every few seconds; silence for longer than
//! [`LinkTiming::silence`] ends the connection.

mod connection;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod identity;
mod inbox;
mod listen;
mod peer;
mod queue;
mod tls;
mod warn;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use moneta_core::{
    PeerId,
    api::{ConnectionType, P2pConnection, P2pPeerStatus},
};
use rustls::pki_types::CertificateDer;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time,
};

pub use identity::{IdentityError, LinkIdentity};
pub use inbox::{Frame, LinkReceiver};
pub use peer::{LinkStatus, PeerAddress, PeerAddressError};
use peer::{News, Peer};

/// The first byte of every frame: what kind of message it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(pub u8);

impl Channel {
    /// Frames of the atomic broadcast. They may be dropped when a queue is full.
    pub const CONSENSUS: Self = Self(0);
    /// Signatures under session headers.
    pub const SIGNATURE: Self = Self(1);
    /// Setup ceremony and key generation.
    pub const SETUP: Self = Self(2);
    /// Announcements and other news that everybody keeps.
    pub const GOSSIP: Self = Self(3);
    /// Hints to wake up; losing one costs time only.
    pub const WAKE: Self = Self(4);
    /// The link's own pings. Not for sending.
    pub(crate) const CONTROL: Self = Self(255);
}

/// The bounds of one link.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// Bytes of one frame's payload. A peer that announces a longer one is disconnected.
    pub frame_bytes: usize,
    /// Bytes queued for one connected peer.
    pub queue_bytes: usize,
    /// Bytes queued for one peer that is away.
    pub away_bytes: usize,
    /// Bytes received from one peer and not yet taken from the [`LinkReceiver`].
    pub inbox_bytes: usize,
}

impl LinkLimits {
    /// Bounds during setup: large messages, and patience for guardians who are not there yet.
    pub fn setup() -> Self {
        Self {
            frame_bytes: 10_000_000,
            queue_bytes: 40_000_000,
            away_bytes: 40_000_000,
            inbox_bytes: 20_000_000,
        }
    }

    /// Bounds while consensus runs. Old frames for a peer that is away are of little use to it: it will
    /// ask for what it misses.
    pub fn consensus() -> Self {
        Self {
            frame_bytes: 4 * 1024 * 1024,
            queue_bytes: 16 * 1024 * 1024,
            away_bytes: 4 * 1024 * 1024,
            inbox_bytes: 16 * 1024 * 1024,
        }
    }
}

/// The pace of one link.
#[derive(Clone, Copy, Debug)]
pub struct LinkTiming {
    /// Time between two pings. They also measure the round trip.
    pub ping: Duration,
    /// Silence that ends a connection. Several pings long, since one may be late behind a large frame.
    pub silence: Duration,
    /// Time for TCP and TLS together.
    pub handshake: Duration,
    /// First delay before dialling again.
    pub first_retry: Duration,
    /// Longest delay before dialling again: what a guardian costs its peers by being down for long.
    pub retry_cap: Duration,
}

impl Default for LinkTiming {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(3),
            silence: Duration::from_secs(12),
            handshake: Duration::from_secs(10),
            first_retry: Duration::from_millis(50),
            retry_cap: Duration::from_secs(10),
        }
    }
}

/// Everything needed to link up.
pub struct LinkSetup {
    /// Our own id; must not be among `peers`.
    pub me: PeerId,
    /// Our certificate and its key.
    pub identity: LinkIdentity,
    /// The others: where they listen and the certificate they will show.
    pub peers: BTreeMap<PeerId, (PeerAddress, CertificateDer<'static>)>,
    /// The open listener peers dial. Kept even by the highest id's peers, so that strangers see a refusal.
    pub listener: TcpListener,
    /// The bounds.
    pub limits: LinkLimits,
    /// The pace.
    pub timing: LinkTiming,
}

/// Why links did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Refused: our own id is among the peers, or two guardians have the same certificate.
    #[error("the list of guardians is not consistent: {reason}")]
    Peers {
        /// What is wrong with it.
        reason: String,
    },
    /// Refused: our certificate and key do not fit.
    #[error("our own certificate cannot be used: {reason}")]
    Identity {
        /// What the TLS library said.
        reason: String,
    },
    /// Unavailable: the listener is broken.
    #[error("listener for guardian links is broken: {0}")]
    Listener(#[from] io::Error),
}

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Refused: no such guardian.
    #[error("{0} is not one of our peers")]
    UnknownPeer(PeerId),
    /// Refused: above [`LinkLimits::frame_bytes`].
    #[error("frame of {size_bytes} bytes is above the limit")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
    },
    /// Refused: channel 255 belongs to the link itself.
    #[error("channel is reserved")]
    Reserved,
}

/// The running links of one guardian. Dropping it ends them at once.
pub struct GuardianLinks {
    peers: Arc<BTreeMap<PeerId, Arc<Peer>>>,
    limits: LinkLimits,
    address: SocketAddr,
    made: watch::Sender<u64>,
    closing: watch::Sender<bool>,
    root: Mutex<Option<JoinHandle<()>>>,
}

impl GuardianLinks {
    /// Starts dialling and listening. Must be called inside a tokio runtime.
    pub fn start(setup: LinkSetup) -> Result<(Self, LinkReceiver), LinkError> {
        let LinkSetup { me, identity, peers, listener, limits, timing } = setup;
        if peers.contains_key(&me) {
            return Err(LinkError::Peers { reason: format!("{me} is ourselves") });
        }
        let pinned = tls::Pinned::new(peers.iter().map(|(id, (_, cert))| (*id, cert.clone())))
            .map_err(|reason| LinkError::Peers { reason })?;
        let server = tls::server_config(&identity, &pinned)
            .map_err(|error| LinkError::Identity { reason: error.to_string() })?;
        let address = listener.local_addr()?;
        let (inboxes, receiver) = inbox::channel(peers.keys().copied(), limits.inbox_bytes);
        let (made, closing) = (watch::Sender::new(0), watch::Sender::new(false));
        let news = News { made: made.clone(), closing: closing.clone() };
        let mut tasks = JoinSet::new();
        let mut links = BTreeMap::new();
        let mut accepted = BTreeMap::new();
        for (id, (peer_address, certificate)) in peers {
            let inbox = inboxes.get(&id).cloned().expect("one inbox was made per peer");
            let peer = Arc::new(Peer::new(me, id, limits, timing, inbox, news.clone()));
            links.insert(id, peer.clone());
            if me < id {
                let client = tls::client_config(&identity, id, certificate)
                    .map_err(|error| LinkError::Identity { reason: error.to_string() })?;
                tasks.spawn(peer::dial(peer, peer_address, client));
            } else {
                let (deliver, streams) = tokio::sync::mpsc::channel(1);
                accepted.insert(id, deliver);
                tasks.spawn(peer::accept(peer, streams));
            }
        }
        tasks.spawn(listen::run(listener, server, pinned, accepted, timing.handshake));
        let root = Mutex::new(Some(tokio::spawn(own(tasks, closing.clone()))));
        Ok((Self { peers: Arc::new(links), limits, address, made, closing, root }, receiver))
    }

    /// The address peers dial.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Queues one frame for one peer. Never blocks; see the module text for what happens at the bound.
    pub fn send(
        &self,
        peer: PeerId,
        channel: Channel,
        payload: impl Into<Bytes>,
    ) -> Result<(), SendError> {
        let payload = self.checked(channel, payload.into())?;
        let peer = self.peers.get(&peer).ok_or(SendError::UnknownPeer(peer))?;
        peer.push(channel, payload);
        Ok(())
    }

    /// Queues one frame for every peer. The bytes are shared, not copied.
    pub fn broadcast(&self, channel: Channel, payload: impl Into<Bytes>) -> Result<(), SendError> {
        let payload = self.checked(channel, payload.into())?;
        for peer in self.peers.values() {
            peer.push(channel, payload.clone());
        }
        Ok(())
    }

    /// How every link is doing.
    pub fn status(&self) -> BTreeMap<PeerId, LinkStatus> {
        self.peers.iter().map(|(id, peer)| (*id, peer.status())).collect()
    }

    /// Counts the connections of all peers that worked since the start: a change says that
    /// [`Self::status`] has a new one.
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
    }

    /// The same as the API shows it (docs/protocol/guardian.md section 4).
    pub fn p2p_status(&self) -> P2pPeerStatus {
        let view = |status: LinkStatus| {
            let conn_type = Some(ConnectionType::Direct);
            status.connected.then_some(P2pConnection { conn_type, rtt: status.rtt })
        };
        self.status().into_iter().map(|(id, status)| (id, view(status))).collect()
    }

    /// Drops the connection to a peer, which is then made anew. For a peer that is connected but silent
    /// on what matters.
    pub fn reconnect(&self, peer: PeerId) {
        if let Some(peer) = self.peers.get(&peer) {
            peer.reconnect();
        }
    }

    /// Ends all links, with a goodbye to every peer that takes it. The listener's port is free when
    /// this returns.
    pub async fn shutdown(&self) {
        self.closing.send_replace(true);
        let root = self.root.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(root) = root {
            let _ = root.await;
        }
    }

    fn checked(&self, channel: Channel, payload: Bytes) -> Result<Bytes, SendError> {
        if channel == Channel::CONTROL {
            return Err(SendError::Reserved);
        }
        if payload.len() > self.limits.frame_bytes {
            return Err(SendError::TooLarge { size_bytes: payload.len() });
        }
        Ok(payload)
    }
}

impl Drop for GuardianLinks {
    fn drop(&mut self) {
        if let Some(root) = self.root.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            root.abort();
        }
    }
}

/// Owns all tasks of the links: they end with it, whether it finishes or is aborted.
async fn own(mut tasks: JoinSet<()>, closing: watch::Sender<bool>) {
    let mut asked = closing.subscribe();
    let _ = asked.wait_for(|closing| *closing).await;
    drop(asked);
    // Open connections say goodbye; each bounds its own time, and all do it at once.
    let _ = time::timeout(2 * connection::GOODBYE, closing.closed()).await;
    tasks.shutdown().await;
}
