//! Distributed key generation for threshold blind signatures: the maths, without the talking.
//!
//! Every guardian deals random polynomials of degree `threshold - 1`, one for each key (thus one for
//! each denomination, all in one go); the federation's polynomials are the sums. Nobody ever holds
//! a federation's secret.
//!
//! ```text
//! 1  Dealer::from_seed          -> broadcast Dealing::hash           wait for all hashes
//! 2                             -> broadcast Dealing (commitments)   Dealing::matches each hash
//! 3  compare transcript_hash: everyone must hold the same dealings
//! 4  Dealer::shares_for(peer)   -> to that peer alone                Dealing::verify_shares
//! 5  bad or no shares: complain; the dealer reveals that peer's shares to all; everyone judges
//!    by Dealing::judge
//! 6  finish                     -> ThresholdKey per polynomial
//! ```
//!
//! The hash round keeps a guardian who speaks last from choosing its polynomials as a function of
//! the others', which would let it fix the keys. What remains is that it may refuse to open its
//! hash after seeing the others' dealings; therefore a ceremony that loses a dealer starts again with
//! a new context and new seeds, rather than going on with the dealers that are left. A dealer is
//! guilty on its own published values alone, so all guardians name the same one.
//!
//! A dealer is a function of a seed and the ceremony's context: a guardian that restarts in the
//! middle deals the same polynomials again and needs only the seed on disk.
//!
//! Source of what the keys look like: docs/protocol/mint.md, section 1.4. The ceremony itself is ours
//! and no part of the protocol.

mod dealer;
mod dealing;
mod keys;
mod polynomial;
mod shape;
#[cfg(test)]
mod tests;

pub use dealer::{Dealer, DealtShares};
pub use dealing::{Dealing, DealingError, DealingHash, ShareError, Verdict, transcript_hash};
pub use keys::{FinishError, ThresholdKey, deal_locally, deal_trusted, finish};
pub use shape::{Shape, ShapeError};
