//! Calls to the guardians of one federation.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use moneta_core::api::ApiRequest;
use moneta_core::id::PeerId;
use moneta_core::secret::Secret;
use moneta_core::url::ApiUrl;
use moneta_net::api::{ApiConnector, CallError};
use serde_json::Value;

use crate::query::CallFailure;

/// The answer to one call, to come.
pub type TransportFuture = Pin<Box<dyn Future<Output = Result<Value, CallFailure>> + Send>>;

/// Makes calls to guardians by number. Bounds time and number of its calls.
pub trait Transport: Send + Sync + 'static {
    /// Calls `method` of a guardian. Dropping the future gives the call up.
    fn call(&self, peer: PeerId, method: String, params: Value) -> TransportFuture;
}

/// The guardians of a federation behind the connector of `moneta-net`, which bounds calls in flight
/// and their time.
pub struct Guardians {
    connector: ApiConnector,
    api_secret: Option<Secret>,
    urls: RwLock<BTreeMap<PeerId, ApiUrl>>,
}

impl Guardians {
    /// Calls go to `urls`, with the secret of a private federation.
    pub fn new(
        connector: ApiConnector,
        urls: BTreeMap<PeerId, ApiUrl>,
        api_secret: Option<Secret>,
    ) -> Arc<Self> {
        Arc::new(Self { connector, api_secret, urls: RwLock::new(urls) })
    }

    /// Lets later calls go to these addresses.
    pub fn set_urls(&self, urls: BTreeMap<PeerId, ApiUrl>) {
        // The map is replaced whole, so a poisoned lock holds a whole one.
        *self.urls.write().unwrap_or_else(PoisonError::into_inner) = urls;
    }

    fn url(&self, peer: PeerId) -> Option<ApiUrl> {
        self.urls.read().unwrap_or_else(PoisonError::into_inner).get(&peer).cloned()
    }
}

impl Transport for Guardians {
    fn call(&self, peer: PeerId, method: String, params: Value) -> TransportFuture {
        let url = self.url(peer);
        let (connector, secret) = (self.connector.clone(), self.api_secret.clone());
        Box::pin(async move {
            let url = url.ok_or_else(|| CallFailure::unavailable("no address is known"))?;
            call(&connector, &url, secret.as_ref(), &method, params).await
        })
    }
}

/// How large an answer may be, in bytes of JSON text: a guardian that lies is not to have a wallet
/// build values of a hundred megabytes again and again.
///
/// Pieces of history and configs may be as large as the API allows (core.md section 7.1). Everything else
/// is small; the largest are signature shares, some 100 bytes for each output of a transaction.
fn answer_bytes(method: &str) -> usize {
    let is_large = method.ends_with("_slice")
        || method.contains("session")
        || method.contains("config")
        || method.contains("backup");
    if is_large { 10 << 20 } else { 1 << 20 }
}

/// Whether an answer is handed on as its JSON text, in a string
/// ([`Target`](moneta_module::client::Target)).
fn is_text(method: &str) -> bool {
    method.ends_with("_recovery_slice")
}

/// Makes one call and sorts its failure.
pub(super) async fn call(
    connector: &ApiConnector,
    url: &ApiUrl,
    secret: Option<&Secret>,
    method: &str,
    params: Value,
) -> Result<Value, CallFailure> {
    let secret = secret.map(Secret::expose);
    let (request, limit) = (ApiRequest::new(params), answer_bytes(method));
    let answer = if is_text(method) {
        let text = connector.call_text(url, secret, method, request, limit).await;
        text.map(|text| Value::String(text.get().to_owned()))
    } else {
        connector.call_bounded(url, secret, method, request, limit).await
    };
    answer.map_err(|error| match error {
        CallError::Rejected(error) => CallFailure::from_answer(error),
        other => CallFailure::unavailable(other),
    })
}
