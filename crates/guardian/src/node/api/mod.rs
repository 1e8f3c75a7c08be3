//! The client API of a running guardian.
//!
//! Answers are functions of the last commit. Long polls register for a key of the store, look,
//! and wait; they end after [`LONG_POLL`] with the protocol's time-out, which clients answer by
//! asking again.
//!
//! Source: docs/protocol/core.md, section 8.

mod admin;
mod gate;
mod sessions;
mod transactions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moneta_core::api::{SetupStatus, endpoint};
use moneta_core::version::CORE_API;
use moneta_core::{
    ApiError, ApiRequest, ClientConfig, CoreVersionSummary, InviteCode, ModuleInstanceId,
    ModuleVersionSummary, MultiApiVersion, Secret, SignedBackupRequest, VersionSummary,
};
use moneta_module::server::{Reply, View};
use moneta_net::api::{ApiHandler, to_result};
use moneta_store::StoreError;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use self::gate::Gate;
use super::shared::Node;
use super::{NodeError, gossip, peers, tables};

/// How long a call waits: less than the 60 s after which clients give up, so that both ends do
/// not time out at the same instant (core.md 7.1).
const LONG_POLL: Duration = Duration::from_secs(50);

type Answer = Result<Arc<RawValue>, ApiError>;

/// What the API server calls.
pub(super) struct NodeApi {
    node: Arc<Node>,
    /// Serialised once: every joining client asks for them.
    client_config: Arc<RawValue>,
    client_config_json: Arc<RawValue>,
    version: Arc<RawValue>,
    names: BTreeSet<String>,
    /// One backup at a time: each holds the store's only writer, which ordering needs, for two syncs.
    backups: Gate,
    /// A session is some megabytes to read and to write as text.
    sessions: Gate,
    /// Endpoints of modules that say so, such as slices of a mint's log.
    heavy: Gate,
}

impl NodeApi {
    pub(super) fn new(node: Arc<Node>) -> Result<Self, NodeError> {
        let broken = |error: ApiError| {
            NodeError::ConsensusStopped(format!("an answer cannot be prepared: {error}"))
        };
        let client_config = to_result(&node.client_config).map_err(broken)?;
        let readable = readable_config(&node)?;
        let client_config_json = to_result(&readable).map_err(broken)?;
        let version = to_result(&versions(&node)).map_err(broken)?;
        let mut names: BTreeSet<String> = CORE_ENDPOINTS.iter().map(|n| (*n).to_owned()).collect();
        for (instance, module) in node.engine.modules() {
            for endpoint in module.endpoints() {
                names.insert(format!("module_{instance}_{}", endpoint.name));
            }
        }
        Ok(Self {
            node,
            client_config,
            client_config_json,
            version,
            names,
            backups: Gate::new(1),
            sessions: Gate::half_the_processors(),
            heavy: Gate::half_the_processors(),
        })
    }
}

const CORE_ENDPOINTS: [&str; 36] = [
    endpoint::VERSION,
    endpoint::CLIENT_CONFIG,
    endpoint::CLIENT_CONFIG_JSON,
    endpoint::FEDERATION_ID,
    endpoint::INVITE_CODE,
    endpoint::SERVER_CONFIG_CONSENSUS_HASH,
    endpoint::FEDIMINTD_VERSION,
    endpoint::CHAIN_ID,
    endpoint::SUBMIT_TRANSACTION,
    endpoint::AWAIT_TRANSACTION,
    endpoint::AWAIT_OUTPUT_OUTCOME,
    endpoint::AWAIT_OUTPUTS_OUTCOMES,
    endpoint::SESSION_COUNT,
    endpoint::AWAIT_SESSION_OUTCOME,
    endpoint::AWAIT_SIGNED_SESSION_OUTCOME,
    endpoint::SESSION_STATUS,
    endpoint::SIGNED_SESSION_STATUS,
    endpoint::BACKUP,
    endpoint::RECOVER,
    endpoint::API_ANNOUNCEMENTS,
    endpoint::SUBMIT_API_ANNOUNCEMENT,
    endpoint::SIGN_API_ANNOUNCEMENT,
    endpoint::GUARDIAN_METADATA,
    endpoint::SUBMIT_GUARDIAN_METADATA,
    endpoint::SIGN_GUARDIAN_METADATA,
    endpoint::STATUS,
    endpoint::SETUP_STATUS,
    endpoint::CONSENSUS_ORD_LATENCY,
    endpoint::P2P_CONNECTION_STATUS,
    endpoint::AUTH,
    endpoint::AUDIT,
    endpoint::BACKUP_STATISTICS,
    endpoint::DOWNLOAD_GUARDIAN_BACKUP,
    endpoint::SHUTDOWN,
    // Of ours: what an operator's tools want to know and the reference has no endpoint for.
    "moneta_consensus_status",
    "moneta_links",
];

