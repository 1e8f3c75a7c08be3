//! `moneta guardian status`.

use std::collections::BTreeMap;
use std::time::Duration;

use moneta_core::PeerId;
use moneta_core::api::{
    P2pPeerStatus, PeerConnection, PeerStatus, SetupStatus, StatusView, endpoint,
};
use moneta_core::id::FederationId;
use serde::Serialize;
use serde_json::Value;

use super::admin::Admin;
use super::setup::failure_text;
use crate::wallet_cli::failure::Failure;
use crate::wallet_cli::screen::{Fields, Report, Style};

#[derive(Debug, Serialize)]
struct Status {
    url: String,
    setup: SetupStatus,
    /// Why the ceremony before this one failed; null also if no password was given.
    setup_failure: Option<String>,
    /// Absent before the federation runs.
    running: Option<Running>,
}

#[derive(Debug, Serialize)]
struct Running {
    federation_id: FederationId,
    invite: String,
    /// The release whose protocol it speaks.
    release: String,
    session_count: u64,
    ordering_ms: Option<u64>,
    scheduled_shutdown: Option<u64>,
    peers: BTreeMap<PeerId, Peer>,
}

#[derive(Debug, Serialize)]
struct Peer {
    #[serde(flatten)]
    status: PeerStatus,
    rtt_ms: Option<u64>,
}

impl Report for Status {
    fn text(&self, style: Style) -> String {
        let mut fields = Fields::default();
        fields.add("guardian", &self.url);
        let Some(running) = &self.running else {
            let state = match self.setup {
                SetupStatus::AwaitingLocalParams => {
                    "in setup, has no name yet: `moneta guardian setup set-local-params NAME`"
                }
                SetupStatus::SharingConnectionCodes => {
                    "in setup, takes the other guardians' codes: `moneta guardian setup add-peer \
                     CODE...`, then `start`"
                }
                SetupStatus::ConsensusIsRunning => "running",
            };
            fields.add("state", state);
            let text = fields.text(style);
            return match &self.setup_failure {
                Some(reason) => format!("{text}\n{}", failure_text(reason, style)),
                None => text,
            };
        };
        let away = running.peers.values().filter(|peer| !peer.is_connected()).count();
        let state = match away {
            0 => style.good("running"),
            1 => style.bad("running, 1 guardian not connected"),
            away => style.bad(format!("running, {away} guardians not connected")),
        };
        fields.add("state", state);
        fields.add("federation", running.federation_id);
        fields.add("release", &running.release);
        fields.add("sessions", running.session_count);
        if let Some(ms) = running.ordering_ms {
            fields.add("ordering takes", format!("{ms} ms"));
        }
        if let Some(session) = running.scheduled_shutdown {
            fields.add("ends after", format!("session {session}"));
        }
        for (peer, status) in &running.peers {
            fields.add(format!("guardian {peer}"), status.text(style));
        }
        fields.add("invite", &running.invite);
        fields.text(style)
    }
}

impl Peer {
    fn is_connected(&self) -> bool {
        self.status.connection_status == PeerConnection::Connected
    }

    fn text(&self, style: Style) -> String {
        let mut text = match self.is_connected() {
            true => style.good("connected"),
            false => style.bad("not connected"),
        };
        if let Some(ms) = self.rtt_ms {
            text.push_str(&format!(", {ms} ms away"));
        }
        match self.status.last_contribution {
            Some(session) => text.push_str(&format!(", last heard in session {session}")),
            None => text.push_str(", never heard"),
        }
        text
    }
}

/// Runs the command.
pub(super) async fn run(admin: &Admin<'_>) -> Result<(), Failure> {
    let status = status(admin).await?;
    admin.context.screen.report(&status)
}

