//! A full node, asked by JSON-RPC over HTTP.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bitcoin::{Block, BlockHash, Network, Transaction};
use hyper::{StatusCode, header::HeaderValue};
use moneta_core::ChainId;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, RwLock};
use url::Url;

use super::{ChainError, ChainSource, MAX_BLOCK_BYTES, checked_block};
use crate::http::{HttpAnswer, HttpClient, HttpRequest};

const NAME: &str = "bitcoind";

/// Time for one answer. A node verifying blocks can be slow to answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A block in hex, and some JSON around it.
const ANSWER_BYTES: usize = 2 * MAX_BLOCK_BYTES + 64 * 1024;

/// No feerate is above this; 0.1 BTC per kvB.
const MAX_FEERATE_SAT_PER_KVB: f64 = 10_000_000.0;

/// `maxfeerate` of `sendrawtransaction` that accepts every fee; without it a node refuses what pays
/// more than 0.1 BTC per kvB.
const NO_MAX_FEERATE: u32 = 0;

/// How to log in to bitcoind.
pub enum Credentials {
    /// `rpcuser` and `rpcpassword`, or a pair from `rpcauth`.
    UserPassword {
        /// The user name.
        user: String,
        /// The password.
        password: String,
    },
    /// The file bitcoind writes at every start (`.cookie` in its data folder). Read again when bitcoind
    /// refuses what was read before.
    CookieFile(PathBuf),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UserPassword { .. } => f.write_str("UserPassword(..)"),
            Self::CookieFile(path) => write!(f, "CookieFile({})", path.display()),
        }
    }
}

/// A Bitcoin Core node, or one that speaks the same JSON-RPC.
pub struct Bitcoind {
    url: Url,
    credentials: Credentials,
    http: HttpClient,
    /// The header in use, once the cookie was read.
    authorization: RwLock<Option<HeaderValue>>,
    network: OnceCell<Option<Network>>,
    next_id: AtomicU64,
}

#[derive(Deserialize)]
struct Answer<T> {
    result: Option<T>,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct RpcError {
    code: i64,
    message: String,
}

#[derive(Deserialize)]
struct BlockchainInfo {
    blocks: u64,
    verificationprogress: f64,
    initialblockdownload: bool,
}

#[derive(Deserialize)]
struct SmartFee {
    feerate: Option<f64>,
}

/// Error codes of bitcoind's RPC interface.
mod code {
    pub(super) const MISC: i64 = -1;
    pub(super) const NOT_FOUND: i64 = -5;
    pub(super) const INVALID_PARAMETER: i64 = -8;
    pub(super) const VERIFY: i64 = -25;
    pub(super) const VERIFY_REJECTED: i64 = -26;
    pub(super) const ALREADY_MINED: i64 = -27;
    pub(super) const WARMING_UP: i64 = -28;
    pub(super) const DESERIALIZATION: i64 = -22;
}

impl Bitcoind {
    /// Returns a source for the node at `url`. User and password in the URL are ignored.
    pub fn new(mut url: Url, credentials: Credentials) -> Self {
        // Fails only for URLs without a host, which the first call reports.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Self {
            url,
            credentials,
            http: HttpClient::new(TIMEOUT, ANSWER_BYTES),
            authorization: RwLock::new(None),
            network: OnceCell::new(),
            next_id: AtomicU64::new(0),
        }
    }

    /// The block count, and whether the node is still catching up with the chain.
    pub(super) async fn block_count_and_catching_up(&self) -> Result<(u64, bool), ChainError> {
        let info: BlockchainInfo = self.call("getblockchaininfo", json!([])).await?;
        Ok((info.blocks + 1, info.initialblockdownload))
    }

    /// The estimate, with no fallback of any kind.
    pub(super) async fn estimate_sat_per_kvb(&self) -> Result<Option<u64>, ChainError> {
        let fee: SmartFee = self.call("estimatesmartfee", json!([1, "CONSERVATIVE"])).await?;
        let Some(btc_per_kvb) = fee.feerate else { return Ok(None) };
        let sat_per_kvb = (btc_per_kvb * 100_000_000.0).round();
        if !(0.0..=MAX_FEERATE_SAT_PER_KVB).contains(&sat_per_kvb) {
            return Err(bad_answer(format!("feerate of {btc_per_kvb} BTC/kvB")));
        }
        // In range, and whole after rounding.
        Ok(Some(sat_per_kvb as u64))
    }

    async fn known_network(&self) -> Result<Option<Network>, ChainError> {
        self.network.get_or_try_init(|| self.network()).await.copied()
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> Result<T, ChainError> {
        self.try_call(method, params).await.map_err(ChainError::from)
    }

    /// Makes one call; logs in again once if the node does not know us.
    async fn try_call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> Result<T, Failure> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({"jsonrpc": "1.0", "id": id, "method": method, "params": params});
        let body = body.to_string();
        let mut login = self.login().await?;
        let mut answer = self.post(&body, &login).await?;
        if is_refused_login(answer.status) && matches!(self.credentials, Credentials::CookieFile(_))
        {
            // The node was restarted and wrote a new cookie.
            *self.authorization.write().await = None;
            login = self.login().await?;
            answer = self.post(&body, &login).await?;
        }
        self.read(answer)
    }

    async fn post(&self, body: &str, login: &HeaderValue) -> Result<HttpAnswer, ChainError> {
        let request = HttpRequest::post(self.url.clone(), "application/json", body.to_owned())
            .with_authorization(login.clone());
        self.http.send(&request).await.map_err(|error| ChainError::Unreachable {
            source_name: NAME,
            reason: error.to_string(),
        })
    }

