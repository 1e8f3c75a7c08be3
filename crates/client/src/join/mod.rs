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
//! Differences to the page, both safe because every answer is checked against the id: an attempt
//! goes on until *all* invite peers failed, not just one more than may be faulty; and a guardian
//! with an address in the invite is asked there also in the second step, since it may have moved.
//!
//! Source: docs/protocol/core.md, section 5.4.

mod attempt;
mod error;
#[cfg(test)]
mod tests;

pub use attempt::{Ask, Attempt, Step};
pub use error::{JoinError, Trouble, Witness};

/// How often an attempt is repeated.
pub const MAX_RETRIES: u32 = 14;
