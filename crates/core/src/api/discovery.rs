//! Which API versions a client uses with a federation whose guardians may differ.
//!
//! Source: docs/protocol/core.md, section 9.2.

use std::collections::BTreeMap;

use crate::{ApiVersion, ModuleInstanceId, MultiApiVersion, VersionSummary};

/// The outcome of discovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreedVersions {
    /// For the endpoints of the guardians themselves.
    pub core: ApiVersion,
    /// Per module the client supports. Modules without a common version are absent and cannot be
    /// used.
    pub modules: BTreeMap<ModuleInstanceId, ApiVersion>,
}

impl AgreedVersions {
    /// Returns whether all guardians counted serve core endpoints of API version 0.`minor`.
    pub fn core_has(&self, minor: u32) -> bool {
        self.core >= ApiVersion::new(0, minor)
    }
}

/// Agrees on versions. `client` says what the client requires: per major number the least minor
/// number. `peers` are the latest known answers, one per guardian.
///
/// Returns `None` if there is no common core version: fail when joining, else keep what was
/// agreed before. The result serves all guardians counted, so one lagging guardian lowers it.
pub fn discover(client: &VersionSummary, peers: &[&VersionSummary]) -> Option<AgreedVersions> {
    let same_core = |peer: &&&VersionSummary| {
        peer.core.core_consensus.major == client.core.core_consensus.major
    };
    let core =
        best_version(&client.core.api, peers.iter().filter(same_core).map(|peer| &peer.core.api))?;
    let module = |(instance, own): (&ModuleInstanceId, &crate::ModuleVersionSummary)| {
        let offers = peers.iter().filter_map(|peer| peer.modules.get(instance));
        let compatible = offers.filter(|offer| {
            offer.core_consensus.major == own.core_consensus.major
                && offer.module_consensus.major == own.module_consensus.major
        });
        Some((*instance, best_version(&own.api, compatible.map(|offer| &offer.api))?))
    };
    Some(AgreedVersions { core, modules: client.modules.iter().filter_map(module).collect() })
}

/// Returns the major number that most peers offer with at least the required minor number (ties:
/// the lowest), with the least minor number among these peers.
pub fn best_version<'a>(
    required: &MultiApiVersion,
    offers: impl IntoIterator<Item = &'a MultiApiVersion>,
) -> Option<ApiVersion> {
    let offers: Vec<_> = offers.into_iter().collect();
    let mut best: Option<(usize, ApiVersion)> = None;
    for least in required.iter() {
        let offered = || {
            let same_major = offers.iter().filter_map(|offer| offer.get(least.major));
            same_major.filter(|version| version.minor >= least.minor)
        };
        let Some(common) = offered().min() else { continue };
        let count = offered().count();
        if best.is_none_or(|(most, _)| count > most) {
            best = Some((count, common));
        }
    }
    best.map(|(_, version)| version)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        CORE_CONSENSUS_2_1, CoreVersionSummary, ModuleConsensusVersion, ModuleVersionSummary,
    };

    fn api(versions: &[(u32, u32)]) -> MultiApiVersion {
        let versions = versions.iter().map(|(major, minor)| ApiVersion::new(*major, *minor));
        MultiApiVersion::try_from(versions.collect::<Vec<_>>()).unwrap()
    }

    fn summary(core_minor: u32, module: Option<(u32, u32)>) -> VersionSummary {
        let module = module.map(|(consensus_major, api_minor)| ModuleVersionSummary {
            core_consensus: CORE_CONSENSUS_2_1,
            module_consensus: ModuleConsensusVersion::new(consensus_major, 0),
            api: api(&[(0, api_minor)]),
        });
        VersionSummary {
            core: CoreVersionSummary {
                core_consensus: CORE_CONSENSUS_2_1,
                api: api(&[(0, core_minor)]),
            },
            modules: module
                .map(|versions| (ModuleInstanceId::new(3), versions))
                .into_iter()
                .collect(),
        }
    }

    #[test]
    fn major_version_of_most_peers_wins_and_ties_go_to_the_lowest() {
        let required = api(&[(0, 1), (1, 0)]);
        let offers = [api(&[(0, 4)]), api(&[(0, 3), (1, 2)]), api(&[(0, 0), (1, 1)])];
        assert_eq!(best_version(&required, &offers), Some(ApiVersion::new(0, 3)));
        let more = [api(&[(0, 4)]), api(&[(1, 2)]), api(&[(1, 5)])];
        assert_eq!(best_version(&required, &more), Some(ApiVersion::new(1, 2)));
    }

    #[test]
    fn module_of_another_consensus_major_is_unusable() {
        let client = summary(0, Some((1, 0)));
        let same = summary(9, Some((1, 2)));
        let other = summary(8, Some((2, 7)));
        let agreed = discover(&client, &[&same, &other]).unwrap();
        assert_eq!(agreed.core, ApiVersion::new(0, 8));
        assert_eq!(agreed.modules[&ModuleInstanceId::new(3)], ApiVersion::new(0, 2));
        let agreed = discover(&client, &[&other, &summary(9, None)]).unwrap();
        assert!(agreed.modules.is_empty());
        assert!(agreed.core_has(8) && !agreed.core_has(9));
    }
}
