//! One guardian process and its public face.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use moneta_core::{
    ApiUrl,
    api::{ApiError, ApiRequest, StatusView},
    secret::Secret,
};
use moneta_net::api::{ApiConnector, CallError, ConnectorOptions};
use serde_json::Value;

use super::{
    BitcoindReport, Front, GuardianProgram, GuardianReport, PATIENCE, Pace, Programs, ReservedPort,
    folder,
    process::{Probe, Process, poll_until},
};

/// A guardian answers within a second of its start; a loaded machine gets more.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// The first minute of a federation: key generation on slow machines.
const CEREMONY_PATIENCE: Duration = Duration::from_secs(180);

/// A guardian daemon with a data folder and ports of its own.
///
/// Its place in the federation is known beforehand: peer ids follow the order of names, and our names
/// are made so that this is the order of creation.
#[derive(Debug)]
pub struct Guardian {
    index: u16,
    name: String,
    folder: PathBuf,
    program: GuardianProgram,
    password: String,
    environment: Vec<(&'static str, String)>,
    pace: Pace,
    api_url: String,
    // Held for as long as the guardian may start again.
    _ports: Vec<ReservedPort>,
    process: Option<Process>,
}

/// Name of guardian `index` among `count`; names sort as their indices do.
pub(super) fn name(index: u16, count: u16) -> String {
    let digits = count.saturating_sub(1).to_string().len();
    format!("guardian-{index:0digits$}")
}

impl Guardian {
    /// Reserves what guardian `index` of `count` needs below `folder`; starts nothing.
    ///
    /// Errors: the folder cannot be made, or no port is free.
    pub fn prepare(
        index: u16,
        count: u16,
        folder: &Path,
        programs: &Programs,
        bitcoind: &BitcoindReport,
        admin_password: &str,
    ) -> Result<Self> {
        let data_dir = folder.join("data");
        folder::create_private(&data_dir)?;
        let (api, p2p) = (ReservedPort::reserve()?, ReservedPort::reserve()?);
        let api_url = format!("ws://{}", api.address());
        let mut environment = vec![
            ("DATA_DIR", data_dir.display().to_string()),
            ("PASSWORD_API", admin_password.to_owned()),
            ("BITCOIN_NETWORK", "regtest".to_owned()),
            ("BITCOIND_URL", bitcoind.rpc_url.clone()),
            ("BITCOIND_USERNAME", bitcoind.user.clone()),
            ("BITCOIND_PASSWORD", bitcoind.password.clone()),
            ("BIND_API", api.address()),
            ("BIND_P2P", p2p.address()),
            ("API_URL", api_url.clone()),
            ("P2P_URL", format!("fedimint://{}", p2p.address())),
            ("ENABLE_IROH", "false".to_owned()),
        ];
        let mut ports = vec![api, p2p];
        if programs.guardian.is_reference {
            for variable in ["BIND_UI", "BIND_METRICS"] {
                let port = ReservedPort::reserve()?;
                environment.push((variable, port.address()));
                ports.push(port);
            }
        }
        Ok(Self {
            index,
            name: name(index, count),
            folder: folder.to_owned(),
            program: programs.guardian.clone(),
            password: admin_password.to_owned(),
            environment,
            pace: Pace::default(),
            api_url,
            _ports: ports,
            process: None,
        })
    }

    /// The same guardian with other clocks, from its next start on.
    #[must_use]
    pub fn with_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// The same guardian announcing ports of `front` in place of its own, to be said before the ceremony.
    ///
    /// Errors: the front opens no port.
    pub fn behind(mut self, front: &Front) -> Result<Self> {
        for (variable, value) in &mut self.environment {
            if matches!(*variable, "API_URL" | "P2P_URL") {
                let (scheme, address) = value.split_once("://").context("read our own URL")?;
                let address = address.parse().context("read our own address")?;
                let other = front.open(address).context("open a port in front of a guardian")?;
                *value = format!("{scheme}://{other}");
            }
        }
        let announced = self.environment.iter().find(|(variable, _)| *variable == "API_URL");
        self.api_url = announced.context("a guardian announces its API")?.1.clone();
        Ok(self)
    }

    /// Starts the process and waits until its API answers, in whichever phase it is. Nothing happens if
    /// it runs.
    ///
    /// Errors: it ends or does not answer; the message holds the end of its log.
    pub async fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.await_setup_status("an answer", START_PATIENCE, |_| true).await
    }

    /// Starts the process and does not wait. Nothing happens if it runs.
    ///
    /// Errors: the program does not start.
    pub fn launch(&mut self) -> Result<()> {
        if self.process.is_none() {
            self.process = Some(Process::start(&self.name, self.command(), &self.folder)?);
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program.path);
        // What the developer's own shell says about guardians must not leak into the world.
        for (variable, _) in env::vars_os() {
            let name = variable.to_string_lossy();
            if name.starts_with("FM_") || name.starts_with("MONETA_") {
                command.env_remove(&variable);
            }
        }
        let (prefix, test_pace) = match self.program.is_reference {
            true => ("FM_", "FM_IN_DEVIMINT"),
            false => ("MONETA_", "MONETA_TEST_PACE"),
        };
        for (variable, value) in &self.environment {
            command.env(format!("{prefix}{variable}"), value);
        }
        if self.pace == Pace::Test {
            command.env(test_pace, "1");
        }
        command
    }

