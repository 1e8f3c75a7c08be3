//! The setup phase: serves the ceremony's endpoints, then generates keys with the other guardians.
//!
//! On disk in the data folder, readable by the owner only:
//!
//! * `setup.json`: certificate, key and seed of this guardian, and what was entered so far. Written
//!   before any answer that depends on it.
//! * `keygen/<stage>-<guardian>`: messages of others, written before they count.
//!
//! Both are removed once the configuration is complete.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moneta_core::api::{LocalParams, endpoint};
use moneta_core::{ApiError, ApiRequest, Decode, Encode, PeerId, Secret, hex_bytes};
use moneta_net::api::{ApiHandler, ApiServer, Limits, to_result};
use moneta_net::links::{Channel, GuardianLinks, LinkIdentity, LinkLimits};
use rand::RngCore;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify, watch};
use tracing::{info, warn};
use zeroize::{Zeroize, Zeroizing};

use super::files::DataDir;
use super::{NodeError, Options, peers};
use crate::setup::ceremony::{Agreement, Ceremony, Identity};
use crate::setup::config::GuardianConfig;
use crate::setup::keygen::{Keygen, Progress, Stage};

const SETUP_FILE: &str = "setup.json";
const KEYGEN_DIR: &str = "keygen";

/// How often own messages are sent again to peers that may have lost them.
const RESEND: Duration = Duration::from_millis(1000);

/// How long a finished guardian keeps answering the others, who may lack its last message. Each of
/// them stops as soon as all have finished.
const LINGER: Duration = Duration::from_secs(10);

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
}

impl Drop for SetupState {
    fn drop(&mut self) {
        self.tls_key.zeroize();
        self.seed.zeroize();
    }
}

impl SetupState {
    fn fresh() -> Result<Self, NodeError> {
        let identity = LinkIdentity::generate()?;
        let mut seed = vec![0; 32];
        rand::rngs::OsRng.fill_bytes(&mut seed);
        Ok(Self {
            cert: identity.certificate_der().to_vec(),
            tls_key: identity.key_der().to_vec(),
            seed,
            ceremony: Ceremony::default(),
        })
    }
}