async fn status(admin: &Admin<'_>) -> Result<Status, Failure> {
    let setup = admin.call(endpoint::SETUP_STATUS, Value::Null).await?;
    let url = admin.url.to_string();
    if setup != SetupStatus::ConsensusIsRunning {
        let setup_failure = admin.setup_failure(&admin.url).await;
        return Ok(Status { url, setup, setup_failure, running: None });
    }
    let view: StatusView = admin.call(endpoint::STATUS, Value::Null).await?;
    let links: P2pPeerStatus = admin.call(endpoint::P2P_CONNECTION_STATUS, Value::Null).await?;
    let ordering: Option<Duration> =
        admin.call(endpoint::CONSENSUS_ORD_LATENCY, Value::Null).await?;
    let federation = view.federation;
    let rtt = |peer: &PeerId| links.get(peer)?.as_ref()?.rtt.map(milliseconds);
    let peers = federation.iter().flat_map(|federation| &federation.status_by_peer);
    let peers = peers.map(|(peer, status)| (*peer, Peer { status: *status, rtt_ms: rtt(peer) }));
    let running = Running {
        federation_id: admin.call(endpoint::FEDERATION_ID, Value::Null).await?,
        invite: admin.call(endpoint::INVITE_CODE, Value::Null).await?,
        release: admin.call(endpoint::FEDIMINTD_VERSION, Value::Null).await?,
        session_count: federation.as_ref().map_or(0, |federation| federation.session_count),
        ordering_ms: ordering.map(milliseconds),
        scheduled_shutdown: federation
            .as_ref()
            .and_then(|federation| federation.scheduled_shutdown)
            .map(|session| session.0),
        peers: peers.collect(),
    };
    Ok(Status { url, setup, setup_failure: None, running: Some(running) })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use moneta_core::SessionIndex;
    use serde_json::json;

    use super::*;

    fn running() -> Status {
        let contribution = Some(SessionIndex(41));
        let near = PeerStatus::new(contribution, PeerConnection::Connected, 42);
        let away = PeerStatus::new(None, PeerConnection::Disconnected, 42);
        let running = Running {
            federation_id: FederationId([7; 32]),
            invite: "fed1".to_owned(),
            release: "0.13.0".to_owned(),
            session_count: 42,
            ordering_ms: Some(80),
            scheduled_shutdown: None,
            peers: BTreeMap::from([
                (PeerId::new(1), Peer { status: near, rtt_ms: Some(3) }),
                (PeerId::new(2), Peer { status: away, rtt_ms: None }),
            ]),
        };
        let setup = SetupStatus::ConsensusIsRunning;
        let url = "ws://127.0.0.1:8174/".to_owned();
        Status { url, setup, setup_failure: None, running: Some(running) }
    }

    #[test]
    fn status_has_one_entry_per_other_guardian() {
        let peer = |last: Option<u64>, connection: &str, flagged, rtt_ms: Option<u64>| {
            json!({"last_contribution": last, "connection_status": connection,
                   "flagged": flagged, "rtt_ms": rtt_ms})
        };
        let shape = json!({
            "url": "ws://127.0.0.1:8174/", "setup": "ConsensusIsRunning", "setup_failure": null,
            "running": {
                "federation_id": "07".repeat(32), "invite": "fed1", "release": "0.13.0",
                "session_count": 42, "ordering_ms": 80, "scheduled_shutdown": null,
                "peers": {
                    "1": peer(Some(41), "connected", false, Some(3)),
                    "2": peer(None, "disconnected", true, None),
                },
            },
        });
        assert_eq!(json!(running()), shape);
        let text = running().text(Style::PLAIN);
        assert!(text.contains("running, 1 guardian not connected"), "{text}");
        assert!(text.contains("not connected, never heard"), "{text}");
    }

    #[test]
    fn guardian_in_setup_says_the_next_step() {
        let setup = SetupStatus::AwaitingLocalParams;
        let setup_failure = Some("guardian 3 sent nonsense".to_owned());
        let status = Status { url: "ws://h".into(), setup, setup_failure, running: None };
        let text = status.text(Style::PLAIN);
        assert!(text.contains("set-local-params NAME") && text.contains("nonsense"), "{text}");
    }
}