    /// Asks the process to end (SIGTERM) and waits. Nothing happens if it does not run.
    ///
    /// Errors: it had to be killed, or its exit status was not 0.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let status = process.stop(PATIENCE).await?;
        ensure!(status.success(), "{} ended with {status}; {}", self.name, process.log_tail());
        Ok(())
    }

    /// Ends the process at once, as a power cut would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The name it gave in the ceremony.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number in the federation.
    pub fn peer_id(&self) -> u16 {
        self.index
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// `ws://127.0.0.1:port`.
    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// The password of its admin endpoints.
    pub fn admin_password(&self) -> &str {
        &self.password
    }

    /// Where its state lies.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where its output goes.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// What a caller outside needs to reach it. `pid` is 0 while it does not run.
    pub fn report(&self) -> GuardianReport {
        GuardianReport {
            peer_id: self.index,
            api_url: self.api_url.clone(),
            data_dir: self.data_dir(),
            pid: self.pid().unwrap_or(0),
        }
    }

    /// Calls a public endpoint. Opens a connection of its own, since guardians come and go here.
    ///
    /// Errors: a [`CallError`] inside.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value> {
        self.request(method, ApiRequest { auth: None, params }).await
    }

    /// Calls an admin endpoint with the password.
    ///
    /// Errors: a [`CallError`] inside.
    pub async fn call_admin(&self, method: &str, params: Value) -> Result<Value> {
        let auth = Some(Secret::new(self.password.clone()));
        self.request(method, ApiRequest { auth, params }).await
    }

    async fn request(&self, method: &str, request: ApiRequest) -> Result<Value> {
        let url: ApiUrl = self.api_url.parse().context("read our own URL")?;
        let connector = ApiConnector::new(ConnectorOptions::default());
        connector
            .call(&url, None, method, request)
            .await
            .with_context(|| format!("call {method} at {}", self.name))
    }

    /// Waits until the federation runs: key generation is over and this guardian sees `others` others.
    ///
    /// Errors: the process ends or time runs out; the message holds the end of its log.
    pub(super) async fn await_federation(&mut self, others: u64) -> Result<()> {
        let running = |status: &str| status == "ConsensusIsRunning";
        self.await_setup_status("the end of key generation", CEREMONY_PATIENCE, running).await?;
        let what = format!("{} in touch with all others", self.name);
        poll_until(&what, CEREMONY_PATIENCE, async || {
            self.ensure_running()?;
            let status: StatusView =
                serde_json::from_value(self.call("status", Value::Null).await?)
                    .context("read the answer to status")?;
            let online = status.federation.map_or(0, |federation| federation.peers_online);
            Ok(match online >= others {
                true => Probe::Ready(()),
                false => Probe::Waiting(format!("it sees {online} of {others}")),
            })
        })
        .await
    }

    async fn await_setup_status(
        &mut self,
        what: &str,
        patience: Duration,
        accept: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let what = format!("{what} of {}", self.name);
        let result = poll_until(&what, patience, async || {
            self.ensure_running()?;
            match self.call("setup_status", Value::Null).await {
                Ok(Value::String(status)) if accept(&status) => Ok(Probe::Ready(())),
                Ok(status) => Ok(Probe::Waiting(format!("it says {status}"))),
                // The port closes between the phases, with an error for calls that are open then.
                Err(error) => match error.downcast_ref::<CallError>() {
                    Some(CallError::Unreachable { .. } | CallError::Timeout) => {
                        Ok(Probe::Waiting(format!("{error:#}")))
                    }
                    Some(CallError::Rejected(refusal)) if refusal.code == ApiError::INTERNAL => {
                        Ok(Probe::Waiting(format!("{error:#}")))
                    }
                    _ => Err(error),
                },
            }
        })
        .await;
        match (result, &self.process) {
            (Err(error), Some(process)) => Err(error.context(process.log_tail())),
            (result, _) => result,
        }
    }

    fn ensure_running(&mut self) -> Result<()> {
        match &mut self.process {
            Some(process) => process.ensure_running(),
            None => bail!("{} was not started", self.name),
        }
    }

    /// Reads the invite code this guardian wrote after the ceremony.
    ///
    /// Errors: the file does not come.
    pub(super) async fn read_invite(&self) -> Result<String> {
        let path = self.data_dir().join("invite-code");
        poll_until("the invite code", START_PATIENCE, async || {
            Ok(match tokio::fs::read_to_string(&path).await {
                Ok(invite) if !invite.trim().is_empty() => Probe::Ready(invite.trim().to_owned()),
                Ok(_) => Probe::Waiting("the file is empty".to_owned()),
                Err(error) => Probe::Waiting(format!("{}: {error}", path.display())),
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_peer_ids_do() {
        for count in [1, 4, 10, 11, 101] {
            let names: Vec<_> = (0..count).map(|index| name(index, count)).collect();
            assert!(names.is_sorted(), "{names:?}");
        }
    }
}
