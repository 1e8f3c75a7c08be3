//! What is measured on a federation. Each mode adds points to the subject's report.

use std::time::Duration;

use anyhow::{Context, Result};
use bitcoin::hashes::{Hash as _, sha256};
use moneta::world::Narrator;
use moneta_net::api::{ApiConnector, ConnectorOptions};
use tokio::task::JoinSet;

use crate::cost::Sample;
use crate::drive::{Measured, closed_loop, open_loop};
use crate::federation::Federation;
use crate::link::Weather;
use crate::purse::Payments;
use crate::report::{Mode, Point, Setting, Used};
use crate::schedule::Schedule;
use crate::shape::Shape;
use crate::subject::Subject;

/// Payments prepared for one point at most; with 20 notes a side, 200 MB.
pub(crate) const MOST_PAYMENTS: usize = 20_000;

/// A rising series of rates ends where the median is above this: more would measure the queue.
const SATURATED: Duration = Duration::from_secs(2);

/// Rest before a measurement, for what the preparation left behind.
pub(crate) const REST: Duration = Duration::from_secs(1);

/// Rest before idling is measured: sessions ending, files closing, heat dying down.
const IDLE_REST: Duration = Duration::from_secs(5);

/// A stopped guardian's peers need a moment to notice.
const DOWN_REST: Duration = Duration::from_secs(3);

/// How often throughput is measured without and with waiting wallets.
const TURNS: usize = 4;

/// Before a waiting wallet asks again.
const AGAIN: Duration = Duration::from_millis(500);

/// How long each point lasts.
#[derive(Debug, Clone, Copy)]
pub struct Pulse {
    /// Payments per second, where the rate is fixed.
    pub rate_per_second: f64,
    /// How long.
    pub time: Duration,
}

impl Subject {
    /// Payments at a low rate.
    pub async fn latency(
        &mut self,
        shape: Shape,
        pulse: Pulse,
        narrator: &mut Narrator,
    ) -> Result<()> {
        let setting = Setting::new(Mode::Latency, shape);
        self.at_rate(setting, pulse, narrator).await?;
        Ok(())
    }

    /// Payments at rising rates until the federation does not keep up.
    pub async fn load(
        &mut self,
        shape: Shape,
        rates_per_second: &[f64],
        time: Duration,
        narrator: &mut Narrator,
    ) -> Result<()> {
        for rate_per_second in rates_per_second {
            let pulse = Pulse { rate_per_second: *rate_per_second, time };
            let setting = Setting::new(Mode::Load, shape);
            let point = self.at_rate(setting, pulse, narrator).await?;
            let median = point.paid.map_or(f64::INFINITY, |paid| paid.p50_ms);
            if median > SATURATED.as_secs_f64() * 1e3 || point.failed > 0 {
                break;
            }
        }
        Ok(())
    }

    /// As many payments as go, `in_flight` at a time.
    pub async fn throughput(
        &mut self,
        shape: Shape,
        in_flight: usize,
        time: Duration,
        narrator: &mut Narrator,
    ) -> Result<()> {
        let setting =
            Setting { in_flight: Some(in_flight), ..Setting::new(Mode::Throughput, shape) };
        let count = self.calibrate(shape, in_flight, time).await?;
        self.at_full_speed(setting, count, time, narrator).await?;
        Ok(())
    }

    /// Throughput without and with `waiters` wallets that hold a long poll at every guardian, each
    /// over connections of its own, in turns, since a machine's speed drifts; and what a waiter costs.
    /// Every other turn begins with the waiters: a payment costs the more the more came before it.
    pub async fn waiters(
        &mut self,
        shape: Shape,
        in_flight: usize,
        waiters: usize,
        time: Duration,
        narrator: &mut Narrator,
    ) -> Result<()> {
        let setting = Setting { in_flight: Some(in_flight), ..Setting::new(Mode::Waiters, shape) };
        let count = self.calibrate(shape, in_flight, time).await?;
        for turn in 1..=TURNS {
            let setting = Setting { turn: Some(turn), ..setting };
            let none = Setting { waiters: Some(0), ..setting };
            let begins_with_none = turn % 2 == 1;
            if begins_with_none {
                self.at_full_speed(none, count, time, narrator).await?;
            }
            let before = self.sample()?;
            let waiting = self.begin_waiting(waiters).await?;
            let after = self.sample()?;
            let grown: f64 =
                after.iter().zip(&before).map(|(after, before)| grown(after, before)).sum();
            let some = Setting { waiters: Some(waiters), ..setting };
            let point = self.at_full_speed(some, count, time, narrator).await?;
            // Memory that the first ones needed is there for the next ones.
            point.bytes_per_waiter =
                (turn == 1).then_some(grown / before.len() as f64 / waiters as f64);
            drop(waiting);
            if !begins_with_none {
                self.at_full_speed(none, count, time, narrator).await?;
            }
        }
        Ok(())
    }

