//! One federation of an open wallet: the driver in its task, and the handle to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moneta_core::amount::Msat;
use moneta_core::api::Method;
use moneta_core::config::{PeerUrl, PeersError};
use moneta_core::id::{FederationId, ModuleInstanceId, ModuleKind, OperationId, PeerId};
use moneta_core::invite::InviteCode;
use moneta_core::peers::FederationSize;
use moneta_module::client::{Call, ClientKind, ClientModule, End, Target, Turn};
use moneta_net::api::ApiConnector;
use moneta_store::{Store, StoreError, WriteSet};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinHandle, JoinSet};

use super::ask::{AskError, ask};
use super::known::{ADDRESSES, CHAIN_ID, MEMBERSHIP, Membership, PENDING_CONFIG, versions};
use super::refresh::Refresh;
use super::{Guardians, Transport, now};
use crate::driver::{
    ActError, BeginError, Driver, OpenModuleError, OpenedModules, Request, RequestId, open_modules,
};
use crate::history::{self, Event, Operation};
use crate::query::CallFailure;
use crate::versions::{self as discovery, NoCommonVersion};
use crate::words::{Derivation, Words};

/// Events kept for a listener that is slow; one that falls further behind misses some and can read
/// them in the history.
const EVENT_BACKLOG: usize = 1024;

