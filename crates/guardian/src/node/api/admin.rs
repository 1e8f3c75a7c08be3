//! What operators ask: health, balance sheet, backups, addresses, shutdown.
//!
//! Source: docs/protocol/core.md, section 8.4; docs/protocol/guardian.md, sections 4 and 8.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use moneta_consensus::Broadcast;
use moneta_core::api::{
    AuditView, ConnectionType, FederationStatus, GuardianBackup, ModuleAuditView, P2pConnection,
    P2pPeerStatus, PeerConnection, ServerStatus, StatusView, endpoint,
};
use moneta_core::{ApiError, ApiRequest, ApiUrl, SessionIndex, SignedBackupRequest, Timestamp};
use moneta_net::api::to_result;
use moneta_store::StoreError;
use serde_json::json;

use super::{Answer, Node, answer, store_failed};
use crate::node::{backup, client_backups, gossip};

pub(super) fn call(node: &Node, method: &str, request: &ApiRequest) -> Answer {
    match method {
        endpoint::STATUS => answer(request, || status(node).map_err(store_failed)),
        endpoint::CONSENSUS_ORD_LATENCY => {
            let latency = || node.broadcast()?.status().ordering_latency_median;
            answer(request, || Ok(latency()))
        }
        endpoint::P2P_CONNECTION_STATUS => answer(request, || Ok(links(node))),
        "moneta_consensus_status" => {
            answer(request, || consensus_status(node).map_err(store_failed))
        }
        "moneta_links" => answer(request, || Ok(link_errors(node))),
        endpoint::AUTH => for_admin(node, request, || Ok(())),
        endpoint::AUDIT => for_admin(node, request, || audit(node)),
        endpoint::BACKUP_STATISTICS => for_admin(node, request, || {
            client_backups::statistics(&node.store.snapshot(), now()).map_err(store_failed)
        }),
        endpoint::DOWNLOAD_GUARDIAN_BACKUP => for_admin(node, request, || {
            let tar_archive_bytes = backup::archive(&node.config).map_err(ApiError::internal)?;
            Ok(GuardianBackup { tar_archive_bytes })
        }),
        endpoint::SIGN_API_ANNOUNCEMENT => {
            let url: ApiUrl = request.parse_params()?;
            request.check_password(node.password.as_ref())?;
            to_result(&gossip::sign_announcement(node, url)?)
        }
        endpoint::SIGN_GUARDIAN_METADATA => {
            let metadata = request.parse_params()?;
            request.check_password(node.password.as_ref())?;
            to_result(&gossip::sign_metadata(node, metadata)?)
        }
        endpoint::SHUTDOWN => {
            let session: Option<SessionIndex> = request.parse_params()?;
            request.check_password(node.password.as_ref())?;
            let session = session.map_or(u64::MAX, |session| session.0);
            node.last_session.store(session, Ordering::Relaxed);
            to_result(&())
        }
        other => Err(ApiError::not_found(other)),
    }
}

fn for_admin<T: serde::Serialize>(
    node: &Node,
    request: &ApiRequest,
    value: impl FnOnce() -> Result<T, ApiError>,
) -> Answer {
    answer(request, || {
        request.check_password(node.password.as_ref())?;
        value()
    })
}

fn status(node: &Node) -> Result<StatusView, StoreError> {
    let snapshot = node.store.snapshot();
    let connected = node.links.as_ref().map(|links| links.status()).unwrap_or_default();
    let mut peers = BTreeMap::new();
    for peer in node.engine.size().peer_ids().filter(|peer| *peer != node.me()) {
        let connection = match connected.get(&peer) {
            Some(status) if status.connected => PeerConnection::Connected,
            _ => PeerConnection::Disconnected,
        };
        peers.insert(peer, (node.engine.last_contribution(&snapshot, peer)?, connection));
    }
    let session_count = node.engine.session_count(&snapshot)?.0;
    let federation = FederationStatus::new(session_count, peers, node.scheduled_shutdown());
    Ok(StatusView { server: ServerStatus::ConsensusRunning, federation: Some(federation) })
}

fn links(node: &Node) -> P2pPeerStatus {
    let status = node.links.as_ref().map(|links| links.status()).unwrap_or_default();
    let view = |status: moneta_net::links::LinkStatus| {
        let conn_type = Some(ConnectionType::Direct);
        status.connected.then_some(P2pConnection { conn_type, rtt: status.rtt })
    };
    status.into_iter().map(|(peer, status)| (peer, view(status))).collect()
}

fn link_errors(node: &Node) -> serde_json::Value {
    let status = node.links.as_ref().map(|links| links.status()).unwrap_or_default();
    let view = |status: moneta_net::links::LinkStatus| {
        json!({
            "connected": status.connected,
            "rtt_us": status.rtt.map(|rtt| rtt.as_micros() as u64),
            "last_error": status.last_error,
            "queued_bytes": status.queued_bytes,
            "dropped_frames": status.dropped_frames,
            "connections": status.connections,
        })
    };
    let by_peer: BTreeMap<_, _> = status.into_iter().map(|(p, s)| (p, view(s))).collect();
    json!(by_peer)
}

fn consensus_status(node: &Node) -> Result<serde_json::Value, StoreError> {
    let chain = *node.chain_status.borrow();
    let Some(status) = node.broadcast().map(Broadcast::status) else {
        let count = node.session_count()?;
        return Ok(json!({"session": count, "oldest_session": count, "participation": "InDoubt"}));
    };
    let peers = status.peers.iter().enumerate().map(|(index, peer)| {
        let age_ms = peer.last_unit_age.map(|age| age.as_millis() as u64);
        (index, json!({"last_round": peer.last_round, "last_unit_age_ms": age_ms}))
    });
    let peers: BTreeMap<_, _> = peers.collect();
    Ok(json!({
        "peers": peers,
        "session": status.session,
        "oldest_session": status.oldest_session,
        "round": status.round,
        "participation": format!("{:?}", status.participation),
        "items_queued": status.items_queued,
        "items_in_flight": status.items_in_flight,
        "backlog_batches": status.backlog_batches,
        "ordering_latency_median_us": status.ordering_latency_median.map(|l| l.as_micros() as u64),
        "ordering_latency_p99_us": status.ordering_latency_p99.map(|l| l.as_micros() as u64),
        "since_progress_ms": status.since_progress.as_millis() as u64,
        "restarts": status.restarts,
        "chain_block_count": chain.map(|chain| chain.block_count),
        "chain_feerate_sat_per_kvb": chain.and_then(|chain| chain.feerate_sat_per_kvb),
    }))
}

fn audit(node: &Node) -> Result<AuditView, ApiError> {
    let lines = node.engine.audit(&node.store.snapshot()).map_err(store_failed)?;
    let msat = |net: i128| {
        i64::try_from(net).map_err(|_| ApiError::internal("an amount does not fit the answer"))
    };
    let mut module_summaries = BTreeMap::new();
    let mut total = 0_i128;
    for line in lines {
        total = total.saturating_add(line.net_msat);
        let view = ModuleAuditView { net_assets: msat(line.net_msat)?, kind: line.kind };
        module_summaries.insert(line.instance, view);
    }
    Ok(AuditView { net_assets: msat(total)?, module_summaries })
}

/// Stores a client's backup.
///
/// Errors: see [`client_backups::keep`].
pub(super) fn store_backup(node: &Node, backup: SignedBackupRequest) -> Result<(), ApiError> {
    let limit = client_backups::LIMIT_BYTES;
    let kept = node.store.update(|writes| client_backups::keep(writes, backup, now(), limit));
    kept.map_err(store_failed)?
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix(since).unwrap_or_default()
}
