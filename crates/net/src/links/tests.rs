//! Links over real sockets.
#![allow(clippy::unwrap_used)]

use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::TlsConnector;

use super::*;

/// Guardians with their listeners open, not linked yet.
struct Circle {
    identities: Vec<LinkIdentity>,
    listeners: Vec<Option<TcpListener>>,
    addresses: Vec<PeerAddress>,
}

impl Circle {
    async fn new(size: usize) -> Self {
        let mut circle =
            Self { identities: Vec::new(), listeners: Vec::new(), addresses: Vec::new() };
        for _ in 0..size {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            circle.identities.push(LinkIdentity::generate().unwrap());
            circle.listeners.push(Some(listener));
            circle.addresses.push(format!("fedimint://127.0.0.1:{port}").parse().unwrap());
        }
        circle
    }

    fn copy_identity(&self, of: usize) -> LinkIdentity {
        let identity = &self.identities[of];
        LinkIdentity::from_der(identity.certificate_der().to_vec(), identity.key_der().to_vec())
    }

    fn setup(&mut self, me: usize) -> LinkSetup {
        let peers = (0..self.identities.len()).filter(|peer| *peer != me);
        let peers = peers.map(|peer| {
            let certificate = self.identities[peer].certificate();
            (id(peer), (self.addresses[peer].clone(), certificate))
        });
        LinkSetup {
            me: id(me),
            identity: self.copy_identity(me),
            peers: peers.collect(),
            listener: self.listeners[me].take().unwrap(),
            limits: LinkLimits::consensus(),
            timing: LinkTiming { first_retry: Duration::from_millis(1), ..LinkTiming::default() },
        }
    }

    fn start(&mut self, me: usize) -> (GuardianLinks, LinkReceiver) {
        GuardianLinks::start(self.setup(me)).unwrap()
    }

    async fn listen_again(&mut self, me: usize) {
        let listener = TcpListener::bind(("127.0.0.1", self.addresses[me].port)).await.unwrap();
        self.listeners[me] = Some(listener);
    }
}

fn id(index: usize) -> PeerId {
    PeerId(u16::try_from(index).unwrap())
}

fn frame(peer: usize, channel: Channel, payload: &[u8]) -> Frame {
    Frame { peer: id(peer), channel, payload: payload.to_vec() }
}

/// Sends until it arrives, as every user of the links must be able to.
async fn send_until_received(
    from: &GuardianLinks,
    to: usize,
    receiver: &mut LinkReceiver,
    payload: &[u8],
) -> Frame {
    loop {
        from.send(id(to), Channel::SETUP, payload.to_vec()).unwrap();
        let received = tokio::time::timeout(Duration::from_millis(200), receiver.recv()).await;
        if let Ok(Some(frame)) = received
            && frame.payload == payload
        {
            return frame;
        }
    }
}

#[tokio::test]
async fn every_guardian_hears_every_other() {
    let mut circle = Circle::new(4).await;
    let mut running: Vec<_> = (0..4).map(|me| circle.start(me)).collect();
    for (me, (links, _)) in running.iter().enumerate() {
        links.broadcast(Channel::CONSENSUS, vec![me as u8; 100_000]).unwrap();
    }
    for (me, (_, receiver)) in running.iter_mut().enumerate() {
        let mut heard = Vec::new();
        for _ in 0..3 {
            let frame = receiver.recv().await.unwrap();
            assert_eq!(frame.payload, vec![frame.peer.index() as u8; 100_000]);
            assert_eq!(frame.channel, Channel::CONSENSUS);
            heard.push(frame.peer.index());
        }
        heard.sort_unstable();
        assert_eq!(heard, (0..4).filter(|peer| *peer != me).collect::<Vec<_>>());
    }
    for (links, _) in &running {
        assert!(links.status().values().all(|status| status.connected));
        assert!(links.p2p_status().values().all(Option::is_some));
    }
    for (links, _) in running {
        links.shutdown().await;
    }
}

