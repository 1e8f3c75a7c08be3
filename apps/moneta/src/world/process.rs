//! One child process with a folder of its own.

use std::{
    fs::File,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rand::Rng;
use rustix::process::{Pid, Signal};

/// How often a condition that nobody announces is looked at again.
const POLL: Duration = Duration::from_millis(20);

/// Lines of a log that go into an error message.
const LOG_TAIL_LINES: usize = 15;

/// The file in a process's folder that names it, for [`super::folder::end`].
pub(super) const PID_FILE: &str = "pid";

/// A running child. Dropping it kills it and waits for its end, so that its files may be removed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with `folder` as its working folder; output is appended to `log` there.
    ///
    /// Errors: the folder cannot be written, or the program does not start.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join("log");
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open {}", log.display()))?;
        let child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("share the log")?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {}", command.get_program().to_string_lossy()))?;
        let process = Self { name: name.to_owned(), child, log };
        std::fs::write(folder.join(PID_FILE), process.pid().to_string())
            .with_context(|| format!("note the process of {name}"))?;
        Ok(process)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the exit status if the process has ended.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("ask for {}", self.name))
    }

    /// Errors if the process has ended, with the end of its log.
    pub fn ensure_running(&mut self) -> Result<()> {
        match self.exit_status()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}); {}", self.name, self.log_tail()),
        }
    }

    /// Asks the process to end (SIGTERM), waits up to `patience`, then kills it.
    ///
    /// Errors: it had to be killed. Cancel safe: it is asked at once, and killed on drop.
    pub async fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exit_status()? {
            return Ok(status);
        }
        signal(self.pid(), Signal::TERM).with_context(|| format!("ask {} to end", self.name))?;
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            tokio::time::sleep(POLL).await;
        }
        self.kill();
        bail!("{} did not end within {} s; {}", self.name, patience.as_secs(), self.log_tail())
    }

    /// Ends the process at once, as a power cut would, and returns when it is gone.
    pub fn kill(&mut self) {
        // An error says that it is gone already, which is what was asked for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The last lines of the log with the path of the whole, for error messages.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
        format!("the end of {}:\n{tail}", self.log.display())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends `signal` to the process `pid`.
pub(super) fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a process id")?;
    rustix::process::kill_process(pid, signal)?;
    Ok(())
}

/// Looks again and again whether `probe` has an answer, until `deadline` has passed.
///
/// Errors: what `probe` reports as final, or that `what` did not come in time, with the last reason
/// `probe` gave for waiting.
pub async fn poll_until<T>(
    what: &str,
    patience: Duration,
    mut probe: impl AsyncFnMut() -> Result<Probe<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match probe().await? {
            Probe::Ready(value) => return Ok(value),
            Probe::Waiting(reason) if Instant::now() >= deadline => {
                bail!("{what} did not come within {} s: {reason}", patience.as_secs())
            }
            Probe::Waiting(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// One look at a condition.
#[derive(Debug)]
pub enum Probe<T> {
    /// It holds.
    Ready(T),
    /// Not yet, and why.
    Waiting(String),
}

/// A password nobody guesses, of letters and digits.
pub(super) fn random_password() -> String {
    hex::encode(rand::thread_rng().r#gen::<[u8; 16]>())
}

/// Writes a file that only this user may read.
pub(super) fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn process_that_ignores_the_request_is_killed_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
        let mut process = Process::start("stubborn", shell(script), folder.path()).unwrap();
        let log = folder.path().join("log");
        poll_until("its word", Duration::from_secs(10), async || {
            Ok(match std::fs::read_to_string(&log)?.as_str() {
                "ready\n" => Probe::Ready(()),
                other => Probe::Waiting(other.to_owned()),
            })
        })
        .await
        .unwrap();
        let error = process.stop(Duration::from_millis(100)).await.unwrap_err();
        assert!(error.to_string().contains("stubborn did not end"), "{error}");
        assert!(process.exit_status().unwrap().is_some());
    }

    #[tokio::test]
    async fn early_end_is_reported_with_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut process =
            Process::start("brief", shell("echo no luck; exit 3"), folder.path()).unwrap();
        process.child.wait().unwrap();
        let error = process.ensure_running().unwrap_err().to_string();
        assert!(error.contains("no luck"), "{error}");
    }

    #[test]
    fn private_file_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_private(&path, "x").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
