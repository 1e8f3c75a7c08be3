//! What a client asks its federation in the background: after start and then every hour.
//!
//! Nothing of it stops a wallet. New addresses count at once; new versions and modules at the next
//! start.
//!
//! Source: docs/protocol/core.md, sections 5.4, 7.6, 8.6 and 9.2.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moneta_core::api::endpoint;
use moneta_core::config::ClientConfig;
use moneta_core::id::PeerId;
use moneta_core::peers::FederationSize;
use moneta_store::{Store, StoreError};
use serde::Deserialize;
use tokio::sync::watch;

use super::ask::{agree, gather};
use super::enter::{save_versions, version_reports};
use super::known::{ADDRESSES, CHAIN_ID, PENDING_CONFIG};
use super::{Guardians, Transport, now};
use crate::addresses::{AddressesError, SignedAddresses};

/// Between two rounds (core.md 7.6).
const PERIOD: Duration = Duration::from_secs(3600);
/// How long to wait for guardians' answers (core.md 7.6).
const LIMIT: Duration = Duration::from_secs(30);

/// Whether an answer about addresses held something new.
type Taken = Result<bool, AddressesError>;

/// What is refreshed.
pub(super) struct Refresh {
    pub(super) store: Store,
    pub(super) config: ClientConfig,
    pub(super) size: FederationSize,
    pub(super) guardians: Arc<Guardians>,
    /// Becomes true, or closed, when the client stops.
    pub(super) stopping: watch::Receiver<bool>,
}

impl Refresh {
    /// Refreshes until the client stops. Only asking is cut short, never writing, so the store is
    /// free when this has ended.
    pub(super) async fn run(self) {
        loop {
            match self.round().await {
                Ok(Some(())) => {}
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(target: "moneta::client", %error, "cannot store what was learned");
                }
            }
            if self.unless_stopped(tokio::time::sleep(PERIOD)).await.is_none() {
                return;
            }
        }
    }

    /// `None` if the client stops.
    async fn round(&self) -> Result<Option<()>, StoreError> {
        let transport: Arc<dyn Transport> = self.guardians.clone();
        if self.addresses(&transport).await?.is_none() {
            return Ok(None);
        }
        let versions =
            self.unless_stopped(version_reports(&transport, &self.config, self.size)).await;
        let Some(versions) = versions else { return Ok(None) };
        self.update(move |writes| save_versions(writes, &versions)).await?;
        if self.config(&transport).await?.is_none() {
            return Ok(None);
        }
        if !CHAIN_ID.contains(&self.store.snapshot(), &())? {
            let chain_id = agree(&transport, self.size, endpoint::CHAIN_ID, LIMIT);
            let Some(chain_id) = self.unless_stopped(chain_id).await else { return Ok(None) };
            if let Some(chain_id) = chain_id.and_then(|answer| answer.as_str().map(str::to_owned)) {
                self.update(move |writes| CHAIN_ID.insert(writes, &(), &chain_id)).await?;
            }
        }
        Ok(Some(()))
    }

    async fn addresses(&self, transport: &Arc<dyn Transport>) -> Result<Option<()>, StoreError> {
        let known = ADDRESSES.get(&self.store.snapshot(), &())?.unwrap_or_default();
        let known = Mutex::new((known, false));
        let (global, now_secs) = (&self.config.global, now().0 / 1000);
        // An address counts as soon as one guardian has told it: the others may be those that moved.
        let take = |peer: PeerId, update: &dyn Fn(&mut SignedAddresses) -> Taken| {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let (addresses, is_newer) = &mut *known;
            match update(addresses) {
                Ok(true) => {
                    *is_newer = true;
                    self.guardians.set_urls(addresses.current(global));
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(target: "moneta::client", %peer, %error, "guardian's addresses dropped");
                    return false;
                }
            }
            true
        };
        let announcements =
            |peer, answer| take(peer, &|addresses| addresses.take_announcements(global, &answer));
        let metadata = |peer, answer| {
            take(peer, &|addresses| addresses.take_metadata(global, &answer, now_secs))
        };
        let total = self.size.total();
        let asking = async {
            tokio::join!(
                gather(
                    transport,
                    self.size,
                    endpoint::API_ANNOUNCEMENTS,
                    total,
                    LIMIT,
                    announcements
                ),
                gather(transport, self.size, endpoint::GUARDIAN_METADATA, total, LIMIT, metadata),
            )
        };
        if self.unless_stopped(asking).await.is_none() {
            return Ok(None);
        }
        let (known, is_newer) = known.into_inner().unwrap_or_else(PoisonError::into_inner);
        if is_newer {
            self.update(move |writes| ADDRESSES.insert(writes, &(), &known)).await?;
        }
        Ok(Some(()))
    }

    async fn config(&self, transport: &Arc<dyn Transport>) -> Result<Option<()>, StoreError> {
        let answer = agree(transport, self.size, endpoint::CLIENT_CONFIG, LIMIT);
        let Some(answer) = self.unless_stopped(answer).await else { return Ok(None) };
        let Some(newer) = answer.and_then(|answer| ClientConfig::deserialize(answer).ok()) else {
            return Ok(Some(()));
        };
        match self.config.check_update(&newer) {
            Ok(()) if newer == self.config => {}
            Ok(()) => self.update(move |writes| PENDING_CONFIG.insert(writes, &(), &newer)).await?,
            Err(change) => {
                tracing::warn!(target: "moneta::client", %change, "federation changed its config");
            }
        }
        Ok(Some(()))
    }

    /// Waits for `asking`, or returns `None` when the client stops.
    async fn unless_stopped<T>(&self, asking: impl Future<Output = T>) -> Option<T> {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            biased;
            // An error means that the client was dropped.
            _ = stopping.wait_for(|stop| *stop) => None,
            value = asking => Some(value),
        }
    }

    async fn update(
        &self,
        decide: impl FnOnce(&mut moneta_store::WriteSet<'_>) + Send + 'static,
    ) -> Result<(), StoreError> {
        let store = self.store.clone();
        super::blocking(move || {
            store.update(|writes| {
                decide(writes);
                Ok(())
            })
        })
        .await
    }
}
