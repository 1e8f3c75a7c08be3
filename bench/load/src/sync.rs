//! A guardian that was away replays what it missed: sessions per second, and whether it computes or waits.
//!
//! Two ways. *Down*: it was stopped while sessions passed, alike for all federations. *Wiped*: its store and
//! its unit files are gone as well, as after a restore from a backup, so that it replays all sessions since
//! the federation began; our guardians alone, since others need a backup for it.
//!
//! Sessions are those of clocks for tests, else a run would take hours. They hold payments at a fixed rate.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use moneta::world::{Guardian, Narrator};
use moneta_core::{ApiRequest, ApiUrl};
use moneta_net::api::{ApiConnector, ConnectorOptions};
use serde::Serialize;
use serde_json::Value;

use crate::cost::{Cost, Sample};
use crate::drive::open_loop;
use crate::modes::Pulse;
use crate::schedule::Schedule;
use crate::shape::Shape;
use crate::subject::Subject;

/// Payments are prepared for so long at once.
const CHUNK: Duration = Duration::from_secs(10);

/// After so long per session the replay is measured with those that passed.
const SESSION_PATIENCE: Duration = Duration::from_secs(240);

/// How long a replay may take.
const REPLAY_PATIENCE: Duration = Duration::from_secs(900);

/// Between two looks at how far the guardian is.
const LOOK: Duration = Duration::from_millis(5);

/// What the state of one of our guardians lies in, in its data folder.
const STATE: [&str; 4] = ["database.redb", "database.redb.log0", "database.redb.log1", "units"];

/// One replay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Synced {
    /// Whether its store was gone.
    pub wiped: bool,
    /// Sessions it replayed.
    pub sessions: u64,
    /// Payments made while it was stopped; with a wiped store there were more before.
    pub payments: u64,
    /// From the start of the process to the last missed session.
    pub seconds: f64,
    /// Of them, until it answered.
    pub starting_seconds: f64,
    /// From the first session that came to the last one.
    pub replay_seconds: f64,
    /// What it used up from its first answer on.
    pub guardian: Cost,
    /// What the others used up meanwhile, together.
    pub others_cpu_ms: f64,
}

impl Synced {
    /// Sessions per second from its first answer on, the time to notice that it is behind included.
    pub fn sessions_per_second(&self) -> f64 {
        self.sessions as f64 / (self.seconds - self.starting_seconds).max(1e-3)
    }

    /// Sessions per second while they came, the first of them not counted.
    pub fn replay_per_second(&self) -> Option<f64> {
        let sessions = self.sessions.checked_sub(1).filter(|sessions| *sessions > 0)?;
        (self.replay_seconds > 0.0).then(|| sessions as f64 / self.replay_seconds)
    }

    /// What they say about where the time goes.
    pub fn sentence(&self, name: &str) -> String {
        let percent = self.guardian.cpu_percent();
        let bound = if percent >= BUSY_PERCENT { "computing" } else { "waiting" };
        format!(
            "{name}, {}: {} sessions in {:.1} s, {:.1} s of them until it answered; {percent:.0} % of a core from then \
             on: bound by {bound}.",
            self.words(),
            self.sessions,
            self.seconds,
            self.starting_seconds,
        )
    }

    /// In a few words.
    pub fn words(&self) -> String {
        let what = if self.wiped { "all sessions since the beginning" } else { "missed sessions" };
        format!("history sync, {what}")
    }
}

/// From this share of a core on a replay counts as bound by computing: one task applies sessions.
const BUSY_PERCENT: f64 = 80.0;

/// How far a guardian is, observed from outside.
struct Watched {
    started: Duration,
    first: Duration,
    caught_up: Duration,
    from: u64,
    guardian: Cost,
    others_cpu_ms: f64,
}

impl Subject {
    /// Stops the last guardian while `sessions` pass with payments, starts it again and watches it catch up;
    /// then again with its state removed, if it is ours. The federation is of no use for other modes afterwards.
    ///
    /// Errors: no session ends, or the guardian does not catch up in time.
    pub async fn sync(
        &mut self,
        shape: Shape,
        sessions: u64,
        rate_per_second: f64,
        narrator: &mut Narrator,
    ) -> Result<()> {
        narrator.begin(&format!("{}: {sessions} sessions without a guardian", self.report.name));
        // Gone either way; those of the reference end with an error.
        let _ = self.last()?.stop().await;
        let (passed, payments) = self.pass(shape, sessions, rate_per_second).await?;
        narrator.done(&format!("{passed} sessions with {payments} payments"));
        for wiped in [false, true] {
            if wiped && !self.is_ours {
                break;
            }
            narrator.begin(&format!("{}: the guardian replays, wiped: {wiped}", self.report.name));
            if wiped {
                self.last()?.stop().await?;
                wipe(self.last()?)?;
            }
            let target = self.federation.session_count().await?;
            let watched = self.watch(target).await?;
            let synced = Synced {
                wiped,
                sessions: target - watched.from,
                payments,
                seconds: watched.caught_up.as_secs_f64(),
                starting_seconds: watched.started.as_secs_f64(),
                replay_seconds: watched.caught_up.saturating_sub(watched.first).as_secs_f64(),
                guardian: watched.guardian,
                others_cpu_ms: watched.others_cpu_ms,
            };
            narrator.done(&in_short(&synced));
            self.report.syncs.push(synced);
        }
        Ok(())
    }

