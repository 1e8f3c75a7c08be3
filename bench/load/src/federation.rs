//! A federation as a wallet sees it: some URLs, called all at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use moneta_core::{
    ApiRequest, ApiUrl, ClientConfig, MeHex, PeerId, SubmissionOutcome, TransactionId,
};
use moneta_mint::words::MintConfig;
use moneta_net::api::{ApiConnector, CallError, ConnectorOptions};
use serde_json::{Value, json};

use crate::notes::{Mint, Prepared, ShareSets};

/// Calls open at once on one connection: below the bound of guardians.
const IN_FLIGHT: usize = 900;

/// After so long a payment counts as lost. Both kinds of guardians end long polls before.
pub const PATIENCE: Duration = Duration::from_secs(70);

/// Connections to all guardians of a federation. Each is a lane: many wallets share few connections
/// here, since a wallet per payment would measure handshakes.
pub struct Federation {
    guardians: BTreeMap<PeerId, ApiUrl>,
    lanes: Vec<ApiConnector>,
    /// The mint in it.
    pub mint: Mint,
    shares_method: String,
}

/// How long the parts of a payment took, counted from when it was sent.
#[derive(Debug, Clone)]
pub struct Paid {
    /// When a threshold of guardians had accepted it.
    pub accepted: Instant,
    /// When a threshold of share sets was here, and it was accepted.
    pub paid: Instant,
    /// The share sets.
    pub shares: ShareSets,
}

/// Why a payment did not come through.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PayError {
    /// Guardians refused it.
    #[error("refused: {0}")]
    Refused(String),
    /// Too few guardians answered.
    #[error("too few answers: {0}")]
    Unanswered(String),
    /// It took longer than [`PATIENCE`].
    #[error("no outcome in time")]
    Late,
}

enum Answer {
    Accepted(Instant),
    Shares(PeerId, Value, Instant),
    Refused(String),
    Failed(String),
}

impl Federation {
    /// Connects `lanes` times to every guardian at `urls` and reads the config.
    ///
    /// Errors: a guardian does not answer, the config makes no sense or has no `mintv2`.
    pub async fn connect(urls: &[String], lanes: usize) -> Result<Self> {
        let mut guardians = BTreeMap::new();
        for (index, url) in urls.iter().enumerate() {
            let peer = PeerId(u16::try_from(index).context("too many guardians")?);
            guardians.insert(peer, url.parse::<ApiUrl>().context("read a guardian's URL")?);
        }
        let options = ConnectorOptions { in_flight: IN_FLIGHT, ..ConnectorOptions::default() };
        let lanes: Vec<_> = (0..lanes.max(1)).map(|_| ApiConnector::new(options.clone())).collect();
        let first = guardians.values().next().context("a federation has guardians")?;
        let config = call(&lanes[0], first, "client_config", Value::Null).await?;
        let config: ClientConfig = serde_json::from_value(config).context("read the config")?;
        let size = config.size().context("count the guardians")?;
        let (instance, entry) = config
            .modules
            .iter()
            .find(|(_, entry)| entry.kind == moneta_mint::words::KIND)
            .context("the federation has no mintv2")?;
        let config: MintConfig = entry.config.decode().context("read the mint's config")?;
        let mint = Mint { instance: *instance, config, size };
        let shares_method = format!("module_{}_signature_shares", instance.0);
        let federation = Self { guardians, lanes, mint, shares_method };
        federation.warm_up().await?;
        Ok(federation)
    }

    /// Opens every connection, so that no payment pays for a handshake.
    async fn warm_up(&self) -> Result<()> {
        for lane in &self.lanes {
            for url in self.guardians.values() {
                // A guardian that is down on purpose is no reason to stop.
                let _ = call(lane, url, "session_count", Value::Null).await;
            }
        }
        Ok(())
    }

    /// Number of signed sessions, as the first guardian that answers says.
    pub async fn session_count(&self) -> Result<u64> {
        self.count("session_count").await
    }

    /// Length of the mint's recovery log, as the first guardian that answers says.
    pub async fn recovery_count(&self) -> Result<u64> {
        self.count(&format!("module_{}_recovery_count", self.mint.instance.0)).await
    }

    async fn count(&self, method: &str) -> Result<u64> {
        for url in self.guardians.values() {
            if let Ok(count) = call(&self.lanes[0], url, method, Value::Null).await {
                return serde_json::from_value(count).with_context(|| format!("read {method}"));
            }
        }
        bail!("no guardian answers {method}")
    }

