//! Documents from the web: the seam through which a wallet fetches anything that is no guardian.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use moneta_net::http::{HttpClient, HttpError, HttpRequest};
use url::Url;

/// How long one document may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long one may be.
const MAX_BYTES: usize = 256 * 1024;

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// Refused: it is not fetched from such an address.
    #[error("documents are fetched from https addresses only")]
    Address,
    /// Unavailable: the server answers with another status than 200.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// Unavailable: no whole answer within the bounds.
    #[error("{reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
}

/// A document, to come.
pub type WebFuture = Pin<Box<dyn Future<Output = Result<Vec<u8>, WebError>> + Send>>;

/// Fetches documents. Implement it to go through a proxy, or to fetch nothing at all.
pub trait Web: Send + Sync + 'static {
    /// Fetches the document at `address`, with bounded time and size. Dropping the future gives up.
    fn get(&self, address: &str) -> WebFuture;
}

/// Fetches over TLS with the Mozilla roots, without redirects: at most 256 KiB in 10 s.
pub struct Https(Arc<HttpClient>);

impl Default for Https {
    fn default() -> Self {
        Self(Arc::new(HttpClient::new(LIMIT, MAX_BYTES)))
    }
}

impl Web for Https {
    fn get(&self, address: &str) -> WebFuture {
        let url = Url::parse(address).ok().filter(|url| url.scheme() == "https");
        let client = self.0.clone();
        Box::pin(async move {
            let request = HttpRequest::get(url.ok_or(WebError::Address)?);
            let unavailable =
                |error: HttpError| WebError::Unavailable { reason: error.to_string() };
            let answer = client.send(&request).await.map_err(unavailable)?;
            match answer.status.as_u16() {
                200 => Ok(answer.body.to_vec()),
                status => Err(WebError::Status(status)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plain_http_and_files_are_not_fetched() {
        for address in ["http://127.0.0.1:1/", "file:///etc/passwd", "no address"] {
            assert!(matches!(Https::default().get(address).await, Err(WebError::Address)));
        }
    }
}
