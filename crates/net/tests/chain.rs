//! Chain sources against a real bitcoind on regtest, and against servers that misbehave.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bitcoin::{
    Block, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness,
    absolute::LockTime, constants::genesis_block, transaction::Version,
};
use moneta_net::chain::{
    Bitcoind, Both, ChainError, ChainSource, Credentials, Esplora, FIXED_FEERATE_SAT_PER_KVB,
};
use serde_json::json;
use support::bitcoind::BitcoindProcess;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::JoinHandle,
};

fn with_cookie(node: &BitcoindProcess) -> Bitcoind {
    Bitcoind::new(node.url(), Credentials::CookieFile(node.cookie_file()))
}

/// Spends the anyone-can-spend output 0 of a matured coinbase into two outputs.
fn spend(coinbase: &Transaction, fee_sat: u64) -> Transaction {
    let value = coinbase.output[0].value - bitcoin::Amount::from_sat(fee_sat);
    let script_pubkey = ScriptBuf::new_p2wsh(&ScriptBuf::new().wscript_hash());
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(coinbase.compute_txid(), 0),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[0x51]]),
        }],
        output: vec![TxOut { value, script_pubkey }],
    }
}

#[tokio::test]
async fn bitcoind_tells_the_chain() {
    let Some(node) = BitcoindProcess::start().await else { return };
    let source = with_cookie(&node);
    assert_eq!(source.block_count().await.unwrap(), 1);
    let early = source.chain_id().await.unwrap_err();
    assert!(matches!(early, ChainError::NoSuchBlock { .. }), "no block 1 yet: {early}");

    let mined = node.mine(101).await;
    assert_eq!(source.block_count().await.unwrap(), 102);
    assert_eq!(source.chain_id().await.unwrap().0.to_string(), mined[0]);
    assert_eq!(source.network().await.unwrap(), Some(Network::Regtest));
    assert_eq!(source.feerate_sat_per_kvb().await.unwrap(), Some(FIXED_FEERATE_SAT_PER_KVB));
    assert!(source.sync_progress().await.unwrap().is_some_and(|p| (0.0..=1.0).contains(&p)));
    let hash = source.block_hash(101).await.unwrap();
    assert_eq!(hash.to_string(), mined[100]);
    assert_eq!(source.block(&hash).await.unwrap().block_hash(), hash);
    let missing = source.block(&genesis_block(Network::Bitcoin).block_hash()).await.unwrap_err();
    assert!(matches!(missing, ChainError::NoSuchBlock { .. }), "{missing}");

    let first = source.block_hash(1).await.unwrap();
    let coinbase = source.block(&first).await.unwrap().txdata[0].clone();
    let payment = spend(&coinbase, 10_000);
    source.broadcast(&payment).await.unwrap();
    source.broadcast(&payment).await.expect("sending again is a success");
    node.mine(1).await;
    source.broadcast(&payment).await.expect("mined already is a success");
    let conflict = source.broadcast(&spend(&coinbase, 20_000)).await.unwrap_err();
    assert!(matches!(conflict, ChainError::Rejected { .. }), "{conflict}");
}

/// A withdrawal may pay any fee above the required one, and everything after it spends its change:
/// one that the node refused for its fee stopped all withdrawals and claims for good.
#[tokio::test]
async fn transaction_with_a_large_fee_reaches_the_mempool() {
    let Some(node) = BitcoindProcess::start().await else { return };
    let source = with_cookie(&node);
    node.mine(101).await;
    let first = source.block_hash(1).await.unwrap();
    let coinbase = source.block(&first).await.unwrap().txdata[0].clone();
    // 0.2 BTC for some 100 vbytes: 2 BTC per kvB.
    let generous = spend(&coinbase, 20_000_000);
    source.broadcast(&generous).await.unwrap();
    let pool = node.cli("getrawmempool", json!([])).await.unwrap();
    assert_eq!(pool, json!([generous.compute_txid().to_string()]));
}

#[tokio::test]
async fn cookie_is_read_again_after_a_restart_of_bitcoind() {
    let Some(mut node) = BitcoindProcess::start().await else { return };
    let source = with_cookie(&node);
    assert_eq!(source.block_count().await.unwrap(), 1);
    let before = std::fs::read_to_string(node.cookie_file()).unwrap();
    node.restart().await;
    assert_ne!(std::fs::read_to_string(node.cookie_file()).unwrap(), before);
    assert_eq!(source.block_count().await.unwrap(), 1);

    let password = "wrong".to_owned();
    let credentials = Credentials::UserPassword { user: "__cookie__".into(), password };
    let refused = Bitcoind::new(node.url(), credentials).block_count().await.unwrap_err();
    assert!(matches!(refused, ChainError::WrongCredentials { .. }), "{refused}");
}

