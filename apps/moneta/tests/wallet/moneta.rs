//! Runs the program as a shell would, and looks at everything a user sees of it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use moneta::world::WalletCommand;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, Command},
    time::timeout,
};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_moneta");

/// No command of these stories takes longer, on a loaded machine either. A recovery searches one address
/// after the other, some seconds of a whole core each, and gets a tenth of one when others build beside it.
const PATIENCE: Duration = Duration::from_secs(300);

/// The program on one wallet folder.
pub(crate) struct Moneta {
    folder: PathBuf,
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The error a command printed with `--json`.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: i32,
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl Moneta {
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The program with arguments, for a run of another kind.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = plain_command();
        command.arg("--wallet").arg(&self.folder).args(arguments);
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.command(arguments), "").await
    }

    /// Runs a command with `--json` that must do its work; returns the last line.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        self.json_with("", arguments).await
    }

    pub(crate) async fn json_with(&self, input: &str, arguments: &[&str]) -> Value {
        let mut command = self.command(arguments);
        command.arg("--json");
        let ran = finish(command, input).await;
        assert_eq!(ran.code, 0, "moneta {arguments:?}: {ran:?}");
        ran.json()
    }

    /// Runs a command with `--json` that must fail.
    pub(crate) async fn fault(&self, arguments: &[&str]) -> Fault {
        self.fault_with("", arguments).await
    }

    pub(crate) async fn fault_with(&self, input: &str, arguments: &[&str]) -> Fault {
        let mut command = self.command(arguments);
        command.arg("--json");
        finish(command, input).await.fault()
    }

    pub(crate) async fn balance(&self) -> u64 {
        let balance = self.json(&["balance"]).await;
        assert_eq!(balance["operations_under_way"], 0, "{balance}");
        balance["balance_msat"].as_u64().unwrap()
    }

    /// Begins a command that prints more than one line.
    pub(crate) fn script(&self) -> WalletCommand {
        let log = self.folder.with_extension("log");
        WalletCommand::new(Path::new(PROGRAM), &self.folder, &log)
    }

    /// Runs a command and ends it after `life` as a power cut would. Returns what it printed, if it was
    /// faster.
    pub(crate) async fn run_killed(
        &self,
        life: Duration,
        input: &str,
        arguments: &[&str],
    ) -> Option<Ran> {
        let mut command = self.command(arguments);
        command.arg("--json");
        let (mut child, stdin) = start(&mut command);
        let (mut stdout, mut out) = (child.stdout.take().unwrap(), String::new());
        let run = async {
            feed(stdin, input).await;
            stdout.read_to_string(&mut out).await.unwrap();
            child.wait().await.unwrap()
        };
        // The moment of death is what is tried here.
        let status = timeout(life, run).await;
        // Waits for the end too, so that nobody holds the folder any more. An error says that it had ended.
        let _ = child.kill().await;
        let code = status.ok()?.code().unwrap_or(-1);
        Some(Ran { code, out, err: String::new() })
    }
}

/// The program without a wallet folder named.
pub(crate) fn plain_command() -> Command {
    let mut command = Command::new(PROGRAM);
    // What the developer's own shell says must not leak in.
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("FM_") || name.starts_with("MONETA_") || name == "RUST_LOG" {
            command.env_remove(&variable);
        }
    }
    command
}

/// Runs a command to its end with something on standard input.
pub(crate) async fn finish(mut command: Command, input: &str) -> Ran {
    let (child, stdin) = start(&mut command);
    feed(stdin, input).await;
    let output = timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{command:?} does not end")).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn start(command: &mut Command) -> (Child, ChildStdin) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    (child, stdin)
}

async fn feed(mut stdin: ChildStdin, input: &str) {
    // A command that does not read what it is given has closed its end.
    let _ = stdin.write_all(input.as_bytes()).await;
}

impl Ran {
    /// The last line of JSON.
    pub(crate) fn json(&self) -> Value {
        let line = self.out.lines().last().unwrap_or_else(|| panic!("no output: {self:?}"));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error, whose kind must fit the exit code.
    pub(crate) fn fault(self) -> Fault {
        let error = &self.json()["error"];
        let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
        let code = match text("kind").as_str() {
            "broken" => 1,
            "usage" => 2,
            "refused" => 3,
            "unavailable" => 4,
            "pending" => 5,
            other => panic!("kind {other:?}: {self:?}"),
        };
        assert_eq!(self.code, code, "{self:?}");
        Fault { code, message: text("message"), hint: text("hint") }
    }
}

impl Fault {
    /// Checks that bad input was refused, that the message has `message`, and the advice `hint`.
    pub(crate) fn refused(&self, message: &str, hint: &str) {
        self.check(3, message, hint);
    }

    /// Checks that the world is said to have failed.
    pub(crate) fn unavailable(&self, message: &str, hint: &str) {
        self.check(4, message, hint);
    }

    pub(crate) fn check(&self, code: i32, message: &str, hint: &str) {
        let fits = self.message.contains(message) && self.hint.contains(hint);
        assert!(self.code == code && fits, "wanted {code} {message:?} {hint:?}, got {self:?}");
    }
}
