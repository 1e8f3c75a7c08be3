//! A block explorer, asked over HTTP.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use bitcoin::{Block, BlockHash, Network, Transaction};
use bytes::Bytes;
use hyper::StatusCode;
use moneta_core::ChainId;
use tokio::sync::OnceCell;
use url::Url;

use super::{ChainError, ChainSource, MAX_BLOCK_BYTES, checked_block};
use crate::http::{HttpAnswer, HttpClient, HttpRequest};

const NAME: &str = "esplora";

/// Time for one answer (docs/protocol/wallet.md section 3.1).
const TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of an error text that are worth repeating.
const QUOTE_BYTES: usize = 300;

/// An Esplora server.
pub struct Esplora {
    /// Base URL with a slash at its end, so that paths can be joined.
    base: Url,
    http: HttpClient,
    chain: OnceCell<ChainId>,
    network: OnceCell<Option<Network>>,
}

impl Esplora {
    /// Returns a source for the server at `base`, for example `https://blockstream.info/api`.
    pub fn new(mut base: Url) -> Self {
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        base.set_query(None);
        base.set_fragment(None);
        Self {
            base,
            http: HttpClient::new(TIMEOUT, MAX_BLOCK_BYTES + 64 * 1024),
            chain: OnceCell::new(),
            network: OnceCell::new(),
        }
    }

    async fn get(&self, path: &str) -> Result<Bytes, ChainError> {
        let answer = self.send(HttpRequest::get(self.url(path)?)).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.body),
            StatusCode::NOT_FOUND => {
                Err(ChainError::NoSuchBlock { source_name: NAME, reason: quote(&answer.body) })
            }
            status => Err(unreachable_status(status)),
        }
    }

    async fn get_text(&self, path: &str) -> Result<String, ChainError> {
        let body = self.get(path).await?;
        let text = std::str::from_utf8(&body).map_err(|error| bad_answer(error.to_string()))?;
        Ok(text.trim().to_owned())
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpAnswer, ChainError> {
        self.http.send(&request).await.map_err(|error| ChainError::Unreachable {
            source_name: NAME,
            reason: error.to_string(),
        })
    }

    fn url(&self, path: &str) -> Result<Url, ChainError> {
        self.base.join(path).map_err(|error| ChainError::Unreachable {
            source_name: NAME,
            reason: format!("address is not usable: {error}"),
        })
    }

    async fn known_network(&self) -> Result<Option<Network>, ChainError> {
        self.network.get_or_try_init(|| self.network()).await.copied()
    }
}

fn bad_answer(reason: String) -> ChainError {
    ChainError::BadAnswer { source_name: NAME, reason }
}

fn unreachable_status(status: StatusCode) -> ChainError {
    ChainError::Unreachable { source_name: NAME, reason: format!("HTTP status {status}") }
}

/// The beginning of an error text.
fn quote(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(QUOTE_BYTES)]).trim().to_owned()
}

/// The estimate for the next block: the longest target of at most one block, in steps of 1 sat per 1000
/// weight units; 1 sat/vB if there is none.
fn feerate(estimates: &BTreeMap<u64, f64>) -> Result<u64, ChainError> {
    let sat_per_vb = estimates.range(..=1).next_back().map_or(1.0, |(_, rate)| *rate);
    if !(0.0..=10_000.0).contains(&sat_per_vb) {
        return Err(bad_answer(format!("feerate of {sat_per_vb} sat/vB")));
    }
    // In range, and whole after rounding.
    Ok((sat_per_vb * 250.0).round() as u64 * 4)
}

#[async_trait]
impl ChainSource for Esplora {
    async fn chain_id(&self) -> Result<ChainId, ChainError> {
        let ask = || async { self.block_hash(1).await.map(ChainId) };
        self.chain.get_or_try_init(ask).await.copied()
    }

    async fn block_count(&self) -> Result<u64, ChainError> {
        let text = self.get_text("blocks/tip/height").await?;
        let height: u64 = text.parse().map_err(|_| bad_answer("tip is no number".to_owned()))?;
        height.checked_add(1).ok_or_else(|| bad_answer("tip is too high".to_owned()))
    }

    async fn feerate_sat_per_kvb(&self) -> Result<Option<u64>, ChainError> {
        if super::has_fixed_feerate(self.known_network().await?) {
            return Ok(Some(super::FIXED_FEERATE_SAT_PER_KVB));
        }
        let body = self.get("fee-estimates").await?;
        let estimates: BTreeMap<u64, f64> =
            serde_json::from_slice(&body).map_err(|error| bad_answer(error.to_string()))?;
        feerate(&estimates).map(Some)
    }

    async fn sync_progress(&self) -> Result<Option<f64>, ChainError> {
        Ok(None)
    }

    async fn block_hash(&self, height: u64) -> Result<BlockHash, ChainError> {
        let text = self.get_text(&format!("block-height/{height}")).await?;
        text.parse().map_err(|_| bad_answer("block hash is not hex".to_owned()))
    }

    async fn block(&self, hash: &BlockHash) -> Result<Block, ChainError> {
        let bytes = self.get(&format!("block/{hash}/raw")).await?;
        checked_block(NAME, hash, &bytes)
    }

    async fn broadcast(&self, transaction: &Transaction) -> Result<(), ChainError> {
        let body = bitcoin::consensus::encode::serialize_hex(transaction);
        let answer = self.send(HttpRequest::post(self.url("tx")?, "text/plain", body)).await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            StatusCode::BAD_REQUEST => {
                // The node's own error is quoted in the text; -27 means mined already.
                let reason = quote(&answer.body);
                let known = ["\"code\":-27", "already in block chain", "txn-already-known"];
                match known.iter().any(|word| reason.contains(word)) {
                    true => Ok(()),
                    false => Err(ChainError::Rejected { reason }),
                }
            }
            status => Err(unreachable_status(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn feerate_is_rounded_to_weight_units() {
        let rates = |json: &str| feerate(&serde_json::from_str(json).unwrap());
        assert_eq!(rates(r#"{"1": 87.882, "2": 50.0}"#).unwrap(), 87_884);
        assert_eq!(rates(r#"{"2": 50.0, "144": 1.0}"#).unwrap(), 1000);
        assert_eq!(rates("{}").unwrap(), 1000);
        assert!(rates(r#"{"1": -3.0}"#).is_err());
        assert!(rates(r#"{"1": 1e300}"#).is_err());
    }

    #[test]
    fn base_url_keeps_its_path() {
        for base in ["http://127.0.0.1:1/api", "http://127.0.0.1:1/api/?x=1"] {
            let esplora = Esplora::new(base.parse().unwrap());
            assert_eq!(esplora.url("tx").unwrap().as_str(), "http://127.0.0.1:1/api/tx");
        }
    }
}
