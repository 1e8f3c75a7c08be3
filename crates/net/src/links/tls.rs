//! TLS 1.3 with pinned certificates on both sides.
//!
//! A certificate is accepted if it is byte by byte one we know and its owner signed the handshake.
//! Names, dates and issuers mean nothing here, so a guardian with a wrong clock still links up.

use std::{collections::BTreeMap, sync::Arc};

use moneta_core::PeerId;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::verify_tls13_signature,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    version::TLS13,
};
use sha2::{Digest, Sha256};

use super::LinkIdentity;
use crate::dial::tls_provider;

/// Protocol name and version of the frames inside. A new frame format takes a new number.
pub(super) const ALPN: &[u8] = b"moneta-guardian/1";

/// The certificates of all peers.
#[derive(Clone, Debug)]
pub(super) struct Pinned {
    by_certificate: Arc<BTreeMap<Vec<u8>, PeerId>>,
}

impl Pinned {
    /// Errors: text naming two guardians with one certificate.
    pub(super) fn new(
        peers: impl Iterator<Item = (PeerId, CertificateDer<'static>)>,
    ) -> Result<Self, String> {
        let mut by_certificate = BTreeMap::new();
        for (id, certificate) in peers {
            if let Some(other) = by_certificate.insert(certificate.to_vec(), id) {
                return Err(format!("{other} and {id} have the same certificate"));
            }
        }
        Ok(Self { by_certificate: Arc::new(by_certificate) })
    }

    /// Whose certificate this is.
    pub(super) fn peer(&self, certificate: &CertificateDer<'_>) -> Option<PeerId> {
        self.by_certificate.get(certificate.as_ref()).copied()
    }
}

/// What we demand of whoever dials us.
pub(super) fn server_config(
    identity: &LinkIdentity,
    pinned: &Pinned,
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(tls_provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(Verifier { known: pinned.clone() }))
        .with_single_cert(vec![identity.certificate()], identity.key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would skip the certificates; links last for days, so nothing is lost.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// What we demand of one peer we dial.
pub(super) fn client_config(
    identity: &LinkIdentity,
    peer: PeerId,
    certificate: CertificateDer<'static>,
) -> Result<Arc<ClientConfig>, Error> {
    let known = Pinned::new(std::iter::once((peer, certificate))).map_err(Error::General)?;
    let mut config = ClientConfig::builder_with_provider(tls_provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { known }))
        .with_client_auth_cert(vec![identity.certificate()], identity.key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Verifier {
    known: Pinned,
}

impl Verifier {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if self.known.peer(certificate).is_some() {
            return Ok(());
        }
        let fingerprint = hex::encode(Sha256::digest(certificate.as_ref()));
        Err(Error::General(format!("unknown certificate with SHA-256 {fingerprint}")))
    }
}

/// The part that both verifier traits of rustls ask for in the same words: the owner of the
/// certificate signed the handshake.
macro_rules! handshake_signatures {
    () => {
        /// TLS 1.2 is not offered, so its signatures never come.
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &tls_provider().signature_verification_algorithms;
            verify_tls13_signature(message, cert, dss, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            tls_provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    handshake_signatures!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    handshake_signatures!();
}
