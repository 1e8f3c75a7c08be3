//! The ceremony, as operators would hold it: each tells its guardian its name, codes go round, all start.
//!
//! Source: docs/protocol/guardian.md, section 3.

use anyhow::{Context, Result};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::Guardian;

/// Sets up a federation of `guardians`, which wait in the setup phase, and returns when all generate keys.
///
/// The first is the leader: it names the federation and its size. Which modules there are is left to
/// the guardians' default.
///
/// Errors: a guardian refuses a step.
pub async fn hold(guardians: &[Guardian], federation_name: &str) -> Result<()> {
    exchange_codes(guardians, federation_name).await?;
    let start = guardians.iter().map(|guardian| guardian.call_admin("start_dkg", Value::Null));
    try_join_all(start).await?;
    Ok(())
}

/// Gives every guardian its name and the setup codes of all others.
///
/// Errors: a guardian refuses a step.
pub async fn exchange_codes(guardians: &[Guardian], federation_name: &str) -> Result<()> {
    let size = guardians.len();
    let codes = try_join_all(guardians.iter().map(async |guardian| {
        let is_leader = guardian.peer_id() == 0;
        let params = json!({
            "name": guardian.name(),
            "federation_name": is_leader.then_some(federation_name),
            "disable_base_fees": null,
            "enabled_modules": null,
            "federation_size": is_leader.then_some(size),
        });
        let code = guardian.call_admin("set_local_params", params).await?;
        code.as_str().map(str::to_owned).context("a setup code is a string")
    }))
    .await?;
    try_join_all(guardians.iter().enumerate().map(async |(own, guardian)| {
        for (other, code) in codes.iter().enumerate() {
            if other != own {
                guardian.call_admin("add_peer_setup_code", json!(code)).await?;
            }
        }
        anyhow::Ok(())
    }))
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{
        collections::BTreeSet,
        sync::{Arc, Mutex},
    };

    use async_trait::async_trait;
    use moneta_core::api::{ApiError, ApiRequest};
    use moneta_net::api::{ApiHandler, ApiServer, Limits, to_result};
    use serde_json::value::RawValue;

    use super::*;
    use crate::world::{BitcoindReport, GuardianProgram, Programs};

    /// Notes what it is told; its setup code is its name.
    #[derive(Default)]
    struct SetupPhase {
        local: Mutex<Option<Value>>,
        codes: Mutex<BTreeSet<String>>,
    }

    #[async_trait]
    impl ApiHandler for SetupPhase {
        fn knows(&self, _: &str) -> bool {
            true
        }

        async fn call(&self, method: &str, request: ApiRequest) -> Result<Arc<RawValue>, ApiError> {
            let refused = |code, message: &str| ApiError { code, message: message.to_owned() };
            if request.auth.is_none_or(|auth| auth.expose() != "password") {
                return Err(refused(401, "Invalid authorization"));
            }
            let text = request.params.as_str().map(str::to_owned);
            match method {
                "set_local_params" => {
                    let name = request.params["name"].clone();
                    *self.local.lock().unwrap() = Some(request.params);
                    to_result(&name)
                }
                "add_peer_setup_code" => {
                    let code = text.ok_or_else(|| refused(400, "not a code"))?;
                    self.codes.lock().unwrap().insert(code.clone());
                    to_result(&code)
                }
                _ => Err(refused(404, "not part of this test")),
            }
        }
    }

    fn guardian(index: u16, count: u16, folder: &std::path::Path, password: &str) -> Guardian {
        let program = GuardianProgram { path: "/nowhere".into(), is_reference: false };
        let programs = Programs { bitcoind: "/nowhere".into(), guardian: program, moneta: None };
        let node =
            BitcoindReport { rpc_url: String::new(), user: String::new(), password: String::new() };
        Guardian::prepare(index, count, folder, &programs, &node, password).unwrap()
    }

    async fn serve(guardian: &Guardian) -> (Arc<SetupPhase>, ApiServer) {
        let phase = Arc::new(SetupPhase::default());
        let address = guardian.api_url().trim_start_matches("ws://").parse().unwrap();
        let limits = Limits::setup();
        let server = ApiServer::bind(address, limits, Vec::new(), phase.clone()).await.unwrap();
        (phase, server)
    }

    #[tokio::test]
    async fn one_guardian_leads_and_all_get_the_codes_of_all_others() {
        let folder = tempfile::tempdir().unwrap();
        let guardians: Vec<_> =
            (0..4).map(|index| guardian(index, 4, folder.path(), "password")).collect();
        let mut served = Vec::new();
        for guardian in &guardians {
            served.push(serve(guardian).await);
        }
        exchange_codes(&guardians, "Friends").await.unwrap();

        let names: BTreeSet<_> = guardians.iter().map(|one| one.name().to_owned()).collect();
        for (guardian, (phase, _server)) in guardians.iter().zip(&served) {
            let is_leader = guardian.peer_id() == 0;
            let local = phase.local.lock().unwrap().clone().unwrap();
            assert_eq!(local["federation_name"].as_str(), is_leader.then_some("Friends"));
            assert_eq!(local["federation_size"].as_u64(), is_leader.then_some(4));
            let mut others = names.clone();
            others.remove(guardian.name());
            assert_eq!(*phase.codes.lock().unwrap(), others);
        }
    }

    #[tokio::test]
    async fn refusal_names_the_guardian_and_the_step() {
        let folder = tempfile::tempdir().unwrap();
        let guardians = [guardian(0, 1, folder.path(), "wrong")];
        let _served = serve(&guardians[0]).await;
        let error = exchange_codes(&guardians, "Friends").await.unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("set_local_params at guardian-0"), "{text}");
        assert!(text.contains("Invalid authorization"), "{text}");
    }
}
