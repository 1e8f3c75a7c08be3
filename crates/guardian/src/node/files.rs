//! The data folder: its lock, its files, and how they are written.
//!
//! Every file is written beside its place, synced and renamed, so that a crash or a full disk
//! leaves the old or the new file and nothing between. Files are readable by the owner only.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::setup::config::{ConsensusConfig, GuardianConfig, LocalConfig, PrivateConfig};

/// The agreed configuration, equal on all guardians.
pub(super) const CONSENSUS_FILE: &str = "consensus.json";
/// The secrets.
pub(super) const PRIVATE_FILE: &str = "private.json";
/// Who this guardian is. Written last: with it the configuration is complete.
pub(super) const LOCAL_FILE: &str = "local.json";

/// The state of the ceremony; gone when the configuration is complete.
pub(super) const SETUP_FILE: &str = "setup.json";
/// An empty file from the end of the ceremony until consensus has begun: there is no former self.
pub(super) const FRESH_FILE: &str = "fresh";
/// Written and removed to find out whether the folder can be written.
const PROBE_FILE: &str = "probe";
/// As the probe is long: more than the database grows by for an ordinary commit.
const PROBE_BYTES: usize = 1 << 20;
/// The federation's state.
pub(super) const DATABASE: &str = "database.redb";

/// An open, locked data folder.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Arc<File>,
}

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// Another process has it.
    #[error("the data folder {path} is in use by another process; stop that one first")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is damaged.
    #[error("{path} is damaged ({reason}); restore it from this guardian's backup")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Part of the configuration is missing.
    #[error(
        "{path} is missing beside the other configuration files; restore it from this guardian's backup"
    )]
    Missing {
        /// Which.
        path: PathBuf,
    },
}

