//! What a guardian costs while nobody uses it. Linux only, since it reads `/proc` and asks `ss`.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use moneta::world::World;
use serde::Serialize;

/// Clock ticks per second of `/proc/PID/stat`: fixed on Linux for programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// One guardian's cost.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Idle {
    /// Guardian id.
    pub(crate) guardian: u16,
    /// Per cent of one core.
    pub(crate) cpu_percent: f64,
    /// Bytes per second that reached the disk.
    pub(crate) disk_bytes_per_second: f64,
    /// Bytes per second sent on all connections, TCP payload; `None` without `ss`.
    pub(crate) sent_bytes_per_second: Option<f64>,
    /// Resident memory at the end, in bytes.
    pub(crate) resident_bytes: u64,
}

struct Sample {
    ticks: u64,
    disk_bytes: u64,
    sent_bytes: Option<u64>,
    resident_bytes: u64,
}

/// Watches all guardians for `time`.
pub(crate) async fn measure(world: &World, time: Duration) -> Result<Vec<Idle>> {
    let pids: Vec<(u16, u32)> = world
        .guardians
        .iter()
        .filter_map(|guardian| Some((guardian.peer_id(), guardian.pid()?)))
        .collect();
    let before = pids.iter().map(|(_, pid)| sample(*pid)).collect::<Result<Vec<_>>>()?;
    tokio::time::sleep(time).await;
    let seconds = time.as_secs_f64();
    let mut idle = Vec::new();
    for ((guardian, pid), before) in pids.into_iter().zip(before) {
        let after = sample(pid)?;
        let sent = after.sent_bytes.zip(before.sent_bytes);
        idle.push(Idle {
            guardian,
            cpu_percent: (after.ticks - before.ticks) as f64 / TICKS_PER_SECOND / seconds * 100.0,
            disk_bytes_per_second: (after.disk_bytes - before.disk_bytes) as f64 / seconds,
            sent_bytes_per_second: sent
                .map(|(after, before)| after.saturating_sub(before) as f64 / seconds),
            resident_bytes: after.resident_bytes,
        });
    }
    Ok(idle)
}

fn sample(pid: u32) -> Result<Sample> {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/{pid}/{name}")).with_context(|| format!("read {name}"))
    };
    let stat = read("stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let field = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok());
    // utime and stime, counted behind the name in parentheses.
    let ticks = field(12).zip(field(13)).context("read processor time")?;
    let io = read("io")?;
    let disk_bytes = value(&io, "write_bytes:").context("read written bytes")?;
    let resident = value(&read("status")?, "VmRSS:").context("read memory")?;
    Ok(Sample {
        ticks: ticks.0 + ticks.1,
        disk_bytes,
        sent_bytes: sent_bytes(pid),
        resident_bytes: resident * 1024,
    })
}

fn value(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// TCP payload that the process has sent on its present connections.
fn sent_bytes(pid: u32) -> Option<u64> {
    let output = Command::new("ss").args(["-tinpH"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let owner = format!("pid={pid},");
    let mut lines = text.lines();
    let mut sum = 0;
    while let Some(line) = lines.next() {
        let details = lines.next()?;
        if line.contains(&owner) {
            let sent = details.split_whitespace().find_map(|word| word.strip_prefix("bytes_sent:"));
            sum += sent.and_then(|sent| sent.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Some(sum)
}
