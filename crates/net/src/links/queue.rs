//! What waits to be sent to one peer.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Channel;

/// Bytes counted for a frame beside its payload, so that empty frames are bounded, too.
const FRAME_COST: usize = 64;

/// A queue bounded in bytes that drops old frames instead of refusing new ones.
#[derive(Default)]
pub(super) struct SendQueue {
    /// Frames that overtake consensus frames and outlive them.
    urgent: VecDeque<(Channel, Bytes)>,
    consensus: VecDeque<Bytes>,
    size_bytes: usize,
    dropped: u64,
}

impl SendQueue {
    /// Adds a frame, then drops old ones until the queue fits into `limit_bytes` again.
    pub(super) fn push(&mut self, channel: Channel, payload: Bytes, limit_bytes: usize) {
        self.size_bytes += payload.len() + FRAME_COST;
        if channel == Channel::CONSENSUS {
            self.consensus.push_back(payload);
        } else {
            self.urgent.push_back((channel, payload));
        }
        self.trim(limit_bytes);
    }

    /// Drops the oldest consensus frames, then the oldest others, until `limit_bytes` hold the rest.
    pub(super) fn trim(&mut self, limit_bytes: usize) {
        while self.size_bytes > limit_bytes {
            let dropped = match self.consensus.pop_front() {
                Some(payload) => payload,
                None => match self.urgent.pop_front() {
                    Some((_, payload)) => payload,
                    None => break,
                },
            };
            self.size_bytes -= dropped.len() + FRAME_COST;
            self.dropped += 1;
        }
    }

    /// Takes the next frame to send.
    pub(super) fn pop(&mut self) -> Option<(Channel, Bytes)> {
        let next = self
            .urgent
            .pop_front()
            .or_else(|| self.consensus.pop_front().map(|payload| (Channel::CONSENSUS, payload)))?;
        self.size_bytes -= next.1.len() + FRAME_COST;
        Some(next)
    }

    /// Bytes queued, overhead included.
    pub(super) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Frames dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(byte: u8) -> Bytes {
        Bytes::from(vec![byte; 1000])
    }

    #[test]
    fn full_queue_drops_the_oldest_consensus_frames_first() {
        let mut queue = SendQueue::default();
        let limit = 3 * (1000 + FRAME_COST);
        queue.push(Channel::SIGNATURE, frame(1), limit);
        queue.push(Channel::CONSENSUS, frame(2), limit);
        queue.push(Channel::CONSENSUS, frame(3), limit);
        queue.push(Channel::SIGNATURE, frame(4), limit);
        assert_eq!(queue.dropped(), 1);
        assert_eq!(queue.pop(), Some((Channel::SIGNATURE, frame(1))));
        assert_eq!(queue.pop(), Some((Channel::SIGNATURE, frame(4))));
        assert_eq!(queue.pop(), Some((Channel::CONSENSUS, frame(3))));
        assert_eq!(queue.pop(), None);
        assert_eq!(queue.size_bytes(), 0);
    }

    #[test]
    fn queue_of_urgent_frames_is_bounded_too() {
        let mut queue = SendQueue::default();
        for _ in 0..1000 {
            queue.push(Channel::SETUP, frame(1), 10_000);
            assert!(queue.size_bytes() <= 10_000);
        }
        assert_eq!(queue.dropped(), 991);
    }

    #[test]
    fn empty_frames_take_room() {
        let mut queue = SendQueue::default();
        for _ in 0..1000 {
            queue.push(Channel::CONSENSUS, Bytes::new(), 640);
        }
        assert_eq!(queue.dropped(), 990);
    }
}
