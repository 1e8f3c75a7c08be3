//! A real bitcoind on a private chain (regtest), with a wallet that has coins.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use bitcoin::{Address, Amount, BlockHash, Denomination, Network, Txid, address::NetworkUnchecked};
use hyper::header::HeaderValue;
use moneta_net::http::{HttpClient, HttpRequest};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use url::Url;

use super::{
    BitcoindReport, PATIENCE, ReservedPort, folder,
    process::{Probe, Process, poll_until, random_password, write_private},
};

/// Name of the wallet that mines and pays.
const WALLET: &str = "world";

/// User of the RPC interface; the password is drawn anew for every world.
const USER: &str = "moneta";

/// bitcoind is up in about a second; a loaded machine gets more.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Mining many blocks in one call takes a while.
const RPC_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers are small, but a block in hex is up to 8 MB.
const RPC_ANSWER_BYTES: usize = 16 << 20;

/// What our own payments pay for their place, in sat per virtual byte. Regtest has no market to estimate from.
const FEE_RATE_SAT_PER_VBYTE: u64 = 2;

/// bitcoind says -28 while it is starting.
const RPC_IN_WARMUP: i64 = -28;

/// A bitcoind process. Its only peer is nobody: blocks come from [`Bitcoind::mine`].
pub struct Bitcoind {
    program: PathBuf,
    folder: PathBuf,
    rpc_url: String,
    password: String,
    http: HttpClient,
    _port: ReservedPort,
    process: Option<Process>,
}

impl std::fmt::Debug for Bitcoind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Bitcoind").field("rpc_url", &self.rpc_url).finish_non_exhaustive()
    }
}

/// What JSON-RPC 1.0 answers.
#[derive(Deserialize)]
struct Answer {
    result: Value,
    error: Option<RpcError>,
}

/// Why bitcoind refused a call.
#[derive(Debug, Deserialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct RpcError {
    /// bitcoind's own number for the reason.
    pub code: i64,
    /// bitcoind's words.
    pub message: String,
}

