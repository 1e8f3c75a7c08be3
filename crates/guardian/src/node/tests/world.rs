//! Guardians in one process, each with a loopback address of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bitcoin::{BlockHash, Network};
use moneta_core::api::{GuardianBackup, LocalParams, endpoint};
use moneta_core::session::SessionStatusV2;
use moneta_core::{
    ApiRequest, ApiUrl, ChainId, MeBase64, MeHex, ModuleKind, Secret, SessionOutcome,
    SubmissionOutcome, Transaction,
};
use moneta_module::setup::ServerKind;
use moneta_net::api::{ApiConnector, CallError};
use moneta_net::chain::{ChainError, ChainSource};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::node::{DataDir, NodeError, Options, Pace, restore, run};
use crate::testing::FakeKind;

pub(super) const API_PORT: u16 = 8174;
pub(super) const LINK_PORT: u16 = 8173;

/// How often something that nobody announces is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// The addresses of one test's guardians; tests of one process take different places.
#[derive(Clone, Copy)]
pub(super) struct Place(pub(super) u8);

impl Place {
    /// Guardian `index` has a loopback address of its own, which no other test process uses.
    pub(super) fn address(self, index: u16, port: u16) -> SocketAddr {
        let [.., high, low] = std::process::id().to_be_bytes();
        let last = 10 * (1 + self.0) + index as u8;
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, high.max(1), low.max(1), last)), port)
    }

    pub(super) fn api_url(self, index: u16) -> ApiUrl {
        format!("ws://{}", self.address(index, API_PORT)).parse().unwrap()
    }

    fn link_url(self, index: u16) -> ApiUrl {
        format!("fedimint://{}", self.address(index, LINK_PORT)).parse().unwrap()
    }

    pub(super) fn options(self, index: u16, data_dir: &Path) -> Options {
        Options {
            data_dir: data_dir.to_owned(),
            password: Some(Secret::new("password".to_owned())),
            network: Network::Regtest,
            bind_api: self.address(index, API_PORT),
            bind_links: self.address(index, LINK_PORT),
            api_url: Some(self.api_url(index)),
            link_url: Some(self.link_url(index)),
            api_secrets: Vec::new(),
            chain: Arc::new(NoChain),
            kinds: kinds(),
            release: "0.13.0".parse().unwrap(),
            pace: Pace::test(),
            take_part_from: None,
        }
    }

    pub(super) async fn try_call(
        self,
        index: u16,
        method: &str,
        params: Value,
    ) -> Result<Value, CallError> {
        let request = ApiRequest::with_password(params, Secret::new("password".to_owned()));
        ApiConnector::default().call(&self.api_url(index), None, method, request).await
    }

    pub(super) async fn call(self, index: u16, method: &str, params: Value) -> Option<Value> {
        self.try_call(index, method, params).await.ok()
    }

    /// Calls until there is an answer that is good enough: a port opens when it does.
    pub(super) async fn call_until(
        self,
        index: u16,
        method: &str,
        params: Value,
        good: impl Fn(&Value) -> bool,
    ) -> Value {
        loop {
            match self.call(index, method, params.clone()).await {
                Some(value) if good(&value) => return value,
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

pub(super) fn kinds() -> Vec<Box<dyn ServerKind>> {
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

pub(super) fn params(index: u16) -> LocalParams {
    LocalParams {
        name: format!("guardian-{index}"),
        federation_name: (index == 0).then(|| "Friends".to_owned()),
        disable_base_fees: None,
        enabled_modules: None,
        federation_size: (index == 0).then_some(4),
    }
}

/// A federation whose guardians a test starts, stops and replaces.
pub(super) struct World {
    pub(super) place: Place,
    folder: tempfile::TempDir,
    pub(super) pace: Pace,
    nodes: Vec<Option<Running>>,
    /// How often each guardian was given a new folder.
    moves: Vec<usize>,
}

struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), NodeError>>,
}

impl World {
    /// Four guardians after their ceremony.
    pub(super) async fn of_four(place: Place, pace: Pace) -> Self {
        Self::of(4, place, pace).await
    }

    /// A guardian alone.
    pub(super) async fn alone(place: Place, pace: Pace) -> Self {
        Self::of(1, place, pace).await
    }

    async fn of(size: u16, place: Place, pace: Pace) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nodes = (0..size).map(|_| None).collect();
        let moves = vec![0; usize::from(size)];
        let mut world = Self { place, folder, pace, nodes, moves };
        let mut codes = Vec::new();
        for index in 0..size {
            world.start(index);
            let mut params = params(index);
            params.federation_size = params.federation_size.map(|_| u32::from(size));
            let params = json!(params);
            let code =
                place.call_until(index, endpoint::SET_LOCAL_PARAMS, params, Value::is_string);
            codes.push(code.await);
        }
        for index in 0..size {
            for code in codes.iter().filter(|code| **code != codes[index as usize]) {
                place.call(index, endpoint::ADD_PEER_SETUP_CODE, code.clone()).await.unwrap();
            }
        }
        for index in 0..size {
            place.call(index, endpoint::START_DKG, Value::Null).await.unwrap();
        }
        for index in 0..size {
            world.is_up(index).await;
        }
        world
    }

    pub(super) fn dir(&self, index: u16) -> PathBuf {
        self.folder.path().join(format!("{index}-{}", self.moves[index as usize]))
    }

    pub(super) fn start(&mut self, index: u16) {
        self.start_with(index, |_| ());
    }

    pub(super) fn start_with(&mut self, index: u16, change: impl FnOnce(&mut Options)) {
        let mut options = self.place.options(index, &self.dir(index));
        options.pace = self.pace.clone();
        change(&mut options);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(options, stopped));
        self.nodes[index as usize] = Some(Running { stop, task });
    }

    /// Waits until a guardian is past its ceremony and answers.
    pub(super) async fn is_up(&self, index: u16) {
        let running = |status: &Value| status == "ConsensusIsRunning";
        let up = self.place.call_until(index, endpoint::SETUP_STATUS, Value::Null, running);
        let ended = async {
            while self.nodes[index as usize].as_ref().is_some_and(|node| !node.task.is_finished()) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            _ = up => {}
            () = ended => panic!("guardian {index} has ended"),
        }
    }

    pub(super) async fn stop(&mut self, index: u16) {
        let Some(running) = self.nodes[index as usize].take() else { return };
        running.stop.send_replace(true);
        running.task.await.unwrap().unwrap();
    }

    /// As the guardian ended by itself.
    pub(super) async fn ended(&mut self, index: u16) -> NodeError {
        let running = self.nodes[index as usize].take().unwrap();
        running.task.await.unwrap().unwrap_err()
    }

    /// Drops a guardian wherever it is.
    pub(super) async fn kill(&mut self, index: u16) {
        let Some(running) = self.nodes[index as usize].take() else { return };
        running.task.abort();
        let _ = running.task.await;
        // What it owned ends by itself.
        let ports = [API_PORT, LINK_PORT].map(|port| self.place.address(index, port));
        let mut dir = DataDir::open(&self.dir(index));
        while dir.is_err() || ports.iter().any(|port| std::net::TcpListener::bind(port).is_err()) {
            tokio::time::sleep(LOOK).await;
            dir = dir.or_else(|_| DataDir::open(&self.dir(index)));
        }
    }

    pub(super) async fn backup(&self, index: u16) -> Vec<u8> {
        let method = endpoint::DOWNLOAD_GUARDIAN_BACKUP;
        let backup = self.place.call(index, method, Value::Null).await.unwrap();
        serde_json::from_value::<GuardianBackup>(backup).unwrap().tar_archive_bytes
    }

    /// Gives a guardian that does not run an empty folder with its backup.
    pub(super) fn restore(&mut self, index: u16, backup: &[u8]) {
        self.moves[index as usize] += 1;
        let dir = DataDir::open(&self.dir(index)).unwrap();
        restore(&dir, backup, &kinds()).unwrap();
    }

    /// What a guardian says of consensus; waits until it answers.
    pub(super) async fn status(&self, index: u16) -> Value {
        let method = "moneta_consensus_status";
        self.place.call_until(index, method, Value::Null, Value::is_object).await
    }

    /// Waits for a status.
    pub(super) async fn status_until(&self, index: u16, good: impl Fn(&Value) -> bool) -> Value {
        self.place.call_until(index, "moneta_consensus_status", Value::Null, good).await
    }

    pub(super) async fn sessions(&self, index: u16) -> u64 {
        let count =
            self.place.call_until(index, endpoint::SESSION_COUNT, Value::Null, Value::is_u64);
        count.await.as_u64().unwrap()
    }

    pub(super) async fn await_sessions(&self, index: u16, count: u64) {
        while self.sessions(index).await < count {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A signed session.
    pub(super) async fn outcome(&self, index: u16, session: u64) -> SessionOutcome {
        let method = endpoint::SIGNED_SESSION_STATUS;
        let answer = self.place.call(index, method, json!(session)).await.unwrap();
        let MeBase64(status) = serde_json::from_value::<MeBase64<SessionStatusV2>>(answer).unwrap();
        let SessionStatusV2::Complete(signed) = status else {
            panic!("session {session} is not signed at {index}")
        };
        signed.session_outcome
    }

    /// Submits, and returns the verdict once there is one.
    pub(super) async fn submit(
        &self,
        index: u16,
        transaction: &Transaction,
    ) -> Result<SubmissionOutcome, CallError> {
        let params = json!(MeHex(transaction.clone()));
        let answer = self.place.try_call(index, endpoint::SUBMIT_TRANSACTION, params).await?;
        let MeHex(outcome) = serde_json::from_value::<MeHex<SubmissionOutcome>>(answer).unwrap();
        Ok(outcome)
    }

    /// Stops everybody, in order.
    pub(super) async fn end(mut self) {
        for index in 0..self.nodes.len() as u16 {
            self.stop(index).await;
        }
    }
}
