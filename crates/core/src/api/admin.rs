//! What a running guardian tells its operator.
//!
//! Source: docs/protocol/core.md, section 8.4; docs/protocol/guardian.md, section 4.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ModuleInstanceId, ModuleKind, PeerId, SessionIndex, hex_bytes};

/// Answer of `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// How far the guardian is.
    pub server: ServerStatus,
    /// The federation as this guardian sees it.
    pub federation: Option<FederationStatus>,
}

/// How far a guardian is. Release 0.13 and this code answer `ConsensusRunning` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerStatus {
    /// Of older releases.
    AwaitingPassword,
    /// Of older releases.
    SharingConfigGenParams,
    /// Of older releases.
    ReadyForConfigGen,
    /// Of older releases.
    ConfigGenFailed,
    /// Of older releases.
    VerifyingConfigs,
    /// Of older releases.
    VerifiedConfigs,
    /// In operation.
    ConsensusRunning,
    /// Of older releases.
    SetupRestarted,
}

/// The federation as one guardian sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FederationStatus {
    /// Number of finished sessions.
    pub session_count: u64,
    /// All guardians but the answering one.
    pub status_by_peer: BTreeMap<PeerId, PeerStatus>,
    /// How many of them are connected.
    pub peers_online: u64,
    /// How many are not.
    pub peers_offline: u64,
    /// How many are flagged.
    pub peers_flagged: u64,
    /// The session after which the guardian stops.
    pub scheduled_shutdown: Option<SessionIndex>,
}

impl FederationStatus {
    /// Builds the view; the counts follow from the peers.
    ///
    /// `peers` holds all guardians but the answering one, each with the session of its last
    /// ordered item and its connection.
    pub fn new(
        session_count: u64,
        peers: BTreeMap<PeerId, (Option<SessionIndex>, PeerConnection)>,
        scheduled_shutdown: Option<SessionIndex>,
    ) -> Self {
        let view = |(last_contribution, connection_status)| {
            PeerStatus::new(last_contribution, connection_status, session_count)
        };
        let status_by_peer: BTreeMap<_, _> =
            peers.into_iter().map(|(peer, status)| (peer, view(status))).collect();
        let count = |wanted: fn(&PeerStatus) -> bool| {
            status_by_peer.values().filter(|status| wanted(status)).count() as u64
        };
        Self {
            session_count,
            peers_online: count(|peer| peer.connection_status == PeerConnection::Connected),
            peers_offline: count(|peer| peer.connection_status == PeerConnection::Disconnected),
            peers_flagged: count(|peer| peer.flagged),
            scheduled_shutdown,
            status_by_peer,
        }
    }
}

/// One other guardian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The session of the guardian's last ordered item.
    pub last_contribution: Option<SessionIndex>,
    /// Whether it can be reached.
    pub connection_status: PeerConnection,
    /// Whether it contributed nothing to the last finished session.
    pub flagged: bool,
}

impl PeerStatus {
    /// Builds the view; flagged is who contributed nothing since the session before the running
    /// one, where no contribution at all counts as session 0.
    pub fn new(
        last_contribution: Option<SessionIndex>,
        connection_status: PeerConnection,
        session_count: u64,
    ) -> Self {
        let last = last_contribution.map_or(0, |session| session.0);
        let flagged = last.saturating_add(1) < session_count;
        Self { last_contribution, connection_status, flagged }
    }
}

/// Whether another guardian can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerConnection {
    /// There is a link.
    Connected,
    /// There is none.
    Disconnected,
}

/// Answer of `audit`. Units: msat, assets positive, liabilities negative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditView {
    /// Sum over all modules. Never negative in a healthy federation.
    pub net_assets: i64,
    /// Every module instance, also those with nothing to report.
    pub module_summaries: BTreeMap<ModuleInstanceId, ModuleAuditView>,
}

/// One module's part of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleAuditView {
    /// Msat, signed.
    pub net_assets: i64,
    /// The module's kind.
    pub kind: ModuleKind,
}

/// Answer of `backup_statistics`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStatistics {
    /// How many client backups are stored.
    pub num_backups: u64,
    /// Their size in bytes.
    pub total_size: u64,
    /// How many are at most 1 day old.
    pub refreshed_1d: u64,
    /// How many are at most 7 days old.
    pub refreshed_1w: u64,
    /// How many are at most 30 days old.
    pub refreshed_1m: u64,
    /// How many are at most 90 days old.
    pub refreshed_3m: u64,
}

/// Answer of `p2p_connection_status`: all other guardians, `None` without a link.
pub type P2pPeerStatus = BTreeMap<PeerId, Option<P2pConnection>>;

/// The link to one other guardian.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct P2pConnection {
    /// How it runs, if the transport knows.
    pub conn_type: Option<ConnectionType>,
    /// Round-trip time, if measured.
    pub rtt: Option<Duration>,
}

/// How a link runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionType {
    /// From host to host.
    Direct,
    /// Over a relay.
    Relay,
    /// Both in parallel.
    Mixed,
}

/// Answer of `download_guardian_backup`. It holds the guardian's secrets in the clear.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardianBackup {
    /// A tar archive. In JSON plain hex.
    #[serde(with = "hex_bytes")]
    pub tar_archive_bytes: Vec<u8>,
}

impl std::fmt::Debug for GuardianBackup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GuardianBackup({} bytes)", self.tar_archive_bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_silent_for_a_whole_session_is_flagged() {
        let flagged = |last: Option<u64>, count| {
            PeerStatus::new(last.map(SessionIndex), PeerConnection::Connected, count).flagged
        };
        assert!(!flagged(Some(41), 42));
        assert!(flagged(Some(40), 42));
        assert!(!flagged(None, 1));
        assert!(flagged(None, 2));
        assert!(!flagged(Some(u64::MAX), u64::MAX));
    }

    #[test]
    fn counts_follow_from_the_peers() {
        let peers = BTreeMap::from([
            (PeerId::new(1), (Some(SessionIndex(41)), PeerConnection::Connected)),
            (PeerId::new(2), (None, PeerConnection::Disconnected)),
        ]);
        let view = StatusView {
            server: ServerStatus::ConsensusRunning,
            federation: Some(FederationStatus::new(42, peers, None)),
        };
        let page = serde_json::json!({"server": "consensus_running",
            "federation": {"session_count": 42, "status_by_peer": {
                "1": {"last_contribution": 41, "connection_status": "connected", "flagged": false},
                "2": {"last_contribution": null, "connection_status": "disconnected",
                      "flagged": true}},
                "peers_online": 1, "peers_offline": 1, "peers_flagged": 1,
                "scheduled_shutdown": null}});
        assert_eq!(serde_json::to_value(view).ok(), Some(page));
    }

    #[test]
    fn link_has_the_shape_of_the_page() {
        let rtt = Some(Duration::new(0, 5));
        let link = P2pConnection { conn_type: Some(ConnectionType::Direct), rtt };
        let page = serde_json::json!({"conn_type": "direct", "rtt": {"secs": 0, "nanos": 5}});
        assert_eq!(serde_json::to_value(link).ok(), Some(page));
    }
}
