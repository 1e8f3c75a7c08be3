//! A wallet against scripted guardians behind real sockets on loopback.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use moneta_core::amount::Msat;
use moneta_core::api::{ApiError, ApiRequest, endpoint};
use moneta_core::config::ClientConfig;
use moneta_core::id::{OperationId, PeerId, TransactionId};
use moneta_core::invite::InviteCode;
use moneta_core::text::MeHex;
use moneta_core::transaction::{SubmissionOutcome, Transaction};
use moneta_module::client::{ClientKind, End, SubmitError};
use moneta_net::api::{ApiHandler, ApiServer, Limits, to_result};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::driver::tests::bank::{BANK, Bank, BankKind, Step, fund, pay};
use crate::words::Derivation;

/// What the guardians of a federation agree on.
#[derive(Default)]
struct Ledger {
    config: Mutex<Value>,
    /// Answered to `version` in place of a report.
    version: Mutex<Option<Value>>,
    accepted: Mutex<BTreeSet<TransactionId>>,
}

struct Handler(Arc<Ledger>);

#[async_trait]
impl ApiHandler for Handler {
    fn knows(&self, _: &str) -> bool {
        true
    }

    async fn call(&self, method: &str, request: ApiRequest) -> Result<Arc<RawValue>, ApiError> {
        let Self(ledger) = self;
        let version = json!({"major": 2, "minor": 1});
        match method {
            endpoint::CLIENT_CONFIG => to_result(&*ledger.config.lock().unwrap()),
            endpoint::VERSION => {
                let report = json!({
                    "core": {"core_consensus": version, "api": [{"major": 0, "minor": 9}]},
                    "modules": {"5": {"core_consensus": version,
                        "module_consensus": {"major": 0, "minor": 0},
                        "api": [{"major": 0, "minor": 1}]}}});
                to_result(&ledger.version.lock().unwrap().clone().unwrap_or(report))
            }
            endpoint::API_ANNOUNCEMENTS | endpoint::GUARDIAN_METADATA => to_result(&json!({})),
            endpoint::CHAIN_ID => to_result("00ff"),
            endpoint::SUBMIT_TRANSACTION => {
                let MeHex(transaction) = request.parse_params::<MeHex<Transaction>>()?;
                let txid = transaction.txid();
                ledger.accepted.lock().unwrap().insert(txid);
                to_result(&MeHex(SubmissionOutcome(Ok(txid))))
            }
            endpoint::AWAIT_TRANSACTION => {
                let txid: TransactionId = request.parse_params()?;
                match ledger.accepted.lock().unwrap().contains(&txid) {
                    true => to_result(&txid),
                    false => Err(ApiError::timeout()),
                }
            }
            other => Err(ApiError::not_found(other)),
        }
    }
}

struct Federation {
    servers: Vec<ApiServer>,
    ledger: Arc<Ledger>,
    config: ClientConfig,
}

impl Federation {
    /// Guardians on free ports, of which those in `dead` do not answer.
    async fn start(total: usize, dead: &[usize]) -> Self {
        let ledger = Arc::new(Ledger::default());
        let (mut servers, mut endpoints) = (Vec::new(), serde_json::Map::new());
        for peer in 0..total {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let handler = Arc::new(Handler(ledger.clone()));
            let server =
                ApiServer::bind(any, Limits::operation(), Vec::new(), handler).await.unwrap();
            let url = format!("ws://{}/", server.local_addr());
            endpoints.insert(peer.to_string(), json!({"url": url, "name": format!("g{peer}")}));
            match dead.contains(&peer) {
                true => server.shutdown().await,
                false => servers.push(server),
            }
        }
        let config = json!({
            "api_endpoints": endpoints,
            "consensus_version": {"major": 2, "minor": 1},
            "meta": {"federation_name": "Test"},
            "modules": {
                "5": {"kind": "bank", "version": {"major": 0, "minor": 0}, "config": "0500"},
                "6": {"kind": "strange", "version": {"major": 0, "minor": 0}, "config": "0600"},
            },
        });
        *ledger.config.lock().unwrap() = config.clone();
        let config = serde_json::from_value(config).unwrap();
        Self { servers, ledger, config }
    }

    fn invite(&self, peers: &[u16]) -> InviteCode {
        let endpoints = &self.config.global.api_endpoints;
        let peers = peers.iter().map(|peer| PeerId::new(*peer));
        let apis = peers.map(|peer| (peer, endpoints[&peer].url.clone())).collect();
        InviteCode::new(apis, self.config.federation_id(), None).unwrap()
    }
}

fn kinds() -> Vec<Box<dyn ClientKind>> {
    vec![Box::new(BankKind)]
}

