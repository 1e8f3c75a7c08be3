//! A guardian that lies to one that catches up. The test plays it, with its keys and addresses.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moneta_consensus::Keys;
use moneta_core::api::endpoint;
use moneta_core::session::SessionStatusV2;
use moneta_core::{
    ApiError, ApiRequest, ConsensusItem, Decode, Encode, MeBase64, PeerId, SessionIndex,
    SignedSessionOutcome,
};
use moneta_net::api::{ApiHandler, ApiServer, Limits, to_result};
use moneta_net::links::{Channel, LinkLimits};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::restored::short_sessions;
use super::world::{API_PORT, LINK_PORT, LOOK, Place, World};
use crate::node::entry::Entry;
use crate::node::signing::SignatureMessage;
use crate::node::{DataDir, Pace, peers};
use crate::testing::{coin, transaction};

const PLACE: Place = Place(6);
const LIAR: u16 = 0;
const RESTORED: u16 = 3;

/// Boasts here too, and gives for every session what has true signatures of another one, or items that nobody signed, or
/// fewer signatures than it takes, or no session at all.
struct Lies {
    signed: SignedSessionOutcome,
}

#[async_trait]
impl ApiHandler for Lies {
    fn knows(&self, _method: &str) -> bool {
        true
    }

    async fn call(&self, method: &str, request: ApiRequest) -> Result<Arc<RawValue>, ApiError> {
        match method {
            endpoint::SESSION_COUNT => return to_result(&(u64::MAX - 1)),
            endpoint::SIGNED_SESSION_STATUS => {}
            _ => return Err(ApiError::internal("no")),
        }
        let session: SessionIndex = request.parse_params()?;
        let mut signed = self.signed.clone();
        match session.0 % 4 {
            0 => signed.session_outcome.items.clear(),
            1 => drop(signed.signatures.pop_last()),
            2 => return to_result(&"AAAA"),
            _ => {}
        }
        to_result(&MeBase64(SessionStatusV2::Complete(signed)))
    }
}

/// The liar proposes a wallet's transaction beside garbage, so that its batch does not decode, while
/// a guardian that was brought the same transaction counts on that batch. The transaction is not lost:
/// it is proposed once more.
#[tokio::test(flavor = "multi_thread")]
async fn transaction_that_a_liar_hides_beside_garbage_is_accepted() {
    let story = async {
        let mut world = World::of_four(Place(13), Pace::test()).await;
        let hidden = transaction(&[coin(1, 1000)], &[coin(2, 1000)]);
        // Without a fourth guardian nothing goes on that the liar does not take part in.
        world.stop(1).await;
        world.stop(LIAR).await;
        let newest = |status: &Value| status["peers"][LIAR.to_string()]["last_round"].as_u64();
        let before = newest(&world.status(2).await);

        let dir = DataDir::open(&world.dir(LIAR)).unwrap();
        let config = dir.read_config().unwrap().unwrap();
        let listener = TcpListener::bind(world.place.address(LIAR, LINK_PORT)).await.unwrap();
        let (links, mut frames) = peers::open_links(
            PeerId::new(LIAR),
            &config.private.tls_key,
            &config.consensus.links,
            listener,
            LinkLimits::consensus(),
        )
        .unwrap();
        let public: Vec<_> = config.consensus.broadcast_public_keys.values().copied().collect();
        let entry = Entry {
            dir: dir.share(),
            keys: Keys::new(usize::from(LIAR), config.broadcast_keypair(), &public).unwrap(),
            pacing: world.pace.consensus.clone(),
            links: Some(Arc::new(links)),
        };
        let (liar, _events) = entry.open(SessionIndex(0)).await.unwrap();
        // In one batch, since it has not met the others yet.
        let item = ConsensusItem::Transaction(hidden.clone()).to_bytes();
        liar.submit(vec![0xff; 4]).unwrap();
        liar.submit(item).unwrap();
        let mut deliver = async |done: &dyn Fn() -> bool| {
            let mut look = tokio::time::interval(LOOK);
            while !done() {
                tokio::select! {
                    _ = look.tick() => {}
                    frame = frames.recv() => {
                        let frame = frame.unwrap();
                        if matches!(frame.channel, Channel::CONSENSUS | Channel::WAKE) {
                            liar.deliver(frame.peer.index(), frame.payload);
                        }
                    }
                }
            }
        };
        deliver(&|| liar.status().items_in_flight == 2).await;
        // From here on it hears nothing, so its batch waits to be ordered.
        world.status_until(2, |status| newest(status) > before).await;
        let submitted = world.submit(2, &hidden);
        let relied = async {
            let counts = |status: &Value| status["items_in_flight"] == 1;
            world.status_until(2, counts).await;
            deliver(&|| false).await;
        };
        tokio::select! {
            outcome = submitted => assert_eq!(outcome.unwrap().0, Ok(hidden.txid())),
            () = relied => {}
        }
        liar.shutdown().await;
        world.end().await;
    };
    tokio::time::timeout(Duration::from_secs(120), story).await.unwrap();
}