#[async_trait]
impl ApiHandler for NodeApi {
    fn knows(&self, method: &str) -> bool {
        self.names.contains(method)
    }

    async fn call(&self, method: &str, request: ApiRequest) -> Answer {
        if let Some((instance, name)) = split_module_method(method) {
            return self.call_module(instance, name, &request).await;
        }
        let node = &self.node;
        match method {
            endpoint::VERSION => plain(&request, self.version.clone()),
            endpoint::CLIENT_CONFIG => plain(&request, self.client_config.clone()),
            endpoint::CLIENT_CONFIG_JSON => plain(&request, self.client_config_json.clone()),
            endpoint::FEDERATION_ID => answer(&request, || Ok(node.federation)),
            endpoint::INVITE_CODE => answer(&request, || self.invite()),
            endpoint::SERVER_CONFIG_CONSENSUS_HASH => {
                answer(&request, || Ok(node.config.consensus.hash().to_string()))
            }
            endpoint::FEDIMINTD_VERSION => answer(&request, || Ok(node.release.clone())),
            endpoint::SETUP_STATUS => answer(&request, || Ok(SetupStatus::ConsensusIsRunning)),
            endpoint::CHAIN_ID => answer(&request, || {
                node.chain_id.get().copied().ok_or_else(|| {
                    ApiError::internal("The bitcoin source of this guardian has not answered yet")
                })
            }),
            endpoint::SUBMIT_TRANSACTION
            | endpoint::AWAIT_TRANSACTION
            | endpoint::AWAIT_OUTPUT_OUTCOME
            | endpoint::AWAIT_OUTPUTS_OUTCOMES => transactions::call(node, method, &request).await,
            endpoint::SESSION_COUNT
            | endpoint::AWAIT_SESSION_OUTCOME
            | endpoint::AWAIT_SIGNED_SESSION_OUTCOME
            | endpoint::SESSION_STATUS
            | endpoint::SIGNED_SESSION_STATUS => {
                sessions::call(node, &self.sessions, method, &request).await
            }
            endpoint::BACKUP => {
                let backup: SignedBackupRequest = request.parse_params()?;
                to_result(&self.backups.run(|| admin::store_backup(node, backup)).await?)
            }
            endpoint::RECOVER => {
                let id = request.parse_params()?;
                let stored = tables::BACKUPS.get(&node.store.snapshot(), &id);
                to_result(&stored.map_err(store_failed)?)
            }
            endpoint::API_ANNOUNCEMENTS => {
                answer(&request, || gossip::announcements(node).map_err(store_failed))
            }
            endpoint::GUARDIAN_METADATA => {
                answer(&request, || gossip::metadata(node).map_err(store_failed))
            }
            endpoint::SUBMIT_API_ANNOUNCEMENT => {
                to_result(&gossip::submit_announcement(node, request.parse_params()?)?)
            }
            endpoint::SUBMIT_GUARDIAN_METADATA => {
                to_result(&gossip::submit_metadata(node, request.parse_params()?)?)
            }
            other => admin::call(node, other, &request),
        }
    }
}

impl NodeApi {
    async fn call_module(
        &self,
        instance: ModuleInstanceId,
        name: &str,
        request: &ApiRequest,
    ) -> Answer {
        let node = &self.node;
        let module = node.engine.module(instance);
        let module = module.ok_or_else(|| ApiError::not_found(instance))?;
        let endpoint = module.endpoints().iter().find(|known| known.name == name);
        let endpoint = endpoint.ok_or_else(|| ApiError::not_found(name))?;
        if endpoint.admin {
            request.check_password(node.password.as_ref())?;
        }
        let deadline = Instant::now() + LONG_POLL;
        let mut waiter: Option<super::waiters::Waiter> = None;
        loop {
            let look = || {
                let snapshot = node.store.snapshot();
                let state = node.engine.module_state(&snapshot, instance);
                let view = View { state: &state, salt: rand::random() };
                module.call(&view, name, &request.params)
            };
            let reply = if endpoint.heavy { self.heavy.run(look).await? } else { look()? };
            match reply {
                Reply::Value(value) => return to_result(&value),
                Reply::Json(text) => {
                    return RawValue::from_string(text).map(Arc::from).map_err(ApiError::internal);
                }
                Reply::Write { batch, value } => {
                    self.write_module(instance, &batch)?;
                    return to_result(&value);
                }
                Reply::WaitFor(key) => {
                    let key = node.engine.module_key(instance, &key);
                    match &mut waiter {
                        // Registered before this look at the store: nothing was missed.
                        Some(waiting) if waiting.key() == key => {
                            wait(waiting, deadline).await?;
                            waiter = None;
                        }
                        // A module that never names the same key twice must not spin for ever.
                        _ if Instant::now() >= deadline => return Err(ApiError::timeout()),
                        _ => waiter = Some(node.waiters.register(key)),
                    }
                }
            }
        }
    }

