//! Opens outgoing TCP and TLS streams.
//!
//! One place knows how a name becomes a stream: addresses are tried in turn with a short head start
//! each (a dead IPv6 route must not cost the whole timeout), sockets are tuned, and TLS trusts
//! the Mozilla root set only (docs/protocol/core.md section 7.2). Guardian links bring their own TLS
//! because they pin certificates instead.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time,
};
use tokio_rustls::TlsConnector;

use crate::socket;

/// How long one address may take before the next one is tried beside it (RFC 8305 names 250 ms).
const HEAD_START: Duration = Duration::from_millis(250);

/// Names can resolve to many addresses; trying more than this many only costs time.
const MAX_ADDRESSES: usize = 8;

/// Any byte stream an HTTP or WebSocket client can speak over.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// An open stream, plain or encrypted.
pub(crate) type BoxedStream = Box<dyn ByteStream>;

/// The one TLS provider of this process: ring.
pub(crate) fn tls_provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())).clone()
}

/// Opens `host:port`, encrypted with the Mozilla roots when `tls` is set.
///
/// Errors: the reason as text of the I/O error; `TimedOut` after `timeout`, which covers name lookup, TCP
/// and TLS together. `host` may be a name, an IPv4 address or an IPv6 address with or without brackets.
pub(crate) async fn open(
    host: &str,
    port: u16,
    tls: bool,
    timeout: Duration,
) -> io::Result<BoxedStream> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let opening = async {
        let tcp = open_tcp(host, port).await?;
        if !tls {
            return Ok(Box::new(tcp) as BoxedStream);
        }
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "host name is not valid"))?;
        let stream = web_connector().connect(name, tcp).await?;
        Ok(Box::new(stream) as BoxedStream)
    };
    match time::timeout(timeout, opening).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "connection attempt timed out")),
    }
}

/// Opens a TCP stream to the first address that answers. No timeout of its own.
pub(crate) async fn open_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((host, port)).await?.take(MAX_ADDRESSES).collect();
    let mut attempts: FuturesUnordered<_> = addresses
        .into_iter()
        .zip(0u32..)
        .map(|(address, place)| async move {
            time::sleep(HEAD_START * place).await;
            TcpStream::connect(address).await
        })
        .collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "name resolves to no address");
    while let Some(result) = attempts.next().await {
        match result {
            Ok(stream) => {
                socket::tune(&stream)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn web_connector() -> &'static TlsConnector {
    static CONNECTOR: OnceLock<TlsConnector> = OnceLock::new();
    CONNECTOR.get_or_init(|| {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let config = ClientConfig::builder_with_provider(tls_provider())
            .with_safe_default_protocol_versions()
            .expect("ring supports the default TLS versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    })
}
