//! Frames between guardians, and a session's inbox.
//!
//! ```text
//! frame   kind u8 (1 message | 2 wake hint), session u64 big endian,
//!         for a message: AlephBFT's encoding of it, up to the end
//! ```

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use aleph_bft::{Network, NetworkData, NodeMap, Recipient};
use bytes::{BufMut as _, Bytes, BytesMut};
use parity_scale_codec::{Decode as _, Encode as _};
use tokio::sync::mpsc;

use crate::{
    batch::UnitData,
    keys::{Sha256, Signature},
    session::Session,
    unit_layout::MessageView,
};

/// The longest frame a link must be able to carry: the parents of a unit, each of the largest
/// size, in a federation of 80, or the proof that a guardian said two things.
pub const FRAME_LIMIT_BYTES: usize = 4 << 20;

const MESSAGE: u8 = 1;
const WAKE: u8 = 2;
const HEAD_BYTES: usize = 9;

/// A received frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// For the session's AlephBFT.
    Message(Bytes),
    /// The sender queued an item and its peers may be asleep.
    Wake,
}

impl Frame {
    /// Reads a frame: its session and what it is. `None` if malformed.
    pub(crate) fn parse(frame: &Bytes) -> Option<(u64, Self)> {
        let (head, rest) = frame.split_first_chunk::<HEAD_BYTES>()?;
        if frame.len() > FRAME_LIMIT_BYTES {
            return None;
        }
        let (kind, session) = head.split_first().expect("a head has 9 bytes");
        let session = u64::from_be_bytes(session.try_into().expect("8 bytes follow the kind"));
        match *kind {
            MESSAGE => Some((session, Self::Message(frame.slice(HEAD_BYTES..)))),
            WAKE if rest.is_empty() => Some((session, Self::Wake)),
            _ => None,
        }
    }

    /// The frame of a wake hint.
    pub(crate) fn wake(session: u64) -> Bytes {
        let mut frame = BytesMut::with_capacity(HEAD_BYTES);
        frame.put_u8(WAKE);
        frame.put_u64(session);
        frame.freeze()
    }

    fn message(session: u64, message: &Message) -> Bytes {
        let mut frame = Vec::with_capacity(HEAD_BYTES + message.size_hint());
        frame.push(MESSAGE);
        frame.extend_from_slice(&session.to_be_bytes());
        message.encode_to(&mut frame);
        frame.into()
    }
}

/// AlephBFT's message with our types.
pub(crate) type Message = NetworkData<Sha256, UnitData, Signature, NodeMap<Signature>>;

/// Most frames and bytes of one peer that wait for a session's AlephBFT, which drains them as
/// fast as it can verify. What does not fit is dropped, and asked for again when missed.
const SHARE_FRAMES: usize = 4096;
const SHARE_BYTES: usize = 4 * FRAME_LIMIT_BYTES;

/// The way into a session: bounded per peer, so that a loud one does not deafen us to others.
pub(crate) struct Inbox {
    sender: mpsc::UnboundedSender<(usize, Bytes)>,
    shares: Vec<Share>,
}

#[derive(Default)]
struct Share {
    frames: AtomicUsize,
    bytes: AtomicUsize,
}

/// The other end of an [`Inbox`].
pub(crate) type Incoming = mpsc::UnboundedReceiver<(usize, Bytes)>;

impl Inbox {
    pub(crate) fn new(total: usize) -> (Self, Incoming) {
        let (sender, incoming) = mpsc::unbounded_channel();
        let shares = (0..total).map(|_| Share::default()).collect();
        (Self { sender, shares }, incoming)
    }

    /// Puts in a message; returns whether there was room.
    pub(crate) fn put(&self, from: usize, message: Bytes) -> bool {
        let Some(share) = self.shares.get(from) else { return false };
        let size = message.len();
        // Two threads that deliver for one peer may together overshoot by a frame each.
        if share.frames.load(Ordering::Relaxed) >= SHARE_FRAMES
            || share.bytes.load(Ordering::Relaxed) + size > SHARE_BYTES
        {
            return false;
        }
        share.frames.fetch_add(1, Ordering::Relaxed);
        share.bytes.fetch_add(size, Ordering::Relaxed);
        self.sender.send((from, message)).is_ok()
    }

