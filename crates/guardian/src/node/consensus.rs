//! A guardian in operation: opens everything, owns all tasks, closes everything.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use moneta_consensus::{Events, Keys};
use moneta_core::{FederationId, PeerId};
use moneta_net::api::{ApiServer, Limits};
use moneta_net::links::LinkLimits;
use moneta_store::{Disk, Store};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info};

use super::api::{NodeApi, invite_code};
use super::doubt::{self, Doubt};
use super::entry::{Entry, UNITS, Way};
use super::files::{DATABASE, DataDir};
use super::latecomers::Latecomers;
use super::ordering::Ordering;
use super::shared::{Node, Queued};
use super::submissions::Submissions;
use super::waiters::Waiters;
use super::{
    NodeError, Options, catch_up, chain, gossip, peers, proposals, signing, submissions, tables,
};
use crate::engine::Engine;
use crate::setup::config::GuardianConfig;

/// Messages to the writer that wait; signatures beyond that are dropped and repeated by peers,
/// fetched sessions wait.
const COMMANDS: usize = 256;

/// How long a guardian that stops waits for the last to let go of its database.
const LETTING_GO: Duration = Duration::from_secs(2);

/// What users scan to join.
pub(super) const INVITE_FILE: &str = "invite-code";
/// What clients download.
const CLIENT_FILE: &str = "client.json";

/// Runs until `stop` turns true or the guardian must halt.
pub(super) async fn run(
    dir: &DataDir,
    config: GuardianConfig,
    options: Options,
    mut stop: watch::Receiver<bool>,
) -> Result<(), NodeError> {
    let modules = config.open_modules(&options.kinds)?;
    let size = config.check()?;
    let client_config = config.consensus.to_client_config(&options.kinds)?;
    let store: Store = Disk::open_or_create(dir.join(DATABASE))?.into_store();
    let is_in_doubt = doubt::open(dir, &dir.join(UNITS), &store, size)?;
    check_owner(&dir.join(DATABASE), &store, client_config.federation_id(), config.local.identity)?;
    let engine = Engine::new(modules, size, config.consensus.version);
    engine.check_books(&store.snapshot())?;
    let session_count = engine.session_count(&store.snapshot())?;

    let me = config.local.identity;
    let (links, frames) = if size.total() > 1 {
        let address = options.bind_links;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| NodeError::BindLinks { address, source })?;
        let (links, frames) = peers::open_links(
            me,
            &config.private.tls_key,
            &config.consensus.links,
            listener,
            LinkLimits::consensus(),
        )?;
        (Some(Arc::new(links)), Some(frames))
    } else {
        (None, None)
    };
    let public: Vec<_> = config.consensus.broadcast_public_keys.values().copied().collect();
    let broadcast_key = config.broadcast_keypair();
    let entry = Entry {
        dir: dir.share(),
        keys: Keys::new(me.index(), broadcast_key, &public)?,
        pacing: options.pace.consensus.clone(),
        links: links.clone(),
    };
    if options.take_part_from.is_some() && !is_in_doubt {
        info!(target: "moneta::node", "--take-part-from has no effect: this guardian knows what it has said");
    }
    let (consensus, events) = match is_in_doubt {
        true => (OnceLock::new(), None),
        false => {
            let (broadcast, events) = entry.open(session_count).await?;
            (OnceLock::from(broadcast), Some(events))
        }
    };

    let (own_stop, mut own_stopped) = watch::channel(false);
    let node = Arc::new(Node {
        federation: client_config.federation_id(),
        client_config,
        kinds: options.kinds,
        broadcast_key,
        engine,
        store,
        waiters: Waiters::default(),
        queued: Queued::default(),
        submissions: Submissions::default(),
        consensus,
        doubt: Doubt::new(is_in_doubt, rand::random()),
        take_part_from: options.take_part_from,
        links: links.clone(),
        chain: options.chain,
        chain_status: watch::channel(None).0,
        chain_id: OnceLock::new(),
        password: options.password,
        api_secrets: options.api_secrets.clone(),
        release: options.release.to_string(),
        pace: options.pace,
        state_changed: Notify::new(),
        proposals_due: Notify::new(),
        news: Notify::new(),
        claimed_sessions: Mutex::new(BTreeMap::new()),
        last_session: AtomicU64::new(u64::MAX),
        stop: own_stop,
        config,
    });
    let events = match events {
        None if size.total() == 1 => Some(enter_alone(dir, &node, &entry).await?),
        events => events,
    };
    if !node.doubt.is_open() {
        gossip::introduce_self(&node)?;
    }
    dir.write_json(CLIENT_FILE, &node.client_config)?;
    match invite_code(&node) {
        Ok(invite) => dir.write(INVITE_FILE, invite.as_bytes())?,
        Err(reason) => error!(target: "moneta::node", %reason, "no invite code"),
    }

    let (commands, command_queue) = mpsc::channel(COMMANDS);
    let mut tasks = Tasks::default();
    tasks.spawn(Ordering::new(node.clone()).run(entry, events, command_queue));
    tasks.spawn(chain::watch(node.clone()));
    // Half of the processors: the other half decodes, orders and answers.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..processors.div_ceil(2) {
        tasks.spawn_endless(submissions::run(node.clone()));
    }
    tasks.spawn_endless(proposals::run(node.clone()));
    if let (Some(links), Some(frames)) = (&links, frames) {
        let latecomers = Latecomers::open(dir, size)?;
        let dispatch = peers::dispatch(node.clone(), frames, commands.clone(), latecomers);
        tasks.spawn_endless(dispatch);
        tasks.spawn_endless(peers::watch_links(node.clone(), links.clone()));
        tasks.spawn_endless(peers::mend(node.clone(), links.clone()));
        tasks.spawn_endless(signing::repeat(node.clone()));
        tasks.spawn_endless(catch_up::run(node.clone(), commands.clone()));
        tasks.spawn_endless(gossip::run(node.clone()));
    }
    let api = NodeApi::new(node.clone())?;
    let limits = Limits::operation();
    let server =
        ApiServer::bind(options.bind_api, limits, options.api_secrets, Arc::new(api)).await?;
    info!(target: "moneta::node", guardian = %me, guardians = size.total(), federation = %node.federation,
        session = %session_count, "the guardian is running");

    let grace = match size.total() {
        1 => Duration::ZERO,
        _ => node.pace.shutdown_grace,
    };
    let planned = async {
        // Fails only if the sender is gone, which lives as long as the node.
        let _ = own_stopped.wait_for(|stop| *stop).await;
        tokio::time::sleep(grace).await;
    };
    let ended = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => Ok(()),
        () = planned => Ok(()),
        failed = tasks.first_failure() => Err(failed),
    };
    server.shutdown().await;
    // The writer may be inside a commit, which finishes; then nothing of ours writes any more.
    tasks.stop().await;
    if let Some(broadcast) = node.broadcast() {
        broadcast.shutdown().await;
    }
    drop(node);
    // Answers that were cut off let go of the database in their own time; whoever starts again at once
    // needs it.
    let closed = async { while own_stopped.changed().await.is_ok() {} };
    let _ = tokio::time::timeout(LETTING_GO, closed).await;
    if let Some(links) = links {
        links.shutdown().await;
    }
    match &ended {
        Ok(()) => info!(target: "moneta::node", "stopped"),
        Err(reason) => error!(target: "moneta::node", %reason, "stopped"),
    }
    ended
}