    fn last(&mut self) -> Result<&mut Guardian> {
        self.world.guardians.last_mut().context("a federation has guardians")
    }

    /// Pays until so many sessions have ended; returns how many did, and the payments.
    async fn pass(
        &mut self,
        shape: Shape,
        sessions: u64,
        rate_per_second: f64,
    ) -> Result<(u64, u64)> {
        let pulse = Pulse { rate_per_second, time: CHUNK };
        let schedule = Schedule::lasting(pulse.rate_per_second, pulse.time, usize::MAX);
        let patience = SESSION_PATIENCE * u32::try_from(sessions).unwrap_or(u32::MAX);
        let (began, first) = (Instant::now(), self.federation.session_count().await?);
        let mut payments = 0;
        loop {
            let passed = self.federation.session_count().await?.saturating_sub(first);
            if passed >= sessions || began.elapsed() > patience {
                ensure!(passed > 0, "no session ended in {} s", began.elapsed().as_secs());
                return Ok((passed, payments));
            }
            let made = self.purse.payments(&self.federation, shape, schedule.count).await?;
            let sent = open_loop(&self.federation, made.prepared, schedule).await;
            payments += sent.succeeded();
            self.report.payments_in_all += sent.succeeded();
        }
    }

    /// Starts the last guardian and looks at it until it has `target` sessions.
    async fn watch(&mut self, target: u64) -> Result<Watched> {
        let began = Instant::now();
        let last = self.last()?;
        last.launch()?;
        let pid = last.pid().context("the guardian was just started")?;
        let url: ApiUrl = last.api_url().parse().context("read a guardian's URL")?;
        let connector = ApiConnector::new(ConnectorOptions::default());
        let count = async || -> Option<u64> {
            let request = ApiRequest { auth: None, params: Value::Null };
            let answer = connector.call(&url, None, "session_count", request).await.ok()?;
            serde_json::from_value(answer).ok()
        };
        let from = loop {
            if let Some(count) = count().await {
                break count;
            }
            in_time(began)?;
            tokio::time::sleep(LOOK).await;
        };
        let started = began.elapsed();
        let others = self.others(pid);
        let before = (Sample::take(pid, None)?, samples(&others)?);
        let (mut first, mut reached) = (None, from);
        while reached < target {
            in_time(began)?;
            tokio::time::sleep(LOOK).await;
            reached = count().await.unwrap_or(reached);
            if reached > from {
                first.get_or_insert(began.elapsed());
            }
        }
        let caught_up = began.elapsed();
        let after = (Sample::take(pid, None)?, samples(&others)?);
        let costs = after.1.iter().zip(&before.1).map(|(after, before)| after.since(before));
        Ok(Watched {
            started,
            first: first.unwrap_or(caught_up),
            caught_up,
            from,
            guardian: after.0.since(&before.0),
            others_cpu_ms: costs.map(|cost| cost.cpu_ms).sum(),
        })
    }

    fn others(&self, pid: u32) -> Vec<u32> {
        let pids = self.world.guardians.iter().filter_map(Guardian::pid);
        pids.filter(|other| *other != pid).collect()
    }
}

fn samples(pids: &[u32]) -> Result<Vec<Sample>> {
    pids.iter().map(|pid| Sample::take(*pid, None)).collect()
}

fn in_time(began: Instant) -> Result<()> {
    if began.elapsed() > REPLAY_PATIENCE {
        bail!("the guardian did not catch up in {} s", began.elapsed().as_secs());
    }
    Ok(())
}

/// Removes what a restore from a backup does not bring back.
fn wipe(guardian: &Guardian) -> Result<()> {
    for name in STATE {
        let path = guardian.data_dir().join(name);
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

fn in_short(synced: &Synced) -> String {
    format!(
        "{} sessions, {:.1} per s from its first answer, {} per s while they came; started in {:.2} s; {:.0} % of a core",
        synced.sessions,
        synced.sessions_per_second(),
        synced.replay_per_second().map_or("-".to_owned(), |rate| format!("{rate:.1}")),
        synced.starting_seconds,
        synced.guardian.cpu_percent(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_leave_out_the_start_and_the_first_session() {
        let guardian =
            Cost { seconds: 4.0, cpu_ms: 0.0, disk_bytes: 0, sent_bytes: None, resident_bytes: 0 };
        let synced = Synced {
            wiped: false,
            sessions: 11,
            payments: 0,
            seconds: 6.5,
            starting_seconds: 1.0,
            replay_seconds: 2.0,
            guardian,
            others_cpu_ms: 0.0,
        };
        assert_eq!(synced.sessions_per_second(), 2.0);
        assert_eq!(synced.replay_per_second(), Some(5.0));
        assert_eq!(Synced { sessions: 1, ..synced }.replay_per_second(), None);
        assert!(synced.sentence("moneta").ends_with("bound by waiting."));
        let busy = Cost { cpu_ms: 3_600.0, ..guardian };
        let synced = Synced { guardian: busy, ..synced };
        assert!(
            synced.sentence("moneta").ends_with("90 % of a core from then on: bound by computing.")
        );
    }
}
