//! A real bitcoind on regtest, in a folder of its own.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A running node; killed when dropped.
pub struct BitcoindProcess {
    child: Child,
    data: TempDir,
    port: u16,
}

/// Where the programs are: PATH, then `MONETA_BITCOIND_DIR`, then the cache folder.
fn find_bitcoind() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    folders.extend(std::env::var_os("MONETA_BITCOIND_DIR").map(PathBuf::from));
    let home = std::env::var_os("HOME").map(PathBuf::from);
    folders.extend(home.map(|home| home.join(".cache/moneta/bitcoind/bin")));
    folders.into_iter().map(|folder| folder.join("bitcoind")).find(|program| program.is_file())
}

impl BitcoindProcess {
    /// Starts a node; `None`, with a line of explanation, if there is no bitcoind on this machine.
    pub async fn start() -> Option<Self> {
        let Some(program) = find_bitcoind() else {
            eprintln!("no bitcoind found, test skipped; set MONETA_BITCOIND_DIR");
            return None;
        };
        let data = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut node = Self { child: spawn(&program, &data, port), data, port };
        node.wait_until_ready().await;
        Some(node)
    }

    /// Kills the node and starts it again with the same data, which makes a new cookie.
    pub async fn restart(&mut self) {
        self.cli("stop", json!([])).await.unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&find_bitcoind().unwrap(), &self.data, self.port);
        self.wait_until_ready().await;
    }

    /// The RPC address, without credentials.
    pub fn url(&self) -> url::Url {
        format!("http://127.0.0.1:{}", self.port).parse().unwrap()
    }

    /// The cookie file.
    pub fn cookie_file(&self) -> PathBuf {
        self.data.path().join("regtest/.cookie")
    }

    /// Mines blocks that pay to P2WSH of `OP_TRUE`, which anybody can spend with witness `51`.
    pub async fn mine(&self, blocks: u32) -> Vec<String> {
        // sha256(51)
        let program = "4ae81572f06e1b88fd5ced7a1a000945432e83e1551e6f721ee9c00b8cc33260";
        let descriptor = format!("raw(0020{program})");
        let hashes = self.cli("generatetodescriptor", json!([blocks, descriptor])).await.unwrap();
        serde_json::from_value(hashes).unwrap()
    }

    /// Makes one RPC call with a client other than the one under test.
    pub async fn cli(&self, method: &str, params: Value) -> Option<Value> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let cookie = std::fs::read_to_string(self.cookie_file()).ok()?;
        let body = json!({"id": 0, "method": method, "params": params}).to_string();
        let head = format!(
            "POST / HTTP/1.0\r\nAuthorization: Basic {}\r\nContent-Length: {}\r\n\r\n",
            STANDARD.encode(cookie),
            body.len()
        );
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        socket.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.ok()?;
        let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        if answer["error"].is_null() { Some(answer["result"].clone()) } else { None }
    }

    async fn wait_until_ready(&mut self) {
        for _ in 0..600 {
            if self.cli("getblockcount", json!([])).await.is_some() {
                return;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "bitcoind ended at its start");
            // Polls an outside process; nothing else tells when it is ready.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("bitcoind did not become ready within a minute");
    }
}

fn spawn(program: &PathBuf, data: &TempDir, port: u16) -> Child {
    Command::new(program)
        .args(["-regtest", "-listen=0", "-txindex=0", "-dnsseed=0", "-printtoconsole=0"])
        .arg(format!("-datadir={}", data.path().display()))
        .arg(format!("-rpcport={port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A port that was free a moment ago; bitcoind cannot be told to pick one itself.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Drop for BitcoindProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