/// A guardian alone has nobody to ask.
async fn enter_alone(dir: &DataDir, node: &Node, entry: &Entry) -> Result<Events, NodeError> {
    let entered = match node.take_part_from {
        Some(session) => entry.enter(node, Way::TakePart(session)).await?,
        None => None,
    };
    entered.ok_or_else(|| NodeError::HistoryLost(dir.join(DATABASE)))
}

/// Makes sure that the database is this guardian's, and that this build can read it. With another
/// one's, this guardian would sign sessions that it never saw.
fn check_owner(
    path: &Path,
    store: &Store,
    federation: FederationId,
    me: PeerId,
) -> Result<(), NodeError> {
    let wanted = format!("{me} of federation {federation}");
    let found = tables::OWNER.get(&store.snapshot(), &())?;
    let layout = tables::LAYOUT.get(&store.snapshot(), &())?;
    match found {
        Some(found) if found != wanted => {
            Err(NodeError::ForeignDatabase { path: path.to_owned(), found, wanted })
        }
        Some(_) if layout != Some(tables::LAYOUT_VERSION) => {
            Err(NodeError::OtherLayout { path: path.to_owned() })
        }
        Some(_) => Ok(()),
        None => store.update(|writes| {
            tables::OWNER.insert(writes, &(), &wanted);
            tables::LAYOUT.insert(writes, &(), &tables::LAYOUT_VERSION);
            Ok(())
        }),
    }
}

/// The tasks of a guardian; all end with the value.
#[derive(Default)]
struct Tasks(JoinSet<Result<(), NodeError>>);

impl Tasks {
    fn spawn(&mut self, task: impl Future<Output = Result<(), NodeError>> + Send + 'static) {
        self.0.spawn(task);
    }

    /// A task that must not end while the guardian runs.
    fn spawn_endless(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            task.await;
            Err(NodeError::ConsensusStopped("a task ended by itself".to_owned()))
        });
    }

    /// Waits until a task fails, or dies.
    async fn first_failure(&mut self) -> NodeError {
        loop {
            match self.0.join_next().await {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => return error,
                Some(Err(error)) => return NodeError::ConsensusStopped(error.to_string()),
                None => return NodeError::ConsensusStopped("all tasks ended".to_owned()),
            }
        }
    }

    async fn stop(&mut self) {
        self.0.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use moneta_store::{Memory, StoreError};

    use super::*;

    #[test]
    fn database_of_another_guardian_or_layout_is_refused() {
        let store = Memory::store();
        let federation = FederationId([7; 32]);
        let check =
            |peer| check_owner(Path::new("database"), &store, federation, PeerId::new(peer));
        check(0).unwrap();
        check(0).unwrap();
        assert!(matches!(check(1), Err(NodeError::ForeignDatabase { .. })));
        let set = |layout: Option<u16>| {
            let set = store.update(|writes| {
                match layout {
                    Some(layout) => tables::LAYOUT.insert(writes, &(), &layout),
                    None => tables::LAYOUT.remove(writes, &()),
                }
                Ok::<_, StoreError>(())
            });
            set.unwrap();
        };
        for other in [None, Some(tables::LAYOUT_VERSION - 1), Some(tables::LAYOUT_VERSION + 1)] {
            set(other);
            assert!(matches!(check(0), Err(NodeError::OtherLayout { .. })), "{other:?}");
        }
        set(Some(tables::LAYOUT_VERSION));
        check(0).unwrap();
    }
}
