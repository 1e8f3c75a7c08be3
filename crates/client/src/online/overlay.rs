//! The fields that a federation of the older kind publishes on the web.
//!
//! Fetched when somebody asks for them and the last ones are ten minutes old, never otherwise: a
//! federation whose guardians agree on its metadata sends nobody to a third party. No failure is
//! passed on; what was fetched before is kept, across restarts.
//!
//! Source: docs/protocol/core.md, section 5.5.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moneta_core::id::FederationId;
use moneta_module::client::Timestamp;
use moneta_store::{Store, StoreError, WriteSet};
use serde_json::Value;
use tokio::sync::Mutex;

use super::known::{OVERLAY, Overlay};
use super::{Web, blocking, now};
use crate::meta;

/// How long fields count as fresh.
const FRESH_MS: u64 = 600_000;
/// How long somebody who asks waits. What comes later is there the next time.
const LIMIT: Duration = Duration::from_secs(12);
/// The pause after an attempt that failed.
const PAUSE_MS: u64 = 60_000;

/// Fetches and keeps the fields of one federation.
pub(super) struct Overlays {
    store: Store,
    federation: FederationId,
    /// Absent if the config names none.
    address: Option<String>,
    web: Arc<dyn Web>,
    /// When the next attempt may begin; the lock is held during one.
    next: Mutex<Timestamp>,
}

impl Overlays {
    pub(super) fn new(
        store: Store,
        federation: FederationId,
        config_meta: &BTreeMap<String, String>,
        web: Arc<dyn Web>,
    ) -> Self {
        let address = meta::override_url(config_meta);
        Self { store, federation, address, web, next: Mutex::default() }
    }

    /// Returns the fields as far as they are known. Cancel safe.
    pub(super) async fn fields(&self) -> Result<BTreeMap<String, Value>, StoreError> {
        let Some(address) = &self.address else { return Ok(BTreeMap::new()) };
        let mut next = self.next.lock().await;
        let known = OVERLAY.get(&self.store.snapshot(), &())?;
        let is_fresh = |overlay: &Overlay| {
            let age_ms = now().0.checked_sub(overlay.fetched_ms);
            age_ms.is_some_and(|age_ms| age_ms < FRESH_MS)
        };
        if known.as_ref().is_some_and(is_fresh) || now() < *next {
            return Ok(known.map(Overlay::into_fields).unwrap_or_default());
        }
        *next = now().after_ms(PAUSE_MS);
        let fetched = match tokio::time::timeout(LIMIT, self.web.get(address)).await {
            Ok(Ok(document)) => meta::parse_override(&document, self.federation),
            Ok(Err(error)) => {
                tracing::debug!(target: "moneta::client", %error, "no published metadata");
                None
            }
            Err(_) => None,
        };
        let Some(fields) = fetched else {
            return Ok(known.map(Overlay::into_fields).unwrap_or_default());
        };
        let overlay = Overlay::new(&fields, now());
        let store = self.store.clone();
        blocking(move || {
            store.update(|writes: &mut WriteSet<'_>| {
                OVERLAY.insert(writes, &(), &overlay);
                Ok::<_, StoreError>(())
            })
        })
        .await?;
        Ok(fields)
    }
}