/// Guardian 0 boasts of endless history, gives false sessions, and says that it has signed them all.
/// The restored guardian takes the true history from the others, counts the liar as one, and follows.
#[tokio::test(flavor = "multi_thread")]
async fn liar_neither_feeds_false_history_nor_keeps_a_restored_guardian_out() {
    let story = async {
        let mut world = World::of_four(PLACE, short_sessions()).await;
        let payment = transaction(&[coin(1, 1000)], &[coin(2, 1000)]);
        world.submit(1, &payment).await.unwrap().0.unwrap();
        for index in 0..4 {
            world.await_sessions(index, 2).await;
        }
        let backup = world.backup(RESTORED).await;
        let answer = PLACE.call(1, endpoint::SIGNED_SESSION_STATUS, json!(0)).await.unwrap();
        let MeBase64(status) = serde_json::from_value::<MeBase64<SessionStatusV2>>(answer).unwrap();
        let SessionStatusV2::Complete(signed) = status else { panic!("not signed") };
        assert!(!signed.session_outcome.items.is_empty());
        world.stop(RESTORED).await;
        world.stop(LIAR).await;
        world.restore(RESTORED, &backup);

        let config = DataDir::open(&world.dir(LIAR)).unwrap().read_config().unwrap().unwrap();
        let listener = TcpListener::bind(PLACE.address(LIAR, LINK_PORT)).await.unwrap();
        let (links, mut frames) = peers::open_links(
            PeerId::new(LIAR),
            &config.private.tls_key,
            &config.consensus.links,
            listener,
            LinkLimits::consensus(),
        )
        .unwrap();
        let api = PLACE.address(LIAR, API_PORT);
        let server =
            ApiServer::bind(api, Limits::operation(), Vec::new(), Arc::new(Lies { signed }));
        let server = server.await.unwrap();
        let boast = async {
            let mut again = tokio::time::interval(Duration::from_millis(50));
            let count = SessionIndex(u64::MAX - 1);
            loop {
                let message = tokio::select! {
                    _ = again.tick() => SignatureMessage::Count { count },
                    frame = frames.recv() => match SignatureMessage::from_bytes(&frame.unwrap().payload) {
                        Ok(SignatureMessage::Ask { nonce }) => {
                            let signed_before = count;
                            SignatureMessage::Answer { nonce, count, signed_before, in_doubt: false }
                        }
                        _ => continue,
                    },
                };
                links.broadcast(Channel::SIGNATURE, message.to_bytes()).unwrap();
            }
        };
        world.start(RESTORED);
        let follows = |status: &Value| status["participation"] == "UnitFileMissing";
        tokio::select! {
            () = boast => {}
            _ = world.status_until(RESTORED, follows) => {}
        }
        let count = world.sessions(RESTORED).await;
        assert!((2..=world.sessions(1).await).contains(&count), "{count}");
        for session in 0..count {
            let truth = world.outcome(1, session).await;
            assert_eq!(world.outcome(RESTORED, session).await, truth);
        }
        server.shutdown().await;
        world.end().await;
    };
    tokio::time::timeout(Duration::from_secs(120), story).await.unwrap();
}
