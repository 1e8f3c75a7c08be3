//! The rules of the setup endpoints.
//!
//! Source: docs/protocol/guardian.md, section 3.2, texts included.

use std::collections::{BTreeMap, BTreeSet};

use moneta_core::api::ApiError;
use moneta_core::api::{LocalParams, SetupStatus};
use moneta_core::setup_code::{PeerEndpoints, PeerSetupCode, ReleaseVersion};
use moneta_core::{ApiUrl, FederationSize, ModuleKind, PeerId};
use serde::{Deserialize, Serialize};

/// What a guardian knows before key generation. Stored after every change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceremony {
    own: Option<Own>,
    others: BTreeSet<PeerSetupCode>,
    started: bool,
}

/// Most guardians of a federation: the script that holds its bitcoin, a bare multisig, has room for 20
/// keys. Known from the start, so that nobody learns it when all keys are generated.
pub const MAX_GUARDIANS: usize = 20;

fn check_count(guardians: usize) -> Result<(), String> {
    match guardians > MAX_GUARDIANS {
        true => Err(format!(
            "A federation has at most {MAX_GUARDIANS} guardians, not {guardians}: the script that \
             holds its bitcoin has room for no more keys"
        )),
        false => Ok(()),
    }
}

/// Set by `set_local_params`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Own {
    params: LocalParams,
    code: PeerSetupCode,
}

/// What the daemon's flags say about this guardian.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Where clients reach it.
    pub api_url: Option<ApiUrl>,
    /// Where other guardians reach it.
    pub p2p_url: Option<ApiUrl>,
    /// Its TLS certificate for the links, DER.
    pub cert: Vec<u8>,
    /// The bitcoin network.
    pub network: bitcoin::Network,
    /// The kinds of modules the daemon implements.
    pub kinds: BTreeSet<ModuleKind>,
    /// The release whose protocol it speaks.
    pub release: ReleaseVersion,
}

/// What all guardians have agreed on when key generation starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// All setup codes, by guardian id.
    pub codes: BTreeMap<PeerId, PeerSetupCode>,
    /// This guardian.
    pub me: PeerId,
    /// How many there are.
    pub size: FederationSize,
    /// Name of the federation.
    pub federation_name: String,
    /// Whether modules charge no base fees.
    pub disable_base_fees: bool,
    /// The modules, in the order of their instance ids.
    pub modules: BTreeSet<ModuleKind>,
    /// The bitcoin network.
    pub network: bitcoin::Network,
}

impl Ceremony {
    /// Answers `setup_status`.
    pub fn status(&self) -> SetupStatus {
        match self.own {
            None => SetupStatus::AwaitingLocalParams,
            Some(_) => SetupStatus::SharingConnectionCodes,
        }
    }

    /// Answers `set_local_params` with this guardian's setup code.
    ///
    /// Errors: 400 with the reference's texts.
    pub fn set_local_params(
        &mut self,
        params: LocalParams,
        identity: &Identity,
    ) -> Result<String, ApiError> {
        params.check().map_err(|error| ApiError::bad_request(error.to_string()))?;
        if let Some(own) = &self.own {
            if own.params == params {
                return Ok(own.code.to_string());
            }
            return Err(ApiError::bad_request("Local parameters have already been set"));
        }
        let unknown = params.enabled_modules.iter().flatten().find(|k| !identity.kinds.contains(k));
        if let Some(kind) = unknown {
            let known: Vec<_> = identity.kinds.iter().map(ModuleKind::as_str).collect();
            return Err(ApiError::bad_request(format!(
                "Module kind {kind} is not implemented here; known kinds: {}",
                known.join(", ")
            )));
        }
        let expected = params.federation_size.map_or(0, |size| size as usize);
        check_count(expected).map_err(ApiError::bad_request)?;
        let missing = |what: &str| ApiError::bad_request(format!("{what} URL must be configured"));
        let api_url = identity.api_url.clone().ok_or_else(|| missing("Api"))?;
        let p2p_url = identity.p2p_url.clone().ok_or_else(|| missing("P2P"))?;
        let code = PeerSetupCode {
            name: params.name.clone(),
            endpoints: PeerEndpoints::Tcp { api_url, p2p_url, cert: identity.cert.clone() },
            federation_name: params.federation_name.clone(),
            disable_base_fees: params.disable_base_fees,
            enabled_modules: params.enabled_modules.clone(),
            federation_size: params.federation_size,
            network: identity.network,
            fedimint_version: identity.release.clone(),
        };
        let text = code.to_string();
        self.own = Some(Own { params, code });
        Ok(text)
    }

