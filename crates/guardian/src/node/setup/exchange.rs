//! Key generation over the links: what is sent, what is kept, and when a guardian may leave.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

use moneta_core::{Decode, Encode, FederationSize, PeerId};
use moneta_net::links::{Channel, Frame, GuardianLinks, LinkLimits, LinkReceiver};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use super::{KEYGEN_DIR, SetupState};
use crate::node::files::{DataDir, FRESH_FILE, FilesError, SETUP_FILE};
use crate::node::latecomers::{self, Message};
use crate::node::{NodeError, Options, peers};
use crate::setup::ceremony::Agreement;
use crate::setup::config::GuardianConfig;
use crate::setup::keygen::{Keygen, KeygenError, Progress, Stage};

/// How often own messages are sent again to peers that may have lost them.
const RESEND: Duration = Duration::from_millis(1000);

/// How long a finished guardian waits for the others to be finished, too. Whoever is later gets the
/// last messages from the running node.
const LINGER: Duration = Duration::from_secs(2);

/// How long the last frames get to leave before the links close.
const DRAIN: Duration = Duration::from_millis(200);

/// How often a guardian that waits says for whom.
const REMIND: Duration = Duration::from_secs(30);

/// Runs key generation with the other guardians.
///
/// Errors: `Keygen`, `Links`, `Address` if the ceremony has failed for good; the others are told.
pub(super) async fn generate(
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
