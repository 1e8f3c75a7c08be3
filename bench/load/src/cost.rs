//! What processes use up. Linux only: reads `/proc`, and asks `ss` about traffic.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Clock ticks per second of `/proc/PID/stat`: fixed on Linux for programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used up so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    at: Instant,
    cpu: Duration,
    disk_bytes: u64,
    sent_bytes: Option<u64>,
    resident_bytes: u64,
}

/// What a process used up between two samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Length of the interval.
    pub seconds: f64,
    /// Processor time, user and system.
    pub cpu_ms: f64,
    /// Bytes handed to the disk.
    pub disk_bytes: u64,
    /// TCP payload sent on connections that were open at the end; `None` without `ss`.
    pub sent_bytes: Option<u64>,
    /// Resident memory at the end.
    pub resident_bytes: u64,
}

impl Cost {
    /// Per cent of one core.
    pub fn cpu_percent(&self) -> f64 {
        self.cpu_ms / 10.0 / self.seconds.max(1e-3)
    }

    /// Bytes per second to the disk.
    pub fn disk_bytes_per_second(&self) -> f64 {
        self.disk_bytes as f64 / self.seconds.max(1e-3)
    }

    /// Bytes per second sent.
    pub fn sent_bytes_per_second(&self) -> Option<f64> {
        self.sent_bytes.map(|bytes| bytes as f64 / self.seconds.max(1e-3))
    }
}

impl Sample {
    /// Looks at a process. `connections` is the output of [`connections`], taken once for many.
    ///
    /// Errors: the process is gone.
    pub fn take(pid: u32, connections: Option<&str>) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).with_context(|| format!("read {path}"))
        };
        let ticks = cpu_ticks(&read("stat")?).context("read processor time")?;
        let disk_bytes = value(&read("io")?, "write_bytes:").context("read written bytes")?;
        let resident_kib = value(&read("status")?, "VmRSS:").context("read memory")?;
        Ok(Self {
            at: Instant::now(),
            cpu: Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND),
            disk_bytes,
            sent_bytes: connections.map(|text| sent_bytes(text, pid)),
            resident_bytes: resident_kib * 1024,
        })
    }

    /// Resident memory, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.resident_bytes
    }

    /// What was used up since `before`.
    pub fn since(&self, before: &Self) -> Cost {
        let sent = self.sent_bytes.zip(before.sent_bytes);
        Cost {
            seconds: self.at.saturating_duration_since(before.at).as_secs_f64(),
            cpu_ms: self.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e3,
            disk_bytes: self.disk_bytes.saturating_sub(before.disk_bytes),
            // Connections that closed meanwhile take their count with them.
            sent_bytes: sent.map(|(after, before)| after.saturating_sub(before)),
            resident_bytes: self.resident_bytes,
        }
    }
}

/// All TCP connections of this machine with their counters, as `ss` prints them; `None` without `ss`.
pub fn connections() -> Option<String> {
    let output = Command::new("ss").args(["-tinpH"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// User and system time, which stand behind the name in parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit(')').next()?.split(' ').collect();
    let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(field(12)? + field(13)?)
}

fn value(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Sum over the connections of a process; each stands on two lines.
fn sent_bytes(connections: &str, pid: u32) -> u64 {
    let owner = format!("pid={pid},");
    let mut sum = 0;
    let mut lines = connections.lines();
    while let (Some(line), Some(details)) = (lines.next(), lines.next()) {
        if line.contains(&owner) {
            let sent = details.split_whitespace().find_map(|word| word.strip_prefix("bytes_sent:"));
            sum += sent.and_then(|sent| sent.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn processor_time_is_read_behind_a_name_with_parentheses() {
        let stat = "7 (a) b)) S 1 1 1 0 -1 0 0 0 0 0 30 12 0 0 20 0 1 0";
        assert_eq!(cpu_ticks(stat), Some(42));
    }

    #[test]
    fn sent_bytes_are_those_of_the_process_alone() {
        let text = "ESTAB 0 0 1:1 2:2 users:((\"a\",pid=7,fd=1))\n\
                    \t cubic bytes_sent:100 bytes_acked:99\n\
                    ESTAB 0 0 1:1 2:2 users:((\"b\",pid=77,fd=1))\n\
                    \t cubic bytes_sent:1000\n\
                    ESTAB 0 0 1:1 2:2 users:((\"a\",pid=7,fd=2))\n\
                    \t cubic\n";
        assert_eq!(sent_bytes(text, 7), 100);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let before = Sample::take(std::process::id(), None).unwrap();
        let cost = Sample::take(std::process::id(), None).unwrap().since(&before);
        assert!(cost.resident_bytes > 0);
        assert_eq!(cost.sent_bytes, None);
    }
}
