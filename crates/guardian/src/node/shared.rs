//! What all tasks of a running guardian share.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::secp256k1::Keypair;
use moneta_consensus::Broadcast;
use moneta_core::{
    ChainId, ClientConfig, FederationId, PeerId, Secret, SessionIndex, TransactionId,
};
use moneta_module::server::ChainStatus;
use moneta_module::setup::ServerKind;
use moneta_net::chain::ChainSource;
use moneta_net::links::GuardianLinks;
use moneta_store::Store;
use tokio::sync::{Notify, watch};

use super::Pace;
use super::doubt::Doubt;
use super::submissions::Submissions;
use super::waiters::Waiters;
use crate::engine::Engine;
use crate::setup::config::GuardianConfig;

/// One running guardian.
pub(crate) struct Node {
    pub(crate) config: GuardianConfig,
    pub(crate) client_config: ClientConfig,
    pub(crate) federation: FederationId,
    pub(crate) kinds: Vec<Box<dyn ServerKind>>,
    pub(crate) broadcast_key: Keypair,
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) waiters: Waiters,
    pub(crate) queued: Queued,
    pub(crate) submissions: Submissions,
    /// Consensus; not open while this guardian is in doubt about what it has said.
    pub(crate) consensus: OnceLock<Broadcast>,
    /// What this guardian must find out before it may speak.
    pub(crate) doubt: Doubt,
    /// The session from which the operator tells a guardian in doubt to take part.
    pub(crate) take_part_from: Option<SessionIndex>,
    /// `None` in a federation of one.
    pub(crate) links: Option<Arc<GuardianLinks>>,
    pub(crate) chain: Arc<dyn ChainSource>,
    /// The last view of the chain; `None` while the source is unreachable.
    pub(crate) chain_status: watch::Sender<Option<ChainStatus>>,
    /// Set once, when the source has named its chain.
    pub(crate) chain_id: OnceLock<ChainId>,
    pub(crate) password: Option<Secret>,
    pub(crate) api_secrets: Vec<String>,
    pub(crate) release: String,
    pub(crate) pace: Pace,
    /// Something was accepted: there may be bitcoin transactions to broadcast. One task listens;
    /// further notices while it works are one.
    pub(crate) state_changed: Notify,
    /// Federation state or a module's local state has changed: modules may want other things.
    pub(crate) proposals_due: Notify,
    /// Announcements or metadata have changed.
    pub(crate) news: Notify,
    /// How many sessions each peer says are signed.
    pub(crate) claimed_sessions: Mutex<BTreeMap<PeerId, SessionIndex>>,
    /// Stop after this session; `u64::MAX` for never.
    pub(crate) last_session: AtomicU64,
    /// Tells `run` to end the process, and by its drop that the store is closed: it is declared last.
    pub(crate) stop: watch::Sender<bool>,
}

impl Node {
    /// This guardian.
    pub(crate) fn me(&self) -> PeerId {
        self.config.local.identity
    }

    /// Consensus, once it is open.
    pub(crate) fn broadcast(&self) -> Option<&Broadcast> {
        self.consensus.get()
    }

    /// How many sessions are signed here.
    pub(crate) fn session_count(&self) -> Result<SessionIndex, moneta_store::StoreError> {
        self.engine.session_count(&self.store.snapshot())
    }

    /// The session after which the guardian stops, if one is set.
    pub(crate) fn scheduled_shutdown(&self) -> Option<SessionIndex> {
        match self.last_session.load(Ordering::Relaxed) {
            u64::MAX => None,
            session => Some(SessionIndex(session)),
        }
    }

    /// Forgets a claim that did not prove true; the peer may make it again.
    pub(crate) fn doubt(&self, peer: PeerId, session: SessionIndex) {
        let mut claims = self.claimed_sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(claim) = claims.get_mut(&peer) {
            *claim = (*claim).min(session);
        }
    }

    /// Notes a peer's claim.
    pub(crate) fn claim(&self, peer: PeerId, sessions: SessionIndex) {
        let mut claims = self.claimed_sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = claims.entry(peer).or_insert(sessions);
        *claim = (*claim).max(sessions);
    }

    /// How many sessions each peer says are signed.
    pub(crate) fn claims(&self) -> BTreeMap<PeerId, SessionIndex> {
        self.claimed_sessions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The peers that say they have signed sessions from `session` on.
    pub(crate) fn peers_ahead_of(&self, session: SessionIndex) -> Vec<PeerId> {
        let claims = self.claimed_sessions.lock().unwrap_or_else(PoisonError::into_inner);
        claims.iter().filter(|(_, count)| **count > session).map(|(peer, _)| *peer).collect()
    }
}

/// Transactions that this guardian has handed to consensus and that were not ordered since, so
/// that many callers with the same transaction do not have it ordered many times.
///
/// Bounded by the queue of consensus and by what is postponed: an entry goes when a copy of the
/// transaction is ordered and judged, and all go when signed history takes the place of what was.
#[derive(Default)]
pub(crate) struct Queued(Mutex<HashSet<TransactionId>>);

impl Queued {
    /// Notes a transaction; false if it was noted before.
    pub(crate) fn insert(&self, txid: TransactionId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(txid)
    }

    /// Whether a transaction is noted.
    pub(crate) fn contains(&self, txid: &TransactionId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(txid)
    }

    /// Forgets all, and returns them.
    pub(crate) fn take(&self) -> HashSet<TransactionId> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The transaction was ordered, or not queued after all.
    pub(crate) fn remove(&self, txid: &TransactionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(txid);
    }
}

/// The time in whole seconds since the Unix epoch.
pub(crate) fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
