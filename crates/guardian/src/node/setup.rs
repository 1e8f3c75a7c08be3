//! The setup phase: serves the ceremony's endpoints, then generates keys with the other guardians.
//!
//! On disk in the data folder, readable by the owner only:
//!
//! * `setup.json`: certificate, key and seed of this guardian, and what was entered so far. Written
//!   before any answer that depends on it.
//! * `keygen/<stage>-<guardian>`: messages of others, written before they count.
//! * `keygen-sent/<guardian>`: own messages, written just before the configuration, for guardians
//!   that come late to the end; see [`super::latecomers`].
//!
//! The first two are removed once the configuration is complete. If key generation fails, all is
//! forgotten and the ceremony begins anew, with a new certificate; the reason is kept and shown.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moneta_core::api::{LocalParams, endpoint};
use moneta_core::{
    ApiError, ApiRequest, Decode, Encode, FederationSize, PeerId, Secret, hex_bytes,
};
use moneta_net::api::{ApiHandler, ApiServer, Limits, to_result};
use moneta_net::links::{Channel, Frame, GuardianLinks, LinkIdentity, LinkLimits, LinkReceiver};
use rand::RngCore;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};
use zeroize::{Zeroize, Zeroizing};

use super::files::{DataDir, FRESH_FILE, FilesError, SETUP_FILE};
use super::latecomers::{self, Message};
use super::{NodeError, Options, peers};
use crate::setup::ceremony::{Agreement, Ceremony, Identity};
use crate::setup::config::GuardianConfig;
use crate::setup::keygen::{Keygen, KeygenError, Progress, Stage};

const KEYGEN_DIR: &str = "keygen";

/// How often own messages are sent again to peers that may have lost them.
const RESEND: Duration = Duration::from_millis(1000);

/// How long a finished guardian waits for the others to be finished, too. Whoever is later gets the
/// last messages from the running node.
const LINGER: Duration = Duration::from_secs(2);

/// How long the last frames get to leave before the links close.
const DRAIN: Duration = Duration::from_millis(200);

/// How often a guardian that waits says for whom.
const REMIND: Duration = Duration::from_secs(30);

/// The endpoint that tells why key generation failed last; of ours, for operators' tools.
const FAILURE_ENDPOINT: &str = "moneta_setup_failure";

/// The stored state of the setup phase.
#[derive(Serialize, Deserialize)]
struct SetupState {
    #[serde(with = "hex_bytes")]
    cert: Vec<u8>,
    #[serde(with = "hex_bytes")]
    tls_key: Vec<u8>,
    #[serde(with = "hex_bytes")]
    seed: Vec<u8>,
    ceremony: Ceremony,
    /// Why the ceremony before this one failed.
    #[serde(default)]
    failure: Option<String>,
}

impl Drop for SetupState {
    fn drop(&mut self) {
        self.tls_key.zeroize();
        self.seed.zeroize();
    }
}

impl SetupState {
    fn fresh(failure: Option<String>) -> Result<Self, NodeError> {
        let identity = LinkIdentity::generate()?;
        let mut seed = vec![0; 32];
        rand::rngs::OsRng.fill_bytes(&mut seed);
        Ok(Self {
            cert: identity.certificate_der().to_vec(),
            tls_key: identity.key_der().to_vec(),
            seed,
            ceremony: Ceremony::default(),
            failure,
        })
    }
}