#[tokio::test]
async fn round_trip_is_measured() {
    let mut circle = Circle::new(2).await;
    let mut first = circle.setup(0);
    first.timing.ping = Duration::from_millis(5);
    let (first, mut receiver) = GuardianLinks::start(first).unwrap();
    let (second, _receiver) = circle.start(1);
    second.send(id(0), Channel::GOSSIP, &b"hello"[..]).unwrap();
    assert_eq!(receiver.recv().await, Some(frame(1, Channel::GOSSIP, b"hello")));
    while first.status()[&id(1)].rtt.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test]
async fn frames_wait_for_a_peer_that_comes_later() {
    let mut circle = Circle::new(2).await;
    let (early, _receiver) = circle.start(0);
    early.send(id(1), Channel::SETUP, &b"first"[..]).unwrap();
    early.send(id(1), Channel::SETUP, &b"second"[..]).unwrap();
    let (late, mut receiver) = circle.start(1);
    assert_eq!(receiver.recv().await, Some(frame(0, Channel::SETUP, b"first")));
    assert_eq!(receiver.recv().await, Some(frame(0, Channel::SETUP, b"second")));
    early.shutdown().await;
    late.shutdown().await;
}

#[tokio::test]
async fn links_come_back_after_a_restart_of_either_side() {
    let mut circle = Circle::new(2).await;
    let (first, mut at_first) = circle.start(0);
    for _ in 0..2 {
        let (second, mut at_second) = circle.start(1);
        send_until_received(&first, 1, &mut at_second, b"to second").await;
        send_until_received(&second, 0, &mut at_first, b"to first").await;
        // The port must be free again at once.
        second.shutdown().await;
        circle.listen_again(1).await;
    }
    first.shutdown().await;
    circle.listen_again(0).await;
    let (first, mut at_first) = circle.start(0);
    let (second, mut at_second) = circle.start(1);
    send_until_received(&first, 1, &mut at_second, b"again").await;
    send_until_received(&second, 0, &mut at_first, b"again").await;
    second.reconnect(id(0));
    send_until_received(&first, 1, &mut at_second, b"once more").await;
    first.shutdown().await;
    second.shutdown().await;
}

