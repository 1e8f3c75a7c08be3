//! What was measured, where and when: without it a figure says nothing.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use moneta::wallet_cli::time::readable_time;
use moneta_module::client::Timestamp;
use serde::{Deserialize, Serialize};

/// Set by `./dev bench`: the commit that the measured programs were built from.
const COMMIT: &str = "MONETA_BENCH_COMMIT";

/// The profile that `./dev bench` built them with.
const PROFILE: &str = "MONETA_BENCH_PROFILE";

/// Machine, build and time of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// When it began, in seconds since 1970.
    pub began_unix_secs: u64,
    /// Logical processors of the machine.
    pub cores: usize,
    /// What the processor calls itself.
    pub processor: String,
    /// Processes that wanted to run in the minute before, on average; `None` where the system does not tell.
    pub load_average: Option<f64>,
    /// The cargo profile of this program and of ours among the guardians.
    pub profile: String,
    /// What they were built from, `+changes` behind it if files differed from it.
    pub commit: String,
}

impl Origin {
    /// This machine, now.
    pub fn find() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            began_unix_secs: now.as_secs(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            load_average: load_average(&fs::read_to_string("/proc/loadavg").unwrap_or_default()),
            profile: profile(std::env::var(PROFILE).ok().as_deref()),
            commit: std::env::var(COMMIT).unwrap_or_else(|_| "unknown".to_owned()),
        }
    }

    /// In a sentence.
    pub fn sentence(&self) -> String {
        let load = self.load_average.map_or("unknown".to_owned(), |load| format!("{load:.2}"));
        format!(
            "Commit {}, profile {}, on {} cores of {}, {}; load average before: {load}.",
            self.commit,
            self.profile,
            self.cores,
            self.processor,
            readable_time(Timestamp(self.began_unix_secs * 1000)),
        )
    }
}

fn processor(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    line.map_or("unknown".to_owned(), |line| line.trim_matches([' ', '\t', ':']).to_owned())
}

fn load_average(loadavg: &str) -> Option<f64> {
    loadavg.split_whitespace().next()?.parse().ok()
}

/// What was set, unless this program shows that it was built otherwise.
fn profile(set: Option<&str>) -> String {
    let debug = cfg!(debug_assertions);
    let built = if debug { "dev" } else { "release" };
    set.filter(|set| (*set == "dev") == debug).unwrap_or(built).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_cannot_be_true_is_not_believed() {
        // Tests are built with debug assertions.
        assert_eq!(profile(Some("release")), "dev");
        assert_eq!(profile(Some("dev")), "dev");
        assert_eq!(profile(None), "dev");
    }

    #[test]
    fn files_of_the_system_are_read() {
        assert_eq!(load_average("0.52 0.58 0.59 1/467 12345\n"), Some(0.52));
        assert_eq!(load_average(""), None);
        assert_eq!(processor("a : b\nmodel name\t: Some CPU\n"), "Some CPU");
        assert_eq!(processor(""), "unknown");
    }
}
