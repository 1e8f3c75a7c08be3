//! The setup phase: serves the ceremony's endpoints, then generates keys with the other guardians.
//!
//! On disk in the data folder, readable by the owner only:
//!
//! * `setup.json`: certificate, key and seed of this guardian, and what was entered so far. Written
//!   before any answer that depends on it.
//! * `keygen/<stage>-<guardian>`: messages of others, written before they count.
//! * `keygen-sent/<guardian>`: own messages, written just before the configuration, for guardians
//!   that come late to the end; see [`super::latecomers`].
//!
//! The first two are removed once the configuration is complete, at the next start if not before. If key generation fails, all is
//! forgotten and the ceremony begins anew, with a new certificate; the reason is kept and shown.

mod desk;
mod exchange;

use std::collections::BTreeSet;

use moneta_core::hex_bytes;
use moneta_net::links::LinkIdentity;
use rand::RngCore;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::error;
use zeroize::Zeroize;

use super::files::{DataDir, FilesError, SETUP_FILE};
use super::{NodeError, Options, latecomers};
use crate::setup::ceremony::{Ceremony, Identity};
use crate::setup::config::GuardianConfig;
use crate::setup::keygen::KeygenError;

const KEYGEN_DIR: &str = "keygen";

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
    /// Why the ceremony before this one failed.
    #[serde(default)]
    failure: Option<String>,
}

impl Drop for SetupState {
    fn drop(&mut self) {
        self.tls_key.zeroize();
        self.seed.zeroize();
    }
}

impl SetupState {
    fn fresh(failure: Option<String>) -> Result<Self, NodeError> {
        let identity = LinkIdentity::generate()?;
        let mut seed = vec![0; 32];
        rand::rngs::OsRng.fill_bytes(&mut seed);
        Ok(Self {
            cert: identity.certificate_der().to_vec(),
            tls_key: identity.key_der().to_vec(),
            seed,
            ceremony: Ceremony::default(),
            failure,
        })
    }
}

/// Serves setup until the configuration is complete; `None` if told to stop before.
///
/// Errors: what the machine refuses. A ceremony that fails is begun anew instead.
pub(super) async fn run(
    dir: &DataDir,
    options: &Options,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<GuardianConfig>, NodeError> {
    loop {
        let state = match dir.read_json::<SetupState>(SETUP_FILE)? {
            Some(state) => state,
            None => begin(dir, None)?,
        };
        let reason = match hold(dir, options, state, stop).await {
            Ok(config) => return Ok(config),
            Err(NodeError::Keygen(error)) => error.to_string(),
            // Addresses and certificates stand in the codes that were entered.
            Err(error @ (NodeError::Links(_) | NodeError::Address { .. })) => error.to_string(),
            Err(other) => return Err(other),
        };
        error!(target: "moneta::setup", %reason, "key generation failed; every guardian must be set \
            up anew: enter the local parameters and exchange new setup codes");
        begin(dir, Some(reason))?;
    }
}

/// Begins a ceremony, with nothing left of one before.
fn begin(dir: &DataDir, failure: Option<String>) -> Result<SetupState, NodeError> {
    // In this order: messages of an old ceremony must never be read in a new one.
    for folder in [KEYGEN_DIR, latecomers::FOLDER] {
        dir.remove_folder(folder)?;
    }
    let state = SetupState::fresh(failure)?;
    dir.write_json(SETUP_FILE, &state)?;
    Ok(state)
}

/// Holds one ceremony to its end.
async fn hold(
    dir: &DataDir,
    options: &Options,
    state: SetupState,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<GuardianConfig>, NodeError> {
    let identity = Identity {
        api_url: options.api_url.clone(),
        p2p_url: options.link_url.clone(),
        cert: state.cert.clone(),
        network: options.network,
        kinds: options.kinds.iter().map(|kind| kind.kind()).collect::<BTreeSet<_>>(),
        release: options.release.clone(),
    };
    let state = match state.ceremony.is_started() {
        true => state,
        false => match desk::serve(dir, options, &identity, state, stop).await? {
            Some(state) => state,
            None => return Ok(None),
        },
    };
    let agreement = state.ceremony.agreement(&identity);
    let agreement = agreement.map_err(|error| KeygenError::Keys(error.message))?;
    let config = exchange::generate(dir, options, agreement, &state, stop).await?;
    if config.is_some() {
        forget(dir)?;
    }
    Ok(config)
}

/// Removes what only an unfinished ceremony needs; once there is a configuration. At every start, for
/// a crash may have come between, and the seed in it is worth all other secrets.
pub(super) fn forget(dir: &DataDir) -> Result<(), FilesError> {
    dir.remove(SETUP_FILE)?;
    dir.remove_folder(KEYGEN_DIR)
}
