//! What the parts of a run left in their folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use moneta_bench::report::Report as WalletReport;
use moneta_load::cost::Cost;
use moneta_load::report::{Report, SubjectReport};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The file that says that a part is done; it holds its seconds.
const DONE: &str = "done";

/// Behind the name of a part: the same measured on guardians of the reference.
const REFERENCE: &str = "-reference";

/// All parts of a run that are done.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    parts: BTreeMap<String, Part>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Part {
    /// How it was measured.
    pub(crate) facts: Facts,
    /// How long that took.
    pub(crate) seconds: u64,
    folder: PathBuf,
}

/// Machine, build and time of a part, as `scripts/bench-full.sh` writes them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Facts {
    pub(crate) size: String,
    pub(crate) began: String,
    pub(crate) commit: String,
    pub(crate) profile: String,
    pub(crate) rustc: String,
    pub(crate) reference: String,
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) cores: String,
    pub(crate) memory: String,
    pub(crate) load_average: String,
}

/// What is used of a recovery, with the names that `moneta_load::recovery::Recovered` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct Recovery {
    pub(crate) items: u64,
    pub(crate) wallet: usize,
    pub(crate) seconds: f64,
}

/// What is used of a replay, with the names that `moneta_load::sync::Synced` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct Replay {
    pub(crate) wiped: bool,
    pub(crate) sessions: u64,
    pub(crate) seconds: f64,
    pub(crate) starting_seconds: f64,
    pub(crate) replay_seconds: f64,
    pub(crate) guardian: Cost,
}

impl Recovery {
    pub(crate) fn items_per_second(self) -> f64 {
        self.items as f64 / self.seconds.max(1e-3)
    }
}

impl Replay {
    /// From the first answer of the guardian on, the time to notice that it is behind included.
    pub(crate) fn sessions_per_second(self) -> f64 {
        self.sessions as f64 / (self.seconds - self.starting_seconds).max(1e-3)
    }

    /// From the first session that came to the last; `None` if there were fewer than two.
    pub(crate) fn coming_per_second(self) -> Option<f64> {
        let sessions = self.sessions.checked_sub(1).filter(|sessions| *sessions > 0)?;
        (self.replay_seconds > 0.0).then(|| sessions as f64 / self.replay_seconds)
    }
}

