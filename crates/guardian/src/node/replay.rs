//! The writer applies what the others have signed.
//!
//! Small sessions are committed together, since a commit waits for the disk longer than they take to
//! compute. A session is in one commit, whole, so after a crash it is there or is fetched again.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use bitcoin::secp256k1::schnorr::Signature;
use moneta_core::{PeerId, SessionIndex};
use moneta_module::server::Need;
use moneta_store::{Batch, WriteSet};

use super::catch_up::Proven;
use super::ordering::{Ordering, SAME_NEED_PAUSE};
use super::{NodeError, chain};
use crate::engine::{Replay, ReplayError, Stop};

/// Rows in a commit from which on nothing is added to it.
const GROUP_ROWS: usize = 4096;

/// How long sessions that are applied may wait for the blocks that the next one needs.
const PROMPT: Duration = Duration::from_secs(1);

/// Sessions that are applied and not committed.
struct Group {
    writes: Batch,
    /// The next one.
    count: SessionIndex,
    /// The last one of them, and its signatures.
    last: Option<(SessionIndex, BTreeMap<PeerId, Signature>)>,
}

impl Ordering {
    /// Applies sessions in a row that the others have signed; true if all of them are durable here now.
    pub(super) async fn replay(&mut self, sessions: Vec<Proven>) -> Result<bool, NodeError> {
        let count = self.node.session_count()?;
        let mut group = Group { writes: Batch::new(), count, last: None };
        for proven in sessions {
            let (session, signed) = proven.into_parts();
            if session < group.count {
                // Consensus was quicker.
                continue;
            }
            let signatures = signed.signatures.clone();
            let mut replay = self.node.engine.begin_replay(session, signed);
            if !self.replay_one(&mut group, &mut replay).await? {
                self.commit_group(&mut group)?;
                return Ok(false);
            }
            group.count = SessionIndex(session.0 + 1);
            group.last = Some((session, signatures));
            let is_last = self.node.scheduled_shutdown() == Some(session);
            if group.writes.len() >= GROUP_ROWS || is_last {
                self.commit_group(&mut group)?;
            }
        }
        self.commit_group(&mut group)?;
        Ok(true)
    }

    /// Adds a session to the group; false if it is not the next one.
    async fn replay_one(
        &mut self,
        group: &mut Group,
        replay: &mut Replay,
    ) -> Result<bool, NodeError> {
        let mut last = None;
        let mut left = replay.items_left();
        let applied = loop {
            match tokio::task::block_in_place(|| self.go_on(group, replay)) {
                Ok(()) => break true,
                Err(ReplayError::OutOfOrder { .. }) => break false,
                Err(ReplayError::Stop(Stop::Halt(halt))) => return Err(halt.into()),
                Err(ReplayError::Stop(Stop::Blocked(need))) => {
                    // A session may hold votes for a week of blocks: those of one at a time.
                    if left != replay.items_left() {
                        left = replay.items_left();
                        self.facts.blocks.clear();
                    }
                    if last.replace(need) == Some(need) {
                        tokio::time::sleep(SAME_NEED_PAUSE).await;
                    }
                    self.fetch_beside(group, need).await?;
                }
            }
        };
        self.facts.blocks.clear();
        Ok(applied)
    }

    /// Fetches what the next session needs. What is whole before it waits for that a moment, not longer.
    async fn fetch_beside(&mut self, group: &mut Group, need: Need) -> Result<(), NodeError> {
        let node = self.node.clone();
        let mut facts = std::mem::take(&mut self.facts);
        {
            let mut fetching = pin!(chain::fetch(&node, need, &mut facts));
            if tokio::time::timeout(PROMPT, &mut fetching).await.is_err() {
                self.commit_group(group)?;
                fetching.await;
            }
        }
        self.facts = facts;
        Ok(())
    }

    fn go_on(&self, group: &mut Group, replay: &mut Replay) -> Result<(), ReplayError> {
        let snapshot = self.node.store.snapshot();
        let view = WriteSet::resume(&snapshot, std::mem::take(&mut group.writes));
        let replayed = self.node.engine.replay(&view, replay, &self.facts);
        group.writes = view.into_batch();
        group.writes.absorb(replayed?);
        Ok(())
    }

    /// Makes the group durable, and lets go of everything about its sessions.
    fn commit_group(&mut self, group: &mut Group) -> Result<(), NodeError> {
        let Some((session, signatures)) = group.last.take() else { return Ok(()) };
        let node = self.node.clone();
        tokio::task::block_in_place(|| {
            let snapshot = node.store.snapshot();
            self.commit(WriteSet::resume(&snapshot, std::mem::take(&mut group.writes)))
        })?;
        // What consensus would have told of these sessions is not looked at any more, so nobody knows what
        // became of transactions in them but who asks again.
        for txid in node.queued.take() {
            node.waiters.wake([node.engine.accepted_key(txid).as_slice()]);
        }
        self.postponed.propose_again(&node, session)?;
        self.finished(session, signatures);
        node.state_changed.notify_one();
        node.proposals_due.notify_one();
        Ok(())
    }
}
