//! What an operator, and the application's watchdog, may ask.

use std::{collections::VecDeque, time::Duration};

/// Whether we create units in the running session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Participation {
    /// As usual.
    Active,
    /// Not in this session: our unit file of it is missing, so we do not know what we said.
    UnitFileMissing,
    /// Not in this session: our unit file of it is damaged, so we do not know all we said.
    UnitFileDamaged,
    /// Not in this session: peers hold a unit of ours that is newer than our unit file. It was
    /// restored from an old copy, or another machine runs with our key.
    PeersKnowNewerUnits,
}

/// What is known of one guardian in the running session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The newest round of which we have a unit of it.
    pub last_round: Option<u16>,
    /// How long ago its newest unit came.
    pub last_unit_age: Option<Duration>,
}

/// A picture of the broadcast at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The oldest session that is not signed yet: the first one we run.
    pub oldest_session: u64,
    /// The session in which items are ordered now, which may take no new ones any more because it
    /// is about to end; `oldest_session + 1` while the oldest one has ended and waits for its
    /// signatures.
    pub session: u64,
    /// How many units of ours the running session has.
    pub round: u16,
    /// Whether we create units in it.
    pub participation: Participation,
    /// Every guardian by index, ourselves included. Empty for a federation of one.
    pub peers: Vec<PeerStatus>,
    /// Items submitted here and not ordered yet.
    pub items_queued: usize,
    /// Those of them that are in a unit already, of ours or of a peer.
    pub items_in_flight: usize,
    /// Bytes of the items not ordered yet.
    pub queued_bytes: usize,
    /// Ordered batches that the application may take and has not taken yet.
    pub backlog_batches: usize,
    /// Median time from submission to ordering of our latest items; `None` before the first.
    pub ordering_latency_median: Option<Duration>,
    /// The same, of which all but one in a hundred were faster.
    pub ordering_latency_p99: Option<Duration>,
    /// Time since the session last grew by a unit of anybody. More than a few seconds means it
    /// is stuck: fewer than a threshold of guardians reach each other.
    pub since_progress: Duration,
    /// How often the running session's instance had to be started anew after it failed.
    pub restarts: u32,
    /// Why the broadcast has stopped, if it has. Broken: it will not go on by itself.
    pub fault: Option<String>,
}

/// The latest ordering latencies.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    latest: VecDeque<Duration>,
}

/// How many latencies are remembered: enough for a p99 that means something.
const REMEMBERED: usize = 512;

impl Latencies {
    pub(crate) fn record(&mut self, latency: Duration) {
        if self.latest.len() == REMEMBERED {
            self.latest.pop_front();
        }
        self.latest.push_back(latency);
    }

    /// (median, 99th percentile).
    pub(crate) fn summary(&self) -> (Option<Duration>, Option<Duration>) {
        let mut sorted: Vec<_> = self.latest.iter().copied().collect();
        sorted.sort_unstable();
        let rank = |percent: usize| sorted.get(sorted.len() * percent / 100).copied();
        (rank(50), rank(99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_forgets_the_oldest_latencies() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.summary(), (None, None));
        latencies.record(Duration::from_secs(100));
        for ms in 0..REMEMBERED as u64 {
            latencies.record(Duration::from_millis(ms));
        }
        let expected = (Some(Duration::from_millis(256)), Some(Duration::from_millis(506)));
        assert_eq!(latencies.summary(), expected);
    }
}