/// Serves setup until the configuration is complete; `None` if told to stop before.
///
/// Errors: what the machine refuses. A ceremony that fails is begun anew instead.
pub(super) async fn run(
    dir: &DataDir,
    options: &Options,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<GuardianConfig>, NodeError> {
    loop {
        let state = match dir.read_json::<SetupState>(SETUP_FILE)? {
            Some(state) => state,
            None => begin(dir, None)?,
        };
        let reason = match hold(dir, options, state, stop).await {
            Ok(config) => return Ok(config),
            Err(NodeError::Keygen(error)) => error.to_string(),
            // Addresses and certificates stand in the codes that were entered.
            Err(error @ (NodeError::Links(_) | NodeError::Address { .. })) => error.to_string(),
            Err(other) => return Err(other),
        };
        error!(target: "moneta::setup", %reason, "key generation failed; every guardian must be set \
            up anew: enter the local parameters and exchange new setup codes");
        begin(dir, Some(reason))?;
    }
}

/// Begins a ceremony, with nothing left of one before.
fn begin(dir: &DataDir, failure: Option<String>) -> Result<SetupState, NodeError> {
    // In this order: messages of an old ceremony must never be read in a new one.
    for folder in [KEYGEN_DIR, latecomers::FOLDER] {
        dir.remove_folder(folder)?;
    }
    let state = SetupState::fresh(failure)?;
    dir.write_json(SETUP_FILE, &state)?;
    Ok(state)
}

/// Holds one ceremony to its end.
async fn hold(
    dir: &DataDir,
    options: &Options,
    state: SetupState,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<GuardianConfig>, NodeError> {
    let identity = Identity {
        api_url: options.api_url.clone(),
        p2p_url: options.link_url.clone(),
        cert: state.cert.clone(),
        network: options.network,
        kinds: options.kinds.iter().map(|kind| kind.kind()).collect::<BTreeSet<_>>(),
        release: options.release.clone(),
    };
    let state = match state.ceremony.is_started() {
        true => state,
        false => match serve(dir, options, &identity, state, stop).await? {
            Some(state) => state,
            None => return Ok(None),
        },
    };
    let agreement = state.ceremony.agreement(&identity);
    let agreement = agreement.map_err(|error| KeygenError::Keys(error.message))?;
    let config = generate(dir, options, agreement, &state, stop).await?;
    if config.is_some() {
        dir.remove(SETUP_FILE)?;
        dir.remove_folder(KEYGEN_DIR)?;
    }
    Ok(config)
}

/// Answers the setup endpoints until key generation is started.
async fn serve(
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

/// Runs key generation with the other guardians.
///
/// Errors: `Keygen`, `Links`, `Address` if the ceremony has failed for good; the others are told.
async fn generate(
    dir: &DataDir,
    options: &Options,
    agreement: Agreement,
    state: &SetupState,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<GuardianConfig>, NodeError> {
    let mut seed = Zeroizing::new([0; 32]);
    if state.seed.len() != seed.len() {
        return Err(FilesError::Damaged {
            path: dir.join(SETUP_FILE),
            reason: "the seed is not 32 bytes long".to_owned(),
        }
        .into());
    }
    seed.copy_from_slice(&state.seed);
    let tls_key = Zeroizing::new(state.tls_key.clone());
    let (me, size) = (agreement.me, agreement.size);
    let (_, endpoints) = agreement.endpoints()?;
    info!(target: "moneta::setup", guardian = %me, guardians = size.total(), "generating keys");
    let mut keygen = Keygen::new(agreement, &seed, tls_key.clone(), &options.kinds)?;
    if size.total() == 1 {
        return match tokio::task::block_in_place(|| keygen.advance())? {
            Progress::Done(config) => {
                write_fresh(dir, &config)?;
                Ok(Some(*config))
            }
            Progress::Waiting { .. } => {
                Err(KeygenError::Keys("a guardian waits for itself".to_owned()).into())
            }
        };
    }
    let board = Board::open(dir)?;
    for (stage, peer, message) in board.read(size)? {
        keygen.receive(peer, stage, message)?;
    }
    let address = options.bind_links;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| NodeError::BindLinks { address, source })?;
    let limits = LinkLimits::setup();
    let (links, mut frames) = peers::open_links(me, &tls_key, &endpoints, listener, limits)?;
    let others = size.peer_ids().filter(|peer| *peer != me).collect();
    let exchange = Exchange { links, others };
    let ended = talk(dir, &exchange, &board, &mut keygen, &mut frames, stop).await;
    if let Err(NodeError::Keygen(error)) = &ended {
        exchange.give_up(error);
    }
    // Lets the last messages leave.
    tokio::time::sleep(DRAIN).await;
    exchange.links.shutdown().await;
    ended
}

/// Writes the configuration of a guardian that has never said anything.
fn write_fresh(dir: &DataDir, config: &GuardianConfig) -> Result<(), FilesError> {
    dir.write(FRESH_FILE, b"")?;
    dir.write_config(config)
}

/// Exchanges messages until the configuration is written, or `stop` turns true.
async fn talk(
    dir: &DataDir,
    exchange: &Exchange,
    board: &Board,
    keygen: &mut Keygen<'_>,
    frames: &mut LinkReceiver,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<GuardianConfig>, NodeError> {
    let mut done: Option<(GuardianConfig, Instant)> = None;
    let mut finished: BTreeSet<PeerId> = BTreeSet::new();
    let mut announced = None;
    let mut resend = tokio::time::interval(RESEND);
    let mut remind = tokio::time::interval(REMIND);
    loop {
        if done.is_none() {
            match tokio::task::block_in_place(|| keygen.advance())? {
                Progress::Done(config) => {
                    for peer in keygen.dissenters() {
                        warn!(target: "moneta::setup", guardian = %peer,
                            "arrived at another configuration; it will not take part as it should");
                    }
                    latecomers::keep(dir, keygen, &exchange.others)?;
                    write_fresh(dir, &config)?;
                    info!(target: "moneta::setup", "keys are generated");
                    done = Some((*config, Instant::now() + LINGER));
                    exchange.send(keygen, true);
                }
                Progress::Waiting { stage, missing } => {
                    if announced != Some(stage) {
                        announced = Some(stage);
                        debug!(target: "moneta::setup", ?stage, waiting_for = ?missing, "key generation");
                        exchange.send(keygen, false);
                    }
                }
            }
        }
        let deadline = done.as_ref().map(|(_, until)| *until);
        let time_up = deadline.is_some_and(|until| Instant::now() >= until);
        let may_leave = time_up || finished.len() == exchange.others.len();
        if may_leave && let Some((config, _)) = done {
            return Ok(Some(config));
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(done.map(|(config, _)| config)),
            _ = resend.tick() => exchange.send(keygen, done.is_some()),
            _ = remind.tick() => {
                if let (None, Progress::Waiting { stage, missing }) = (&done, keygen.advance()?) {
                    info!(target: "moneta::setup", ?stage, waiting_for = ?missing, "key generation; to \
                        give up, stop all guardians and empty their data folders");
                }
            }
            () = sleep_until(deadline) => {}
            frame = frames.recv() => {
                let Some(frame) = frame else {
                    return Err(NodeError::ConsensusStopped("the links have ended".to_owned()));
                };
                if frame.channel == Channel::SETUP && hear(board, keygen, frame)? {
                    finished.extend(keygen.done_peers());
                }
            }
        }
    }
}

/// Takes one frame; true if its sender is done.
fn hear(board: &Board, keygen: &mut Keygen<'_>, frame: Frame) -> Result<bool, NodeError> {
    let peer = frame.peer;
    let Ok(message) = Message::from_bytes(&frame.payload) else {
        warn!(target: "moneta::setup", guardian = %peer, "malformed message");
        return Ok(false);
    };
    for (stage, bytes) in message.stages {
        board.write(stage, peer, &bytes)?;
        keygen.receive(peer, stage, bytes)?;
    }
    if let Some(reason) = message.gave_up {
        let reason: String = reason.chars().take(300).collect();
        warn!(target: "moneta::setup", guardian = %peer, ?reason, "another guardian gave up");
        keygen.receive_giving_up(peer, reason)?;
    }
    if message.done {
        keygen.receive_done(peer);
    }
    Ok(message.done)
}

/// Never ends without a deadline.
async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

struct Exchange {
    links: GuardianLinks,
    others: Vec<PeerId>,
}

impl Exchange {
    /// Sends all own messages so far to everybody; what a broken link loses is sent again.
    fn send(&self, keygen: &Keygen<'_>, done: bool) {
        for peer in &self.others {
            let message = Message { stages: keygen.outgoing(*peer), done, gave_up: None };
            self.send_to(*peer, &message);
        }
    }

    fn give_up(&self, error: &KeygenError) {
        // Who gave up because another did repeats that one's reason, not a tower of them.
        let reason = match error {
            KeygenError::GaveUp { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        for peer in &self.others {
            let gave_up = Some(reason.clone());
            self.send_to(*peer, &Message { stages: Vec::new(), done: false, gave_up });
        }
    }

    fn send_to(&self, peer: PeerId, message: &Message) {
        if let Err(error) = self.links.send(peer, Channel::SETUP, message.to_bytes()) {
            warn!(target: "moneta::setup", guardian = %peer, %error, "not sent");
        }
    }
}

/// Received messages on disk.
struct Board {
    files: DataDir,
}

impl Board {
    fn open(dir: &DataDir) -> Result<Self, NodeError> {
        Ok(Self { files: dir.subfolder(KEYGEN_DIR)? })
    }

    fn write(&self, stage: Stage, peer: PeerId, message: &[u8]) -> Result<(), NodeError> {
        let name = format!("{:02}-{peer}", stage.number());
        // The first message counts; a second, different one is a lie that `receive` names.
        if !self.files.join(&name).exists() {
            self.files.write(&name, message)?;
        }
        Ok(())
    }

    fn read(&self, size: FederationSize) -> Result<Vec<(Stage, PeerId, Vec<u8>)>, NodeError> {
        let mut messages = Vec::new();
        for stage in Stage::ALL {
            for peer in size.peer_ids() {
                let path = self.files.join(&format!("{:02}-{peer}", stage.number()));
                match fs::read(&path) {
                    Ok(message) => messages.push((stage, peer, message)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => {
                        return Err(FilesError::Io { action: "read", path, source }.into());
                    }
                }
            }
        }
        Ok(messages)
    }
}
