//! Takes connections from the peers that dial us and refuses everybody else.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use moneta_core::PeerId;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time,
};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tracing::{debug, warn};

use super::{tls::Pinned, warn::WarnLimit};

/// Handshakes running at the same time beside two per peer. Strangers above that are closed unheard,
/// peers among them dial again.
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
    let slots = Arc::new(Semaphore::new(2 * accepted.len() + SPARE_HANDSHAKES));
    let acceptor = TlsAcceptor::from(config);
    let strangers = WarnLimit::default();
    let door = Arc::new(Door { acceptor, pinned, accepted, handshake, strangers });
    let mut handshakes = JoinSet::new();
    loop {
        let socket = tokio::select! {
            Some(_) = handshakes.join_next() => continue,
            socket = listener.accept() => socket,
        };
        match socket {
            Ok((socket, remote)) => {
                if let Ok(slot) = slots.clone().try_acquire_owned() {
                    let door = door.clone();
                    handshakes.spawn(async move {
                        door.greet(socket, remote).await;
                        drop(slot);
                    });
                }
            }
            Err(error) => {
                warn!(target: "moneta::links", %error, "cannot accept a connection");
                time::sleep(Duration::from_millis(100)).await;
            }
        }
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
