//! Threshold blind signatures, key-generation maths and key derivation.
//!
//! What this is: the cryptography of Moneta as pure functions over plain values. [`tbs`] is the
//! signature scheme behind e-cash notes, [`dkg`] makes its keys among guardians who do not trust
//! each other, [`mod@derive`] turns one seed into every secret of a wallet.
//!
//! What this is not: no clock, no I/O, no randomness of its own (callers hand in seeds or a
//! generator), no curve arithmetic of its own (that is `blst`), no protocol messages.
//!
//! Invariants:
//! * Every point is on the curve and in the prime-order subgroup, infinity included; every scalar
//!   is below the group order. The constructors check it, so no operation has to.
//! * Secrets wipe themselves when dropped, print redacted and compare in constant time.
//! * Verdicts are deterministic: the same input gives the same answer on every guardian.
//!
//! Start reading at [`tbs`]. The pages implemented here are `docs/protocol/mint.md` sections 1 and
//! 2 and `docs/protocol/core.md` sections 9.4 and 9.5.

mod curve;
pub mod derive;
pub mod dkg;
mod scalar;
pub mod tbs;
mod text;
#[cfg(test)]
mod vectors;
mod workers;

pub use scalar::{Scalar, ScalarError};
pub use text::ReadCurveError;
