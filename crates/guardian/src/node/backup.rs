//! A guardian's backup: the three configuration files in a tar archive, and the way back.
//!
//! Source: docs/protocol/guardian.md, section 7.1.

use std::io::{self, Read as _};

use moneta_module::setup::ServerKind;

use super::files::{
    CONSENSUS_FILE, DATABASE, DataDir, FRESH_FILE, FilesError, LOCAL_FILE, PRIVATE_FILE, SETUP_FILE,
};
use crate::setup::config::{ConfigError, GuardianConfig};

/// Largest archive that is looked at, in bytes.
const MAX_ARCHIVE_BYTES: usize = 10 * 1024 * 1024;

/// Why an archive is not restored. The data folder is unchanged then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Refused: the folder already holds a guardian, or one in its ceremony.
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
    let parts = [LOCAL_FILE, CONSENSUS_FILE, PRIVATE_FILE, DATABASE, SETUP_FILE];
    if parts.iter().any(|part| dir.join(part).exists()) {
        return Err(RestoreError::Occupied);
    }
    let config = unpack(bytes)?;
    config.open_modules(kinds)?;
    // What a ceremony that was given up has left would let this guardian forget its former self.
    dir.remove(FRESH_FILE)?;
    dir.write_config(&config)?;
    Ok(config)
}

pub(super) fn unpack(bytes: &[u8]) -> Result<GuardianConfig, RestoreError> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use moneta_core::{ModuleKind, PeerId};
    use zeroize::Zeroizing;

    use super::*;
    use crate::setup::ceremony::tests::agreements;
    use crate::setup::keygen::{Keygen, Progress};
    use crate::testing::FakeKind;

    fn kinds() -> Vec<Box<dyn ServerKind>> {
        let kind = |name| -> Box<dyn ServerKind> {
            Box::new(FakeKind { kind: ModuleKind::from_static(name), tbs_keys: 1 })
        };
        vec![kind("alpha"), kind("beta")]
    }

    fn config(seed: u8) -> GuardianConfig {
        let kinds = kinds();
        let agreement = agreements(1).remove(0);
        let mut keygen =
            Keygen::new(agreement, &Zeroizing::new([seed; 32]), Zeroizing::new(vec![9]), &kinds)
                .unwrap();
        let Progress::Done(config) = keygen.advance().unwrap() else { panic!("not done") };
        *config
    }

    fn folder() -> (tempfile::TempDir, DataDir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path()).unwrap();
        (folder, dir)
    }

    fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, *content).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn backup_restores_the_guardian_into_an_empty_folder_once() {
        let config = config(1);
        let archive = archive(&config).unwrap();
        let (_folder, dir) = folder();
        restore(&dir, &archive, &kinds()).unwrap();
        let restored = dir.read_config().unwrap().unwrap();
        assert_eq!(restored.consensus, config.consensus);
        assert!(restored.private == config.private);
        assert_eq!(restored.local, config.local);
        let again = restore(&dir, &archive, &kinds()).unwrap_err();
        assert!(matches!(again, RestoreError::Occupied), "{again}");
    }

    #[test]
    fn folder_in_its_ceremony_or_with_a_database_is_occupied() {
        for file in [DATABASE, SETUP_FILE] {
            let (_folder, dir) = folder();
            dir.write(file, b"{}").unwrap();
            let refused = restore(&dir, &archive(&config(1)).unwrap(), &kinds()).unwrap_err();
            assert!(matches!(refused, RestoreError::Occupied), "{file}: {refused}");
        }
    }

    #[test]
    fn archive_that_is_no_backup_changes_nothing() {
        let whole = archive(&config(1)).unwrap();
        let cases: [(&str, Vec<u8>); 7] = [
            ("empty", Vec::new()),
            ("garbage", vec![7; 2000]),
            ("cut short", whole[..whole.len() / 2].to_vec()),
            ("too large", vec![0; MAX_ARCHIVE_BYTES + 1]),
            ("a part is missing", tar_of(&[(LOCAL_FILE, b"{\"identity\":0}")])),
            ("an unexpected file", tar_of(&[("other.json", b"{}"), (LOCAL_FILE, b"{}")])),
            ("twice", tar_of(&[(LOCAL_FILE, b"{}"), (LOCAL_FILE, b"{}")])),
        ];
        for (what, bytes) in cases {
            let (_folder, dir) = folder();
            let refused = restore(&dir, &bytes, &kinds()).unwrap_err();
            assert!(matches!(refused, RestoreError::NotABackup(_)), "{what}: {refused}");
            assert!(dir.read_config().unwrap().is_none(), "{what}");
        }
    }

    #[test]
    fn parts_of_different_guardians_are_refused_together() {
        let (mine, other) = (config(1), config(2));
        let mut mixed = mine.clone();
        mixed.private = other.private.clone();
        let refuse = |config: &GuardianConfig| {
            let (_folder, dir) = folder();
            let refused = restore(&dir, &archive(config).unwrap(), &kinds()).unwrap_err();
            assert!(matches!(refused, RestoreError::Config(_)), "{refused}");
        };
        refuse(&mixed);
        let mut renamed = mine.clone();
        renamed.local.identity = PeerId::new(3);
        refuse(&renamed);
        let mut foreign_module = mine.clone();
        foreign_module.private.modules = other.private.modules.clone();
        refuse(&foreign_module);
        let mut gap = mine;
        gap.consensus.broadcast_public_keys.clear();
        refuse(&gap);
    }
}
