//! The released command line `fedimint-cli`, driven as a person would drive it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bitcoin::{Address, Amount};
use moneta::world::Guardian;
use serde_json::Value;
use tokio::{process::Command, time::timeout};

/// No command takes longer in a local world.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client of the reference with a folder of its own.
#[derive(Debug)]
pub(crate) struct FedimintCli {
    program: PathBuf,
    folder: PathBuf,
}

impl FedimintCli {
    /// A client that has joined nothing yet, of the program in the folder `reference`.
    ///
    /// Errors: its folder cannot be made.
    pub(crate) fn new(reference: &Path, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("make the folder {}", folder.display()))?;
        Ok(Self { program: reference.join("fedimint-cli"), folder: folder.to_owned() })
    }

    /// Joins by an invite code.
    ///
    /// Errors: the command fails.
    pub(crate) async fn join(&self, invite: &str) -> Result<()> {
        self.run(&["join", invite]).await.map(drop)
    }

    /// Joins with another client's words and waits until everything they own is found.
    ///
    /// Errors: the command fails.
    pub(crate) async fn restore(&self, invite: &str, words: &str) -> Result<()> {
        self.run(&["restore", "--mnemonic", words, "--invite-code", invite]).await?;
        self.settle().await
    }

    /// The client's 12 words.
    ///
    /// Errors: the command fails.
    pub(crate) async fn words(&self) -> Result<String> {
        let printed = self.run(&["print-secret"]).await?;
        Ok(printed["secret"].as_str().context("no words were printed")?.to_owned())
    }

    /// What it can spend, in msat. Waits for everything under way: the client works only while a command
    /// of it runs.
    ///
    /// Errors: the command fails.
    pub(crate) async fn balance(&self) -> Result<u64> {
        self.settle().await?;
        let info = self.run(&["info"]).await?;
        info["total_amount_msat"].as_u64().with_context(|| format!("no total in {info}"))
    }

    async fn settle(&self) -> Result<()> {
        self.run(&["dev", "wait-complete"]).await.map(drop)
    }

    /// The address for its next deposit.
    ///
    /// Errors: the command fails.
    pub(crate) async fn deposit_address(&self) -> Result<String> {
        self.text(&["module", "walletv2", "receive"]).await
    }

    /// Waits for its first deposit.
    ///
    /// Errors: the command fails or the deposit did.
    pub(crate) async fn await_first_deposit(&self) -> Result<()> {
        let state = self.run(&["module", "walletv2", "await-receive", "0"]).await?;
        ensure!(state[0] == "Success", "the deposit ended with {state}");
        Ok(())
    }

    /// Withdraws; the address gets `amount`.
    ///
    /// Errors: the command fails or the withdrawal did.
    pub(crate) async fn withdraw(&self, address: &Address, amount: Amount) -> Result<()> {
        let (address, amount) = (address.to_string(), amount_text(amount));
        let state = self.run(&["module", "walletv2", "send", &address, &amount]).await?;
        ensure!(state["Success"].is_string(), "the withdrawal ended with {state}");
        Ok(())
    }

    /// Takes e-cash worth `amount` out of the client.
    ///
    /// Errors: the command fails.
    pub(crate) async fn send(&self, amount: Amount) -> Result<String> {
        self.text(&["module", "mintv2", "send", &amount_text(amount)]).await
    }

    /// Takes e-cash in.
    ///
    /// Errors: the command fails, or the e-cash was refused.
    pub(crate) async fn receive(&self, ecash: &str) -> Result<()> {
        let state = self.run(&["module", "mintv2", "receive", ecash]).await?;
        ensure!(state == "Success", "receiving ended with {state}");
        Ok(())
    }

    /// The agreed metadata, `Null` if there is none.
    ///
    /// Errors: the command fails.
    pub(crate) async fn meta(&self) -> Result<Value> {
        self.run(&["module", "meta", "get"]).await
    }

    /// Proposes metadata as the guardian `peer`.
    ///
    /// Errors: the command fails.
    pub(crate) async fn submit_meta(&self, peer: u16, password: &str, value: &Value) -> Result<()> {
        let (peer, value) = (peer.to_string(), value.to_string());
        let arguments = ["--our-id", &peer, "module", "meta", "submit", &value];
        self.run_as(Some(password), &arguments).await.map(drop)
    }

    /// One step of `admin setup` at a guardian.
    ///
    /// Errors: the command fails.
    pub(crate) async fn setup(&self, guardian: &Guardian, step: &[&str]) -> Result<Value> {
        let mut arguments = vec!["admin", "setup", guardian.api_url()];
        arguments.extend(step);
        self.run_as(Some(guardian.admin_password()), &arguments).await
    }

    /// Runs a command that prints one text.
    async fn text(&self, arguments: &[&str]) -> Result<String> {
        let printed = self.run(arguments).await?;
        Ok(printed.as_str().with_context(|| format!("no text in {printed}"))?.to_owned())
    }

    async fn run(&self, arguments: &[&str]) -> Result<Value> {
        self.run_as(None, arguments).await
    }

    async fn run_as(&self, password: Option<&str>, arguments: &[&str]) -> Result<Value> {
        let verb: Vec<&str> = arguments.iter().copied().take(3).collect();
        let name = format!("fedimint-cli {}", verb.join(" "));
        let mut command = Command::new(&self.program);
        command
            .env("FM_CLIENT_DIR", &self.folder)
            .env("FM_IN_DEVIMINT", "1")
            .env("RUST_LOG", "warn")
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some(password) = password {
            command.env("FM_PASSWORD_API", password);
        }
        let output = timeout(PATIENCE, command.output())
            .await
            .with_context(|| format!("{name} does not end"))?
            .with_context(|| format!("start {}", self.program.display()))?;
        let printed = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "{name} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        if printed.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&printed).with_context(|| format!("{name} printed no JSON: {printed}"))
    }
}

/// An amount as the command line reads it in every place; a bare number means msat in one and sat in another.
fn amount_text(amount: Amount) -> String {
    format!("{} sat", amount.to_sat())
}