    /// Writes guardian-local values of a module. Consensus tables are refused: they belong to
    /// the ordering task alone.
    fn write_module(
        &self,
        instance: ModuleInstanceId,
        batch: &moneta_store::Batch,
    ) -> Result<(), ApiError> {
        let node = &self.node;
        let mut full = moneta_store::Batch::new();
        for (key, value) in batch.iter() {
            if key.first().is_none_or(|table| *table < moneta_module::LOCAL_TABLES_FROM) {
                return Err(ApiError::internal("an endpoint may not write consensus state"));
            }
            let key = node.engine.module_key(instance, key);
            match value {
                Some(value) => full.put(key, value),
                None => full.delete(key),
            }
        }
        let keys: Vec<Vec<u8>> = full.iter().map(|(key, _)| key.to_vec()).collect();
        node.store.commit(full).map_err(store_failed)?;
        node.waiters.wake(keys.iter().map(Vec::as_slice));
        node.proposals_due.notify_one();
        Ok(())
    }

    fn invite(&self) -> Result<String, ApiError> {
        invite_code(&self.node).map_err(ApiError::internal)
    }
}

/// The invite code that names this guardian alone.
pub(super) fn invite_code(node: &Node) -> Result<String, String> {
    let me = node.me();
    let url = peers::current_url(node, me).ok_or("this guardian has no address")?;
    let secret = node.api_secrets.first().map(|secret| Secret::new(secret.clone()));
    let invite = InviteCode::new(BTreeMap::from([(me, url)]), node.federation, secret);
    let invite = invite.map_err(|error| error.to_string())?;
    invite.to_bech32m().map_err(|error| error.to_string())
}

/// Waits for a key, at most until `deadline`.
async fn wait(waiter: &mut super::waiters::Waiter, deadline: Instant) -> Result<(), ApiError> {
    tokio::time::timeout_at(deadline, waiter.woken()).await.map_err(|_| ApiError::timeout())
}

fn plain(request: &ApiRequest, value: Arc<RawValue>) -> Answer {
    request.parse_params::<()>()?;
    Ok(value)
}

/// Answers an endpoint without parameters.
fn answer<T: Serialize>(
    request: &ApiRequest,
    value: impl FnOnce() -> Result<T, ApiError>,
) -> Answer {
    request.parse_params::<()>()?;
    to_result(&value()?)
}

fn store_failed(error: StoreError) -> ApiError {
    ApiError::internal(error)
}

fn split_module_method(method: &str) -> Option<(ModuleInstanceId, &str)> {
    let (instance, name) = method.strip_prefix("module_")?.split_once('_')?;
    Some((ModuleInstanceId::new(instance.parse().ok()?), name))
}

fn versions(node: &Node) -> VersionSummary {
    let core_consensus = node.config.consensus.version;
    let modules = node.engine.modules().filter_map(|(instance, module)| {
        let config = node.config.consensus.modules.get(&instance)?;
        let versions = ModuleVersionSummary {
            core_consensus,
            module_consensus: config.version,
            api: MultiApiVersion::single(module.api_version()),
        };
        Some((instance, versions))
    });
    VersionSummary {
        core: CoreVersionSummary { core_consensus, api: MultiApiVersion::single(CORE_API) },
        modules: modules.collect(),
    }
}

fn readable_config(node: &Node) -> Result<serde_json::Value, NodeError> {
    let config: &ClientConfig = &node.client_config;
    let mut fields = BTreeMap::new();
    for (instance, module) in &node.config.consensus.modules {
        let kind = node.kinds.iter().find(|kind| kind.kind() == module.kind);
        if let Some(kind) = kind {
            let json = kind.client_config_json(&module.config).map_err(|source| {
                crate::setup::config::ConfigError::Module { instance: *instance, source }
            })?;
            if let serde_json::Value::Object(json) = json {
                fields.insert(*instance, json);
            }
        }
    }
    Ok(config.to_readable_json(|instance, _| fields.get(&instance).cloned()))
}
