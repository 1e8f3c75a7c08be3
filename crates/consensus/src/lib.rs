//! Atomic broadcast of opaque bytes among guardians, paced by need.
//!
//! Every guardian submits items; all guardians receive the same batches of items in the same
//! order, cut into the same sessions, as long as less than a third of them is faulty. What the
//! items mean is not known here, nor what a session's outcome is or who signs it. A federation
//! of one has the same surface over a local log.
//!
//! # How it works
//!
//! AlephBFT, used as published, does the agreement. In rounds, each guardian creates a *unit*:
//! some data and references to a threshold of units of the round before. The references form a
//! graph in which every guardian, without further messages, reads the same order. A unit is
//! ordered about six rounds after its own.
//!
//! **Pace.** AlephBFT asks for a unit's data by an async call and creates the unit when it is
//! answered. So the answer comes at once while something is to be ordered, and otherwise about
//! once a second: an idle federation turns one round per second and still orders an item in tens
//! of milliseconds. A guardian that is a round ahead cannot ask its sleeping peers by this means;
//! it sends them a *wake hint*, which is worth two rounds and nothing more. (`pacing.rs`)
//!
//! **Sessions.** Each guardian marks its units "close" once the session is old or large enough,
//! or more than f others have. The session ends with the unit that completes a threshold of
//! marks, which is processed whole; later units of it are void. Items leave their creator's queue
//! when ordered before that, and are submitted again in the next session otherwise. Session s+1
//! may run while s waits for its signatures, but s+2 may not begin before s is signed.
//! (`conductor.rs` has the diagram.)
//!
//! **Edges.** A new AlephBFT instance first asks all others for its own newest unit, and waits
//! 5 s if one of them is down. So s+1 is opened when s begins and held: it collects, follows and
//! serves, but creates no unit. It is released when the marks that end s are in the graph, and takes
//! the items from then on, so that none waits for these to be ordered.
//!
//! **Durability.** A guardian must not say two things in one round, so a unit of ours is synced
//! to the session's *unit file* before it leaves, and an ordered batch is delivered only after
//! all units it rests on are synced. After a crash the file is fed back, and AlephBFT orders the
//! same again: the application receives the events of unfinished sessions once more, from their
//! beginning, and skips what it has processed. Whoever cannot be sure of its file sits the
//! session out. (`unit_file.rs` has the format.)
//!
//! # What must hold
//!
//! * Events are the same on all guardians, and the same again after a restart.
//! * Nothing that a peer sends makes us panic, block, or grow without bound.
//! * Everything that waits is bounded: items by the queue, frames by a share per peer and
//!   session, ordered batches by the session's byte budget.
//! * Nothing outside of this crate names AlephBFT.
//!
//! # Where to start reading
//!
//! [`Broadcast`] is the surface. `pacing.rs` decides, without a clock; `session.rs` is where
//! AlephBFT meets the rest; `conductor.rs` opens and closes sessions; `unit_layout.rs` is what
//! we know of AlephBFT's bytes. What clients see of sessions is in `docs/protocol/core.md`,
//! section 4.3.

mod batch;
mod broadcast;
mod conductor;
mod control;
mod federation;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod instance;
mod keys;
mod local;
mod network;
mod pacing;
mod queue;
mod roles;
mod session;
mod solo;
mod status;
mod tasks;
mod unit_file;
mod unit_layout;

pub use batch::ITEM_LIMIT_BYTES;
pub use broadcast::{Broadcast, Event, Events, Links, LostFiles, PacingError, Setup, StartError};
pub use keys::{Keys, KeysError};
pub use network::FRAME_LIMIT_BYTES;
pub use pacing::Pacing;
pub use queue::SubmitError;
pub use status::{Participation, PeerStatus, Status};
