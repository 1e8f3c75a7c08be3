//! One peer: its queue, its state, and the task that keeps it connected.

use std::{
    fmt, io,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use moneta_core::PeerId;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    net::TcpStream,
    sync::{Notify, mpsc, watch},
    time::{self, Instant},
};
use tokio_rustls::{TlsConnector, TlsStream};
use tracing::{debug, info, warn};
use url::Url;

use super::{Channel, LinkLimits, LinkTiming, connection, inbox::Inbox, queue::SendQueue};
use crate::{Backoff, dial};

/// Where a guardian listens for its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The text is no `fedimint://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("guardian address must be fedimint://host:port")]
pub struct PeerAddressError;

impl PeerAddress {
    /// Takes host and port from a guardian URL.
    ///
    /// Source: docs/protocol/guardian.md, section 3.3.
    pub fn from_url(url: &Url) -> Result<Self, PeerAddressError> {
        match (url.scheme(), url.host_str(), url.port()) {
            ("fedimint", Some(host), Some(port)) if !host.is_empty() => {
                Ok(Self { host: host.to_owned(), port })
            }
            _ => Err(PeerAddressError),
        }
    }
}

impl FromStr for PeerAddress {
    type Err = PeerAddressError;

    fn from_str(text: &str) -> Result<Self, PeerAddressError> {
        Self::from_url(&Url::parse(text).map_err(|_| PeerAddressError)?)
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fedimint://{}:{}", self.host, self.port)
    }
}

/// How the link to one peer is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// Whether the peer has been heard on the present connection.
    pub connected: bool,
    /// Round-trip time of the last ping on the present connection.
    pub rtt: Option<Duration>,
    /// Why the last connection ended or the last attempt failed, for people.
    pub last_error: Option<String>,
    /// Bytes waiting to be sent.
    pub queued_bytes: usize,
    /// Frames dropped since the start because the queue was full.
    pub dropped_frames: u64,
    /// Connections that worked since the start.
    pub connections: u64,
}

/// What all links of one guardian share.
#[derive(Clone)]
pub(super) struct News {
    /// Counts the connections of all peers that worked.
    pub(super) made: watch::Sender<u64>,
    /// Asks all connections to end; whoever runs one holds a receiver.
    pub(super) closing: watch::Sender<bool>,
}

/// What the tasks and the handle share about one peer.
pub(super) struct Peer {
    pub(super) me: PeerId,
    pub(super) id: PeerId,
    pub(super) limits: LinkLimits,
    pub(super) timing: LinkTiming,
    pub(super) inbox: Inbox,
    /// Wakes the sender of the present connection.
    pub(super) work: Notify,
    /// Asks for the present connection to be dropped.
    pub(super) drop_connection: Notify,
    /// Asks all connections to end; whoever runs one holds a receiver.
    pub(super) closing: watch::Sender<bool>,
    /// Counts the connections of all peers that worked.
    made: watch::Sender<u64>,
    state: Mutex<PeerState>,
}

#[derive(Default)]
struct PeerState {
    queue: SendQueue,
    connected: bool,
    rtt: Option<Duration>,
    last_error: Option<String>,
    connections: u64,
}

impl Peer {
    pub(super) fn new(
        me: PeerId,
        id: PeerId,
        limits: LinkLimits,
        timing: LinkTiming,
        inbox: Inbox,
        news: News,
    ) -> Self {
        let News { made, closing } = news;
        Self {
            me,
            id,
            limits,
            timing,
            inbox,
            work: Notify::new(),
            drop_connection: Notify::new(),
            closing,
            made,
            state: Mutex::default(),
        }
    }

    pub(super) fn push(&self, channel: Channel, payload: Bytes) {
        let mut state = self.state();
        let limit = if state.connected { self.limits.queue_bytes } else { self.limits.away_bytes };
        state.queue.push(channel, payload, limit);
        drop(state);
        self.work.notify_one();
    }

    pub(super) fn pop(&self) -> Option<(Channel, Bytes)> {
        self.state().queue.pop()
    }

    pub(super) fn status(&self) -> LinkStatus {
        let state = self.state();
        LinkStatus {
            connected: state.connected,
            rtt: state.rtt,
            last_error: state.last_error.clone(),
            queued_bytes: state.queue.size_bytes(),
            dropped_frames: state.queue.dropped(),
            connections: state.connections,
        }
    }

