//! What has arrived and was not yet taken, bounded in bytes per peer.

use std::{collections::BTreeMap, sync::Arc};

use moneta_core::PeerId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Channel;

/// Bytes counted for a frame beside its payload.
const FRAME_COST: usize = 128;

/// One received frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Who sent it; proven by the link's TLS.
    pub peer: PeerId,
    /// What it is about.
    pub channel: Channel,
    /// The content.
    pub payload: Vec<u8>,
}

/// Where the frames of all peers come out.
pub struct LinkReceiver {
    frames: mpsc::UnboundedReceiver<(Frame, OwnedSemaphorePermit)>,
}

impl LinkReceiver {
    /// Waits for the next frame of any peer; `None` once the links have ended. Cancel safe.
    pub async fn recv(&mut self) -> Option<Frame> {
        self.frames.recv().await.map(|(frame, _room)| frame)
    }

    /// Takes the next frame if there is one.
    pub fn try_recv(&mut self) -> Option<Frame> {
        self.frames.try_recv().ok().map(|(frame, _room)| frame)
    }
}

/// Where the frames of one peer go in.
#[derive(Clone)]
pub(super) struct Inbox {
    peer: PeerId,
    /// Free bytes. The channel itself is unbounded; these permits are its bound.
    room: Arc<Semaphore>,
    limit: u32,
    frames: mpsc::UnboundedSender<(Frame, OwnedSemaphorePermit)>,
}

/// Room for one frame that is about to be read.
pub(super) struct Reserved(OwnedSemaphorePermit);

impl Inbox {
    /// Waits until there is room for a frame of `payload_bytes`.
    ///
    /// A frame larger than the whole bound takes all of it, so that it passes alone. `None` if the links
    /// have ended.
    pub(super) async fn reserve(&self, payload_bytes: usize) -> Option<Reserved> {
        let wanted = u32::try_from(payload_bytes + FRAME_COST).unwrap_or(u32::MAX);
        let wanted = wanted.min(self.limit);
        self.room.clone().acquire_many_owned(wanted).await.ok().map(Reserved)
    }

    /// Hands over a frame for which room was reserved.
    pub(super) fn deliver(&self, channel: Channel, payload: Vec<u8>, room: Reserved) {
        let frame = Frame { peer: self.peer, channel, payload };
        // Nobody listens any more: the links are about to end.
        let _ = self.frames.send((frame, room.0));
    }
}

/// Makes one inbox per peer, each with a bound of its own, and their common receiver.
pub(super) fn channel(
    peers: impl Iterator<Item = PeerId>,
    limit_bytes: usize,
) -> (BTreeMap<PeerId, Inbox>, LinkReceiver) {
    let (sender, frames) = mpsc::unbounded_channel();
    let limit = u32::try_from(limit_bytes).unwrap_or(u32::MAX).max(1);
    let permits = (limit as usize).min(Semaphore::MAX_PERMITS);
    let inbox = |peer| Inbox {
        peer,
        room: Arc::new(Semaphore::new(permits)),
        limit,
        frames: sender.clone(),
    };
    let inboxes = peers.map(|peer| (peer, inbox(peer))).collect();
    (inboxes, LinkReceiver { frames })
}