async fn funded(client: &Client) {
    let funded = client.act(BANK, |bank: &Bank, turn| {
        fund(bank, turn, 1_000);
        Ok::<_, SubmitError>(())
    });
    funded.await.unwrap();
}

async fn paid(client: &Client) -> OperationId {
    client.act(BANK, |bank: &Bank, turn| pay(bank, turn, 300, None)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wallet_joins_pays_and_finds_everything_again_with_one_guardian_down() {
    let federation = Federation::start(4, &[1]).await;
    let folder = TempDir::new().unwrap();
    let wallet = Wallet::create(folder.path().join("wallet"), kinds()).unwrap();
    let client = wallet.join(&federation.invite(&[0, 1])).await.unwrap();
    let info = client.info();
    assert_eq!(info.meta["federation_name"], "Test");
    assert_eq!(info.modules.keys().copied().collect::<Vec<_>>(), [BANK]);
    assert_eq!(info.unknown.len(), 1);
    assert_eq!(client.chain_id().await.unwrap().as_deref(), Some("00ff"));

    funded(&client).await;
    let mut events = client.subscribe();
    let id = paid(&client).await;
    let ended = client.wait_operation(id).await.unwrap();
    assert_eq!(ended.end, End::Succeeded);
    assert_eq!(events.recv().await.unwrap().kind, "tx-created");
    let unknown = OperationId([1; 32]);
    assert_eq!(client.wait_operation(unknown).await, Err(WaitError::Unknown(unknown)));
    client.shutdown().await;
    let words = wallet.words().reveal();
    let selected = wallet.selected().unwrap().unwrap();
    assert_eq!(selected, federation.config.federation_id());
    assert!(matches!(
        wallet.join(&federation.invite(&[0])).await,
        Err(WalletError::Joined(known)) if known == selected
    ));
    drop(wallet);

    let wallet = Wallet::open(folder.path().join("wallet"), kinds()).unwrap();
    assert_eq!(*wallet.words().reveal(), *words);
    let client = wallet.client(selected).await.unwrap();
    assert_eq!(client.wait_operation(id).await.unwrap().events, ended.events);
    assert_eq!(client.operations(10).await.unwrap().len(), 1);
    client.shutdown().await;
    assert_eq!(federation.ledger.accepted.lock().unwrap().len(), 1);
    for server in federation.servers {
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payment_that_was_decided_before_a_stop_is_made_after_the_next_start() {
    let federation = Federation::start(1, &[]).await;
    let folder = TempDir::new().unwrap();
    let wallet = Wallet::create(folder.path(), kinds()).unwrap();
    let client = wallet.join(&federation.invite(&[0])).await.unwrap();
    funded(&client).await;
    // Decided in one turn with the stop: the driver task may or may not see it first.
    let id = paid(&client).await;
    client.shutdown().await;
    let client = wallet.client(federation.config.federation_id()).await.unwrap();
    let ended = client.wait_operation(id).await.unwrap();
    assert_eq!(ended.end, End::Succeeded);
    client.shutdown().await;
    assert_eq!(federation.ledger.accepted.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn module_added_by_the_federation_is_in_use_after_the_next_start() {
    let federation = Federation::start(1, &[]).await;
    let folder = TempDir::new().unwrap();
    let wallet = Wallet::create(folder.path(), kinds()).unwrap();
    let client = wallet.join(&federation.invite(&[0])).await.unwrap();
    client.shutdown().await;
    let added = json!({"kind": "odd", "version": {"major": 0, "minor": 0}, "config": "0700"});
    federation.ledger.config.lock().unwrap()["modules"]["7"] = added;
    let id = federation.config.federation_id();
    let client = wallet.client(id).await.unwrap();
    assert_eq!(client.info().unknown.len(), 1);
    let pending = async {
        loop {
            let noted = client
                .with_driver(|driver| known::PENDING_CONFIG.contains(&driver.view(), &()))
                .await;
            if noted.unwrap() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), pending).await.unwrap();
    client.shutdown().await;
    let client = wallet.client(id).await.unwrap();
    assert_eq!(client.info().unknown.len(), 2);
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_invite_is_refused_at_once_and_leaves_nothing() {
    let federation = Federation::start(1, &[]).await;
    let other = Federation::start(1, &[]).await;
    let folder = TempDir::new().unwrap();
    let wallet = Wallet::create(folder.path(), kinds()).unwrap();
    let apis = federation.invite(&[0]).peers();
    let wrong = InviteCode::new(apis, other.config.federation_id(), None).unwrap();
    let refused = wallet.join(&wrong).await;
    let Err(error @ WalletError::Enter(EnterError::Join(_))) = refused else { panic!() };
    assert!(error.to_string().contains("another federation"), "{error}");
    assert!(wallet.federations().unwrap().is_empty());
}

/// The task that drives everything died with the machine, and whoever waited did so for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machine_that_panics_does_not_stop_the_others() {
    let federation = Federation::start(1, &[]).await;
    let folder = TempDir::new().unwrap();
    let wallet = Wallet::create(folder.path(), kinds()).unwrap();
    let client = wallet.join(&federation.invite(&[0])).await.unwrap();
    let spawned = client.act(BANK, |_: &Bank, turn| {
        turn.spawn(&Step::Panics);
        Ok::<_, SubmitError>(())
    });
    spawned.await.unwrap();
    funded(&client).await;
    let id = paid(&client).await;
    assert_eq!(client.wait_operation(id).await.unwrap().end, End::Succeeded);
    assert!(client.unsettled().await.is_empty());
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wallet_does_not_join_on_the_versions_of_no_honest_guardian() {
    let federation = Federation::start(4, &[]).await;
    *federation.ledger.version.lock().unwrap() = Some(json!("none"));
    let folder = TempDir::new().unwrap();
    let wallet = Wallet::create(folder.path(), kinds()).unwrap();
    let refused = wallet.join(&federation.invite(&[0])).await;
    assert!(matches!(
        refused,
        Err(WalletError::Enter(EnterError::FewVersions { answers: 0, needed: 2 }))
    ));
    assert!(wallet.federations().unwrap().is_empty());
}

/// A document, and how often it was fetched.
#[derive(Default)]
struct Document {
    text: Mutex<Option<String>>,
    fetched: Mutex<Vec<String>>,
}

impl Web for Document {
    fn get(&self, address: &str) -> WebFuture {
        self.fetched.lock().unwrap().push(address.to_owned());
        let text = self.text.lock().unwrap().clone();
        Box::pin(async move { text.map(String::into_bytes).ok_or(WebError::Status(404)) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn published_fields_are_fetched_when_asked_for_and_a_failure_stops_nothing() {
    let federation = Federation::start(1, &[]).await;
    let address = "https://meta.example/";
    federation.ledger.config.lock().unwrap()["meta"]["meta_override_url"] = json!(address);
    let id = federation.config.federation_id();
    let web = Arc::new(Document::default());
    let folder = TempDir::new().unwrap();
    let wallet = Wallet::create(folder.path(), kinds()).unwrap().with_web(web.clone());
    let client = wallet.join(&federation.invite(&[0])).await.unwrap();
    let name = async |client: &Client| {
        let fields = client.fields(None).await.unwrap();
        crate::meta::text(&fields, "federation_name").unwrap()
    };
    assert_eq!(name(&client).await, "Test");
    assert_eq!(name(&client).await, "Test");
    assert_eq!(*web.fetched.lock().unwrap(), [address], "a failure is followed by a pause");
    client.shutdown().await;

    let document = json!({ id.to_string(): {"federation_name": "Published"} });
    *web.text.lock().unwrap() = Some(document.to_string());
    let client = wallet.client(id).await.unwrap();
    assert_eq!(name(&client).await, "Published");
    assert_eq!(client.fields(Some(b"{}")).await.unwrap(), Default::default());
    client.shutdown().await;

    *web.text.lock().unwrap() = None;
    let client = wallet.client(id).await.unwrap();
    assert_eq!(name(&client).await, "Published", "kept across restarts");
    assert_eq!(web.fetched.lock().unwrap().len(), 2, "fresh for ten minutes");
    client.shutdown().await;
}

#[test]
fn second_process_is_kept_out_and_words_are_private() {
    let folder = TempDir::new().unwrap();
    let wallet = Wallet::create(folder.path(), kinds()).unwrap();
    assert!(matches!(Wallet::open(folder.path(), kinds()), Err(WalletError::InUse { .. })));
    drop(wallet);
    assert!(matches!(Wallet::create(folder.path(), kinds()), Err(WalletError::Exists { .. })));
    let empty = folder.path().join("none");
    assert!(matches!(Wallet::open(&empty, kinds()), Err(WalletError::Missing { .. })));
    assert!(!empty.exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let words = std::fs::metadata(folder.path().join("words")).unwrap();
        assert_eq!(words.permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_wallet_recovers_with_either_derivation() {
    let federation = Federation::start(1, &[]).await;
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    for (folder, derivation) in folders.iter().zip([Derivation::Standard, Derivation::Doubled]) {
        let words = Wallet::create(folder.path().join("old"), kinds()).unwrap();
        let words = words.words().clone();
        let wallet = Wallet::restore(folder.path().join("new"), words, kinds()).unwrap();
        let client = wallet.recover(&federation.invite(&[0]), derivation).await.unwrap();
        assert_eq!(client.balance().await.unwrap(), Msat::ZERO);
        client.shutdown().await;
        let client = wallet.client(federation.config.federation_id()).await.unwrap();
        client.shutdown().await;
    }
}