    pub(super) fn reconnect(&self) {
        // Only a waiting connection is told; the request must not hit the next one.
        self.drop_connection.notify_waiters();
    }

    /// Notes the first sign of life on a connection: only now has the peer accepted us, too.
    pub(super) fn heard(&self) {
        let mut state = self.state();
        if state.connected {
            return;
        }
        state.connected = true;
        state.connections += 1;
        state.last_error = None;
        drop(state);
        self.made.send_modify(|made| *made += 1);
        info!(target: "moneta::links", me = %self.me, peer = %self.id, "guardian connected");
    }

    pub(super) fn measured(&self, rtt: Duration) {
        self.state().rtt = Some(rtt);
    }

    /// Notes the end of a connection or of an attempt. Returns whether it had worked.
    fn lost(&self, reason: &str, how: End) -> bool {
        let mut state = self.state();
        let worked = std::mem::replace(&mut state.connected, false);
        state.rtt = None;
        state.last_error = Some(reason.to_owned());
        state.queue.trim(self.limits.away_bytes);
        drop(state);
        let (me, peer) = (self.me, self.id);
        match how {
            _ if !worked => debug!(target: "moneta::links", %me, %peer, reason, "no connection"),
            End::InOrder => info!(target: "moneta::links", %me, %peer, reason, "guardian left"),
            End::Loss => warn!(target: "moneta::links", %me, %peer, reason, "guardian lost"),
        }
        worked
    }

    /// Whether a connection ended as connections do when somebody stops, or asked for a new one.
    fn how(&self, error: &io::Error) -> End {
        match error.kind() {
            io::ErrorKind::NotConnected => End::InOrder,
            _ if *self.closing.borrow() => End::InOrder,
            _ => End::Loss,
        }
    }

    fn state(&self) -> MutexGuard<'_, PeerState> {
        // Every change leaves the state whole, so a poisoned lock holds nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a connection ended.
#[derive(Clone, Copy)]
enum End {
    /// One side said goodbye.
    InOrder,
    /// It broke, or never was.
    Loss,
}

/// Keeps a connection to a peer with a higher id open. Runs until the links end.
pub(super) async fn dial(peer: Arc<Peer>, address: PeerAddress, config: Arc<ClientConfig>) {
    let connector = TlsConnector::from(config);
    let mut backoff = Backoff::new(peer.timing.first_retry, peer.timing.retry_cap);
    loop {
        let opening = time::timeout(peer.timing.handshake, open(&connector, &address));
        let (reason, how) = match opening.await {
            Ok(Ok(stream)) => {
                let error = connection::run(&peer, stream).await;
                (error.to_string(), peer.how(&error))
            }
            Ok(Err(error)) => (format!("cannot connect to {address}: {error}"), End::Loss),
            Err(_) => (format!("cannot connect to {address}: no answer in time"), End::Loss),
        };
        if peer.lost(&reason, how) {
            backoff.reset();
        }
        if *peer.closing.borrow() {
            return;
        }
        time::sleep(backoff.next_delay()).await;
    }
}

async fn open(connector: &TlsConnector, address: &PeerAddress) -> io::Result<TlsStream<TcpStream>> {
    let tcp = dial::open_tcp(&address.host, address.port).await?;
    // The name is neither sent nor checked; the pinned certificate is.
    let name = ServerName::try_from("moneta-guardian").expect("a plain word is a valid name");
    Ok(connector.connect(name, tcp).await?.into())
}

/// Serves the connections a peer with a lower id makes; a new one replaces the old. Runs until aborted.
pub(super) async fn accept(peer: Arc<Peer>, mut streams: mpsc::Receiver<TlsStream<TcpStream>>) {
    let mut next = streams.recv().await;
    while let Some(stream) = next {
        let started = Instant::now();
        let (reason, how, newer) = tokio::select! {
            error = connection::run(&peer, stream) => {
                (error.to_string(), peer.how(&error), None)
            }
            newer = streams.recv() => {
                ("replaced by a new connection of the peer".to_owned(), End::Loss, newer)
            }
        };
        peer.lost(&reason, how);
        debug!(target: "moneta::links", peer = %peer.id, lasted = ?started.elapsed(), "link ended");
        next = match newer {
            Some(stream) => Some(stream),
            None => streams.recv().await,
        };
    }
}
