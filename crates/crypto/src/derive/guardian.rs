//! Keys a guardian derives from its broadcast key.

use bitcoin::secp256k1::SecretKey;
use zeroize::Zeroizing;

use super::DerivableSecret;

/// An ed25519 key that follows from a guardian's broadcast key.
///
/// Source: docs/protocol/core.md, section 7.6; docs/protocol/guardian.md, section 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuardianKey {
    /// Under which the guardian publishes its address through pkarr.
    Pkarr,
    /// The endpoint of the second-generation iroh API.
    IrohNext,
}

impl GuardianKey {
    /// The ed25519 seed of this key.
    pub fn ed25519_seed(self, broadcast_secret: &SecretKey) -> Zeroizing<[u8; 32]> {
        let key_material = Zeroizing::new(broadcast_secret.secret_bytes());
        DerivableSecret::root(key_material.as_ref(), self.salt()).child(0).raw()
    }

    fn salt(self) -> &'static [u8] {
        match self {
            Self::Pkarr => b"fedimint-pkarr",
            Self::IrohNext => b"fedimint-iroh-next",
        }
    }
}