/// Why the wallet does not open on a federation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Refused: the wallet never joined it.
    #[error("this wallet has not joined federation {0}")]
    NotJoined(FederationId),
    /// Broken: the store was made with other words.
    #[error("the wallet's words are not those this federation was joined with")]
    OtherWords,
    /// Broken: the stored config makes no federation.
    #[error("the federation's config is not usable: {0}")]
    Peers(#[from] PeersError),
    /// Refused: the guardians' versions do not fit.
    #[error(transparent)]
    Versions(#[from] NoCommonVersion),
    /// Broken: a module does not open.
    #[error(transparent)]
    Module(#[from] OpenModuleError),
    /// Broken: a module does not begin.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// Broken: the wallet's store failed.
    #[error("the wallet's store failed: {0}")]
    Store(#[from] StoreError),
}

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
    info: ClientInfo,
    size: FederationSize,
    guardians: Arc<Guardians>,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    driving: JoinHandle<()>,
    refreshing: JoinHandle<()>,
}

struct Shared {
    /// Absent once the client was shut down: nothing holds the store any more then.
    driver: Mutex<Option<Driver>>,
    /// Has the driver task look again.
    wake: Notify,
    events: broadcast::Sender<Event>,
    stopped: watch::Sender<Stopped>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stopped {
    Running,
    Asked,
    Failed(String),
}

impl Client {
    /// Opens on the store of a federation that was joined, and starts its tasks.
    pub(super) async fn open(
        store: Store,
        federation: FederationId,
        words: &Words,
        kinds: &[Box<dyn ClientKind>],
        connector: ApiConnector,
    ) -> Result<Self, OpenError> {
        let membership = activate_pending_config(&store, federation)?;
        let Membership { config, invite, recovering, doubled, check } = membership;
        let derivation = if doubled { Derivation::Doubled } else { Derivation::Standard };
        let secrets = words.secrets(federation, derivation);
        if secrets.check_value() != check {
            return Err(OpenError::OtherWords);
        }
        let size = config.size()?;
        let view = store.snapshot();
        let found = discovery::agree(&config, kinds, &versions(&view)?)?;
        let usable = |instance| found.agreed.modules.contains_key(&instance);
        let opened = open_modules(&config, size, kinds, &secrets, usable)?;
        let OpenedModules { modules, unknown } = opened;
        let info = ClientInfo {
            federation,
            meta: config.global.meta.clone(),
            guardians: config.global.api_endpoints.clone(),
            modules: modules.iter().map(|(instance, module)| (*instance, module.kind())).collect(),
            unknown,
            unusable: found.unusable,
            invite,
        };
        let addresses = ADDRESSES.get(&view, &())?.unwrap_or_default();
        drop(view);
        let urls = addresses.current(&config.global);
        let guardians = Guardians::new(connector, urls, info.invite.api_secret().cloned());

        let mut driver =
            Driver::open(store.clone(), size, modules, Box::new(StdRng::from_entropy()))?;
        driver.begin(recovering, now())?;
        let (stop, stopping) = watch::channel(false);
        let refresh = Refresh {
            store,
            config,
            size,
            guardians: guardians.clone(),
            stopping: stopping.clone(),
        };
        let refreshing = tokio::spawn(refresh.run());
        let shared = Arc::new(Shared {
            driver: Mutex::new(Some(driver)),
            wake: Notify::new(),
            events: broadcast::Sender::new(EVENT_BACKLOG),
            stopped: watch::Sender::new(Stopped::Running),
        });
        let driving = tokio::spawn(drive(shared.clone(), guardians.clone(), stopping));
        Ok(Self { info, size, guardians, shared, stop, driving, refreshing })
    }

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

    /// Asks the guardians something that belongs to no operation, such as what a withdrawal costs
    /// now. `call` is one of a module's, with a strategy that agrees.
    ///
    /// Errors: no agreement within `limit`; nothing happened. Cancel safe.
    pub async fn ask(
        &self,
        instance: ModuleInstanceId,
        call: Call,
        limit: Duration,
    ) -> Result<serde_json::Value, AskError> {
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
        let Self { info: _, size: _, guardians: _, shared, stop, driving, refreshing } = self;
        stop.send_replace(true);
        // A task that panicked has ended as well.
        let _ = refreshing.await;
        let _ = driving.await;
        blocking(move || drop(shared.driver().take())).await;
    }
}

impl Shared {
    /// A panic in a module leaves the store as of the last commit and at worst a machine that waits
    /// until the next start, so the driver may go on.
    fn driver(&self) -> MutexGuard<'_, Option<Driver>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what blocks on the disk where it may.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Takes over the config that was noted for this start.
fn activate_pending_config(
    store: &Store,
    federation: FederationId,
) -> Result<Membership, OpenError> {
    store.update(|writes: &mut WriteSet<'_>| {
        let mut membership =
            MEMBERSHIP.get(writes, &())?.ok_or(OpenError::NotJoined(federation))?;
        if let Some(newer) = PENDING_CONFIG.get(writes, &())? {
            if membership.config.check_update(&newer).is_ok() {
                membership.config = newer;
                MEMBERSHIP.insert(writes, &(), &membership);
            }
            PENDING_CONFIG.remove(writes, &());
        }
        Ok(membership)
    })
}

/// What one look of the driver task brought.
struct Look {
    requests: Vec<Request>,
    abandoned: Vec<RequestId>,
    events: Vec<Event>,
    pause: Option<Duration>,
}

type Answer = (RequestId, Result<serde_json::Value, CallFailure>);

fn look(driver: &mut Driver, answers: Vec<Answer>) -> Result<Look, StoreError> {
    for (id, result) in answers {
        driver.on_response(id, result, now());
    }
    let requests = driver.poll(now())?;
    let wakeup = driver.next_wakeup();
    let pause = wakeup.map(|time| Duration::from_millis(time.0.saturating_sub(now().0)));
    let (abandoned, events) = (driver.take_abandoned(), driver.take_events());
    Ok(Look { requests, abandoned, events, pause })
}

/// The driver task: the only one that polls. Ends when it is asked to, or when the store fails.
async fn drive(
    shared: Arc<Shared>,
    transport: Arc<dyn Transport>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut calls = Calls::default();
    let mut answers = Vec::new();
    let end = loop {
        let batch = std::mem::take(&mut answers);
        let driving = shared.clone();
        let Look { requests, abandoned, events, pause } =
            match blocking(move || driving.driver().as_mut().map(|driver| look(driver, batch)))
                .await
            {
                None => break Stopped::Asked,
                Some(Ok(look)) => look,
                Some(Err(error)) => {
                    tracing::error!(target: "moneta::client", %error, "the store failed");
                    break Stopped::Failed(error.to_string());
                }
            };
        for event in events {
            // Nobody listening is fine.
            let _ = shared.events.send(event);
        }
        calls.give_up(abandoned);
        requests.into_iter().for_each(|request| calls.make(&*transport, request));
        tokio::select! {
            stopped = stopping.wait_for(|stop| *stop) => {
                // An error means that the client was dropped.
                drop(stopped);
                break Stopped::Asked;
            }
            answer = calls.next() => {
                answers.push(answer);
                answers.extend(calls.more());
            }
            () = shared.wake.notified() => {}
            () = sleep(pause) => {}
        }
    };
    shared.stopped.send_replace(end);
}

async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// The calls that are out. Their number is bounded by the driver's machines times the guardians,
/// what leaves at once by the transport. They end with this value.
#[derive(Default)]
struct Calls {
    running: JoinSet<Result<serde_json::Value, CallFailure>>,
    ids: HashMap<Id, RequestId>,
    handles: HashMap<RequestId, AbortHandle>,
}

impl Calls {
    fn make(&mut self, transport: &dyn Transport, request: Request) {
        let Request { id, peer, method, params } = request;
        let handle = self.running.spawn(transport.call(peer, method.to_string(), params));
        self.ids.insert(handle.id(), id);
        self.handles.insert(id, handle);
    }

    fn give_up(&mut self, ids: Vec<RequestId>) {
        ids.iter().filter_map(|id| self.handles.remove(id)).for_each(|handle| handle.abort());
    }

    /// Waits for the next answer. Cancel safe.
    async fn next(&mut self) -> Answer {
        loop {
            match self.running.join_next_with_id().await {
                Some(joined) => {
                    if let Some(answer) = self.answer(joined) {
                        return answer;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    /// The answers that are here already.
    fn more(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some(joined) = self.running.try_join_next_with_id() {
            answers.extend(self.answer(joined));
        }
        answers
    }

    fn answer(
        &mut self,
        joined: Result<(Id, Result<serde_json::Value, CallFailure>), JoinError>,
    ) -> Option<Answer> {
        let (task, result) = match joined {
            Ok((task, result)) => (task, result),
            Err(error) => (error.id(), Err(CallFailure::unavailable("the call broke"))),
        };
        let id = self.ids.remove(&task)?;
        // Absent if the call was given up.
        self.handles.remove(&id).map(|_| (id, result))
    }
}
