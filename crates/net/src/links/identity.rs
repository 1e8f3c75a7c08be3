//! The key a guardian proves itself with on its links.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The name in every link certificate. Peers compare whole certificates, never names.
const SUBJECT: &str = "moneta-guardian";

/// A self-signed certificate and its private key.
///
/// The certificate goes into the setup code and never changes afterwards: peers pin it byte by byte.
pub struct LinkIdentity {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

/// Why no identity was made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a link certificate: {0}")]
pub struct IdentityError(#[from] rcgen::Error);

impl LinkIdentity {
    /// Makes a new P-256 key and a certificate for it. Draws from the system's randomness.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = CertificateParams::new(vec![SUBJECT.to_owned()])?.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        })
    }

    /// Takes a stored identity: certificate (DER) and private key (PKCS#8 DER).
    ///
    /// Not checked here; [`super::GuardianLinks::start`] refuses a pair that does not fit.
    pub fn from_der(certificate: Vec<u8>, key: Vec<u8>) -> Self {
        Self { certificate: certificate.into(), key: PrivatePkcs8KeyDer::from(key) }
    }

    /// The certificate (DER), to be published.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The private key (PKCS#8 DER), to be stored and never shown.
    pub fn key_der(&self) -> &[u8] {
        self.key.secret_pkcs8_der()
    }

    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}

impl std::fmt::Debug for LinkIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkIdentity(..)")
    }
}
