//! How consensus is opened: at the start of an ordinary day, or by the writer, once a guardian in
//! doubt knows enough.

use std::sync::Arc;

use moneta_consensus::{Broadcast, Events, Keys, LostFiles, Pacing, Setup};
use moneta_core::SessionIndex;
use moneta_net::links::GuardianLinks;
use moneta_store::StoreError;
use tracing::{info, warn};

use super::files::{DataDir, FRESH_FILE};
use super::shared::Node;
use super::{NodeError, gossip, peers, tables};

/// Consensus' own files.
pub(super) const UNITS: &str = "units";

/// How a guardian in doubt goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Enough others have vouched: opens consensus with this many sessions signed or more, silent in
    /// the two that run then.
    SitOut(SessionIndex),
    /// The operators say that nobody has spoken in this session: takes part from it on.
    TakePart(SessionIndex),
}

/// What opening consensus needs.
pub(super) struct Entry {
    pub(super) dir: DataDir,
    pub(super) keys: Keys,
    pub(super) pacing: Pacing,
    pub(super) links: Option<Arc<GuardianLinks>>,
}

impl Entry {
    /// Opens consensus with the unit files that there are.
    pub(super) async fn open(&self, first: SessionIndex) -> Result<(Broadcast, Events), NodeError> {
        let opened = self.start(first, LostFiles::SitOut).await?;
        // From here on missing unit files are a loss.
        self.dir.remove(FRESH_FILE)?;
        Ok(opened)
    }

    /// Opens consensus for a guardian in doubt, if it may go this way now. The caller is the writer, so
    /// the session count stands still.
    ///
    /// A crash in the middle leaves it in doubt, and silent so far.
    pub(super) async fn enter(&self, node: &Node, way: Way) -> Result<Option<Events>, NodeError> {
        let count = node.session_count()?;
        let allowed = match way {
            Way::SitOut(at) => count >= at && count.0 > 0,
            Way::TakePart(session) => count == session && !has_begun(node, session)?,
        };
        if !allowed || !node.doubt.is_open() {
            return Ok(None);
        }
        // Nothing of ours is in them that is not silent already, or the operator says so.
        self.dir.remove_folder(UNITS)?;
        let silent_before = |session: SessionIndex| {
            node.store.update(|writes| {
                tables::SILENT_BEFORE.insert(writes, &(), &session);
                Ok::<_, StoreError>(())
            })
        };
        let (broadcast, events) = match way {
            Way::SitOut(_) => {
                // In an empty folder, of two sessions that are not the first ones, consensus notes on
                // disk that it is silent in them. Only when it has may this guardian forget its doubt.
                let opened = self.start(count, LostFiles::SitOut).await?;
                self.dir.sync()?;
                let takes_part_from = SessionIndex(count.0.saturating_add(2));
                silent_before(takes_part_from)?;
                info!(target: "moneta::node", session = %count, %takes_part_from,
                    "the others have vouched: follows, and sits out two sessions");
                opened
            }
            Way::TakePart(session) => {
                // The other way round: a unit may leave at once, and files of ours would be taken for
                // those of a former self.
                silent_before(session)?;
                warn!(target: "moneta::node", %session, "takes part because its operator says that \
                    nobody has spoken in this session");
                self.start(count, LostFiles::TakePart).await?
            }
        };
        // Cannot be open already: only a guardian in doubt comes here, and once.
        let _ = node.consensus.set(broadcast);
        node.doubt.settle();
        // By now the others have told what it said of itself before; only what nobody knows is new.
        gossip::introduce_self(node)?;
        node.news.notify_one();
        Ok(Some(events))
    }

    async fn start(
        &self,
        first: SessionIndex,
        lost_files: LostFiles,
    ) -> Result<(Broadcast, Events), NodeError> {
        let setup = Setup {
            keys: self.keys.clone(),
            dir: self.dir.join(UNITS),
            first_session: first.0,
            pacing: self.pacing.clone(),
            links: Arc::new(peers::ConsensusLinks(self.links.clone())),
            lost_files,
        };
        Ok(Broadcast::start(setup).await?)
    }
}

/// Whether this guardian has processed units of a session, or of the one beside it.
pub(super) fn has_begun(node: &Node, session: SessionIndex) -> Result<bool, StoreError> {
    let snapshot = node.store.snapshot();
    for session in [session, SessionIndex(session.0.saturating_add(1))] {
        if node.engine.progress(&snapshot, session)? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}
