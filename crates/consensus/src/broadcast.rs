//! The public face: one long-lived broadcast over all sessions.

use std::{io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{
    control::Control,
    federation::Federation,
    keys::Keys,
    pacing::Pacing,
    queue::{Proposer, SubmitError},
    solo::{Solo, SoloError},
    status::Status,
};

/// The way to the other guardians: authenticated, unordered, lossy.
///
/// Frames that reach the other side are handed to its [`Broadcast::deliver`]. A frame is at most
/// [`crate::FRAME_LIMIT_BYTES`] long. Lost frames are asked for again by those who miss them.
pub trait Links: Send + Sync + 'static {
    /// Sends `frame` to guardian `to`. Never blocks; may drop the frame.
    fn send(&self, to: usize, frame: Bytes);
}

/// What to do about a session for which there should be a unit file and is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LostFiles {
    /// Sit the session out: follow it and serve others, but create no units. Safe.
    #[default]
    SitOut,
    /// Take part as if we had never said anything in it. Right only if that is so: when a whole
    /// federation moves here from other software, or when all its guardians lost their files
    /// and nobody could go on otherwise. Otherwise peers may see us say two things.
    TakePart,
}

/// Everything a broadcast needs to start.
pub struct Setup {
    /// Our key pair and everybody's public keys. A single guardian needs no others: a local log
    /// takes the place of the agreement.
    pub keys: Keys,
    /// The folder of the unit files. Nothing else may be in it, no other process may use it, and
    /// it must not be restored from an older copy.
    pub dir: PathBuf,
    /// The number of signed sessions, so the oldest session that is not signed.
    pub first_session: u64,
    /// How fast to go and when to end a session.
    pub pacing: Pacing,
    /// The way to the other guardians.
    pub links: Arc<dyn Links>,
    /// What to do if unit files are missing.
    pub lost_files: LostFiles,
}

/// What was agreed, in the order in which it was.
///
/// After a restart the events of the unfinished sessions come again from their beginning, the
/// same ones in the same order: skip those whose `position` was processed already.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A batch of items was ordered. It is durable here.
    Ordered {
        /// The session.
        session: u64,
        /// Counts the session's batches from 0.
        position: u64,
        /// Who proposed the items.
        creator: usize,
        /// One unit's items in their creator's order: at least one, each at least one byte long.
        items: Vec<Vec<u8>>,
    },
    /// The session has no more batches. Sign its outcome, and say [`Broadcast::session_signed`]
    /// when a threshold has. Batches of the next session may follow meanwhile; none of the one
    /// after it will.
    SessionEnded {
        /// The session.
        session: u64,
        /// How many batches it had.
        batches: u64,
    },
}

/// Why a broadcast did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Unavailable: the folder or a file in it cannot be used.
    #[error("cannot use the unit files in {dir}")]
    Files {
        /// The folder.
        dir: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// Refused: the pacing contradicts itself.
    #[error("{0}")]
    Pacing(#[from] PacingError),
    /// Broken: the local log of a federation of one is damaged. Batches that the application has
    /// processed may be gone from it, so it must not be continued.
    #[error("the local log {path} is damaged after {intact_batches} batches")]
    DamagedLog {
        /// The file.
        path: PathBuf,
        /// How many batches at its beginning are intact.
        intact_batches: u64,
    },
}

/// Which rule of the pacing cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacingError {
    /// Refused: a session needs some rounds to order its close marks, and rounds have 16 bits.
    #[error("a budget of {0} rounds is not between 16 and 60,000")]
    RoundBudget(u16),
    /// Refused: a tick as short as a round is no pace by need, and none at all is a busy loop.
    #[error("the idle tick is shorter than a round, or the round shorter than 1 ms")]
    Ticks,
    /// Refused: a queue that holds no item of the largest size.
    #[error("the queue is too small for one item")]
    Queue,
}

/// The handle to a running broadcast; clones are handles to the same one. It stops when
/// [`Broadcast::shutdown`] is called or [`Events`] is dropped.
#[derive(Clone)]
pub struct Broadcast {
    inner: Inner,
}

#[derive(Clone)]
enum Inner {
    Federation(Arc<Federation>),
    Solo(Arc<Solo>),
}

impl Broadcast {
    /// Starts the broadcast, with the unit files of a former run if there are any.
    ///
    /// Must be called within a tokio runtime, whose timer and blocking pool are used.
    pub async fn start(setup: Setup) -> Result<(Self, Events), StartError> {
        setup.pacing.check()?;
        let dir = setup.dir.clone();
        let files = |source| StartError::Files { dir, source };
        let (sender, receiver) = mpsc::channel(EVENT_BUFFER);
        let inner = if setup.keys.total() == 1 {
            Inner::Solo(Solo::start(setup, sender).await.map_err(|error| match error {
                SoloError::File(source) => files(source),
                SoloError::Damaged { path, intact_batches } => {
                    StartError::DamagedLog { path, intact_batches }
                }
            })?)
        } else {
            Inner::Federation(Federation::start(setup, sender).await.map_err(files)?)
        };
        let broadcast = Self { inner };
        Ok((broadcast.clone(), Events { receiver, broadcast }))
    }