    /// Answers `get_setup_code`.
    pub fn setup_code(&self) -> Option<String> {
        self.own.as_ref().map(|own| own.code.to_string())
    }

    /// The names of the guardians whose codes were entered.
    pub fn entered(&self) -> impl Iterator<Item = &str> {
        self.others.iter().map(|code| code.name.as_str())
    }

    /// Answers `add_peer_setup_code` with the name of the added guardian.
    ///
    /// Errors: 400 with the reference's texts; 500 before local parameters are set.
    pub fn add_peer(&mut self, text: &str) -> Result<String, ApiError> {
        let own = self.own.as_ref().ok_or_else(params_missing)?;
        self.refuse_if_started()?;
        let code: PeerSetupCode = text
            .trim()
            .parse()
            .map_err(|error| ApiError::bad_request(format!("This is not a setup code: {error}")))?;
        own.code
            .check_addition(&self.others, &code)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let name = code.name.clone();
        self.others.insert(code);
        Ok(name)
    }

    /// Answers `reset_peer_setup_codes`: forgets the entered codes, keeps the own parameters.
    ///
    /// Errors: 400 once key generation was started.
    pub fn reset_peers(&mut self) -> Result<(), ApiError> {
        self.refuse_if_started()?;
        self.others.clear();
        Ok(())
    }

    /// Other guardians work with what they were shown; a change now could only break it.
    fn refuse_if_started(&self) -> Result<(), ApiError> {
        match self.started {
            true => Err(ApiError::bad_request("Key generation has already been started")),
            false => Ok(()),
        }
    }

    /// Whether key generation was started.
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// Answers `start_dkg`: from here on nothing can be changed. Starting again changes nothing.
    ///
    /// Errors: 500 with the reference's texts.
    pub fn start(&mut self, identity: &Identity) -> Result<Agreement, ApiError> {
        let agreement = self.agreement(identity)?;
        self.started = true;
        Ok(agreement)
    }

    /// What the entered codes amount to.
    ///
    /// Errors: as [`Ceremony::start`].
    pub fn agreement(&self, identity: &Identity) -> Result<Agreement, ApiError> {
        let own = &self.own.as_ref().ok_or_else(params_missing)?.code;
        let all: BTreeSet<&PeerSetupCode> =
            self.others.iter().chain(std::iter::once(own)).collect();
        check_count(all.len()).map_err(ApiError::internal)?;
        let invalid = || ApiError::internal("The number of guardians is invalid");
        let size = FederationSize::new(all.len())
            .filter(|size| size.is_permitted_for_setup())
            .ok_or_else(invalid)?;
        let expected = all.iter().find_map(|code| code.federation_size);
        if let Some(expected) = expected.filter(|expected| *expected as usize != all.len()) {
            let message = format!("Expected {expected} guardians but got {}", all.len());
            return Err(ApiError::internal(message));
        }
        let federation_name = all.iter().find_map(|code| code.federation_name.clone());
        let federation_name = federation_name.ok_or_else(|| {
            ApiError::internal("We need one guardian to configure the federations name")
        })?;
        let modules = all.iter().find_map(|code| code.enabled_modules.clone());
        let modules = modules.unwrap_or_else(|| identity.kinds.clone());
        if let Some(kind) = modules.iter().find(|kind| !identity.kinds.contains(*kind)) {
            let message = format!("Module kind {kind} is not implemented here");
            return Err(ApiError::internal(message));
        }
        let codes: BTreeMap<PeerId, PeerSetupCode> =
            size.peer_ids().zip(all.iter().map(|code| (*code).clone())).collect();
        let me = codes.iter().find(|(_, code)| *code == own).map(|(peer, _)| *peer);
        Ok(Agreement {
            me: me.ok_or_else(invalid)?,
            size,
            federation_name,
            disable_base_fees: all.iter().find_map(|code| code.disable_base_fees).unwrap_or(false),
            modules,
            network: own.network,
            codes,
        })
    }
}

fn params_missing() -> ApiError {
    ApiError::internal("Set the local parameters first")
}

#[cfg(test)]
pub(crate) mod tests;
