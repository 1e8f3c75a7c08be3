//! Derivation of every secret of a wallet from one seed.
//!
//! [`DerivableSecret`] is a node of a tree: it has children, and it expands to keys.
//! [`FederationSecrets`] holds the branches one wallet uses in one federation.
//! [`GuardianKey`] names the keys a guardian derives from its broadcast key.
//!
//! Source: docs/protocol/core.md, sections 7.6, 9.4 and 9.5; docs/protocol/mint.md, section 2.

mod federation;
mod guardian;
mod secret;
#[cfg(test)]
mod tests;

pub use federation::{FederationSecrets, seed_root};
pub use guardian::GuardianKey;
pub use secret::{DerivableSecret, ROOT_LEVEL};
