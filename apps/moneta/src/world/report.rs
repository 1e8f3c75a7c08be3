//! What `moneta-dev up --json` prints: all a script needs to use the world.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A world that is ready. Holds passwords: of a private chain with worthless coins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldReport {
    /// The invite code of the federation.
    pub invite: String,
    /// The password of every guardian's admin endpoints.
    pub admin_password: String,
    /// The Bitcoin node.
    pub bitcoind: BitcoindReport,
    /// In the order of their peer ids.
    pub guardians: Vec<GuardianReport>,
}

/// How to reach the Bitcoin node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BitcoindReport {
    /// `http://127.0.0.1:port`, without credentials.
    pub rpc_url: String,
    /// The RPC user.
    pub user: String,
    /// The RPC password.
    pub password: String,
}

/// How to reach one guardian.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardianReport {
    /// Its number in the federation.
    pub peer_id: u16,
    /// `ws://127.0.0.1:port`.
    pub api_url: String,
    /// Where its state lies.
    pub data_dir: PathBuf,
    /// Its process.
    pub pid: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_is_one_line_with_the_agreed_names() {
        let report = WorldReport {
            invite: "fed1".into(),
            admin_password: "a".into(),
            bitcoind: BitcoindReport {
                rpc_url: "http://127.0.0.1:1".into(),
                user: "u".into(),
                password: "p".into(),
            },
            guardians: vec![GuardianReport {
                peer_id: 0,
                api_url: "ws://127.0.0.1:2".into(),
                data_dir: "/d".into(),
                pid: 7,
            }],
        };
        let line = serde_json::to_string(&report).expect("plain data serialises");
        assert_eq!(
            line,
            r#"{"invite":"fed1","admin_password":"a","bitcoind":{"rpc_url":"http://127.0.0.1:1","user":"u","password":"p"},"guardians":[{"peer_id":0,"api_url":"ws://127.0.0.1:2","data_dir":"/d","pid":7}]}"#
        );
    }
}