    fn taken(&self, from: usize, size: usize) {
        if let Some(share) = self.shares.get(from) {
            share.frames.fetch_sub(1, Ordering::Relaxed);
            share.bytes.fetch_sub(size, Ordering::Relaxed);
        }
    }
}

/// AlephBFT's view of the network in one session.
pub(crate) struct Wire {
    pub(crate) session: Arc<Session>,
    pub(crate) incoming: Incoming,
}

#[async_trait::async_trait]
impl Network<Message> for Wire {
    fn send(&self, data: Message, recipient: Recipient) {
        let frame = Frame::message(self.session.index(), &data);
        if frame.len() > FRAME_LIMIT_BYTES {
            tracing::warn!(target: "moneta::consensus", size_bytes = frame.len(), "frame too long");
            return;
        }
        match recipient {
            Recipient::Everyone => self.session.send_to_all(frame),
            Recipient::Node(to) => self.session.send_to(to.0, frame),
        }
    }

    async fn next_event(&mut self) -> Option<Message> {
        // Cancellation safe: AlephBFT drops this future whenever it has something to send, and
        // the only await is the receiving, which is.
        loop {
            let (from, message) = self.incoming.recv().await?;
            self.session.inbox().taken(from, message.len());
            if let Some(message) = self.admit(from, &message) {
                return Some(message);
            }
            tracing::debug!(target: "moneta::consensus", from, "improper message dropped");
        }
    }
}

impl Wire {
    fn admit(&self, from: usize, bytes: &[u8]) -> Option<Message> {
        let view = MessageView::parse(bytes)?;
        if !view.is_proper(from, self.session.total()) {
            return None;
        }
        let mut input = bytes;
        let message = Message::decode(&mut input).ok()?;
        if !input.is_empty() {
            return None;
        }
        if let MessageView::NewestResponse { requester, unit: Some(unit) } = &view
            && !self.session.heard_of_own_unit(*requester, unit)
        {
            return None;
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn frames_tell_their_session_and_kind() {
        assert_eq!(Frame::parse(&Frame::wake(7)), Some((7, Frame::Wake)));
        let message = Bytes::from_static(&[1, 0, 0, 0, 0, 0, 0, 0, 9, 42]);
        let content = Frame::Message(Bytes::from_static(&[42]));
        assert_eq!(Frame::parse(&message), Some((9, content)));
        for bad in [&[][..], &[1; 8], &[2, 0, 0, 0, 0, 0, 0, 0, 9, 1], &[3; 9]] {
            assert_eq!(Frame::parse(&Bytes::copy_from_slice(bad)), None);
        }
        assert_eq!(Frame::parse(&vec![1; FRAME_LIMIT_BYTES + 1].into()), None);
    }

    #[test]
    fn loud_peer_fills_only_its_own_share() {
        let (inbox, mut incoming) = Inbox::new(3);
        let frame = Bytes::from_static(b"x");
        let fitted = (0..2 * SHARE_FRAMES).filter(|_| inbox.put(1, frame.clone())).count();
        assert_eq!(fitted, SHARE_FRAMES);
        assert!(inbox.put(2, frame.clone()));
        assert!(!inbox.put(3, frame.clone()), "no such guardian");
        let (from, taken) = incoming.try_recv().unwrap();
        inbox.taken(from, taken.len());
        assert!(inbox.put(1, frame));
        let big = Bytes::from(vec![0; FRAME_LIMIT_BYTES]);
        let fitted = (0..10).filter(|_| inbox.put(0, big.clone())).count();
        assert_eq!(fitted, SHARE_BYTES / FRAME_LIMIT_BYTES);
    }
}