    /// Payments at a low rate while the last guardian is stopped; it comes back afterwards.
    pub async fn one_down(
        &mut self,
        shape: Shape,
        pulse: Pulse,
        narrator: &mut Narrator,
    ) -> Result<()> {
        // Split while all are there: the stopped one should miss the measurement, no more.
        let payments = self.prepare(shape, pulse).await?;
        let last = self.world.guardians.last_mut().context("a federation has guardians")?;
        // Gone either way; those of the reference end with an error.
        let _ = last.stop().await;
        tokio::time::sleep(DOWN_REST).await;
        let setting = Setting::new(Mode::OneDown, shape);
        let outcome = self.send_at_rate(setting, pulse, payments, narrator).await.map(|_| ());
        let last = self.world.guardians.last_mut().context("a federation has guardians")?;
        last.start().await?;
        outcome
    }

    /// Payments at a low rate over slow links.
    pub async fn links(
        &mut self,
        shape: Shape,
        weather: Weather,
        pulse: Pulse,
        narrator: &mut Narrator,
    ) -> Result<()> {
        let payments = self.prepare(shape, pulse).await?;
        self.conditions.set(weather);
        tokio::time::sleep(REST).await;
        let setting = Setting {
            delay_ms: Some(weather.delay.as_secs_f64() * 1e3),
            jitter_ms: Some(weather.jitter.as_secs_f64() * 1e3),
            loss_percent: Some(weather.loss_ppm as f64 / 1e4),
            ..Setting::new(Mode::Links, shape)
        };
        let outcome = self.send_at_rate(setting, pulse, payments, narrator).await.map(|_| ());
        self.conditions.set(Weather::default());
        outcome
    }

    /// Watches the guardians while nobody pays.
    pub async fn idle(&mut self, time: Duration, narrator: &mut Narrator) -> Result<()> {
        narrator.begin(&format!("{}: idle for {} s", self.report.name, time.as_secs()));
        tokio::time::sleep(IDLE_REST).await;
        let before = self.sample()?;
        tokio::time::sleep(time).await;
        let after = self.sample()?;
        self.report.idle =
            after.iter().zip(&before).map(|(after, before)| after.since(before)).collect();
        narrator.done("watched");
        Ok(())
    }

    async fn at_rate(
        &mut self,
        setting: Setting,
        pulse: Pulse,
        narrator: &mut Narrator,
    ) -> Result<&mut Point> {
        let payments = self.prepare(setting.shape, pulse).await?;
        self.send_at_rate(setting, pulse, payments, narrator).await
    }

    async fn prepare(&mut self, shape: Shape, pulse: Pulse) -> Result<Payments> {
        let schedule = Schedule::lasting(pulse.rate_per_second, pulse.time, MOST_PAYMENTS);
        self.purse.payments(&self.federation, shape, schedule.count).await
    }

    async fn send_at_rate(
        &mut self,
        setting: Setting,
        pulse: Pulse,
        payments: Payments,
        narrator: &mut Narrator,
    ) -> Result<&mut Point> {
        let schedule = Schedule::lasting(pulse.rate_per_second, pulse.time, MOST_PAYMENTS);
        let setting = Setting { offered_per_second: Some(pulse.rate_per_second), ..setting };
        let federation = self.federation.clone();
        self.measure(setting, payments, narrator, async |prepared| {
            open_loop(&federation, prepared, schedule).await
        })
        .await
    }

