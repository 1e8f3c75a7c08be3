//! A guardian's backup: the three configuration files in a tar archive, and the way back.
//!
//! Source: docs/protocol/guardian.md, section 7.1.

use std::io::{self, Read as _};

use moneta_module::setup::ServerKind;

use super::files::{CONSENSUS_FILE, DataDir, FilesError, LOCAL_FILE, PRIVATE_FILE};
use crate::setup::config::{ConfigError, GuardianConfig};

/// Largest archive that is looked at, in bytes.
const MAX_ARCHIVE_BYTES: usize = 10 * 1024 * 1024;

/// Why an archive is not restored. The data folder is unchanged then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Refused: the folder already holds a guardian.
    #[error("the data folder already holds a guardian; never run two copies of one guardian")]
    Occupied,
    /// Refused: not an archive of this kind.
    #[error("this is not a guardian backup: {0}")]
    NotABackup(String),
    /// Refused: the archive's parts do not belong together.
    #[error("the backup is not usable: {0}")]
    Config(#[from] ConfigError),
    /// The folder cannot be written.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// Packs a configuration.
pub(super) fn archive(config: &GuardianConfig) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let files = [
        (LOCAL_FILE, serde_json::to_vec(&config.local)?),
        (CONSENSUS_FILE, serde_json::to_vec(&config.consensus)?),
        (PRIVATE_FILE, serde_json::to_vec(&config.private)?),
    ];
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content.as_slice())?;
    }
    archive.into_inner()
}

/// Puts a backup into an empty data folder, after checking that its parts belong together and that
/// all modules open. The guardian then fetches the history from its peers.
pub fn restore(
    dir: &DataDir,
    bytes: &[u8],
    kinds: &[Box<dyn ServerKind>],
) -> Result<GuardianConfig, RestoreError> {
    if dir.read_config()?.is_some() || dir.join("database.redb").exists() {
        return Err(RestoreError::Occupied);
    }
    let config = unpack(bytes)?;
    config.open_modules(kinds)?;
    dir.write_config(&config)?;
    Ok(config)
}

fn unpack(bytes: &[u8]) -> Result<GuardianConfig, RestoreError> {
    let not = |reason: &str| RestoreError::NotABackup(reason.to_owned());
    if bytes.len() > MAX_ARCHIVE_BYTES {
        return Err(not("it is larger than 10 MiB"));
    }
    let (mut local, mut consensus, mut private) = (None, None, None);
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().map_err(|error| not(&error.to_string()))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| not(&error.to_string()))?;
        if !entry.header().entry_type().is_file() {
            return Err(not("it holds something that is not a plain file"));
        }
        let name = entry.path().ok().and_then(|path| path.to_str().map(str::to_owned));
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|error| not(&error.to_string()))?;
        let slot = match name.as_deref() {
            Some(LOCAL_FILE) => &mut local,
            Some(CONSENSUS_FILE) => &mut consensus,
            Some(PRIVATE_FILE) => &mut private,
            _ => return Err(not("it holds an unexpected file")),
        };
        if slot.replace(content).is_some() {
            return Err(not("it holds a file twice"));
        }
    }
    fn parse<T: serde::de::DeserializeOwned>(
        name: &str,
        content: Option<Vec<u8>>,
    ) -> Result<T, RestoreError> {
        let content =
            content.ok_or_else(|| RestoreError::NotABackup(format!("{name} is missing")))?;
        serde_json::from_slice(&content).map_err(|error| {
            let place = format!("{name}, line {} column {}", error.line(), error.column());
            RestoreError::NotABackup(format!("malformed {place}"))
        })
    }
    Ok(GuardianConfig {
        local: parse(LOCAL_FILE, local)?,
        consensus: parse(CONSENSUS_FILE, consensus)?,
        private: parse(PRIVATE_FILE, private)?,
    })
}
