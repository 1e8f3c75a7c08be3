//! A federation to measure: started for it, funded once, ended after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use moneta::world::{Front, GuardianProgram, Narrator, Pace, Programs, World, WorldOptions};

use crate::cost::{Sample, connections};
use crate::federation::Federation;
use crate::fund::{FundedWallet, deposit};
use crate::link::Conditions;
use crate::purse::Purse;
use crate::report::SubjectReport;

/// Connections to each guardian that payments are spread over.
const LANES: usize = 4;

/// Which federation to start.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// `moneta` or `reference`.
    pub name: String,
    /// A released daemon of the reference; without it ours.
    pub reference: Option<PathBuf>,
    /// How many guardians.
    pub guardians: u16,
    /// Their clocks.
    pub pace: Pace,
    /// Whether links can be made slow.
    pub links: bool,
}

/// A federation under measurement.
pub struct Subject {
    /// Its processes.
    pub world: World,
    /// The way to it.
    pub federation: Arc<Federation>,
    /// Money.
    pub purse: Purse,
    /// The wallet that made the deposit.
    pub wallet: FundedWallet,
    /// Whether the guardians are this project's.
    pub is_ours: bool,
    /// What its links are like; without effect unless [`Candidate::links`].
    pub conditions: Conditions,
    /// What was found so far.
    pub report: SubjectReport,
}

impl Subject {
    /// Starts a federation in `folder` and funds it.
    ///
    /// Errors: a program is missing or does not start, the ceremony or the deposit fails.
    pub async fn start(
        candidate: &Candidate,
        folder: &Path,
        narrator: &mut Narrator,
    ) -> Result<Self> {
        let mut options = WorldOptions::in_dir(folder.join("world"))?;
        if let Some(path) = &candidate.reference {
            let path = path.canonicalize().with_context(|| format!("find {}", path.display()))?;
            options.programs =
                Programs::with_guardian(GuardianProgram { path, is_reference: true })?;
        }
        options.guardians = candidate.guardians;
        let conditions = Conditions::default();
        if candidate.links {
            let conditions = conditions.clone();
            options.front = Some(Front::new(move |behind| conditions.open(behind)));
        }
        let mut world = World::start(options, narrator).await?;
        narrator.begin(&format!("Deposit at {}", candidate.name));
        let funded = deposit(&world, &folder.join("wallet")).await?;
        narrator.done("the load test has money");
        restart_at(&mut world, candidate.pace).await?;
        let urls: Vec<String> =
            world.guardians.iter().map(|guardian| guardian.api_url().to_owned()).collect();
        let federation = Federation::connect(&urls, LANES).await?;
        let report = SubjectReport {
            name: candidate.name.clone(),
            version: federation.version().await?,
            guardians: world.guardians.len(),
            ceremony_ms: world.ceremony_time.as_secs_f64() * 1e3,
            deposit_ms: funded.time.as_secs_f64() * 1e3,
            points: Vec::new(),
            idle: Vec::new(),
            recoveries: Vec::new(),
            syncs: Vec::new(),
            long_runs: Vec::new(),
            disk_bytes: None,
            payments_in_all: 0,
            failures: Vec::new(),
        };
        let (federation, purse) = (Arc::new(federation), Purse::new(funded.notes));
        let (wallet, is_ours) = (funded.wallet, candidate.reference.is_none());
        Ok(Self { world, federation, purse, wallet, is_ours, conditions, report })
    }

    /// Looks at every guardian that runs.
    ///
    /// Errors: one is gone.
    pub fn sample(&self) -> Result<Vec<Sample>> {
        let connections = connections();
        let pids = self.world.guardians.iter().filter_map(|guardian| guardian.pid());
        pids.map(|pid| Sample::take(pid, connections.as_deref())).collect()
    }

    /// Ends the federation; returns what was found. How guardians end is not what is measured, and those of
    /// the reference end with an error.
    pub async fn finish(mut self) -> SubjectReport {
        let folders = self.world.guardians.iter().map(|guardian| guardian.data_dir());
        self.report.disk_bytes = folders.map(|folder| folder_bytes(&folder).ok()).sum();
        let _ = self.world.stop().await;
        self.report
    }
}

/// Goes over to other clocks, for which guardians start again. Worlds are born at test pace, since a
/// deposit at production's takes minutes with some guardians and is not what is measured.
///
/// Errors: a guardian does not start.
pub async fn restart_at(world: &mut World, pace: Pace) -> Result<()> {
    if pace == Pace::Test {
        return Ok(());
    }
    stop_all(world).await;
    let stopped = std::mem::take(&mut world.guardians);
    world.guardians = stopped.into_iter().map(|guardian| guardian.with_pace(pace)).collect();
    start_all(world).await
}

/// Ends all guardians.
pub async fn stop_all(world: &mut World) {
    for guardian in &mut world.guardians {
        // Gone either way; those of the reference end with an error.
        let _ = guardian.stop().await;
    }
}

/// Starts all guardians, which need each other for it.
///
/// Errors: one does not start.
pub async fn start_all(world: &mut World) -> Result<()> {
    for guardian in &mut world.guardians {
        guardian.launch()?;
    }
    for guardian in &mut world.guardians {
        guardian.start().await?;
    }
    Ok(())
}

/// Bytes of disk that a folder takes up, files made sparse at their true size.
pub(crate) fn folder_bytes(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;

    let mut sum = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            match metadata.is_dir() {
                true => folders.push(entry.path()),
                false => sum += metadata.blocks() * 512,
            }
        }
    }
    Ok(sum)
}

/// Allows this process as many open files as the system lets it: a connection per waiting wallet and
/// guardian.
///
/// Errors: fewer than `needed` are allowed.
pub fn allow_open_files(needed: u64) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let now = getrlimit(Resource::Nofile);
    if now.current.is_some_and(|current| current < needed) {
        let most = Rlimit { current: now.maximum, maximum: now.maximum };
        setrlimit(Resource::Nofile, most).context("allow more open files")?;
        ensure!(
            now.maximum.is_none_or(|maximum| maximum >= needed),
            "the system allows {:?} open files, {needed} are needed",
            now.maximum
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn folders_are_counted_with_what_lies_below() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("below")).unwrap();
        assert_eq!(folder_bytes(folder.path()).unwrap(), 0);
        fs::write(folder.path().join("below/file"), vec![1; 100_000]).unwrap();
        assert!(folder_bytes(folder.path()).unwrap() >= 100_000);
    }
}