    /// Queues an item to be ordered as ours: a vote, or whatever else counts by who says it.
    ///
    /// It stays queued until it was ordered in a batch of ours, over as many sessions as that
    /// takes. It may be ordered twice, around a session's end or a restart, and after an item that
    /// was submitted later, around a session's end. Items in no unit yet are forgotten when the
    /// process ends.
    pub fn submit(&self, bytes: Vec<u8>) -> Result<(), SubmitError> {
        self.queue(bytes, Proposer::Us)
    }

    /// Queues an item that counts whoever has it ordered, as others may at the same time.
    ///
    /// As [`Self::submit`], but once a peer's batch with the same bytes is on its way it is left
    /// to that one, and stays queued until either is ordered. It may still be ordered once for
    /// each guardian: who hears of it at the same moment proposes it at the same moment.
    pub fn relay(&self, bytes: Vec<u8>) -> Result<(), SubmitError> {
        self.queue(bytes, Proposer::Anyone)
    }

    fn queue(&self, bytes: Vec<u8>, proposer: Proposer) -> Result<(), SubmitError> {
        match &self.inner {
            Inner::Federation(federation) => federation.submit(bytes, proposer),
            Inner::Solo(solo) => solo.submit(bytes),
        }
    }

    /// Hands in a frame that came from guardian `from` over its authenticated link.
    ///
    /// Never blocks. What cannot be used is dropped: malformed, of a session that is over or far
    /// ahead, or more than the peer's share of the inbox.
    pub fn deliver(&self, from: usize, frame: impl Into<Bytes>) {
        if let Inner::Federation(federation) = &self.inner {
            federation.deliver(from, frame.into());
        }
    }

    /// The link to `peer` is up again: repeats to it what it may have missed, so that a session
    /// that was stuck goes on at once.
    pub fn link_restored(&self, peer: usize) {
        if let Inner::Federation(federation) = &self.inner {
            federation.link_restored(peer);
        }
    }

    /// The threshold-signed outcome of `session` is durable here: forgets the session, whether it
    /// had ended here or not, and opens the one after the next. The same as
    /// `jump_to(session + 1)`.
    pub fn session_signed(&self, session: u64) {
        self.jump_to(session.saturating_add(1));
    }

    /// All sessions before `session` are signed and durable here: forgets them and goes on with
    /// that one. Events of older ones may still come if they were on their way. Ignored if it is
    /// not ahead.
    pub fn jump_to(&self, session: u64) {
        self.control().jump_to(session);
    }

    /// Marks the running session for closing now. It ends when a threshold of guardians has
    /// marked it, which honest ones do when more than f others have.
    pub fn close_session(&self) {
        match &self.inner {
            Inner::Federation(federation) => federation.close_session(),
            Inner::Solo(solo) => solo.close_session(),
        }
    }

    /// Tells what became of a batch of `creator`: whether any item was accepted. A peer whose
    /// batches are always refused no longer sets the pace; without verdicts all peers do.
    pub fn verdict(&self, creator: usize, accepted: bool) {
        if let Inner::Federation(federation) = &self.inner {
            federation.verdict(creator, accepted);
        }
    }

    /// Tells that a batch of `creator` was of no use as a whole, which no honest guardian makes: its
    /// batches no longer set the pace, and nothing is left to them, until a restart.
    pub fn void(&self, creator: usize) {
        if let Inner::Federation(federation) = &self.inner {
            federation.void(creator);
        }
    }

    /// A picture of this moment.
    pub fn status(&self) -> Status {
        match &self.inner {
            Inner::Federation(federation) => federation.status(),
            Inner::Solo(solo) => solo.status(),
        }
    }

    /// Stops all work and waits until nothing touches the unit files any more. Nothing is lost
    /// that was durable; a new start goes on from there.
    pub async fn shutdown(&self) {
        self.control().shutdown();
        self.control().ended().await;
    }

    fn control(&self) -> &Control {
        match &self.inner {
            Inner::Federation(federation) => &federation.control,
            Inner::Solo(solo) => &solo.control,
        }
    }
}

/// Events on their way to the application; more wait, bounded by the session's budgets, behind
/// this channel.
const EVENT_BUFFER: usize = 16;

/// The stream of what was agreed.
pub struct Events {
    receiver: mpsc::Receiver<Event>,
    broadcast: Broadcast,
}

impl Events {
    /// The next event, or `None` when the broadcast has stopped: shut down, or broken, see
    /// [`Status::fault`].
    ///
    /// Cancellation safe: no event is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.broadcast.control().shutdown();
    }
}
