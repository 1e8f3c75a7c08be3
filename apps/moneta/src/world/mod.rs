//! The local world: a real bitcoind on a private chain and real guardians, set up by the real ceremony.
//!
//! `moneta-dev` runs it for people, end-to-end tests run it as a library. Everything is a process with
//! a folder of its own below one folder, reached over loopback only.
//!
//! * [`World`] starts the whole and ends it; dropping it ends it at once.
//! * [`Bitcoind`], [`Guardian`] and [`WalletCommand`] are its parts; a test may stop, kill and restart them.
//! * [`ceremony`] drives the setup endpoints as an operator would.
//! * [`demo`] is the story told to a newcomer.
//!
//! What it is not: no part of a guardian or a wallet; it sees only their command lines, files and
//! public endpoints, so it can drive other implementations of the same protocol ([`GuardianProgram`]).
//!
//! Invariants: no port is chosen by luck ([`ReservedPort`]); no secret stands on a command line; no
//! process outlives the value that started it, unless this process itself is killed, and then
//! [`folder::end`] finds what was left.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use moneta_core::api::AuditView;

pub mod bitcoind;
pub mod ceremony;
pub mod demo;
pub mod folder;
mod front;
pub mod guardian;
mod narrator;
mod ports;
pub mod process;
mod programs;
mod report;
pub mod signals;
mod wallet;

pub use bitcoind::Bitcoind;
pub use front::Front;
pub use guardian::Guardian;
pub use narrator::Narrator;
pub use ports::ReservedPort;
pub use programs::{GuardianProgram, Programs, find_bitcoind};
pub use report::{BitcoindReport, GuardianReport, WorldReport};
pub use wallet::WalletCommand;

/// Blocks mined before anything else: coinbase coins may be spent after 100 more blocks.
pub const FIRST_BLOCKS: u64 = 101;

/// How long a process gets to end by itself before it is killed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a world consists of.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// The folder everything lies in. Made if missing.
    pub dir: PathBuf,
    /// Number of guardians: 1, or 4 and more.
    pub guardians: u16,
    /// Name of the federation.
    pub federation_name: String,
    /// The programs to run.
    pub programs: Programs,
    /// How fast the guardians' clocks go.
    pub pace: Pace,
    /// What stands before the guardians' ports, if anything.
    pub front: Option<Front>,
}

/// How fast the clocks of guardians go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// New blocks are noticed at once, block votes take large steps and sessions last seconds: for tests
    /// and for people who do not want to wait.
    #[default]
    Test,
    /// As guardians run in earnest: for figures. A deposit takes half a minute longer, a session three minutes.
    Production,
}

impl WorldOptions {
    /// Four guardians at test pace in `dir`, with the programs found as [`Programs::find`] describes.
    ///
    /// Errors: a program is missing.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self {
            dir: dir.into(),
            guardians: 4,
            federation_name: "Local world".to_owned(),
            programs: Programs::find()?,
            pace: Pace::default(),
            front: None,
        })
    }
}

/// A running federation on a private Bitcoin chain.
///
/// Fields are public so that a test may stop one guardian and call another. Dropping the world kills
/// what still runs; [`World::stop`] ends it politely.
#[derive(Debug)]
pub struct World {
    // Guardians stand first: they are dropped before the bitcoind they ask.
    /// In the order of their peer ids.
    pub guardians: Vec<Guardian>,
    /// The only node of the chain, with a funded wallet.
    pub bitcoind: Bitcoind,
    /// The invite code of the federation.
    pub invite: String,
    /// The password of every guardian's admin endpoints.
    pub admin_password: String,
    /// How long the ceremony took: from the first setup call to a federation that answers.
    pub ceremony_time: Duration,
    programs: Programs,
    dir: PathBuf,
}

impl World {
    /// Starts bitcoind and the guardians, runs the ceremony and returns when the federation is ready:
    /// every guardian answers and sees all others.
    ///
    /// Errors: a count that no federation can have, a process that does not start (the end of its log
    /// is part of the message), a ceremony that fails. Everything started is ended again.
    /// Cancel safe: dropping the future ends what it had started.
    pub async fn start(options: WorldOptions, narrator: &mut Narrator) -> Result<Self> {
        Self::start_with(options, narrator, ceremony::hold).await
    }