    /// The version a guardian says it is.
    pub async fn version(&self) -> Result<String> {
        let url = self.guardians.values().next().context("a federation has guardians")?;
        let version = call(&self.lanes[0], url, "fedimintd_version", Value::Null).await?;
        Ok(version.as_str().unwrap_or("unknown").to_owned())
    }

    /// Sends a payment to all guardians and asks all for the shares at the same time; ends when a
    /// threshold of each is here. What other guardians answer later is dropped, as wallets do.
    pub async fn pay(&self, lane: usize, prepared: Prepared) -> Result<Paid, PayError> {
        let work = self.pay_unbounded(lane, prepared);
        tokio::time::timeout(PATIENCE, work).await.unwrap_or(Err(PayError::Late))
    }

    async fn pay_unbounded(&self, lane: usize, prepared: Prepared) -> Result<Paid, PayError> {
        let Prepared { txid, submission, outputs } = prepared;
        let lane = &self.lanes[lane % self.lanes.len()];
        let range = shares_params(txid, outputs);
        let mut calls = FuturesUnordered::new();
        for (peer, url) in &self.guardians {
            let submit = submit(lane, url, submission.clone());
            let shares = shares(lane, *peer, url, &self.shares_method, range.clone(), outputs);
            calls.push(futures::future::Either::Left(submit));
            calls.push(futures::future::Either::Right(shares));
        }
        let threshold = self.mint.size.threshold();
        let (mut accepted_by, mut accepted) = (0, None);
        let mut sets = ShareSets::new();
        let mut refused_by = 0;
        let mut last_failure = "no answers".to_owned();
        while let Some(answer) = calls.next().await {
            let now = match answer {
                Answer::Accepted(now) => {
                    accepted_by += 1;
                    if accepted_by == threshold {
                        accepted = Some(now);
                    }
                    now
                }
                Answer::Shares(peer, set, now) => {
                    sets.insert(peer, set);
                    now
                }
                Answer::Refused(reason) => {
                    refused_by += 1;
                    if refused_by == threshold {
                        return Err(PayError::Refused(reason));
                    }
                    continue;
                }
                Answer::Failed(reason) => {
                    last_failure = reason;
                    continue;
                }
            };
            if let Some(accepted) = accepted.filter(|_| sets.len() >= threshold) {
                return Ok(Paid { accepted, paid: now, shares: sets });
            }
        }
        Err(PayError::Unanswered(last_failure))
    }

    /// Waits for a payment nobody ever makes: a long poll, held until the guardian gives up. The way of
    /// a wallet that shows an invoice and waits.
    pub async fn wait_in_vain(lane: &ApiConnector, url: &ApiUrl, txid: TransactionId) {
        let params = serde_json::to_value(txid).unwrap_or(Value::Null);
        let _ = call(lane, url, "await_transaction", params).await;
    }

    /// The guardians' addresses.
    pub fn urls(&self) -> impl Iterator<Item = &ApiUrl> {
        self.guardians.values()
    }
}

fn shares_params(txid: TransactionId, outputs: usize) -> Value {
    json!({"txid": txid, "idx_range": {"start": 0, "end": outputs}})
}

async fn submit(lane: &ApiConnector, url: &ApiUrl, submission: Value) -> Answer {
    match call(lane, url, "submit_transaction", submission).await {
        Ok(outcome) => match serde_json::from_value::<MeHex<SubmissionOutcome>>(outcome) {
            Ok(MeHex(SubmissionOutcome(Ok(_)))) => Answer::Accepted(Instant::now()),
            Ok(MeHex(SubmissionOutcome(Err(error)))) => Answer::Refused(error.to_string()),
            Err(error) => Answer::Failed(format!("submission: {error}")),
        },
        Err(error) => Answer::Failed(format!("submission: {error}")),
    }
}

async fn shares(
    lane: &ApiConnector,
    peer: PeerId,
    url: &ApiUrl,
    method: &str,
    params: Value,
    outputs: usize,
) -> Answer {
    match call(lane, url, method, params).await {
        Ok(set) if set.as_array().is_some_and(|set| set.len() == outputs) => {
            Answer::Shares(peer, set, Instant::now())
        }
        Ok(_) => Answer::Failed("shares: wrong length".to_owned()),
        Err(error) => Answer::Failed(format!("shares: {error}")),
    }
}

async fn call(
    lane: &ApiConnector,
    url: &ApiUrl,
    method: &str,
    params: Value,
) -> Result<Value, CallError> {
    lane.call(url, None, method, ApiRequest { auth: None, params }).await
}
