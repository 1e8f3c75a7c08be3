//! A full node first, an explorer where the node cannot answer.

use std::sync::OnceLock;

use async_trait::async_trait;
use bitcoin::{Block, BlockHash, Transaction};
use moneta_core::ChainId;
use tracing::{debug, warn};

use super::{Bitcoind, ChainError, ChainSource, Esplora};

/// bitcoind and Esplora together.
///
/// Reads try bitcoind, then Esplora. The block count is Esplora's while bitcoind is catching up. If the
/// two turn out to follow different chains, every answer is an error from then on.
pub struct Both {
    bitcoind: Bitcoind,
    esplora: Esplora,
    agreed: OnceLock<Result<ChainId, ChainError>>,
}

/// Answers with bitcoind's result, or with Esplora's if bitcoind has none.
macro_rules! either {
    ($self:ident, $method:ident($($argument:expr),*)) => {{
        $self.refuse_different_chains()?;
        match $self.bitcoind.$method($($argument),*).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                debug!(target: "moneta::chain", %error, "asking esplora instead of bitcoind");
                $self.esplora.$method($($argument),*).await.map_err(|_| error)
            }
        }
    }};
}

impl Both {
    /// Joins two sources. Call [`ChainSource::chain_id`] before use: it compares them.
    pub fn new(bitcoind: Bitcoind, esplora: Esplora) -> Self {
        Self { bitcoind, esplora, agreed: OnceLock::new() }
    }

    fn refuse_different_chains(&self) -> Result<(), ChainError> {
        match self.agreed.get() {
            Some(Err(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl ChainSource for Both {
    async fn chain_id(&self) -> Result<ChainId, ChainError> {
        if let Some(known) = self.agreed.get() {
            return known.clone();
        }
        let (bitcoind, esplora) =
            futures::future::join(self.bitcoind.chain_id(), self.esplora.chain_id()).await;
        match (bitcoind, esplora) {
            (Ok(bitcoind), Ok(esplora)) => {
                let verdict = if bitcoind == esplora {
                    Ok(bitcoind)
                } else {
                    Err(ChainError::DifferentChains { bitcoind, esplora })
                };
                self.agreed.get_or_init(|| verdict).clone()
            }
            (Ok(chain), Err(error)) | (Err(error), Ok(chain)) => {
                warn!(target: "moneta::chain", %error, "one chain source is not compared yet");
                Ok(chain)
            }
            (Err(error), Err(_)) => Err(error),
        }
    }

    async fn block_count(&self) -> Result<u64, ChainError> {
        self.refuse_different_chains()?;
        match self.bitcoind.block_count_and_catching_up().await {
            Ok((count, false)) => Ok(count),
            // A count that is known to be old would hold the federation back, so no fallback here.
            Ok((_, true)) => self.esplora.block_count().await,
            Err(error) => self.esplora.block_count().await.map_err(|_| error),
        }
    }

    async fn feerate_sat_per_kvb(&self) -> Result<Option<u64>, ChainError> {
        self.refuse_different_chains()?;
        match self.bitcoind.feerate_sat_per_kvb().await {
            Ok(Some(feerate)) => Ok(Some(feerate)),
            Ok(None) => self.esplora.feerate_sat_per_kvb().await,
            Err(error) => self.esplora.feerate_sat_per_kvb().await.map_err(|_| error),
        }
    }

    async fn sync_progress(&self) -> Result<Option<f64>, ChainError> {
        Ok(None)
    }

    async fn block_hash(&self, height: u64) -> Result<BlockHash, ChainError> {
        either!(self, block_hash(height))
    }

    async fn block(&self, hash: &BlockHash) -> Result<Block, ChainError> {
        either!(self, block(hash))
    }

    async fn broadcast(&self, transaction: &Transaction) -> Result<(), ChainError> {
        either!(self, broadcast(transaction))
    }
}