    /// As [`start`](Self::start), with another way to hold the ceremony: `hold` gets the guardians in
    /// their setup phase and the federation's name, and returns when key generation has begun everywhere.
    ///
    /// Errors: as [`start`](Self::start), and those of `hold`.
    pub async fn start_with(
        options: WorldOptions,
        narrator: &mut Narrator,
        hold: impl AsyncFnOnce(&[Guardian], &str) -> Result<()>,
    ) -> Result<Self> {
        let count = options.guardians;
        ensure!(
            count == 1 || count >= 4,
            "a federation has 1 guardian, or 4 and more, not {count}"
        );
        let WorldOptions { dir, programs, federation_name, pace, front, .. } = options;
        folder::create_private(&dir)?;
        let dir = dir.canonicalize().with_context(|| format!("resolve {}", dir.display()))?;

        narrator.begin("Start bitcoind on a private chain and mine the first coins");
        let bitcoind = Bitcoind::start(&programs.bitcoind, &dir.join("bitcoind")).await?;
        bitcoind.mine(FIRST_BLOCKS).await?;
        narrator.done(&format!("{FIRST_BLOCKS} blocks"));

        narrator.begin(&format!("Start {count} {}", plural(count, "guardian")));
        let admin_password = process::random_password();
        let node = bitcoind.report();
        let mut guardians = (0..count)
            .map(|index| {
                let folder = dir.join(guardian::name(index, count));
                let guardian =
                    Guardian::prepare(index, count, &folder, &programs, &node, &admin_password)?;
                let guardian = guardian.with_pace(pace);
                match &front {
                    Some(front) => guardian.behind(front),
                    None => Ok(guardian),
                }
            })
            .collect::<Result<Vec<_>>>()?;
        try_join_all(guardians.iter_mut().map(Guardian::start)).await?;
        narrator.done("they wait for the ceremony");

        narrator.begin("Hold the ceremony: exchange setup codes, generate keys together");
        let ceremony_began = Instant::now();
        hold(&guardians, &federation_name).await?;
        let others = u64::from(count) - 1;
        try_join_all(guardians.iter_mut().map(|guardian| guardian.await_federation(others)))
            .await?;
        let ceremony_time = ceremony_began.elapsed();
        let invite = guardians[0].read_invite().await?;
        narrator.done("no guardian knows the whole key");

        Ok(Self { guardians, bitcoind, invite, admin_password, ceremony_time, programs, dir })
    }

    /// The folder everything lies in, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What a caller outside needs to use this world.
    pub fn report(&self) -> WorldReport {
        WorldReport {
            invite: self.invite.clone(),
            admin_password: self.admin_password.clone(),
            bitcoind: self.bitcoind.report(),
            guardians: self.guardians.iter().map(Guardian::report).collect(),
        }
    }

    /// Returns a wallet that keeps its state in the folder `name` of this world. It has joined nothing yet.
    ///
    /// Errors: the wallet program is missing, or the folder cannot be made.
    pub fn wallet(&self, name: &str) -> Result<WalletCommand> {
        let Some(program) = &self.programs.moneta else {
            bail!("no program moneta beside this one: cargo build -p moneta --bins");
        };
        let folder = self.dir.join(name);
        folder::create_private(&folder)?;
        Ok(WalletCommand::new(program, &folder.join("wallet"), &folder.join("log")))
    }

    /// The federation's balance sheet as the first running guardian sees it.
    ///
    /// Errors: no guardian runs, or the call fails.
    pub async fn audit(&self) -> Result<AuditView> {
        let guardian = self.guardians.iter().find(|guardian| guardian.pid().is_some());
        let guardian = guardian.context("no guardian runs")?;
        let audit = guardian.call_admin("audit", serde_json::Value::Null).await?;
        serde_json::from_value(audit).context("read the answer to audit")
    }

    /// Ends all guardians, then bitcoind, each with a request first and force after [`PATIENCE`].
    ///
    /// Errors: a guardian did not end with exit status 0. All are ended all the same.
    pub async fn stop(mut self) -> Result<()> {
        let ends = futures::future::join_all(self.guardians.iter_mut().map(Guardian::stop)).await;
        self.bitcoind.stop().await?;
        ends.into_iter().collect()
    }
}

fn plural(count: u16, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}
