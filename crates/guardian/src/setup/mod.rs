//! The setup ceremony: from a few friends with setup codes to a federation with keys.
//!
//! ```text
//! AwaitingLocalParams --set_local_params--> SharingConnectionCodes --start_dkg--> key generation
//!       every guardian enters the others' codes                                       |
//!                                         files written, consensus mode  <--  Done  <-+
//! ```
//!
//! All of it survives a crash: the ceremony's state is on disk before an answer or a message
//! leaves, everything drawn at random follows from one stored seed, so a guardian that comes back
//! sends exactly what it sent before. Whoever misbehaves is named.
//!
//! [`ceremony`] holds the rules of the setup API, [`keygen`] the protocol between the guardians,
//! [`config`] what comes out of it. All three are pure; the node serves, links and stores.
//!
//! Source: docs/protocol/core.md, section 8.5; docs/protocol/guardian.md, section 3.

pub mod ceremony;
pub mod config;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod keygen;
mod message;
