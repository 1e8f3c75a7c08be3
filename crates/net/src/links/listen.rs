//! Takes connections from the peers that dial us and refuses everybody else.
//!
//! Who is a peer shows in the TLS handshake, and strangers can begin as many as they like. So at the
//! bound a new connection is not turned away but takes the place of another: the oldest of the
//! address that has the most. A peer's handshake takes some round trips; strangers would have to
//! renew all of theirs, from as many addresses, in less time than that.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use moneta_core::PeerId;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{AbortHandle, Id, JoinSet},
    time,
};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tracing::{debug, warn};

use super::{tls::Pinned, warn::WarnLimit};

/// Handshakes running at the same time beside two per peer.
const SPARE_HANDSHAKES: usize = 32;

/// Where the connections of each peer with a lower id go.
pub(super) type Accepted = BTreeMap<PeerId, mpsc::Sender<TlsStream<TcpStream>>>;

struct Door {
    acceptor: TlsAcceptor,
    pinned: Pinned,
    accepted: Accepted,
    handshake: Duration,
    strangers: WarnLimit,
}

/// Accepts connections until aborted.
pub(super) async fn run(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    pinned: Pinned,
    accepted: Accepted,
    handshake: Duration,
) {
    let mut greeted = Greeted::new(2 * accepted.len() + SPARE_HANDSHAKES);
    let acceptor = TlsAcceptor::from(config);
    let strangers = WarnLimit::default();
    let door = Arc::new(Door { acceptor, pinned, accepted, handshake, strangers });
    let mut handshakes = JoinSet::new();
    loop {
        let socket = tokio::select! {
            Some(ended) = handshakes.join_next_with_id() => {
                greeted.ended(ended.map_or_else(|error| error.id(), |(id, ())| id));
                continue;
            }
            socket = listener.accept() => socket,
        };
        match socket {
            Ok((socket, remote)) => {
                if let Some(pushed_out) = greeted.make_room() {
                    pushed_out.abort();
                }
                let door = door.clone();
                let greeting = handshakes.spawn(async move { door.greet(socket, remote).await });
                greeted.began(source(remote.ip()), greeting);
            }
            Err(error) => {
                warn!(target: "moneta::links", %error, "cannot accept a connection");
                time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The connections that are being greeted, oldest first.
struct Greeted {
    limit: usize,
    running: Vec<(IpAddr, AbortHandle)>,
}

impl Greeted {
    fn new(limit: usize) -> Self {
        Self { limit, running: Vec::new() }
    }

    fn began(&mut self, source: IpAddr, greeting: AbortHandle) {
        self.running.push((source, greeting));
    }

    fn ended(&mut self, greeting: Id) {
        self.running.retain(|(_, running)| running.id() != greeting);
    }

    /// The one to end if there is no room for one more.
    fn make_room(&mut self) -> Option<AbortHandle> {
        if self.running.len() < self.limit {
            return None;
        }
        let sources: Vec<IpAddr> = self.running.iter().map(|(source, _)| *source).collect();
        let (_, greeting) = self.running.remove(most_crowded(&sources)?);
        Some(greeting)
    }
}

/// Where the first of those stands that occur most often.
fn most_crowded(sources: &[IpAddr]) -> Option<usize> {
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    sources.iter().for_each(|source| *counts.entry(*source).or_default() += 1);
    let most = counts.values().max()?;
    sources.iter().position(|source| counts[source] == *most)
}

/// What counts as one address: whoever has an IPv6 address has 2^64 of them.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}

impl Door {
    async fn greet(&self, socket: TcpStream, remote: SocketAddr) {
        let _ = socket.set_nodelay(true);
        let stream = match time::timeout(self.handshake, self.acceptor.accept(socket)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.refuse(remote, &error.to_string()),
            Err(_) => return self.refuse(remote, "handshake took too long"),
        };
        // The handshake has checked that the certificate is a pinned one.
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let Some(peer) = certificate.and_then(|certificate| self.pinned.peer(certificate)) else {
            return self.refuse(remote, "no certificate");
        };
        let Some(deliver) = self.accepted.get(&peer) else {
            return self.refuse(remote, &format!("{peer} must wait to be dialled"));
        };
        debug!(target: "moneta::links", %peer, %remote, "connection accepted");
        // Waits while the peer's task still ends the connection before this one.
        let _ = deliver.send(stream.into()).await;
    }

    fn refuse(&self, remote: SocketAddr, reason: &str) {
        if let Some(held_back) = self.strangers.admit(Instant::now()) {
            warn!(
                target: "moneta::links",
                %remote, reason, held_back, "refused a connection to the guardian port"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn oldest_of_the_most_crowded_address_gives_way() {
        let at = |text: &str| source(text.parse().unwrap());
        let sources = [at("10.0.0.1"), at("2001:db8::1"), at("10.0.0.2"), at("2001:db8::2")];
        assert_eq!(most_crowded(&sources), Some(1), "one network of many addresses");
        assert_eq!(most_crowded(&sources[..3]), Some(0));
        assert_eq!(most_crowded(&[]), None);
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
    }
}
