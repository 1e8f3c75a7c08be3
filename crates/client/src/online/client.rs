//! The handle to one federation of an open wallet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moneta_core::amount::Msat;
use moneta_core::api::Method;
use moneta_core::config::PeerUrl;
use moneta_core::id::{FederationId, ModuleInstanceId, ModuleKind, OperationId, PeerId};
use moneta_core::invite::InviteCode;
use moneta_core::peers::FederationSize;
use moneta_module::client::{Call, ClientModule, End, Target, Turn};
use moneta_store::StoreError;
use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::ask::{AskError, ask};
use super::drive::{Shared, Stopped};
use super::known::CHAIN_ID;
use super::overlay::Overlays;
use super::{Guardians, Transport, blocking, now};
use crate::driver::{ActError, Driver, Unsettled};
use crate::history::{self, Event, Operation};
use crate::meta::{self, MetaError};

/// Why nobody can wait for an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// Refused: there is no such operation.
    #[error("operation {0} is not known")]
    Unknown(OperationId),
    /// Unavailable: the client stopped; the operation goes on when the wallet is opened again.
    #[error("the wallet was closed before the operation ended{}", .reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Stopped {
        /// Why, if it was not asked to.
        reason: Option<String>,
    },
}

/// An operation that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// How.
    pub end: End,
    /// Everything that happened in it, oldest first.
    pub events: Vec<Event>,
}

/// What does not change while a client is open.
#[derive(Debug, Clone)]
pub struct ClientInfo {
    /// Which federation.
    pub federation: FederationId,
    /// The texts fixed at setup, such as `federation_name`.
    pub meta: BTreeMap<String, String>,
    /// The invite the wallet joined with.
    pub invite: InviteCode,
    /// The guardians as they were at setup.
    pub guardians: BTreeMap<PeerId, PeerUrl>,
    /// The modules in use.
    pub modules: BTreeMap<ModuleInstanceId, ModuleKind>,
    /// Modules of kinds this wallet does not know.
    pub unknown: BTreeMap<ModuleInstanceId, ModuleKind>,
    /// Modules of known kinds that the guardians serve in no version this wallet speaks. Their
    /// money seems missing until a release that does.
    pub unusable: BTreeMap<ModuleInstanceId, ModuleKind>,
}

/// A handle to one federation of an open wallet. Dropping it has its tasks end soon;
/// [`Client::shutdown`] waits for that.
pub struct Client {
    pub(super) info: ClientInfo,
    pub(super) size: FederationSize,
    pub(super) guardians: Arc<Guardians>,
    pub(super) shared: Arc<Shared>,
    pub(super) overlays: Overlays,
    pub(super) stop: watch::Sender<bool>,
    pub(super) driving: JoinHandle<()>,
    pub(super) refreshing: JoinHandle<()>,
}

/// Why the fields that a federation says of itself are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FieldsError {
    /// Refused: what the guardians agreed on is no set of fields.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// Broken: the wallet's store failed.
    #[error("the wallet's store failed: {0}")]
    Store(#[from] StoreError),
}

impl Client {
    /// What does not change while the client is open.
    pub fn info(&self) -> &ClientInfo {
        &self.info
    }

    /// The first module of a kind, if one is in use.
    pub fn find_module(&self, kind: &ModuleKind) -> Option<ModuleInstanceId> {
        self.info.modules.iter().find(|(_, known)| *known == kind).map(|(instance, _)| *instance)
    }

    /// Takes an action of the user, see [`Driver::act`]. When it returns, what the action decided
    /// is durable and on its way.
    pub async fn act<M, T, E, F>(
        &self,
        instance: ModuleInstanceId,
        action: F,
    ) -> Result<T, ActError<E>>
    where
        M: ClientModule,
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&M, &mut Turn<'_, M::Machine>) -> Result<T, E> + Send + 'static,
    {
        let acted = self.with_driver(move |driver| driver.act(instance, now(), action)).await;
        self.shared.wake.notify_one();
        acted
    }

