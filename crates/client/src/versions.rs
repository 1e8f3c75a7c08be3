//! Which API versions a wallet and its federation have in common.
//!
//! Each guardian reports what it supports; the wallet says what it needs; what most guardians have
//! in common counts. A module without a common version is not used, which is said plainly because
//! its money then seems missing.
//!
//! Source: docs/protocol/core.md, section 9.2.

use std::collections::BTreeMap;

use moneta_core::api::discovery::{AgreedVersions, discover};
use moneta_core::config::ClientConfig;
use moneta_core::id::{ModuleInstanceId, ModuleKind, PeerId};
use moneta_core::version::{
    ApiVersion, CoreVersionSummary, ModuleVersionSummary, MultiApiVersion, VersionSummary,
};
use moneta_module::client::ClientKind;
use serde::Deserialize;
use serde_json::Value;

/// The core API a wallet requires (core.md 2.1). Minor numbers gate features.
pub const REQUIRED_CORE_API: ApiVersion = ApiVersion::new(0, 0);

/// What discovery came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The versions to use.
    pub agreed: AgreedVersions,
    /// Modules of known kinds that the guardians serve in no version this wallet speaks.
    pub unusable: BTreeMap<ModuleInstanceId, ModuleKind>,
}

/// No guardian serves a core API this wallet speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the guardians and this wallet have no API version in common; a newer release of the wallet \
     may help ({answers} guardians answered)"
)]
pub struct NoCommonVersion {
    /// How many guardians answered.
    pub answers: usize,
}

/// Returns what this wallet needs of a federation with this config.
pub fn requirements(config: &ClientConfig, kinds: &[Box<dyn ClientKind>]) -> VersionSummary {
    let core_consensus = config.global.consensus_version;
    let core =
        CoreVersionSummary { core_consensus, api: MultiApiVersion::single(REQUIRED_CORE_API) };
    let mut modules = BTreeMap::new();
    for (instance, entry) in &config.modules {
        let Some(kind) = kinds.iter().find(|kind| kind.kind() == entry.kind) else { continue };
        let module_consensus = entry.version;
        let api = ascending(kind.required_api());
        modules.insert(*instance, ModuleVersionSummary { core_consensus, module_consensus, api });
    }
    VersionSummary { core, modules }
}

/// The most API versions in one list of a report. Real ones have one or two.
const MAX_API_VERSIONS: usize = 32;

/// Returns what counts of a guardian's answer to `version`: what it says of the modules of the config.
/// `None` if it is no report. So a report takes no more room than the config it is about.
pub fn parse_report(config: &ClientConfig, answer: Value) -> Option<VersionSummary> {
    let mut report = VersionSummary::deserialize(answer).ok()?;
    report.modules.retain(|instance, _| config.modules.contains_key(instance));
    let is_bounded = |list: &MultiApiVersion| list.iter().count() <= MAX_API_VERSIONS;
    let fits = is_bounded(&report.core.api)
        && report.modules.values().all(|module| is_bounded(&module.api));
    fits.then_some(report)
}

/// Agrees on versions with the guardians that answered.
///
/// Errors: no common core version: a join fails, a later start keeps what was agreed before.
pub fn agree(
    config: &ClientConfig,
    kinds: &[Box<dyn ClientKind>],
    answers: &BTreeMap<PeerId, VersionSummary>,
) -> Result<Versions, NoCommonVersion> {
    let required = requirements(config, kinds);
    let peers: Vec<&VersionSummary> = answers.values().collect();
    let agreed = discover(&required, &peers);
    let agreed = agreed.ok_or(NoCommonVersion { answers: answers.len() })?;
    let missing = |instance: &&ModuleInstanceId| !agreed.modules.contains_key(*instance);
    let unusable = required.modules.keys().filter(missing);
    let kind = |instance: &ModuleInstanceId| Some(config.modules.get(instance)?.kind.clone());
    let unusable = unusable.filter_map(|instance| Some((*instance, kind(instance)?))).collect();
    Ok(Versions { agreed, unusable })
}

/// Per major number the least minor number, ascending.
fn ascending(mut versions: Vec<ApiVersion>) -> MultiApiVersion {
    versions.sort();
    versions.dedup_by_key(|version| version.major);
    MultiApiVersion::try_from(versions).expect("sorted, each major number once")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn least_minor_of_each_major_is_required() {
        let versions = [(1, 3), (0, 2), (1, 1)].map(|(major, minor)| ApiVersion::new(major, minor));
        let expected = [ApiVersion::new(0, 2), ApiVersion::new(1, 1)];
        assert_eq!(ascending(versions.to_vec()).iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn report_keeps_what_the_config_knows_and_is_bounded() {
        let version = json!({"major": 2, "minor": 1});
        let module = json!({"core_consensus": version, "module_consensus": version,
            "api": [{"major": 0, "minor": 1}]});
        let config = json!({
            "api_endpoints": {"0": {"url": "wss://g0.example/", "name": "a"}},
            "consensus_version": version, "meta": {},
            "modules": {"2": {"kind": "meta", "version": {"major": 0, "minor": 0}, "config": "0200"}},
        });
        let config: ClientConfig = serde_json::from_value(config).expect("a config");
        let report = |majors: u32| {
            let api: Vec<_> =
                (0..majors).map(|major| json!({"major": major, "minor": 0})).collect();
            let core = json!({"core_consensus": version, "api": api});
            let modules: serde_json::Map<_, _> =
                (0..60_000).map(|id| (id.to_string(), module.clone())).collect();
            parse_report(&config, json!({"core": core, "modules": modules}))
        };
        assert_eq!(report(2).expect("a report").modules.len(), 1);
        assert_eq!(report(1_000), None);
        assert_eq!(parse_report(&config, json!([])), None);
    }
}