impl DataDir {
    /// Opens the folder, makes it if needed, and locks it until the value is dropped.
    ///
    /// Errors: `InUse` if another process has it, `Io`.
    pub fn open(path: &Path) -> Result<Self, FilesError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| FilesError::Io { action, path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed("make the data folder", path))?;
        let lock_path = path.join("moneta.lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => Err(FilesError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed("lock", &lock_path)(source)),
        }
    }

    /// Another handle to the same folder under the same lock.
    pub(super) fn share(&self) -> Self {
        Self { path: self.path.clone(), _lock: self._lock.clone() }
    }

    /// A folder inside this one, made if needed, under the same lock.
    pub(super) fn subfolder(&self, name: &str) -> Result<Self, FilesError> {
        let path = self.join(name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|source| {
            FilesError::Io { action: "make the folder", path: path.clone(), source }
        })?;
        Ok(Self { path, _lock: self._lock.clone() })
    }

    /// The path of something in the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads the configuration; `None` if there is none yet.
    ///
    /// Errors: `Missing` or `Damaged` if it is there in part.
    pub fn read_config(&self) -> Result<Option<GuardianConfig>, FilesError> {
        // The local file is written last, so a folder without it is still in its ceremony.
        let Some(local) = self.read_json::<LocalConfig>(LOCAL_FILE)? else {
            return self.check_not_lost().map(|()| None);
        };
        let missing = |name: &str| FilesError::Missing { path: self.join(name) };
        let consensus: Option<ConsensusConfig> = self.read_json(CONSENSUS_FILE)?;
        let private: Option<PrivateConfig> = self.read_json(PRIVATE_FILE)?;
        Ok(Some(GuardianConfig {
            consensus: consensus.ok_or_else(|| missing(CONSENSUS_FILE))?,
            private: private.ok_or_else(|| missing(PRIVATE_FILE))?,
            local,
        }))
    }

    /// Without a local file the folder is new or in its ceremony. Anything else has lost its
    /// configuration, and a new ceremony would destroy what is left of it.
    fn check_not_lost(&self) -> Result<(), FilesError> {
        let is_there = |name: &&str| self.join(name).exists();
        let in_ceremony = is_there(&SETUP_FILE);
        let is_lost = match in_ceremony {
            true => is_there(&DATABASE),
            false => [CONSENSUS_FILE, PRIVATE_FILE, DATABASE].iter().any(is_there),
        };
        match is_lost {
            true => Err(FilesError::Missing { path: self.join(LOCAL_FILE) }),
            false => Ok(()),
        }
    }

    /// Writes the configuration. Interrupted anywhere, the ceremony goes on after a restart.
    pub fn write_config(&self, config: &GuardianConfig) -> Result<(), FilesError> {
        self.write_json(CONSENSUS_FILE, &config.consensus)?;
        self.write_json(PRIVATE_FILE, &config.private)?;
        self.write_json(LOCAL_FILE, &config.local)
    }

    /// Reads a JSON file; `None` if there is none.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, FilesError> {
        let path = self.join(name);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FilesError::Io { action: "read", path, source }),
        };
        // The error names line and column, never content: the file may hold secrets.
        serde_json::from_slice(&text).map(Some).map_err(|error| FilesError::Damaged {
            path,
            reason: format!("line {} column {}", error.line(), error.column()),
        })
    }

    /// Writes a JSON file.
    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), FilesError> {
        let text = serde_json::to_vec_pretty(value).map_err(|error| FilesError::Io {
            action: "encode",
            path: self.join(name),
            source: io::Error::other(error),
        })?;
        self.write(name, &text)
    }

    /// Writes a file: beside its place, synced, then renamed.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FilesError> {
        let path = self.join(name);
        let fresh = self.join(&format!("{name}.new"));
        let written = (|| {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&fresh)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.path)?.sync_all()
        })();
        written.map_err(|source| FilesError::Io { action: "write", path, source })
    }

    /// Finds out whether the folder takes as much as a guardian writes at once.
    ///
    /// Errors: `Io` with what the system says of a full or read-only disk.
    pub(super) fn check_writable(&self) -> Result<(), FilesError> {
        // Not zeros: some file systems store those for nothing.
        let filling: Vec<u8> = (0..PROBE_BYTES).map(|place| (place % 251) as u8).collect();
        let written = self.write(PROBE_FILE, &filling);
        let removed = [PROBE_FILE.to_owned(), format!("{PROBE_FILE}.new")]
            .iter()
            .try_for_each(|name| self.remove(name));
        written.and(removed)
    }

    /// Removes a folder inside this one, with all that is in it, if it is there.
    pub(super) fn remove_folder(&self, name: &str) -> Result<(), FilesError> {
        let path = self.join(name);
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(FilesError::Io { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Makes durable which files and folders there are.
    pub(super) fn sync(&self) -> Result<(), FilesError> {
        let synced = File::open(&self.path).and_then(|folder| folder.sync_all());
        let path = &self.path;
        synced.map_err(|source| FilesError::Io { action: "sync", path: path.clone(), source })
    }

    /// Removes a file, durably, if it is there.
    pub fn remove(&self, name: &str) -> Result<(), FilesError> {
        let path = self.join(name);
        match fs::remove_file(&path) {
            Ok(()) => self.sync(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(FilesError::Io { action: "remove", path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder() -> (tempfile::TempDir, DataDir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path()).unwrap();
        (folder, dir)
    }

    #[test]
    fn folder_is_held_by_one_process_at_a_time() {
        let (folder, dir) = folder();
        let shared = dir.share();
        let refused = DataDir::open(folder.path()).unwrap_err();
        assert!(matches!(refused, FilesError::InUse { .. }), "{refused}");
        drop(dir);
        assert!(DataDir::open(folder.path()).is_err(), "another handle still holds it");
        drop(shared);
        DataDir::open(folder.path()).unwrap();
    }

    #[test]
    fn files_are_readable_by_their_owner_only() {
        let outer = tempfile::tempdir().unwrap();
        let dir = DataDir::open(&outer.path().join("data")).unwrap();
        dir.write("secret", b"x").unwrap();
        let inner = dir.subfolder("inner").unwrap();
        inner.write("secret", b"x").unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(dir.join("secret")), 0o600);
        assert_eq!(mode(dir.join("moneta.lock")), 0o600);
        assert_eq!(mode(dir.join("inner")), 0o700);
        assert_eq!(mode(inner.join("secret")), 0o600);
        assert_eq!(mode(outer.path().join("data")), 0o700);
    }

    #[test]
    fn write_cut_short_leaves_the_old_file() {
        let (_folder, dir) = folder();
        dir.write_json("value.json", &7).unwrap();
        // What a crash in the middle of a write leaves behind.
        fs::write(dir.join("value.json.new"), b"{").unwrap();
        assert_eq!(dir.read_json::<u32>("value.json").unwrap(), Some(7));
        dir.write_json("value.json", &8).unwrap();
        assert_eq!(dir.read_json::<u32>("value.json").unwrap(), Some(8));
        assert!(!dir.join("value.json.new").exists());
    }

    #[test]
    fn torn_file_is_named_without_its_content() {
        let (_folder, dir) = folder();
        dir.write(LOCAL_FILE, b"{\"identity\": \"secret-looking").unwrap();
        let error = dir.read_config().unwrap_err();
        assert!(matches!(error, FilesError::Damaged { .. }));
        let text = error.to_string();
        assert!(text.contains(LOCAL_FILE) && text.contains("backup"), "{text}");
        assert!(!text.contains("secret-looking"), "{text}");
    }

    #[test]
    fn folder_without_a_part_of_its_configuration_never_begins_a_new_ceremony() {
        let local = br#"{"identity": 0}"#;
        for present in [CONSENSUS_FILE, PRIVATE_FILE, DATABASE, LOCAL_FILE] {
            let (_folder, dir) = folder();
            assert!(dir.read_config().unwrap().is_none(), "a new folder");
            dir.write(present, local).unwrap();
            let error = dir.read_config().unwrap_err();
            assert!(matches!(error, FilesError::Missing { .. }), "{present}: {error}");
        }
        let (_folder, dir) = folder();
        dir.write(SETUP_FILE, b"{}").unwrap();
        dir.write(CONSENSUS_FILE, b"{}").unwrap();
        assert!(dir.read_config().unwrap().is_none(), "a ceremony that was interrupted goes on");
    }

    #[test]
    fn folder_that_cannot_be_written_is_an_error() {
        let (_folder, dir) = folder();
        fs::create_dir(dir.join("taken")).unwrap();
        fs::write(dir.join("taken").join("inside"), b"x").unwrap();
        let error = dir.write("taken", b"x").unwrap_err();
        assert!(error.to_string().starts_with("cannot write"), "{error}");
        dir.check_writable().unwrap();
        assert!(!dir.join(PROBE_FILE).exists());
        fs::create_dir(dir.join("probe.new")).unwrap();
        assert!(dir.check_writable().is_err());
        dir.remove_folder("probe.new").unwrap();
        dir.remove("absent").unwrap();
        dir.remove_folder("absent").unwrap();
        dir.remove_folder("taken").unwrap();
        assert!(!dir.join("taken").exists());
    }
}