    /// Looks at the driver, for what has no method here.
    pub async fn with_driver<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Driver) -> T + Send + 'static,
    ) -> T {
        let shared = self.shared.clone();
        match blocking(move || shared.driver().as_mut().map(look)).await {
            Some(value) => value,
            // Shut down, which takes a client that nobody waits on any more.
            None => std::future::pending().await,
        }
    }

    /// What the wallet can spend here now.
    pub async fn balance(&self) -> Result<Msat, StoreError> {
        self.with_driver(|driver| driver.balance()).await
    }

    /// The latest operations, newest first, at most `limit`.
    pub async fn operations(&self, limit: usize) -> Result<Vec<Operation>, StoreError> {
        self.with_driver(move |driver| history::operations(&driver.view(), limit)).await
    }

    /// One operation and everything that happened in it, oldest first.
    pub async fn operation(
        &self,
        id: OperationId,
    ) -> Result<Option<(Operation, Vec<Event>)>, StoreError> {
        self.with_driver(move |driver| {
            let view = driver.view();
            let Some(operation) = history::operation(&view, id)? else { return Ok(None) };
            Ok(Some((operation, history::events_of(&view, id)?)))
        })
        .await
    }

    /// The chain the federation holds its coins on, as far as it is known: the hash of block 1, hex.
    pub async fn chain_id(&self) -> Result<Option<String>, StoreError> {
        self.with_driver(|driver| CHAIN_ID.get(&driver.view(), &())).await
    }

    /// What the federation says of itself: name, welcome message, expiry. See [`crate::meta`].
    ///
    /// `module_value` is what the guardians agreed on, if the `meta` module has a value; nothing else
    /// counts then. Without one, a document that the config names is fetched from the web, at most
    /// every ten minutes and bounded in size and time; failures leave what was fetched before.
    pub async fn fields(
        &self,
        module_value: Option<&[u8]>,
    ) -> Result<BTreeMap<String, Value>, FieldsError> {
        let overlay = match module_value {
            Some(_) => BTreeMap::new(),
            None => self.overlays.fields().await?,
        };
        Ok(meta::overlaid_fields(module_value, &self.info.meta, overlay)?)
    }

    /// The transactions whose fate is open, those among them that guardians do not take or do not
    /// accept for long.
    pub async fn unsettled(&self) -> Vec<Unsettled> {
        self.with_driver(|driver| driver.unsettled()).await
    }

    /// Asks the guardians something that belongs to no operation, such as what a withdrawal costs
    /// now. `call` is one of a module's, with a strategy that agrees.
    ///
    /// Errors: no agreement within `limit`; nothing happened. Cancel safe.
    pub async fn ask(
        &self,
        instance: ModuleInstanceId,
        call: Call,
        limit: Duration,
    ) -> Result<Value, AskError> {
        let Call { target, params, strategy } = call;
        let method = match target {
            Target::Module(name) => Method::Module(instance, name.to_owned()),
            Target::Core(name) => Method::Core(name.to_owned()),
        };
        let transport: Arc<dyn Transport> = self.guardians.clone();
        ask(&transport, self.size, &method.to_string(), params, strategy, limit).await
    }

    /// Events as they are committed, from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Waits until an operation has ended. Cancel safe.
    pub async fn wait_operation(&self, id: OperationId) -> Result<Ended, WaitError> {
        let mut events = self.subscribe();
        let mut stopped = self.shared.stopped.subscribe();
        loop {
            let failed = |error: StoreError| WaitError::Stopped { reason: Some(error.to_string()) };
            let (operation, past) =
                self.operation(id).await.map_err(failed)?.ok_or(WaitError::Unknown(id))?;
            if let Some(end) = operation.end {
                return Ok(Ended { end, events: past });
            }
            let ends = |event: &Event| event.operation == Some(id) && event.end.is_some();
            tokio::select! {
                () = async {
                    // Missed events are found in the history.
                    while let Ok(event) = events.recv().await {
                        if ends(&event) { break }
                    }
                } => {}
                state = stopped.wait_for(|state| *state != Stopped::Running) => {
                    let reason = match state.as_deref() {
                        Ok(Stopped::Failed(reason)) => Some(reason.clone()),
                        _ => None,
                    };
                    return Err(WaitError::Stopped { reason });
                }
            }
        }
    }

    /// Stops the tasks, waits until they have ended, and lets go of the store. What is under way
    /// goes on when the federation is opened again.
    pub async fn shutdown(self) {
        let Self { shared, overlays, stop, driving, refreshing, .. } = self;
        drop(overlays);
        stop.send_replace(true);
        // A task that panicked has ended as well.
        let _ = refreshing.await;
        let _ = driving.await;
        blocking(move || {
            if let Some(mut driver) = shared.driver().take() {
                // If this fails the guardians tell again what became of a transaction.
                let _ = driver.flush();
            }
        })
        .await;
    }
}