impl Parts {
    /// Reads `folder`; one that does not exist has no parts. Parts that are not done are none.
    ///
    /// Errors: a part that is done lacks its facts, or its files make no sense.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let mut parts = Self::default();
        if !folder.exists() {
            return Ok(parts);
        }
        for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
            let folder = entry?.path();
            let name = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            let Ok(seconds) = fs::read_to_string(folder.join(DONE)) else { continue };
            let Some(name) = name else { continue };
            let facts = read_json(&folder.join("facts.json"))?;
            let seconds = seconds.trim().parse().unwrap_or(0);
            parts.parts.insert(name, Part { facts, seconds, folder });
        }
        Ok(parts)
    }

    /// All of them by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Part)> {
        self.parts.iter().map(|(name, part)| (name.as_str(), part))
    }

    /// A file of a part.
    pub(crate) fn text(&self, part: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.parts.get(part)?.folder.join(file)).ok()
    }

    /// JSON of a part. What cannot be read counts as not measured, and standard error says so.
    pub(crate) fn json<T: DeserializeOwned>(&self, part: &str, file: &str) -> Option<T> {
        let path = self.parts.get(part)?.folder.join(file);
        read_json(&path).inspect_err(|error| eprintln!("moneta-figures: {part}: {error:#}")).ok()
    }

    /// What a run of the load generator found.
    pub(crate) fn load(&self, part: &str) -> Option<Report> {
        self.json(part, "report.json")
    }

    /// The only federation that a run of the load generator measured.
    pub(crate) fn subject(&self, part: &str) -> Option<SubjectReport> {
        self.load(part)?.subjects.into_iter().next()
    }

    /// What a run of payments between wallets found.
    pub(crate) fn wallet(&self, part: &str) -> Option<WalletReport> {
        self.json(part, "report.json")
    }

    /// The recovery over the longest log, of the first wallet: the ones after it find guardians prepared.
    pub(crate) fn recovery(&self, part: &str) -> Option<Recovery> {
        let found: Vec<Recovery> = self.first_subject(part, "recoveries")?;
        let first = found.into_iter().filter(|recovery| recovery.wallet == 1);
        first.max_by_key(|recovery| recovery.items)
    }

    /// The replay of sessions that were missed.
    pub(crate) fn replay(&self, part: &str) -> Option<Replay> {
        let found: Vec<Replay> = self.first_subject(part, "syncs")?;
        found.into_iter().find(|replay| !replay.wiped)
    }

    /// Ours and the reference's of the same part in one report.
    pub(crate) fn side_by_side(&self, part: &str) -> Option<Report> {
        let ours = self.load(part);
        let other = self.load(&format!("{part}{REFERENCE}"));
        match (ours, other) {
            (Some(mut ours), Some(other)) => {
                ours.subjects.extend(other.subjects);
                Some(ours)
            }
            (ours, other) => ours.or(other),
        }
    }

    fn first_subject<T: DeserializeOwned>(&self, part: &str, field: &str) -> Option<T> {
        let report: Value = self.json(part, "report.json")?;
        let value = report.get("subjects")?.get(0)?.get(field)?.clone();
        let read = serde_json::from_value(value);
        read.inspect_err(|error| eprintln!("moneta-figures: {part}: {field}: {error}")).ok()
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("understand {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use moneta_load::recovery::Recovered;
    use moneta_load::sync::Synced;

    use super::*;

    fn cost() -> Cost {
        Cost { seconds: 4.0, cpu_ms: 3_600.0, disk_bytes: 0, sent_bytes: None, resident_bytes: 0 }
    }

    #[test]
    fn recoveries_and_replays_are_read_under_the_names_they_are_written_with() {
        let recovered = Recovered {
            items: 1_000,
            filled_items: 0,
            wallet: 1,
            seconds: 2.0,
            joining_seconds: 1.0,
            client: cost(),
            guardians_cpu_ms: 1.0,
        };
        let recovery: Recovery =
            serde_json::from_value(serde_json::to_value(recovered).unwrap()).unwrap();
        assert_eq!(recovery.items_per_second(), recovered.items_per_second());
        let synced = Synced {
            wiped: false,
            sessions: 10,
            payments: 0,
            seconds: 6.0,
            starting_seconds: 1.0,
            replay_seconds: 2.0,
            guardian: cost(),
            others_cpu_ms: 0.0,
        };
        let replay: Replay = serde_json::from_value(serde_json::to_value(synced).unwrap()).unwrap();
        assert_eq!(replay.sessions_per_second(), synced.sessions_per_second());
        assert_eq!(replay.coming_per_second(), synced.replay_per_second());
        assert_eq!(replay.guardian.cpu_percent(), 90.0);
    }

    #[test]
    fn a_part_counts_once_it_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("idle");
        fs::create_dir(&part).unwrap();
        let facts = r#"{"part": "idle", "size": "short", "began": "now", "commit": "abc", "profile": "dev",
            "rustc": "1", "reference": "none", "kernel": "k", "processor": "p", "cores": "2",
            "memory": "1 GB", "load_average": "0.1"}"#;
        fs::write(part.join("facts.json"), facts).unwrap();
        assert_eq!(Parts::read(folder.path()).unwrap().iter().count(), 0);
        fs::write(part.join("done"), "12\n").unwrap();
        let parts = Parts::read(folder.path()).unwrap();
        let (name, part) = parts.iter().next().unwrap();
        assert_eq!((name, part.seconds, part.facts.commit.as_str()), ("idle", 12, "abc"));
        assert!(parts.load("idle").is_none() && parts.load("links").is_none());
    }
}