/// Some forty connections that say nothing, renewed now and then, kept every guardian with a higher id
/// from being dialled after its restart.
#[tokio::test]
async fn strangers_that_say_nothing_do_not_keep_peers_out() {
    let mut circle = Circle::new(2).await;
    let port = circle.addresses[1].port;
    let mut second = circle.setup(1);
    second.timing.handshake = Duration::from_secs(600);
    let (second, mut receiver) = GuardianLinks::start(second).unwrap();
    let mut strangers = Vec::new();
    for _ in 0..100 {
        strangers.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    let (first, _receiver) = circle.start(0);
    let heard = send_until_received(&first, 1, &mut receiver, b"hello");
    tokio::time::timeout(Duration::from_secs(20), heard).await.unwrap();
    drop(strangers);
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test]
async fn stranger_is_refused_in_both_directions() {
    let mut circle = Circle::new(2).await;
    // Guardian 0 was replaced by somebody with another key; guardian 1 still expects the old one.
    let mut stranger = circle.setup(0);
    stranger.identity = LinkIdentity::generate().unwrap();
    let (stranger, _receiver) = GuardianLinks::start(stranger).unwrap();
    stranger.send(id(1), Channel::SETUP, &b"let me in"[..]).unwrap();
    let (honest, mut receiver) = circle.start(1);
    while stranger.status()[&id(1)].last_error.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stranger.shutdown().await;
    assert_eq!(receiver.try_recv(), None);
    let status = honest.status()[&id(0)].clone();
    assert!(!status.connected && status.connections == 0, "{status:?}");
    honest.shutdown().await;

    // And the other way round: the one who answers the dial is not who he should be.
    let mut circle = Circle::new(2).await;
    let mut impostor = circle.setup(1);
    impostor.identity = LinkIdentity::generate().unwrap();
    let (impostor, mut receiver) = GuardianLinks::start(impostor).unwrap();
    let (honest, _receiver) = circle.start(0);
    honest.send(id(1), Channel::SETUP, &b"secret share"[..]).unwrap();
    let reason = loop {
        if let Some(reason) = honest.status()[&id(1)].last_error.clone() {
            break reason;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert!(reason.contains("unknown certificate with SHA-256"), "{reason}");
    assert_eq!(receiver.try_recv(), None);
    honest.shutdown().await;
    impostor.shutdown().await;
}

/// Dials guardian 1 with the key of guardian 0, to misbehave as an authenticated peer.
async fn dial_as_peer(circle: &Circle) -> tokio_rustls::client::TlsStream<TcpStream> {
    let certificate = circle.identities[1].certificate();
    let config = tls::client_config(&circle.identities[0], id(1), certificate).unwrap();
    let tcp = TcpStream::connect(("127.0.0.1", circle.addresses[1].port)).await.unwrap();
    let name = "moneta-guardian".try_into().unwrap();
    TlsConnector::from(config).connect(name, tcp).await.unwrap()
}

/// Reads until the other side closes.
async fn closed_by_peer(mut stream: tokio_rustls::client::TlsStream<TcpStream>) {
    use tokio::io::AsyncReadExt;
    let mut rest = Vec::new();
    // How it closes does not matter: end of stream, reset and alert are all fine.
    let _ = stream.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn endless_frame_ends_the_connection() {
    let mut circle = Circle::new(2).await;
    let (links, mut receiver) = circle.start(1);
    let mut stream = dial_as_peer(&circle).await;
    stream.write_all(&[0xff, 0xff, 0xff, 0xff, 0, 1, 2, 3]).await.unwrap();
    closed_by_peer(stream).await;
    assert_eq!(receiver.try_recv(), None);
    let reason = links.status()[&id(0)].last_error.clone().unwrap();
    assert!(reason.contains("4294967295"), "{reason}");
    links.shutdown().await;
}

#[tokio::test]
async fn silent_peer_is_dropped() {
    let mut circle = Circle::new(2).await;
    let mut setup = circle.setup(1);
    setup.timing.silence = Duration::from_millis(50);
    let (links, _receiver) = GuardianLinks::start(setup).unwrap();
    closed_by_peer(dial_as_peer(&circle).await).await;
    assert!(!links.status()[&id(0)].connected);
    links.shutdown().await;
}

/// Waits until the link to `peer` has ended, and says why it did.
async fn ended(links: &GuardianLinks, peer: usize) -> String {
    loop {
        let status = links.status()[&id(peer)].clone();
        if let (false, Some(reason)) = (status.connected, status.last_error) {
            return reason;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn guardian_that_stops_says_goodbye_and_one_that_dies_does_not() {
    let mut circle = Circle::new(2).await;
    // The one who stays does not dial, so nothing comes after the reason.
    let (links, mut receiver) = circle.start(1);
    let (leaving, _receiver) = circle.start(0);
    send_until_received(&leaving, 1, &mut receiver, b"hello").await;
    leaving.shutdown().await;
    assert_eq!(ended(&links, 0).await, "the guardian closed the link");
    links.shutdown().await;

    let mut circle = Circle::new(2).await;
    let (links, mut receiver) = circle.start(1);
    let mut dying = dial_as_peer(&circle).await;
    dying.write_all(&[0, 0, 0, 2, Channel::SETUP.0, 1]).await.unwrap();
    assert_eq!(receiver.recv().await, Some(frame(0, Channel::SETUP, &[1])));
    drop(dying);
    assert_ne!(ended(&links, 0).await, "the guardian closed the link");
    links.shutdown().await;
}

#[tokio::test]
async fn every_connection_that_works_is_counted_and_told() {
    let mut circle = Circle::new(2).await;
    let (links, mut receiver) = circle.start(1);
    let mut connections = links.connections();
    for count in 1..=2 {
        let mut stream = dial_as_peer(&circle).await;
        stream.write_all(&[0, 0, 0, 2, Channel::SETUP.0, 1]).await.unwrap();
        assert_eq!(receiver.recv().await, Some(frame(0, Channel::SETUP, &[1])));
        assert_eq!(*connections.wait_for(|made| *made == count).await.unwrap(), count);
        assert_eq!(links.status()[&id(0)].connections, count);
        drop(stream);
        ended(&links, 0).await;
    }
    links.shutdown().await;
}

#[tokio::test]
async fn new_connection_of_a_peer_replaces_the_old_one() {
    let mut circle = Circle::new(2).await;
    let (links, mut receiver) = circle.start(1);
    let mut old = dial_as_peer(&circle).await;
    old.write_all(&[0, 0, 0, 2, Channel::SETUP.0, 1]).await.unwrap();
    assert_eq!(receiver.recv().await, Some(frame(0, Channel::SETUP, &[1])));
    let mut new = dial_as_peer(&circle).await;
    new.write_all(&[0, 0, 0, 2, Channel::SETUP.0, 2]).await.unwrap();
    assert_eq!(receiver.recv().await, Some(frame(0, Channel::SETUP, &[2])));
    closed_by_peer(old).await;
    assert!(links.status()[&id(0)].connected);
    links.shutdown().await;
}

#[tokio::test]
async fn flood_of_one_peer_stops_at_its_bound_and_hurts_nobody_else() {
    let mut circle = Circle::new(3).await;
    let mut setup = circle.setup(2);
    setup.limits.inbox_bytes = 1_000_000;
    let (links, mut receiver) = GuardianLinks::start(setup).unwrap();
    let (flooder, _r0) = circle.start(0);
    let (quiet, _r1) = circle.start(1);
    const FRAMES: usize = 2000;
    for _ in 0..FRAMES {
        flooder.send(id(2), Channel::CONSENSUS, vec![0; 50_000]).unwrap();
    }
    let queue = &flooder.status()[&id(2)];
    assert!(queue.queued_bytes <= LinkLimits::consensus().queue_bytes, "{queue:?}");
    assert!(queue.dropped_frames > 0, "100 MB do not fit: {queue:?}");
    quiet.send(id(2), Channel::GOSSIP, &b"me too"[..]).unwrap();
    // Nothing is taken until both have arrived, so the flood cannot have been read whole.
    while !links.status().values().all(|status| status.connected) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut from_flooder = 0;
    loop {
        match receiver.recv().await.unwrap() {
            frame if frame.peer == id(0) => from_flooder += 1,
            frame => break assert_eq!(frame.payload, b"me too"),
        }
        assert!(from_flooder <= FRAMES);
    }
    for links in [links, flooder, quiet] {
        links.shutdown().await;
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused() {
    let mut circle = Circle::new(2).await;
    let (links, _receiver) = circle.start(0);
    let too_large = vec![0; LinkLimits::consensus().frame_bytes + 1];
    let size_bytes = too_large.len();
    assert_eq!(
        links.send(id(1), Channel::CONSENSUS, too_large),
        Err(SendError::TooLarge { size_bytes })
    );
    assert_eq!(links.send(id(7), Channel::CONSENSUS, vec![]), Err(SendError::UnknownPeer(id(7))));
    assert_eq!(links.broadcast(Channel(255), vec![]), Err(SendError::Reserved));
    links.shutdown().await;
}

#[tokio::test]
async fn inconsistent_peers_are_refused() {
    let mut circle = Circle::new(3).await;
    let mut setup = circle.setup(0);
    let doubled = setup.peers[&id(1)].clone();
    setup.peers.insert(id(2), doubled);
    assert!(matches!(GuardianLinks::start(setup), Err(LinkError::Peers { .. })));
    circle.listen_again(0).await;
    let mut setup = circle.setup(0);
    setup.me = id(1);
    assert!(matches!(GuardianLinks::start(setup), Err(LinkError::Peers { .. })));
    circle.listen_again(0).await;
    let mut setup = circle.setup(0);
    let other_key = circle.identities[1].key_der().to_vec();
    setup.identity =
        LinkIdentity::from_der(circle.identities[0].certificate_der().to_vec(), other_key);
    assert!(matches!(GuardianLinks::start(setup), Err(LinkError::Identity { .. })));
}

#[test]
fn guardian_address_is_host_and_port() {
    let address: PeerAddress = "fedimint://mint.example.com:8173".parse().unwrap();
    assert_eq!(address, PeerAddress { host: "mint.example.com".to_owned(), port: 8173 });
    for bad in ["fedimint://mint.example.com", "ws://mint.example.com:1", "fedimint:", "x"] {
        assert_eq!(bad.parse::<PeerAddress>(), Err(PeerAddressError), "{bad}");
    }
}