/// Serves setup until the configuration is complete; `None` if told to stop before.
pub(super) async fn run(
    dir: &DataDir,
    options: &Options,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<GuardianConfig>, NodeError> {
    let state = match dir.read_json::<SetupState>(SETUP_FILE)? {
        Some(state) => state,
        None => {
            let state = SetupState::fresh()?;
            dir.write_json(SETUP_FILE, &state)?;
            state
        }
    };
    let identity = Identity {
        api_url: options.api_url.clone(),
        p2p_url: options.link_url.clone(),
        cert: state.cert.clone(),
        network: options.network,
        kinds: options.kinds.iter().map(|kind| kind.kind()).collect::<BTreeSet<_>>(),
        release: options.release.clone(),
    };
    let state = match agreement(&state, &identity) {
        Some(_) => state,
        None => match serve(dir, options, &identity, state, stop).await? {
            Some(state) => state,
            None => return Ok(None),
        },
    };
    let Some(agreement) = agreement(&state, &identity) else { return Ok(None) };
    let config = generate(dir, options, agreement, &state, stop).await?;
    if config.is_some() {
        dir.remove(SETUP_FILE)?;
        let _ = fs::remove_dir_all(dir.join(KEYGEN_DIR));
    }
    Ok(config)
}

/// What key generation works on, if it was started.
fn agreement(state: &SetupState, identity: &Identity) -> Option<Agreement> {
    state.ceremony.is_started().then(|| state.ceremony.agreement(identity).ok()).flatten()
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
                desk.change(&mut state, |ceremony| {
                    ceremony.reset_peers();
                    Ok(())
                })?;
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
async fn generate(
    dir: &DataDir,
    options: &Options,
    agreement: Agreement,
    state: &SetupState,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<GuardianConfig>, NodeError> {
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(&state.seed);
    let tls_key = Zeroizing::new(state.tls_key.clone());
    let (me, size) = (agreement.me, agreement.size);
    let (_, endpoints) = agreement.endpoints()?;
    info!(target: "moneta::setup", guardian = %me, guardians = size.total(), "generating keys");
    let mut keygen = Keygen::new(agreement, &seed, tls_key.clone(), &options.kinds)?;
    if size.total() == 1 {
        return match tokio::task::block_in_place(|| keygen.advance())? {
            Progress::Done(config) => {
                dir.write_config(&config)?;
                Ok(Some(*config))
            }
            Progress::Waiting { .. } => Ok(None),
        };
    }
    let address = options.bind_links;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| NodeError::BindLinks { address, source })?;
    let limits = LinkLimits::setup();
    let (links, mut frames) = peers::open_links(me, &tls_key, &endpoints, listener, limits)?;
    let board = Board::open(dir)?;
    for (stage, peer, message) in board.read()? {
        keygen.receive(peer, stage, message)?;
    }
    let mut exchange = Exchange { links, endpoints: endpoints.keys().copied().collect(), me };
    let mut done: Option<GuardianConfig> = None;
    let mut finished: BTreeSet<PeerId> = BTreeSet::from([me]);
    let mut linger_until = None;
    let mut announced = None;
    let config = loop {
        if done.is_none() {
            match tokio::task::block_in_place(|| keygen.advance())? {
                Progress::Done(config) => {
                    dir.write_config(&config)?;
                    info!(target: "moneta::setup", "keys are generated");
                    done = Some(*config);
                    linger_until = Some(tokio::time::Instant::now() + LINGER);
                    exchange.send(&keygen, true);
                }
                Progress::Waiting { stage, missing } => {
                    if announced != Some(stage) {
                        announced = Some(stage);
                        info!(target: "moneta::setup", ?stage, waiting_for = ?missing, "key generation");
                        exchange.send(&keygen, false);
                    }
                }
            }
        }
        let everybody_done = finished.len() == size.total();
        let time_up = linger_until.is_some_and(|until| tokio::time::Instant::now() >= until);
        if done.is_some() && (everybody_done || time_up) {
            break done;
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break None,
            () = tokio::time::sleep(RESEND) => exchange.send(&keygen, done.is_some()),
            frame = frames.recv() => {
                let Some(frame) = frame else { break None };
                if frame.channel != Channel::SETUP {
                    continue;
                }
                let Ok(message) = Message::from_bytes(&frame.payload) else {
                    warn!(target: "moneta::setup", guardian = %frame.peer, "malformed message");
                    continue;
                };
                if message.done {
                    finished.insert(frame.peer);
                }
                for (stage, bytes) in message.stages {
                    board.write(stage, frame.peer, &bytes)?;
                    keygen.receive(frame.peer, stage, bytes)?;
                }
            }
        }
    };
    // Lets the last messages drain.
    if config.is_some() {
        exchange.send(&keygen, true);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    exchange.links.shutdown().await;
    Ok(config)
}

/// All messages so far; small enough to be sent whole each time.
#[derive(Encode, Decode)]
struct Message {
    stages: Vec<(Stage, Vec<u8>)>,
    /// The sender has its configuration and needs nothing more.
    done: bool,
}

struct Exchange {
    links: GuardianLinks,
    endpoints: Vec<PeerId>,
    me: PeerId,
}

impl Exchange {
    fn send(&mut self, keygen: &Keygen<'_>, done: bool) {
        for peer in self.endpoints.iter().copied().filter(|peer| *peer != self.me) {
            let message = Message { stages: keygen.outgoing(peer), done };
            if let Err(error) = self.links.send(peer, Channel::SETUP, message.to_bytes()) {
                warn!(target: "moneta::setup", guardian = %peer, %error, "not sent");
            }
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

    fn read(&self) -> Result<Vec<(Stage, PeerId, Vec<u8>)>, NodeError> {
        let mut messages = Vec::new();
        for stage in Stage::ALL {
            for peer in 0..u16::from(u8::MAX) {
                let peer = PeerId::new(peer);
                let name = format!("{:02}-{peer}", stage.number());
                if let Ok(message) = fs::read(self.files.join(&name)) {
                    messages.push((stage, peer, message));
                }
            }
        }
        Ok(messages)
    }
}