    async fn at_full_speed(
        &mut self,
        setting: Setting,
        count: usize,
        time: Duration,
        narrator: &mut Narrator,
    ) -> Result<&mut Point> {
        let payments = self.purse.payments(&self.federation, setting.shape, count).await?;
        let in_flight = setting.in_flight.unwrap_or(1);
        let federation = self.federation.clone();
        self.measure(setting, payments, narrator, async |prepared| {
            closed_loop(&federation, prepared, in_flight, time).await
        })
        .await
    }

    /// How many payments a closed loop of `time` will use, from a short one.
    async fn calibrate(&mut self, shape: Shape, in_flight: usize, time: Duration) -> Result<usize> {
        let payments = self.purse.payments(&self.federation, shape, in_flight).await?;
        let measured = closed_loop(&self.federation, payments.prepared, in_flight, time).await;
        // A cold start is slower than what follows.
        let count = measured.rate_per_second() * time.as_secs_f64() * 1.5;
        Ok((count as usize).clamp(in_flight, MOST_PAYMENTS))
    }

    async fn measure(
        &mut self,
        setting: Setting,
        payments: Payments,
        narrator: &mut Narrator,
        send: impl AsyncFnOnce(Vec<crate::notes::Prepared>) -> Measured,
    ) -> Result<&mut Point> {
        narrator.begin(&format!("{}: {}", self.report.name, setting.words()));
        tokio::time::sleep(REST).await;
        let us = std::process::id();
        let sessions = self.federation.session_count().await?;
        let before = (self.sample()?, Sample::take(us, None)?);
        let mut measured = send(payments.prepared).await;
        let after = (self.sample()?, Sample::take(us, None)?);
        let sessions_ended = self.federation.session_count().await?.saturating_sub(sessions);
        if let Some((claim, shares)) = payments.first_claim.zip(measured.first_shares.take()) {
            let federation = self.federation.clone();
            let redeeming = move || claim.redeem(&federation.mint, &shares);
            tokio::task::spawn_blocking(redeeming).await?.context("the measured shares are bad")?;
        }
        let costs: Vec<_> =
            after.0.iter().zip(&before.0).map(|(after, before)| after.since(before)).collect();
        let succeeded = measured.succeeded();
        self.report.payments_in_all += succeeded;
        let point = Point {
            setting,
            payments: succeeded,
            failed: measured.failed,
            achieved_per_second: measured.rate_per_second(),
            sessions_ended,
            accepted: measured.accepted.summary(),
            paid: measured.paid.summary(),
            paid_buckets: measured.paid.buckets(),
            guardians: (succeeded > 0).then(|| Used::by(&costs, succeeded)),
            generator_cpu_percent: after.1.since(&before.1).cpu_percent(),
            bytes_per_waiter: None,
            first_failure: measured.first_failure,
        };
        narrator.done(&in_short(&point));
        self.report.points.push(point);
        self.report.points.last_mut().context("a point was just added")
    }

    async fn begin_waiting(&self, waiters: usize) -> Result<JoinSet<()>> {
        let mut waiting = JoinSet::new();
        for index in 0..waiters {
            let lane = ApiConnector::new(ConnectorOptions::default());
            let txid = sha256::Hash::hash(&(index as u64).to_be_bytes()).into();
            for url in self.federation.urls() {
                let (lane, url) = (lane.clone(), url.clone());
                waiting.spawn(async move {
                    loop {
                        Federation::wait_in_vain(&lane, &url, txid).await;
                        // A guardian that takes no more callers answers at once, and must not be flooded.
                        tokio::time::sleep(AGAIN).await;
                    }
                });
            }
            // All at once would measure how guardians take a flood of handshakes.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(DOWN_REST).await;
        Ok(waiting)
    }
}

fn grown(after: &Sample, before: &Sample) -> f64 {
    after.resident_bytes() as f64 - before.resident_bytes() as f64
}

fn in_short(point: &Point) -> String {
    let failed = match (point.failed, &point.first_failure) {
        (0, _) => String::new(),
        (failed, reason) => format!(", {failed} failed ({})", reason.as_deref().unwrap_or("?")),
    };
    let times = point.paid.map_or("none paid".to_owned(), |paid| {
        format!("median {:.0} ms, p99 {:.0} ms", paid.p50_ms, paid.p99_ms)
    });
    format!(
        "{times}, {:.1} per s, {} in all{failed}; this program {:.0} % of a core",
        point.achieved_per_second, point.payments, point.generator_cpu_percent
    )
}