    fn read<T: DeserializeOwned>(&self, answer: HttpAnswer) -> Result<T, Failure> {
        if is_refused_login(answer.status) {
            let reason = match &self.credentials {
                Credentials::UserPassword { .. } => "check user name and password".to_owned(),
                Credentials::CookieFile(path) => {
                    format!("cookie file {} is not the node's", path.display())
                }
            };
            return Err(ChainError::WrongCredentials { source_name: NAME, reason }.into());
        }
        // Errors of the called method come with status 500 or 404 and a JSON body.
        let parsed: Answer<T> = match serde_json::from_slice(&answer.body) {
            Ok(parsed) => parsed,
            Err(_) if !answer.status.is_success() => {
                return Err(ChainError::Unreachable {
                    source_name: NAME,
                    reason: format!("HTTP status {}", answer.status),
                }
                .into());
            }
            Err(error) => return Err(bad_answer(error.to_string()).into()),
        };
        match parsed {
            Answer { error: Some(error), .. } => Err(Failure::Rpc(error)),
            Answer { result: Some(result), .. } => Ok(result),
            Answer { result: None, .. } => {
                Err(bad_answer("neither result nor error".to_owned()).into())
            }
        }
    }

    async fn login(&self) -> Result<HeaderValue, ChainError> {
        if let Some(value) = &*self.authorization.read().await {
            return Ok(value.clone());
        }
        let pair = match &self.credentials {
            Credentials::UserPassword { user, password } => format!("{user}:{password}"),
            Credentials::CookieFile(path) => match tokio::fs::read_to_string(path).await {
                Ok(cookie) => cookie.trim().to_owned(),
                Err(error) => {
                    // A node that is not running has removed its cookie, so say both.
                    return Err(ChainError::WrongCredentials {
                        source_name: NAME,
                        reason: format!(
                            "cannot read cookie file {}: {error}; is bitcoind running?",
                            path.display()
                        ),
                    });
                }
            },
        };
        let header = format!("Basic {}", STANDARD.encode(pair));
        let value = HeaderValue::from_str(&header)
            .expect("base64 text has only characters a header may hold");
        *self.authorization.write().await = Some(value.clone());
        Ok(value)
    }
}

fn is_refused_login(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn bad_answer(reason: String) -> ChainError {
    ChainError::BadAnswer { source_name: NAME, reason }
}

/// Why a call gave no result: the node's own error, or anything else.
enum Failure {
    Rpc(RpcError),
    Chain(ChainError),
}

impl From<ChainError> for Failure {
    fn from(error: ChainError) -> Self {
        Self::Chain(error)
    }
}

impl From<Failure> for ChainError {
    fn from(failure: Failure) -> Self {
        let RpcError { code, message: reason } = match failure {
            Failure::Rpc(error) => error,
            Failure::Chain(error) => return error,
        };
        match code {
            code::WARMING_UP => ChainError::Starting { source_name: NAME, reason },
            code::NOT_FOUND | code::INVALID_PARAMETER | code::MISC => {
                ChainError::NoSuchBlock { source_name: NAME, reason }
            }
            code::VERIFY | code::VERIFY_REJECTED | code::DESERIALIZATION => {
                ChainError::Rejected { reason }
            }
            code => bad_answer(format!("error {code}: {reason}")),
        }
    }
}

#[async_trait]
impl ChainSource for Bitcoind {
    async fn chain_id(&self) -> Result<ChainId, ChainError> {
        self.block_hash(1).await.map(ChainId)
    }

    async fn block_count(&self) -> Result<u64, ChainError> {
        Ok(self.call::<u64>("getblockcount", json!([])).await? + 1)
    }

    async fn feerate_sat_per_kvb(&self) -> Result<Option<u64>, ChainError> {
        let network = self.known_network().await?;
        if super::has_fixed_feerate(network) {
            return Ok(Some(super::FIXED_FEERATE_SAT_PER_KVB));
        }
        let estimate = self.estimate_sat_per_kvb().await?;
        Ok(estimate.or(super::feerate_without_estimate(network)))
    }

    async fn sync_progress(&self) -> Result<Option<f64>, ChainError> {
        let info: BlockchainInfo = self.call("getblockchaininfo", json!([])).await?;
        Ok(Some(info.verificationprogress.clamp(0.0, 1.0)))
    }

    async fn block_hash(&self, height: u64) -> Result<BlockHash, ChainError> {
        self.call("getblockhash", json!([height])).await
    }

    async fn block(&self, hash: &BlockHash) -> Result<Block, ChainError> {
        let text: String = self.call("getblock", json!([hash.to_string(), 0])).await?;
        let bytes = hex::decode(text).map_err(|error| bad_answer(error.to_string()))?;
        checked_block(NAME, hash, &bytes)
    }

    async fn broadcast(&self, transaction: &Transaction) -> Result<(), ChainError> {
        let text = bitcoin::consensus::encode::serialize_hex(transaction);
        // No limit of the fee: the federation has decided about it, and all that follow spend the
        // change. With the node's own limit, one that pays much would stop them all.
        match self.try_call::<String>("sendrawtransaction", json!([text, NO_MAX_FEERATE])).await {
            Ok(_txid) => Ok(()),
            Err(Failure::Rpc(error)) if error.code == code::ALREADY_MINED => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}
