//! The node: everything around the engine that has a socket, a file or a clock.
//!
//! [`run`] is the whole life of `monetad`: it locks the data folder, serves the setup ceremony if
//! there is no configuration yet, then runs consensus until it is told to stop.
//!
//! The task tree of a running guardian; each task is owned by [`run`] and ends with it:
//!
//! ```text
//! run ─┬─ ApiServer          calls -> Node (reads snapshots, submits items, waits by key)
//!      ├─ GuardianLinks      frames to and from the other guardians
//!      ├─ Broadcast          consensus
//!      ├─ ordering           the one writer of federation state: ordered units, signatures, replay
//!      ├─ dispatch           frames of the links -> consensus, ordering, gossip
//!      ├─ mend               notices a stuck session and makes silent links anew
//!      ├─ chain              polls the bitcoin source, broadcasts transactions
//!      ├─ proposals          asks modules what they want ordered, after every change
//!      ├─ signing            repeats signatures of a session until it is signed
//!      ├─ catch_up           fetches signed sessions when peers are ahead; ends a doubt
//!      └─ gossip             spreads announcements and metadata
//! ```
//!
//! Every channel between them is bounded; what happens at the bound stands where it is made.
//!
//! A restored guardian does not know what it has said, so its consensus opens late: see `doubt`.

mod api;
mod backup;
mod catch_up;
mod chain;
mod client_backups;
mod consensus;
mod doubt;
mod entry;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gossip;
mod latecomers;
mod ordering;
mod peers;
mod postponed;
mod proposals;
mod replay;
mod setup;
mod shared;
mod signatures;
mod signing;
mod submissions;
mod tables;
#[cfg(test)]
mod tests;
mod waiters;

pub use backup::{RestoreError, restore};
pub use files::{DataDir, FilesError};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use moneta_core::setup_code::ReleaseVersion;
use moneta_core::{ApiUrl, Secret, SessionIndex};
use moneta_module::setup::ServerKind;
use moneta_net::chain::ChainSource;
use tokio::sync::watch;

/// Everything `monetad` is told by flags and environment.
pub struct Options {
    /// Where all state lives.
    pub data_dir: PathBuf,
    /// Password of admin calls; none means that they all fail.
    pub password: Option<Secret>,
    /// The bitcoin network of a federation that is set up here.
    pub network: bitcoin::Network,
    /// Where the API listens.
    pub bind_api: SocketAddr,
    /// Where other guardians are accepted.
    pub bind_links: SocketAddr,
    /// Where clients reach this guardian; needed for setup.
    pub api_url: Option<ApiUrl>,
    /// Where guardians reach this guardian; needed for setup.
    pub link_url: Option<ApiUrl>,
    /// Shared secrets of a private federation; the first is used for own calls.
    pub api_secrets: Vec<String>,
    /// The view of the bitcoin chain.
    pub chain: Arc<dyn ChainSource>,
    /// The kinds of modules this daemon implements.
    pub kinds: Vec<Box<dyn ServerKind>>,
    /// The release whose protocol is spoken.
    pub release: ReleaseVersion,
    /// How fast to go.
    pub pace: Pace,
    /// After a disaster, the session from which this guardian takes part although it does not know what
    /// its former self has said; see docs/operations/guardian.md.
    pub take_part_from: Option<SessionIndex>,
}

/// The times of a guardian.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Between two looks at the bitcoin source.
    pub chain_poll: Duration,
    /// Between two broadcasts of transactions that are not confirmed yet.
    pub rebroadcast: Duration,
    /// Accepted bytes at which a session is marked for closing, so that it ends before the engine
    /// postpones anything ([`crate::engine::SESSION_LIMIT_BYTES`]).
    pub session_bytes: u64,
    /// How long the node stays up after the session of a scheduled shutdown.
    pub shutdown_grace: Duration,
    /// Consensus.
    pub consensus: moneta_consensus::Pacing,
}

/// 3.5 MB, a megabyte below the engine's limit. Until the close marks of a threshold are ordered,
/// some twelve rounds pass, in which every guardian may add a unit of 50,000 bytes: 2.4 MB at four
/// guardians. A thousand payments in a second, one kilobyte each, add a tenth of that, whatever the
/// number of guardians, since a payment is accepted once. What goes beyond, such as a backlog of
/// ordered batches, is postponed.
const SESSION_BYTES: u64 = 3_500_000;

impl Default for Pace {
    fn default() -> Self {
        Self {
            // One small local call; finding a block late delays deposits, not safety.
            chain_poll: Duration::from_secs(5),
            rebroadcast: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(60),
            session_bytes: SESSION_BYTES,
            consensus: moneta_consensus::Pacing::default(),
        }
    }
}

