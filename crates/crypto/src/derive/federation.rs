//! From a seed to what a client uses in one federation.
//!
//! ```text
//! seed -root-> g -child 0-> . -federation-> . -child 0-> . -child 0-> pre -federation-> r
//!                                                          pre -child 0-> secret check value
//! r -child 0-> . -child instance-> module secret           r -child 1-> backup secret
//! ```
//!
//! Source: docs/protocol/core.md, section 9.5.

use super::DerivableSecret;

/// Salt of the root of every client.
const CLIENT_SALT: &[u8] = b"Fedimint Client Salt";

/// Branches of the seed root: the per-federation secrets.
const PER_FEDERATION: u64 = 0;
/// Branches of a federation node: the number of the wallet.
const FIRST_WALLET: u64 = 0;
/// Branches of a wallet: the kind of key.
const CLIENT_KEY: u64 = 0;

/// Branches of the client root.
const MODULES: u64 = 0;
const BACKUP: u64 = 1;

/// Branch of `pre` that gives the check value.
const CHECK: u64 = 0;

/// The root `g` of a wallet.
///
/// `seed` is the 64-byte BIP39 seed (English words, empty passphrase), or 64 random bytes of a
/// client without words.
pub fn seed_root(seed: &[u8; 64]) -> DerivableSecret {
    DerivableSecret::root(seed, CLIENT_SALT)
}

/// The secrets of one wallet in one federation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederationSecrets {
    pre: DerivableSecret,
    client_root: DerivableSecret,
}

impl FederationSecrets {
    /// The secrets by the standard path, which command line, gateways and most apps use.
    pub fn from_seed(seed: &[u8; 64], federation_id: &[u8; 32]) -> Self {
        Self::from_pre(standard_path(&seed_root(seed), federation_id), federation_id)
    }

    /// The secrets by the path of the binding client of browsers and phones, which takes the
    /// standard steps twice. The same words hold different money there; restoring tries both.
    pub fn from_seed_double_derived(seed: &[u8; 64], federation_id: &[u8; 32]) -> Self {
        let once = standard_path(&seed_root(seed), federation_id);
        Self::from_pre(standard_path(&once, federation_id), federation_id)
    }

    /// The secrets from `pre`, the secret that is written down when a wallet is exported for a single
    /// federation.
    pub fn from_pre(pre: DerivableSecret, federation_id: &[u8; 32]) -> Self {
        // The federation id is mixed in a second time by design.
        let client_root = pre.federation(federation_id);
        Self { pre, client_root }
    }

    /// The secret to export for this federation alone.
    pub fn pre(&self) -> &DerivableSecret {
        &self.pre
    }

    /// The root `r` of the client.
    pub fn client_root(&self) -> &DerivableSecret {
        &self.client_root
    }

    /// The secret of one module instance.
    pub fn module(&self, instance: u16) -> DerivableSecret {
        self.client_root.child(MODULES).child(instance.into())
    }

    /// The secret of the client backup: its key pair is the backup's identity, its ChaCha key
    /// encrypts it.
    pub fn backup(&self) -> DerivableSecret {
        self.client_root.child(BACKUP)
    }

    /// What a client stores to recognise whether it is opened with the right secret.
    pub fn check_value(&self) -> [u8; 8] {
        *self.pre.child(CHECK).raw()
    }
}

/// From a seed root to the secret of the first wallet in a federation.
fn standard_path(root: &DerivableSecret, federation_id: &[u8; 32]) -> DerivableSecret {
    root.child(PER_FEDERATION).federation(federation_id).child(FIRST_WALLET).child(CLIENT_KEY)
}
