//! Where operators' calls arrive until key generation is started.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moneta_core::api::{LocalParams, endpoint};
use moneta_core::{ApiError, ApiRequest, Secret};
use moneta_net::api::{ApiHandler, ApiServer, Limits, to_result};
use serde_json::value::RawValue;
use tokio::sync::{Mutex, Notify, watch};
use tracing::info;

use super::SetupState;
use crate::node::files::{DataDir, SETUP_FILE};
use crate::node::{NodeError, Options};
use crate::setup::ceremony::{Ceremony, Identity};

/// The endpoint that tells why key generation failed last; of ours, for operators' tools.
const FAILURE_ENDPOINT: &str = "moneta_setup_failure";

/// Answers the setup endpoints until key generation is started.
pub(super) async fn serve(
    dir: &DataDir,
    options: &Options,
    identity: &Identity,
    state: SetupState,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<SetupState>, NodeError> {
    let desk = Arc::new(Desk {
        files: dir.share(),
        identity: identity.clone(),
        password: options.password.clone(),
        state: Mutex::new(state),
        started: Notify::new(),
    });
    let secrets = options.api_secrets.clone();
    let handler = SetupApi(desk.clone());
    let server =
        ApiServer::bind(options.bind_api, Limits::setup(), secrets, Arc::new(handler)).await?;
    info!(target: "moneta::setup", address = %server.local_addr(),
        "waiting for setup; drive it with `moneta guardian setup`");
    let started = tokio::select! {
        () = desk.started.notified() => true,
        _ = stop.wait_for(|stop| *stop) => false,
    };
    if started {
        // The answer to `start_dkg` is still on its way.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.shutdown().await;
    if !started {
        return Ok(None);
    }
    Ok(dir.read_json(SETUP_FILE)?)
}

/// Where operators' calls arrive.
struct Desk {
    files: DataDir,
    identity: Identity,
    password: Option<Secret>,
    state: Mutex<SetupState>,
    started: Notify,
}

struct SetupApi(Arc<Desk>);

#[async_trait]
impl ApiHandler for SetupApi {
    fn knows(&self, method: &str) -> bool {
        matches!(
            method,
            endpoint::SETUP_STATUS
                | endpoint::SET_LOCAL_PARAMS
                | endpoint::ADD_PEER_SETUP_CODE
                | endpoint::RESET_PEER_SETUP_CODES
                | endpoint::GET_SETUP_CODE
                | endpoint::START_DKG
                | FAILURE_ENDPOINT
        )
    }

    async fn call(&self, method: &str, request: ApiRequest) -> Result<Arc<RawValue>, ApiError> {
        let desk = &self.0;
        let admin = || request.check_password(desk.password.as_ref());
        let mut state = desk.state.lock().await;
        match method {
            endpoint::SETUP_STATUS => to_result(&state.ceremony.status()),
            endpoint::GET_SETUP_CODE => {
                request.parse_params::<()>()?;
                admin()?;
                to_result(&state.ceremony.setup_code())
            }
            FAILURE_ENDPOINT => {
                request.parse_params::<()>()?;
                admin()?;
                to_result(&state.failure)
            }
            endpoint::SET_LOCAL_PARAMS => {
                let params: LocalParams = request.parse_params()?;
                admin()?;
                let code = desk.change(&mut state, |ceremony| {
                    ceremony.set_local_params(params, &desk.identity)
                })?;
                to_result(&code)
            }
            endpoint::ADD_PEER_SETUP_CODE => {
                let code: String = request.parse_params()?;
                admin()?;
                let name = desk.change(&mut state, |ceremony| ceremony.add_peer(&code))?;
                info!(target: "moneta::setup", guardian = %name, "setup code added");
                to_result(&name)
            }
            endpoint::RESET_PEER_SETUP_CODES => {
                request.parse_params::<()>()?;
                admin()?;
                desk.change(&mut state, Ceremony::reset_peers)?;
                to_result(&())
            }
            _ => {
                request.parse_params::<()>()?;
                admin()?;
                desk.change(&mut state, |ceremony| ceremony.start(&desk.identity))?;
                desk.started.notify_one();
                to_result(&())
            }
        }
    }
}

impl Desk {
    /// Changes the ceremony and stores it before the answer leaves.
    fn change<T>(
        &self,
        state: &mut SetupState,
        change: impl FnOnce(&mut Ceremony) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let before = state.ceremony.clone();
        let value = change(&mut state.ceremony)?;
        if let Err(error) = self.files.write_json(SETUP_FILE, &*state) {
            state.ceremony = before;
            return Err(ApiError::internal(error));
        }
        Ok(value)
    }
}