impl Pace {
    /// For local worlds and tests: blocks are noticed at once and sessions are short.
    pub fn test() -> Self {
        let consensus = moneta_consensus::Pacing {
            max_age: Duration::from_secs(15),
            solo_max_age: Duration::from_secs(5),
            ..moneta_consensus::Pacing::default()
        };
        Self {
            chain_poll: Duration::from_millis(100),
            rebroadcast: Duration::from_secs(1),
            shutdown_grace: Duration::from_secs(2),
            session_bytes: SESSION_BYTES,
            consensus,
        }
    }
}

/// Why a guardian stopped although nobody told it to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The configuration cannot be used.
    #[error("the configuration cannot be used: {0}")]
    Config(#[from] crate::setup::config::ConfigError),
    /// The data folder takes nothing more, which is why the guardian stopped.
    #[error(
        "the data folder {dir} cannot be written: {reason}. Make space on its disk, or make it \
         writable, and start the guardian again: it goes on where it was. Nothing was signed that is \
         not on disk. ({stopped})"
    )]
    Unwritable {
        /// The folder.
        dir: PathBuf,
        /// What the system says.
        reason: FilesError,
        /// What stopped because of it.
        stopped: Box<NodeError>,
    },
    /// The store cannot be used.
    #[error("the store cannot be used: {0}")]
    Store(#[from] moneta_store::StoreError),
    /// A port cannot be opened.
    #[error(transparent)]
    Bind(#[from] moneta_net::api::BindError),
    /// The port for guardian links cannot be opened.
    #[error("cannot listen on {address} for guardian links: {source}")]
    BindLinks {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Links cannot start.
    #[error(transparent)]
    Links(#[from] moneta_net::links::LinkError),
    /// An address of a guardian is malformed.
    #[error("the link address of guardian {peer} is malformed: {source}")]
    Address {
        /// Whose.
        peer: moneta_core::PeerId,
        /// Why.
        source: moneta_net::links::PeerAddressError,
    },
    /// Refused: a guardian alone has lost its history, which is nowhere else.
    #[error(
        "this guardian is alone in its federation and {0} is gone or new: the history and the state          of all money were only there; put that file back in its place. To begin at session 0          nonetheless, owing nobody anything, give --take-part-from 0"
    )]
    HistoryLost(PathBuf),
    /// Consensus cannot start.
    #[error(transparent)]
    Consensus(#[from] moneta_consensus::StartError),
    /// The broadcast keys are unusable.
    #[error("the guardians' broadcast keys are unusable: {0}")]
    Keys(#[from] moneta_consensus::KeysError),
    /// Consensus stopped by itself.
    #[error("consensus stopped: {0}")]
    ConsensusStopped(String),
    /// Refused: the database belongs to another guardian, or to another federation.
    #[error(
        "{path} belongs to guardian {found}, the configuration beside it is that of guardian {wanted}; \
         put the right files together, nothing was changed"
    )]
    ForeignDatabase {
        /// The database.
        path: PathBuf,
        /// Whose it is, as federation and guardian.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// Refused: a build that is not this one has written the database.
    #[error(
        "{path} was written by an earlier or later build of this program, which lays out its rows in \
         another way; run that build with it, nothing was changed"
    )]
    OtherLayout {
        /// The database.
        path: PathBuf,
    },
    /// The bitcoin source follows another network.
    #[error("the bitcoin source is not on {network}: block 1 is {found}; check its address")]
    WrongChain {
        /// What the federation is on.
        network: bitcoin::Network,
        /// What the source has.
        found: moneta_core::ChainId,
    },
    /// Key generation failed.
    #[error("key generation failed: {0}")]
    Keygen(#[from] crate::setup::keygen::KeygenError),
    /// The certificate for links could not be made.
    #[error("cannot make a certificate: {0}")]
    Identity(#[from] moneta_net::links::IdentityError),
    /// The own state is impossible. Nothing was signed since.
    #[error("halted: {0}")]
    Halt(#[from] crate::engine::Halt),
}

/// Lives the whole life of a guardian until `stop` turns true, then ends cleanly. Needs a
/// multi-threaded runtime: dear work is done in place.
///
/// Errors: [`NodeError`]; the data folder is consistent then and may be started again.
pub async fn run(options: Options, mut stop: watch::Receiver<bool>) -> Result<(), NodeError> {
    let dir = DataDir::open(&options.data_dir)?;
    let ended = live(&dir, options, &mut stop).await;
    ended.map_err(|stopped| match dir.check_writable() {
        Ok(()) => stopped,
        Err(reason) => {
            NodeError::Unwritable { dir: dir.join(""), reason, stopped: Box::new(stopped) }
        }
    })
}

async fn live(
    dir: &DataDir,
    options: Options,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), NodeError> {
    let config = match dir.read_config()? {
        Some(config) => {
            setup::forget(dir)?;
            config
        }
        None => match setup::run(dir, &options, stop).await? {
            Some(config) => config,
            None => return Ok(()),
        },
    };
    consensus::run(dir, config, options, stop.clone()).await
}
