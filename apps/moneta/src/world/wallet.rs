//! The wallet program, driven as a script would drive it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// No command of a wallet in a local world takes longer.
const COMMAND_PATIENCE: Duration = Duration::from_secs(120);

/// Runs `moneta --wallet FOLDER --json ...`. Its log lines go to a file, its results come back as JSON.
#[derive(Clone, Debug)]
pub struct WalletCommand {
    program: PathBuf,
    folder: PathBuf,
    log: PathBuf,
}

impl WalletCommand {
    /// A wallet in `folder`, its log lines appended to `log`.
    pub fn new(program: &Path, folder: &Path, log: &Path) -> Self {
        Self { program: program.to_owned(), folder: folder.to_owned(), log: log.to_owned() }
    }

    /// The wallet's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs one command to its end and returns the last line it printed.
    ///
    /// Errors: exit status other than 0, with what it wrote; no JSON; too slow.
    pub async fn run(&self, arguments: &[&str]) -> Result<Value> {
        self.start(arguments)?.finish().await
    }

    /// As [`run`](Self::run), for a command that reads `input` from standard input: words, e-cash.
    ///
    /// Errors: as [`run`](Self::run); the command does not read.
    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Result<Value> {
        let mut command = self.launch(arguments, Stdio::piped())?;
        let mut pipe = command.child.stdin.take().context("standard input is a pipe")?;
        pipe.write_all(input.as_bytes()).await.context("give a command its input")?;
        drop(pipe);
        command.finish().await
    }

    /// Starts a command that reports more than once.
    ///
    /// Errors: the program does not start.
    pub fn start(&self, arguments: &[&str]) -> Result<RunningCommand> {
        self.launch(arguments, Stdio::null())
    }

    fn launch(&self, arguments: &[&str], input: Stdio) -> Result<RunningCommand> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("open {}", self.log.display()))?;
        let mut child = Command::new(&self.program)
            .arg("--wallet")
            .arg(&self.folder)
            .arg("--json")
            .args(arguments)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        let stdout = child.stdout.take().context("standard output is a pipe")?;
        let name = format!("moneta {}", arguments.first().copied().unwrap_or_default());
        let lines = BufReader::new(stdout).lines();
        Ok(RunningCommand { name, child, lines, last: None, log: self.log.clone() })
    }
}

/// A wallet command that runs. Dropping it ends it.
#[derive(Debug)]
pub struct RunningCommand {
    name: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    last: Option<Value>,
    log: PathBuf,
}

impl RunningCommand {
    /// Returns the next line it prints, or `None` at its end.
    ///
    /// Errors: a line is no JSON, or none comes in time.
    pub async fn next_report(&mut self) -> Result<Option<Value>> {
        let line = timeout(COMMAND_PATIENCE, self.lines.next_line())
            .await
            .with_context(|| format!("{} prints nothing; see {}", self.name, self.log.display()))?
            .with_context(|| format!("read from {}", self.name))?;
        let Some(line) = line else { return Ok(None) };
        let value: Value = serde_json::from_str(&line)
            .with_context(|| format!("{} printed no JSON: {line}", self.name))?;
        self.last = Some(value.clone());
        Ok(Some(value))
    }

    /// Waits for the end and returns the last line it printed.
    ///
    /// Errors: exit status other than 0, with what it wrote; no JSON; too slow.
    pub async fn finish(mut self) -> Result<Value> {
        while self.next_report().await?.is_some() {}
        let status = timeout(COMMAND_PATIENCE, self.child.wait())
            .await
            .with_context(|| format!("{} does not end", self.name))?
            .with_context(|| format!("wait for {}", self.name))?;
        let said = self.last.as_ref().map(Value::to_string).unwrap_or_default();
        ensure!(
            status.success(),
            "{} ended with {status}: {said} (see {})",
            self.name,
            self.log.display()
        );
        match self.last {
            Some(value) => Ok(value),
            None => bail!("{} printed nothing", self.name),
        }
    }
}