#[tokio::test]
async fn missing_cookie_file_is_named() {
    let path = std::path::PathBuf::from("/nonexistent/.cookie");
    let source =
        Bitcoind::new("http://127.0.0.1:1".parse().unwrap(), Credentials::CookieFile(path));
    let refused = source.block_count().await.unwrap_err().to_string();
    assert!(refused.contains("/nonexistent/.cookie"), "{refused}");
}

/// An HTTP server that answers every request with what `answer` says: status line and body, from the
/// request line and the request body.
struct FakeServer {
    url: url::Url,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl FakeServer {
    async fn start(
        answer: impl Fn(&str, &str) -> (&'static str, Vec<u8>) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api", listener.local_addr().unwrap()).parse().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let mut socket = BufReader::new(socket);
                let mut line = String::new();
                socket.read_line(&mut line).await.unwrap();
                let mut length = 0;
                loop {
                    let mut header = String::new();
                    socket.read_line(&mut header).await.unwrap();
                    if header.trim().is_empty() {
                        break;
                    }
                    if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:")
                    {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                socket.read_exact(&mut body).await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let (status, body) = answer(&line, std::str::from_utf8(&body).unwrap());
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = socket.write_all(head.as_bytes()).await;
                let _ = socket.write_all(&body).await;
            }
        });
        Self { url, requests, task }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An Esplora server over a chain of the genesis block and `block_1`.
async fn fake_esplora(network: Network, block_1: &'static str, height: u64) -> FakeServer {
    FakeServer::start(move |line, body| {
        let genesis = genesis_block(network);
        let path = line.split(' ').nth(1).unwrap();
        match path.strip_prefix("/api/").unwrap() {
            "block-height/0" => ("200 OK", genesis.block_hash().to_string().into_bytes()),
            "block-height/1" => ("200 OK", block_1.into()),
            "blocks/tip/height" => ("200 OK", height.to_string().into_bytes()),
            "fee-estimates" => ("200 OK", br#"{"1": 12.5, "2": 5.0}"#.to_vec()),
            "tx" if body.len() > 200 => ("200 OK", b"txid".to_vec()),
            "tx" => (
                "400 Bad Request",
                br#"sendrawtransaction RPC error: {"code":-26,"message":"dust"}"#.to_vec(),
            ),
            path if path == format!("block/{}/raw", genesis.block_hash()) => {
                ("200 OK", bitcoin::consensus::serialize(&genesis))
            }
            path if path.starts_with("block/") => {
                ("200 OK", bitcoin::consensus::serialize::<Block>(&genesis))
            }
            _ => ("404 Not Found", b"Block not found".to_vec()),
        }
    })
    .await
}

const BLOCK_1: &str = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206";
const MAINNET_BLOCK_1: &str = "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048";

#[tokio::test]
async fn esplora_tells_the_chain() {
    let server = fake_esplora(Network::Bitcoin, MAINNET_BLOCK_1, 7).await;
    let source = Esplora::new(server.url.clone());
    assert_eq!(source.chain_id().await.unwrap().0.to_string(), MAINNET_BLOCK_1);
    let asked = server.requests();
    source.chain_id().await.unwrap();
    assert_eq!(server.requests(), asked, "the chain id is asked once");
    assert_eq!(source.block_count().await.unwrap(), 8);
    assert_eq!(source.network().await.unwrap(), Some(Network::Bitcoin));
    assert_eq!(source.feerate_sat_per_kvb().await.unwrap(), Some(12_500));
    assert_eq!(source.sync_progress().await.unwrap(), None);
    let genesis = genesis_block(Network::Bitcoin);
    assert_eq!(source.block(&genesis.block_hash()).await.unwrap(), genesis);
    let missing = source.block_hash(9).await.unwrap_err();
    assert!(matches!(missing, ChainError::NoSuchBlock { .. }), "{missing}");
    let other = genesis_block(Network::Regtest).block_hash();
    let wrong = source.block(&other).await.unwrap_err();
    assert!(matches!(wrong, ChainError::BadAnswer { .. }), "another block: {wrong}");
    source.broadcast(&genesis.txdata[0]).await.unwrap();
    let small = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![],
        output: vec![],
    };
    let refused = source.broadcast(&small).await.unwrap_err();
    assert!(matches!(refused, ChainError::Rejected { .. }), "{refused}");
}

#[tokio::test]
async fn errors_of_bitcoind_are_told_apart() {
    let rpc_error = |code: i64| {
        move |_: &str, _: &str| {
            let body = json!({"result": null, "id": 0, "error": {"code": code, "message": "m"}});
            ("500 Internal Server Error", body.to_string().into_bytes())
        }
    };
    let credentials =
        || Credentials::UserPassword { user: "u".to_owned(), password: "p".to_owned() };
    let starting = FakeServer::start(rpc_error(-28)).await;
    let source = Bitcoind::new(starting.url.clone(), credentials());
    assert!(matches!(source.block_count().await.unwrap_err(), ChainError::Starting { .. }));

    let busy = FakeServer::start(|_, _| ("503 Service Unavailable", b"Work queue".to_vec())).await;
    let source = Bitcoind::new(busy.url.clone(), credentials());
    assert!(matches!(source.block_count().await.unwrap_err(), ChainError::Unreachable { .. }));

    let strange = FakeServer::start(|_, _| ("200 OK", b"<html>".to_vec())).await;
    let source = Bitcoind::new(strange.url.clone(), credentials());
    assert!(matches!(source.block_count().await.unwrap_err(), ChainError::BadAnswer { .. }));

    let endless = FakeServer::start(|_, _| ("200 OK", vec![b'1'; 9_000_000])).await;
    let source = Bitcoind::new(endless.url.clone(), credentials());
    assert!(matches!(source.block_count().await.unwrap_err(), ChainError::Unreachable { .. }));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let source = Bitcoind::new(gone, credentials());
    assert!(matches!(source.block_count().await.unwrap_err(), ChainError::Unreachable { .. }));
}

/// A bitcoind that answers from a table.
async fn fake_bitcoind(block_1: &'static str, catching_up: bool) -> FakeServer {
    FakeServer::start(move |_, body| {
        let call: serde_json::Value = serde_json::from_str(body).unwrap();
        let result = match call["method"].as_str().unwrap() {
            "getblockhash" if call["params"][0] == 0 => {
                json!(genesis_block(Network::Bitcoin).block_hash().to_string())
            }
            "getblockhash" => json!(block_1),
            "getblockchaininfo" => json!({
                "blocks": 2, "verificationprogress": 0.5, "initialblockdownload": catching_up
            }),
            "estimatesmartfee" => json!({"errors": ["Insufficient data"], "blocks": 2}),
            other => panic!("{other} was not expected"),
        };
        ("200 OK", json!({"result": result, "error": null}).to_string().into_bytes())
    })
    .await
}

async fn both(bitcoind: &FakeServer, esplora: &FakeServer) -> Both {
    let credentials = Credentials::UserPassword { user: "u".into(), password: "p".into() };
    Both::new(Bitcoind::new(bitcoind.url.clone(), credentials), Esplora::new(esplora.url.clone()))
}

#[tokio::test]
async fn explorer_fills_in_for_a_node_that_is_catching_up() {
    let esplora = fake_esplora(Network::Bitcoin, MAINNET_BLOCK_1, 7).await;
    let behind = fake_bitcoind(MAINNET_BLOCK_1, true).await;
    let source = both(&behind, &esplora).await;
    source.chain_id().await.unwrap();
    assert_eq!(source.block_count().await.unwrap(), 8);
    assert_eq!(source.feerate_sat_per_kvb().await.unwrap(), Some(12_500));
    assert_eq!(source.sync_progress().await.unwrap(), None);

    let synced = fake_bitcoind(MAINNET_BLOCK_1, false).await;
    assert_eq!(both(&synced, &esplora).await.block_count().await.unwrap(), 3);
}

#[tokio::test]
async fn sources_on_different_chains_are_refused_for_good() {
    let esplora = fake_esplora(Network::Bitcoin, MAINNET_BLOCK_1, 7).await;
    let bitcoind = fake_bitcoind(BLOCK_1, false).await;
    let source = both(&bitcoind, &esplora).await;
    assert!(matches!(source.chain_id().await, Err(ChainError::DifferentChains { .. })));
    assert!(matches!(source.block_count().await, Err(ChainError::DifferentChains { .. })));
    assert!(matches!(source.block_hash(0).await, Err(ChainError::DifferentChains { .. })));
}

#[tokio::test]
async fn one_source_is_enough_when_the_other_is_down() {
    let esplora = fake_esplora(Network::Bitcoin, MAINNET_BLOCK_1, 7).await;
    let down = FakeServer::start(|_, _| ("503 Service Unavailable", vec![])).await;
    let source = both(&down, &esplora).await;
    assert_eq!(source.chain_id().await.unwrap().0.to_string(), MAINNET_BLOCK_1);
    assert_eq!(source.block_count().await.unwrap(), 8);
    assert_eq!(source.block_hash(1).await.unwrap().to_string(), MAINNET_BLOCK_1);
}
