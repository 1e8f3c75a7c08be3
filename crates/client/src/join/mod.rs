//! Joining a federation: from an invite code to its config.
//!
//! ```text
//! invite peers --first answer with the invited id--> all guardians of that config
//!      |                                                  '--t identical answers--> joined
//!      '--all failed--> this attempt failed               '--t impossible--> this attempt failed
//! ```
//!
//! The federation id in the invite authenticates the endpoints of the config, the threshold the rest
//! of it. An [`Attempt`] is pure: it says whom to ask and takes the answers. Whoever runs it repeats it
//! with [`crate::query::Pace::JOIN`] at most [`MAX_RETRIES`] times, unless the error is final.
//!
//! The id covers addresses only: an answer with the right id may still name wrong keys and modules. So
//! what makes a config true is that a threshold gives it *at addresses the id vouches for*. Whoever
//! writes an invite could otherwise name servers of their own for all guardians, and stand for a
//! federation that is not theirs.
//!
//! Differences to the page. An attempt goes on until *all* invite peers failed, not just one more than
//! may be faulty. And in the second step up to as many guardians as may be faulty are asked at the
//! invite's address where it differs from the config's, since they may have moved: a threshold of
//! equal answers then still has an honest one at an address of the config among them.
//!
//! Source: docs/protocol/core.md, section 5.4.

mod attempt;
mod error;
mod roll;
#[cfg(test)]
mod tests;

pub use attempt::{Ask, Attempt, Step};
pub use error::{JoinError, Trouble, Witness};
pub use roll::{Absent, RollCall};

/// How often an attempt is repeated.
pub const MAX_RETRIES: u32 = 14;
