//! The folder of a world: who owns it, and how somebody else ends what runs in it.

use std::{
    fs::{DirBuilder, File, TryLockError},
    io::{Read, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use super::{
    PATIENCE,
    process::{self, PID_FILE, Probe, poll_until},
};

/// Names the process that runs the world, and is locked by it while it does.
const OWNER_FILE: &str = "moneta-dev.pid";

/// Ending takes at most two rounds of patience (guardians, then bitcoind); after that somebody must look.
const END_PATIENCE: Duration = Duration::from_secs(2 * PATIENCE.as_secs() + 10);

/// The right to run a world in a folder. Ends when dropped, or with the process.
#[derive(Debug)]
pub struct WorldFolder {
    path: PathBuf,
    owner: File,
}

impl WorldFolder {
    /// Takes `path`, which must be empty or not exist.
    ///
    /// Errors: a world runs there or has run there, something else lies there, or it cannot be written.
    pub fn claim(path: &Path) -> Result<Self> {
        create_private(path)?;
        let owner_path = path.join(OWNER_FILE);
        let mut owner = open_owner(&owner_path, true)?;
        ensure!(try_lock(&owner, &owner_path)?, "a local world runs in {} already", path.display());
        for entry in path.read_dir().with_context(|| format!("list {}", path.display()))? {
            let name = entry.with_context(|| format!("list {}", path.display()))?.file_name();
            ensure!(
                name == OWNER_FILE,
                "{} is not empty: remove it, or give another folder",
                path.display()
            );
        }
        owner.set_len(0).context("note who runs this world")?;
        write!(owner, "{}", std::process::id()).context("note who runs this world")?;
        Ok(Self { path: path.to_owned(), owner })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorldFolder {
    fn drop(&mut self) {
        // The lock goes with the file; an empty file says that nobody has to be asked any more.
        let _ = self.owner.set_len(0);
    }
}

/// Ends the world that runs in `path` and waits until it has ended. Where its owner was killed, ends
/// the processes it left.
///
/// Errors: nothing has ever run there, or it does not end.
pub async fn end(path: &Path) -> Result<()> {
    let owner_path = path.join(OWNER_FILE);
    ensure!(owner_path.exists(), "no local world in {}", path.display());
    let mut owner = open_owner(&owner_path, false)?;
    if try_lock(&owner, &owner_path)? {
        return end_leftovers(path).await;
    }
    let mut pid = String::new();
    owner.read_to_string(&mut pid).context("read who runs this world")?;
    let pid = pid.trim().parse().with_context(|| format!("read {}", owner_path.display()))?;
    process::signal(pid, Signal::TERM).context("ask the local world to end")?;
    poll_until("the end of the local world", END_PATIENCE, async || {
        Ok(match try_lock(&owner, &owner_path)? {
            true => Probe::Ready(()),
            false => Probe::Waiting(format!("process {pid} still runs")),
        })
    })
    .await
}

/// Ends processes that were started below `path` and have lost their owner.
async fn end_leftovers(path: &Path) -> Result<()> {
    let path = path.canonicalize().with_context(|| format!("resolve {}", path.display()))?;
    for entry in path.read_dir().with_context(|| format!("list {}", path.display()))? {
        let folder = entry.with_context(|| format!("list {}", path.display()))?.path();
        let Ok(pid) = std::fs::read_to_string(folder.join(PID_FILE)) else { continue };
        let Ok(pid) = pid.trim().parse::<u32>() else { continue };
        // A process id can have gone to somebody else; the working folder tells.
        let runs = || {
            std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|working| working == folder)
        };
        if !runs() {
            continue;
        }
        process::signal(pid, Signal::TERM)?;
        poll_until("the end of a process", PATIENCE, async || {
            Ok(if runs() {
                Probe::Waiting(format!("process {pid} runs"))
            } else {
                Probe::Ready(())
            })
        })
        .await?;
    }
    Ok(())
}

/// Makes a folder that only this user may enter; an existing one is left as it is.
///
/// Errors: it cannot be made, or something else has that name.
pub fn create_private(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("make the folder {}", path.display()))
}

fn open_owner(path: &Path, create: bool) -> Result<File> {
    File::options()
        .create(create)
        .read(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

/// Returns whether the lock is ours now.
fn try_lock(file: &File, path: &Path) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => {
            bail!("lock {}: {error}", path.display())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::Command;

    use super::*;
    use crate::world::process::Process;

    #[test]
    fn second_world_in_the_same_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = WorldFolder::claim(folder.path()).unwrap();
        let error = WorldFolder::claim(folder.path()).unwrap_err().to_string();
        assert!(error.contains("runs in"), "{error}");
        drop(first);
        WorldFolder::claim(folder.path()).unwrap();
    }

    #[test]
    fn folder_with_other_files_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("letter"), "dear").unwrap();
        let error = WorldFolder::claim(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is not empty"), "{error}");
    }

    #[tokio::test]
    async fn ending_where_nothing_ran_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = end(folder.path()).await.unwrap_err().to_string();
        assert!(error.contains("no local world"), "{error}");
    }

    /// An owner that is killed leaves its children to the system; the next `down` must find them.
    #[tokio::test]
    async fn processes_of_a_killed_owner_are_ended() {
        let folder = tempfile::tempdir().unwrap();
        drop(WorldFolder::claim(folder.path()).unwrap());
        let child = folder.path().canonicalize().unwrap().join("child");
        create_private(&child).unwrap();
        let mut sleeper = Command::new("sleep");
        sleeper.arg("600");
        let mut process = Process::start("sleeper", sleeper, &child).unwrap();
        end(folder.path()).await.unwrap();
        assert!(process.exit_status().unwrap().is_some());
    }

    /// Process ids are used again; only a process that works in the world's folder is ours to end.
    #[tokio::test]
    async fn process_with_a_recycled_id_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        drop(WorldFolder::claim(folder.path()).unwrap());
        let child = folder.path().join("child");
        create_private(&child).unwrap();
        std::fs::write(child.join(PID_FILE), std::process::id().to_string()).unwrap();
        end(folder.path()).await.unwrap();
    }
}
