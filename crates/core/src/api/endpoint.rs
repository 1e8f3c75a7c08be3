//! Names of the endpoints of a guardian itself. Modules have their own.
//!
//! Source: docs/protocol/core.md, sections 8.1 and 8.5.

/// Versions the guardian supports.
pub const VERSION: &str = "version";
/// The client config.
pub const CLIENT_CONFIG: &str = "client_config";
/// The client config for readers that do not know the modules.
pub const CLIENT_CONFIG_JSON: &str = "client_config_json";
/// The federation id.
pub const FEDERATION_ID: &str = "federation_id";
/// An invite code with the guardian's own address.
pub const INVITE_CODE: &str = "invite_code";
/// Hash of the guardians' consensus config.
pub const SERVER_CONFIG_CONSENSUS_HASH: &str = "server_config_consensus_hash";
/// The release the guardian runs.
pub const FEDIMINTD_VERSION: &str = "fedimintd_version";
/// Hash of the Bitcoin block at height 1.
pub const CHAIN_ID: &str = "chain_id";
/// Submits a transaction.
pub const SUBMIT_TRANSACTION: &str = "submit_transaction";
/// Waits until a transaction is accepted.
pub const AWAIT_TRANSACTION: &str = "await_transaction";
/// Waits for the outcome of one output.
pub const AWAIT_OUTPUT_OUTCOME: &str = "await_output_outcome";
/// Waits for the outcomes of a range of outputs.
pub const AWAIT_OUTPUTS_OUTCOMES: &str = "await_outputs_outcomes";
/// Number of finished sessions.
pub const SESSION_COUNT: &str = "session_count";
/// Waits for a finished session.
pub const AWAIT_SESSION_OUTCOME: &str = "await_session_outcome";
/// Waits for a finished session with signatures.
pub const AWAIT_SIGNED_SESSION_OUTCOME: &str = "await_signed_session_outcome";
/// How far a session is.
pub const SESSION_STATUS: &str = "session_status";
/// How far a session is, with signatures.
pub const SIGNED_SESSION_STATUS: &str = "signed_session_status";
/// Stores a client backup.
pub const BACKUP: &str = "backup";
/// Returns a client backup.
pub const RECOVER: &str = "recover";
/// All announced addresses.
pub const API_ANNOUNCEMENTS: &str = "api_announcements";
/// Stores an announced address.
pub const SUBMIT_API_ANNOUNCEMENT: &str = "submit_api_announcement";
/// Admin: announces an own address.
pub const SIGN_API_ANNOUNCEMENT: &str = "sign_api_announcement";
/// Metadata of all guardians.
pub const GUARDIAN_METADATA: &str = "guardian_metadata";
/// Stores a guardian's metadata.
pub const SUBMIT_GUARDIAN_METADATA: &str = "submit_guardian_metadata";
/// Admin: signs own metadata.
pub const SIGN_GUARDIAN_METADATA: &str = "sign_guardian_metadata";
/// State of the guardian and its peers.
pub const STATUS: &str = "status";
/// How far the setup is.
pub const SETUP_STATUS: &str = "setup_status";
/// How long ordering takes.
pub const CONSENSUS_ORD_LATENCY: &str = "consensus_ord_latency";
/// Links to the other guardians.
pub const P2P_CONNECTION_STATUS: &str = "p2p_connection_status";
/// Admin: tests the password.
pub const AUTH: &str = "auth";
/// Admin: the balance sheet.
pub const AUDIT: &str = "audit";
/// Admin: figures about stored client backups.
pub const BACKUP_STATISTICS: &str = "backup_statistics";
/// Admin: the guardian's own backup.
pub const DOWNLOAD_GUARDIAN_BACKUP: &str = "download_guardian_backup";
/// Admin: stop after a session.
pub const SHUTDOWN: &str = "shutdown";

/// Setup, admin: sets name and, for the leader, the federation's parameters.
pub const SET_LOCAL_PARAMS: &str = "set_local_params";
/// Setup, admin: adds another guardian's code.
pub const ADD_PEER_SETUP_CODE: &str = "add_peer_setup_code";
/// Setup, admin: forgets the added codes.
pub const RESET_PEER_SETUP_CODES: &str = "reset_peer_setup_codes";
/// Setup, admin: the own code.
pub const GET_SETUP_CODE: &str = "get_setup_code";
/// Setup, admin: starts key generation.
pub const START_DKG: &str = "start_dkg";

/// Returns whether the endpoint of this name asks for the guardian's password.
pub fn needs_password(name: &str) -> bool {
    matches!(
        name,
        SIGN_API_ANNOUNCEMENT
            | SIGN_GUARDIAN_METADATA
            | AUTH
            | AUDIT
            | BACKUP_STATISTICS
            | DOWNLOAD_GUARDIAN_BACKUP
            | SHUTDOWN
            | SET_LOCAL_PARAMS
            | ADD_PEER_SETUP_CODE
            | RESET_PEER_SETUP_CODES
            | GET_SETUP_CODE
            | START_DKG
    )
}
