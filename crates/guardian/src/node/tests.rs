//! Whole nodes in one process, where a test has to hold one guardian's messages back.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bitcoin::{BlockHash, Network};
use moneta_core::api::{LocalParams, endpoint};
use moneta_core::{ApiRequest, ApiUrl, ChainId, Decode, Encode, ModuleKind, PeerId, Secret};
use moneta_module::setup::ServerKind;
use moneta_net::api::ApiConnector;
use moneta_net::chain::{ChainError, ChainSource};
use moneta_net::links::{Channel, GuardianLinks, LinkIdentity, LinkLimits, LinkReceiver};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::latecomers::{FOLDER, Message};
use super::{Options, Pace, peers};
use crate::setup::ceremony::{Agreement, Ceremony, Identity};
use crate::setup::keygen::{Keygen, Progress, Stage};
use crate::testing::FakeKind;

const API_PORT: u16 = 8174;
const LINK_PORT: u16 = 8173;
const LATE: u16 = 3;

/// Guardian `index` has a loopback address of its own, which no other test process uses.
fn address(index: u16, port: u16) -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, high.max(1), low.max(1), 10 + index as u8)), port)
}

fn api_url(index: u16) -> ApiUrl {
    format!("ws://{}", address(index, API_PORT)).parse().unwrap()
}

fn link_url(index: u16) -> ApiUrl {
    format!("fedimint://{}", address(index, LINK_PORT)).parse().unwrap()
}

fn kinds() -> Vec<Box<dyn ServerKind>> {
    vec![Box::new(FakeKind { kind: ModuleKind::from_static("fake"), tbs_keys: 1 })]
}

/// A bitcoin node that is down.
struct NoChain;

fn down<T>() -> Result<T, ChainError> {
    Err(ChainError::Unreachable { source_name: "nothing", reason: "it is a test".to_owned() })
}

#[async_trait]
impl ChainSource for NoChain {
    async fn chain_id(&self) -> Result<ChainId, ChainError> {
        down()
    }
    async fn block_count(&self) -> Result<u64, ChainError> {
        down()
    }
    async fn feerate_sat_per_kvb(&self) -> Result<Option<u64>, ChainError> {
        down()
    }
    async fn sync_progress(&self) -> Result<Option<f64>, ChainError> {
        down()
    }
    async fn block_hash(&self, _height: u64) -> Result<BlockHash, ChainError> {
        down()
    }
    async fn block(&self, _hash: &BlockHash) -> Result<bitcoin::Block, ChainError> {
        down()
    }
    async fn broadcast(&self, _transaction: &bitcoin::Transaction) -> Result<(), ChainError> {
        down()
    }
}

fn options(index: u16, data_dir: &std::path::Path) -> Options {
    Options {
        data_dir: data_dir.to_owned(),
        password: Some(Secret::new("password".to_owned())),
        network: Network::Regtest,
        bind_api: address(index, API_PORT),
        bind_links: address(index, LINK_PORT),
        api_url: Some(api_url(index)),
        link_url: Some(link_url(index)),
        api_secrets: Vec::new(),
        chain: Arc::new(NoChain),
        kinds: kinds(),
        release: "0.13.0".parse().unwrap(),
        pace: Pace::test(),
    }
}

fn params(index: u16) -> LocalParams {
    LocalParams {
        name: format!("guardian-{index}"),
        federation_name: (index == 0).then(|| "Friends".to_owned()),
        disable_base_fees: None,
        enabled_modules: None,
        federation_size: (index == 0).then_some(4),
    }
}

async fn call(index: u16, method: &str, params: Value) -> Option<Value> {
    let request = ApiRequest::with_password(params, Secret::new("password".to_owned()));
    ApiConnector::default().call(&api_url(index), None, method, request).await.ok()
}

/// Calls until there is an answer that is good enough: a port opens when it does.
async fn call_until(
    index: u16,
    method: &str,
    params: Value,
    good: impl Fn(&Value) -> bool,
) -> Value {
    loop {
        match call(index, method, params.clone()).await {
            Some(value) if good(&value) => return value,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The guardian that the test plays itself.
struct Late<'a> {
    keygen: Keygen<'a>,
    agreement: Agreement,
    tls_key: Zeroizing<Vec<u8>>,
}

impl Late<'_> {
    async fn open(&self) -> (GuardianLinks, LinkReceiver) {
        let listener = TcpListener::bind(address(LATE, LINK_PORT)).await.unwrap();
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
            nodes.spawn(super::run(options(index, &data_dir(index)), stopped.clone()));
        }

        let own = LinkIdentity::generate().unwrap();
        let options = options(LATE, folder.path());
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
            let code = call_until(index, endpoint::SET_LOCAL_PARAMS, params, Value::is_string);
            codes.push(code.await.as_str().unwrap().to_owned());
        }
        codes.push(ceremony.set_local_params(params(LATE), &identity).unwrap());
        for index in 0..LATE {
            for code in codes.iter().filter(|code| **code != codes[index as usize]) {
                call(index, endpoint::ADD_PEER_SETUP_CODE, json!(code)).await.unwrap();
            }
            ceremony.add_peer(&codes[index as usize]).unwrap();
        }
        for index in 0..LATE {
            call(index, endpoint::START_DKG, Value::Null).await.unwrap();
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
            call_until(index, endpoint::SETUP_STATUS, Value::Null, running).await;
        }

        let is_done =
            |_: &BTreeSet<PeerId>, progress: &Progress| matches!(progress, Progress::Done(_));
        let Progress::Done(config) = late.take_part(|_| true, is_done).await else {
            panic!("not done")
        };
        let hash = call(0, endpoint::SERVER_CONFIG_CONSENSUS_HASH, Value::Null).await.unwrap();
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
