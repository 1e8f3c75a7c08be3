//! Atomic broadcast of opaque bytes among guardians, paced by need.

mod batch;
mod broadcast;
mod federation;
mod keys;
mod pacing;
mod queue;
mod solo;
mod status;

pub use batch::ITEM_LIMIT_BYTES;
pub use broadcast::{Broadcast, Event, Events, Links, LostFiles, PacingError, Setup, StartError};
pub use keys::{Keys, KeysError};
pub use pacing::Pacing;
pub use queue::SubmitError;
pub use status::{Participation, PeerStatus, Status};

/// The longest frame a link must be able to carry: a unit's parents, each of the largest size,
/// for a federation of 80, or the same for the proof that a guardian said two things.
pub const FRAME_LIMIT_BYTES: usize = 4 << 20;