impl Bitcoind {
    /// Starts `program` with its state in `folder` and waits until it answers. The chain is empty.
    ///
    /// Errors: the folder cannot be written, no port is free, or bitcoind does not come up.
    pub async fn start(program: &Path, folder: &Path) -> Result<Self> {
        folder::create_private(folder)?;
        let port = ReservedPort::reserve()?;
        let password = random_password();
        write_private(&folder.join("bitcoin.conf"), &configuration(&port, &password))?;
        let mut bitcoind = Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            rpc_url: format!("http://{}", port.address()),
            password,
            http: HttpClient::new(RPC_TIMEOUT, RPC_ANSWER_BYTES),
            _port: port,
            process: None,
        };
        bitcoind.restart().await?;
        // Loaded again by itself after a restart.
        let wallet = json!({"wallet_name": WALLET, "load_on_startup": true});
        let _: Value = bitcoind.call("createwallet", wallet).await.context("make the wallet")?;
        Ok(bitcoind)
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), on the same chain and address.
    ///
    /// Errors: it does not come up; the message holds the end of its log.
    pub async fn restart(&mut self) -> Result<()> {
        if self.process.is_some() {
            self.stop().await?;
        }
        let mut command = Command::new(&self.program);
        // The password is in the file: command lines are visible to everybody on the machine.
        command.arg(format!("-datadir={}", self.folder.display()));
        self.process = Some(Process::start("bitcoind", command, &self.folder)?);
        poll_until("an answer of bitcoind", START_PATIENCE, async || {
            if let Some(process) = &mut self.process {
                process.ensure_running()?;
            }
            let answer = call::<Value>(
                &self.http,
                &self.rpc_url,
                &self.password,
                "getblockchaininfo",
                json!([]),
            )
            .await;
            match answer {
                Ok(_) => Ok(Probe::Ready(())),
                Err(error) => match error.downcast_ref::<RpcError>() {
                    Some(refused) if refused.code != RPC_IN_WARMUP => Err(error),
                    _ => Ok(Probe::Waiting(format!("{error:#}"))),
                },
            }
        })
        .await
    }

    /// Asks it to end and waits. Nothing happens if it does not run.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.stop(PATIENCE).await?;
        }
        Ok(())
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// How to reach its RPC interface.
    pub fn report(&self) -> BitcoindReport {
        BitcoindReport {
            rpc_url: self.rpc_url.clone(),
            user: USER.to_owned(),
            password: self.password.clone(),
        }
    }

    /// Calls any method; `params` is an array or an object with parameter names.
    ///
    /// Errors: an [`RpcError`] inside if bitcoind refused, else that it cannot be reached or that its
    /// answer is of another shape.
    pub async fn call<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T> {
        call(&self.http, &self.rpc_url, &self.password, method, params).await
    }

    /// Calls a method of the wallet that has the coins.
    ///
    /// Errors: as [`call`](Self::call).
    pub async fn call_wallet<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T> {
        let url = format!("{}/wallet/{WALLET}", self.rpc_url);
        call(&self.http, &url, &self.password, method, params).await
    }

    /// Mines `count` blocks; returns their hashes, oldest first. Their coins go to our wallet.
    ///
    /// Errors: as [`call`](Self::call).
    pub async fn mine(&self, count: u64) -> Result<Vec<BlockHash>> {
        let address = self.new_address().await?;
        self.call("generatetoaddress", json!([count, address.to_string()])).await
    }

    /// Pays `amount` from our wallet to `address`. The transaction waits for the next block.
    ///
    /// Errors: as [`call`](Self::call); also if the coins do not suffice.
    pub async fn send(&self, address: &str, amount: Amount) -> Result<Txid> {
        let params = json!({
            "address": address,
            "amount": amount.to_string_in(Denomination::Bitcoin),
            "fee_rate": FEE_RATE_SAT_PER_VBYTE,
        });
        self.call_wallet("sendtoaddress", params).await
    }

    /// A fresh address of our wallet.
    ///
    /// Errors: as [`call`](Self::call).
    pub async fn new_address(&self) -> Result<Address> {
        let address: Address<NetworkUnchecked> =
            self.call_wallet("getnewaddress", json!([])).await?;
        address.require_network(Network::Regtest).context("bitcoind is not on regtest")
    }

    /// The coins an address of our wallet has received, unconfirmed ones included.
    ///
    /// Errors: as [`call`](Self::call).
    pub async fn received(&self, address: &Address) -> Result<Amount> {
        let params = json!([address.to_string(), 0]);
        let bitcoins: f64 = self.call_wallet("getreceivedbyaddress", params).await?;
        Amount::from_btc(bitcoins).context("read an amount")
    }

    /// Height of the chain: the number of blocks after the first.
    ///
    /// Errors: as [`call`](Self::call).
    pub async fn height(&self) -> Result<u64> {
        self.call("getblockcount", json!([])).await
    }
}

async fn call<T: DeserializeOwned>(
    http: &HttpClient,
    url: &str,
    password: &str,
    method: &str,
    params: Value,
) -> Result<T> {
    let body = serde_json::to_vec(&json!({"id": 0, "method": method, "params": params}))
        .context("write the request")?;
    let authorization = format!("Basic {}", STANDARD.encode(format!("{USER}:{password}")));
    let request = HttpRequest::post(Url::parse(url)?, "application/json", body)
        .with_authorization(HeaderValue::try_from(authorization)?);
    let answer = http.send(&request).await.with_context(|| format!("call bitcoind {method}"))?;
    let Ok(Answer { result, error }) = serde_json::from_slice(&answer.body) else {
        bail!("bitcoind {method}: HTTP status {}", answer.status);
    };
    if let Some(error) = error {
        return Err(error).with_context(|| format!("bitcoind {method}"));
    }
    serde_json::from_value(result).with_context(|| format!("read the answer to {method}"))
}

fn configuration(rpc: &ReservedPort, password: &str) -> String {
    format!(
        "\
# A private chain of one node, for tests and demonstrations.
regtest=1
server=1
# No peers: nothing listens but the RPC interface.
listen=0
dnsseed=0
discover=0
natpmp=0
txindex=1
printtoconsole=0
# A fresh wallet makes only the keys it needs.
keypool=10
# Half the time of a world's start would be the wallet waiting for the disk. Killing the process loses nothing.
unsafesqlitesync=1
# Every guardian polls, and some ask for many blocks at once.
rpcthreads=16
rpcworkqueue=512
[regtest]
rpcport={port}
rpcbind=127.0.0.1
rpcallowip=127.0.0.1
rpcuser={USER}
rpcpassword={password}
",
        port = rpc.number()
    )
}
