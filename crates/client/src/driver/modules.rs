//! From a config and the kinds a wallet knows to the modules it uses.

use std::collections::BTreeMap;

use moneta_core::config::ClientConfig;
use moneta_core::id::{ModuleInstanceId, ModuleKind};
use moneta_core::peers::FederationSize;
use moneta_crypto::derive::FederationSecrets;
use moneta_module::client::{ClientKind, Env};
use moneta_module::erased::AnyClient;
use moneta_module::setup::OpenError;

/// The client halves of a federation by instance. The first that can balance in bitcoin is the
/// primary one: it pays for transactions and takes their change.
pub type Modules = BTreeMap<ModuleInstanceId, Box<dyn AnyClient>>;

/// What of a federation's modules a wallet can use.
pub struct OpenedModules {
    /// Those it uses.
    pub modules: Modules,
    /// Those of a kind it does not know, or that are listed wrongly.
    pub unknown: BTreeMap<ModuleInstanceId, ModuleKind>,
}

/// Why a wallet does not open on a config.
#[derive(Debug, thiserror::Error)]
#[error("module {instance} ({kind}) does not open: {source}")]
pub struct OpenModuleError {
    /// Which module.
    pub instance: ModuleInstanceId,
    /// Its kind.
    pub kind: ModuleKind,
    /// Why.
    pub source: OpenError,
}

/// Opens the modules whose kind is among `kinds` and that `usable` admits.
///
/// `usable` is where version discovery has its say ([`crate::versions`]).
/// Errors: the config of a known kind does not open; using the wallet without it could hide money.
pub fn open_modules(
    config: &ClientConfig,
    size: FederationSize,
    kinds: &[Box<dyn ClientKind>],
    secrets: &FederationSecrets,
    usable: impl Fn(ModuleInstanceId) -> bool,
) -> Result<OpenedModules, OpenModuleError> {
    let federation = config.federation_id();
    let mut opened = OpenedModules { modules: Modules::new(), unknown: BTreeMap::new() };
    for (instance, entry) in &config.modules {
        let instance = *instance;
        let known = kinds.iter().find(|kind| kind.kind() == entry.kind);
        let (Some(kind), Some(entry)) = (known, config.usable_module(instance)) else {
            opened.unknown.insert(instance, entry.kind.clone());
            continue;
        };
        if !usable(instance) {
            continue;
        }
        let env = Env { instance, federation, size, secret: secrets.module(instance.0) };
        let module = kind.open(env, &entry.config.bytes);
        let module = module.map_err(|source| OpenModuleError {
            instance,
            kind: entry.kind.clone(),
            source,
        })?;
        opened.modules.insert(instance, module);
    }
    Ok(opened)
}
