//! The end of key generation, where the test has to hold one guardian's messages back.

use std::collections::BTreeSet;
use std::time::Duration;

use moneta_core::api::endpoint;
use moneta_core::{Decode, Encode, ModuleKind, PeerId};
use moneta_net::links::{Channel, GuardianLinks, LinkIdentity, LinkLimits, LinkReceiver};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::world::{LINK_PORT, Place, kinds, params};
use crate::node::latecomers::{FOLDER, Message};
use crate::node::peers;
use crate::setup::ceremony::{Agreement, Ceremony, Identity};
use crate::setup::keygen::{Keygen, Progress, Stage};

const PLACE: Place = Place(0);
const LATE: u16 = 3;

/// The guardian that the test plays itself.
struct Late<'a> {
    keygen: Keygen<'a>,
    agreement: Agreement,
    tls_key: Zeroizing<Vec<u8>>,
}

impl Late<'_> {
    async fn open(&self) -> (GuardianLinks, LinkReceiver) {
        let listener = TcpListener::bind(PLACE.address(LATE, LINK_PORT)).await.unwrap();
        let (_, endpoints) = self.agreement.endpoints().unwrap();
        let me = PeerId::new(LATE);
        peers::open_links(me, &self.tls_key, &endpoints, listener, LinkLimits::setup()).unwrap()
    }

    /// Takes part, deaf to what `hears` refuses, until `until` holds.
    async fn take_part(
        &mut self,
        hears: impl Fn(Stage) -> bool,
        until: impl Fn(&BTreeSet<PeerId>, &Progress) -> bool,
    ) -> Progress {
        let (links, mut frames) = self.open().await;
        let mut done = BTreeSet::new();
        let mut resend = tokio::time::interval(Duration::from_millis(100));
        loop {
            let progress = self.keygen.advance().unwrap();
            if until(&done, &progress) {
                links.shutdown().await;
                return progress;
            }
            tokio::select! {
                _ = resend.tick() => for peer in (0..LATE).map(PeerId::new) {
                    let stages = self.keygen.outgoing(peer);
                    let message = Message { stages, done: false, gave_up: None };
                    links.send(peer, Channel::SETUP, message.to_bytes()).unwrap();
                },
                frame = frames.recv() => {
                    let frame = frame.unwrap();
                    if frame.channel != Channel::SETUP {
                        continue;
                    }
                    let message = Message::from_bytes(&frame.payload).unwrap();
                    if message.done {
                        done.insert(frame.peer);
                    }
                    for (stage, bytes) in message.stages {
                        if hears(stage) {
                            self.keygen.receive(frame.peer, stage, bytes).unwrap();
                        }
                    }
                }
            }
        }
    }
}

/// Three guardians have their keys and go on to consensus while the fourth has not heard their last
/// messages. Nobody else can ever give it these, so without them its seat would be lost.
#[tokio::test(flavor = "multi_thread")]
async fn guardian_that_missed_the_end_of_key_generation_is_helped_by_running_nodes() {
    let story = async {
        let folder = tempfile::tempdir().unwrap();
        let (stop, stopped) = watch::channel(false);
        let mut nodes = tokio::task::JoinSet::new();
        let data_dir = |index: u16| folder.path().join(index.to_string());
        for index in 0..LATE {
            nodes.spawn(crate::node::run(PLACE.options(index, &data_dir(index)), stopped.clone()));
        }

        let own = LinkIdentity::generate().unwrap();
        let options = PLACE.options(LATE, folder.path());
        let identity = Identity {
            api_url: options.api_url.clone(),
            p2p_url: options.link_url.clone(),
            cert: own.certificate_der().to_vec(),
            network: options.network,
            kinds: [ModuleKind::from_static("fake")].into(),
            release: options.release.clone(),
        };
        let mut ceremony = Ceremony::default();
        let mut codes = Vec::new();
        for index in 0..LATE {
            let params = json!(params(index));
            let code =
                PLACE.call_until(index, endpoint::SET_LOCAL_PARAMS, params, Value::is_string);
            codes.push(code.await.as_str().unwrap().to_owned());
        }
        codes.push(ceremony.set_local_params(params(LATE), &identity).unwrap());
        for index in 0..LATE {
            for code in codes.iter().filter(|code| **code != codes[index as usize]) {
                PLACE.call(index, endpoint::ADD_PEER_SETUP_CODE, json!(code)).await.unwrap();
            }
            ceremony.add_peer(&codes[index as usize]).unwrap();
        }
        for index in 0..LATE {
            PLACE.call(index, endpoint::START_DKG, Value::Null).await.unwrap();
        }
        let agreement = ceremony.start(&identity).unwrap();
        let tls_key = Zeroizing::new(own.key_der().to_vec());
        let seed = Zeroizing::new([7; 32]);
        let kinds = kinds();
        let keygen = Keygen::new(agreement.clone(), &seed, tls_key.clone(), &kinds).unwrap();
        let mut late = Late { keygen, agreement, tls_key };

        let missed = late
            .take_part(|stage| stage != Stage::Finished, |done, _| done.len() == LATE as usize)
            .await;
        assert!(matches!(missed, Progress::Waiting { stage: Stage::Finished, .. }));
        for index in 0..LATE {
            let running = |status: &Value| status == "ConsensusIsRunning";
            PLACE.call_until(index, endpoint::SETUP_STATUS, Value::Null, running).await;
        }

        let is_done =
            |_: &BTreeSet<PeerId>, progress: &Progress| matches!(progress, Progress::Done(_));
        let Progress::Done(config) = late.take_part(|_| true, is_done).await else {
            panic!("not done")
        };
        let hash =
            PLACE.call(0, endpoint::SERVER_CONFIG_CONSENSUS_HASH, Value::Null).await.unwrap();
        assert_eq!(hash, json!(config.consensus.hash().to_string()));

        // Once it speaks of other things, the others forget its shares.
        let (links, _frames) = late.open().await;
        while (0..LATE).any(|index| data_dir(index).join(FOLDER).exists()) {
            links.broadcast(Channel::GOSSIP, Vec::new()).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.send_replace(true);
        while let Some(ended) = nodes.join_next().await {
            ended.unwrap().unwrap();
        }
        links.shutdown().await;
    };
    tokio::time::timeout(Duration::from_secs(90), story).await.unwrap();
}
