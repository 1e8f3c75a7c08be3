//! The end of key generation, for guardians that come late to it.
//!
//! A guardian that has its configuration goes on to consensus, while another one, away for a moment,
//! may lack its last messages and can have them from nobody else. So they are kept on disk, written
//! before the configuration is, and the running node answers who still asks on the setup channel.
//! They go when the other guardian shows that it is done, too.

use std::collections::BTreeSet;
use std::fs;

use moneta_core::{Decode, Encode, FederationSize, PeerId};
use tracing::{debug, info, warn};

use super::files::{DataDir, FilesError};
use crate::setup::keygen::{Keygen, Stage};

/// The folder inside the data folder; a file for each guardian that may come late. Each holds that
/// guardian's secret shares.
pub(super) const FOLDER: &str = "keygen-sent";

/// On the setup channel: all messages so far, small enough to be sent whole each time.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Message {
    pub(super) stages: Vec<(Stage, Vec<u8>)>,
    /// The sender has its configuration and needs nothing more.
    pub(super) done: bool,
    /// The sender has failed and says why.
    pub(super) gave_up: Option<String>,
}

/// Writes what the others may ask for later.
pub(super) fn keep(
    dir: &DataDir,
    keygen: &Keygen<'_>,
    others: &[PeerId],
) -> Result<(), FilesError> {
    let files = dir.subfolder(FOLDER)?;
    for peer in others {
        let message = Message { stages: keygen.outgoing(*peer), done: true, gave_up: None };
        files.write(&peer.to_string(), &message.to_bytes())?;
    }
    Ok(())
}

/// The guardians that have not shown to be done yet.
pub(super) struct Latecomers {
    files: Option<DataDir>,
    awaited: BTreeSet<PeerId>,
}

impl Latecomers {
    /// Looks who is awaited.
    pub(super) fn open(dir: &DataDir, size: FederationSize) -> Result<Self, FilesError> {
        if !dir.join(FOLDER).exists() {
            return Ok(Self { files: None, awaited: BTreeSet::new() });
        }
        let files = dir.subfolder(FOLDER)?;
        let awaited: BTreeSet<PeerId> =
            size.peer_ids().filter(|peer| files.join(&peer.to_string()).exists()).collect();
        let mut latecomers = Self { files: Some(files), awaited };
        latecomers.tidy();
        Ok(latecomers)
    }

    /// A frame on the setup channel: the answer to send, if the sender still needs one.
    pub(super) fn answer(&mut self, peer: PeerId, frame: &[u8]) -> Option<Vec<u8>> {
        match Message::from_bytes(frame) {
            Ok(message) if message.done => {
                self.arrived(peer);
                None
            }
            Ok(_) => {
                let path = self.files.as_ref()?.join(&peer.to_string());
                let message = fs::read(path).ok()?;
                info!(target: "moneta::setup", guardian = %peer, "helps a guardian to finish its setup");
                Some(message)
            }
            Err(error) => {
                debug!(target: "moneta::setup", guardian = %peer, %error, "malformed message");
                None
            }
        }
    }

    /// A guardian is done: it said so, or it speaks of other things.
    pub(super) fn arrived(&mut self, peer: PeerId) {
        if !self.awaited.remove(&peer) {
            return;
        }
        if let Some(files) = &self.files
            && let Err(error) = files.remove(&peer.to_string())
        {
            warn!(target: "moneta::setup", %error, "cannot remove what is not needed any more");
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        if self.awaited.is_empty()
            && let Some(files) = self.files.take()
        {
            // Not empty only if a write was cut short; the next start finds it again.
            let _ = fs::remove_dir_all(files.join(""));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn frame(done: bool) -> Vec<u8> {
        Message { stages: Vec::new(), done, gave_up: None }.to_bytes()
    }

    #[test]
    fn latecomer_is_answered_until_it_is_done_even_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path()).unwrap();
        let size = FederationSize::new(4).unwrap();
        let (one, two) = (PeerId::new(1), PeerId::new(2));
        let kept = dir.subfolder(FOLDER).unwrap();
        for peer in [one, two] {
            kept.write(&peer.to_string(), &[peer.index() as u8]).unwrap();
        }
        let mut latecomers = Latecomers::open(&dir, size).unwrap();
        assert_eq!(latecomers.answer(one, &frame(false)), Some(vec![1]));
        assert_eq!(latecomers.answer(PeerId::new(3), &frame(false)), None);
        assert_eq!(latecomers.answer(one, b"garbage"), None);
        latecomers.arrived(two);

        let mut latecomers = Latecomers::open(&dir, size).unwrap();
        assert_eq!(latecomers.answer(two, &frame(false)), None);
        assert_eq!(latecomers.answer(one, &frame(false)), Some(vec![1]));
        assert_eq!(latecomers.answer(one, &frame(true)), None);
        assert_eq!(latecomers.answer(one, &frame(false)), None);
        assert!(!dir.join(FOLDER).exists());
        assert_eq!(Latecomers::open(&dir, size).unwrap().answer(one, &frame(false)), None);
    }
}
