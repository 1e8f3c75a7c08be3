//! What needs no federation: help, wrong command lines, folders, and nobody at the other end.

use std::collections::BTreeMap;

use moneta_core::{FederationId, PeerId, invite::InviteCode};
use serde_json::json;
use tempfile::TempDir;

use crate::moneta::{Moneta, finish, plain_command};

/// A federation in the wallet whose store is no store.
pub(crate) fn plant_damaged_store(wallet: &Moneta, federation: &str) {
    let folder = wallet.folder().join("federations").join(federation);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("wallet.redb"), [7; 5000]).unwrap();
}

fn wallet(folder: &TempDir) -> Moneta {
    Moneta::new(folder.path().join("wallet"))
}

/// An invite whose only guardian does not exist.
fn dead_invite() -> String {
    let url = "ws://127.0.0.1:1/".parse().unwrap();
    let peers = BTreeMap::from([(PeerId::new(0), url)]);
    InviteCode::new(peers, FederationId([7; 32]), None).unwrap().to_string()
}

#[tokio::test]
async fn help_is_no_error_and_names_every_exit_code() {
    let mut command = plain_command();
    command.arg("--help");
    let ran = finish(command, "").await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    for code in [
        "0  done",
        "1  broken",
        "2  usage",
        "3  refused",
        "4  unavailable",
        "5  pending",
        "130, 143",
    ] {
        assert!(ran.out.contains(code), "{code}: {}", ran.out);
    }
}

#[tokio::test]
async fn wrong_command_line_is_a_usage_error_for_people_and_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = wallet(&folder);
    for arguments in
        [&["send"][..], &["send", "one"], &["fly"], &["join", "x", "--network", "moon"]]
    {
        let ran = wallet.run(arguments).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        assert!(ran.err.contains("--help"), "{ran:?}");
        wallet.fault(arguments).await.check(2, "", "--help");
    }
    assert_eq!(wallet.run(&[]).await.code, 2);
}

#[tokio::test]
async fn missing_wallet_says_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = wallet(&folder);
    for command in ["balance", "info", "history", "words", "meta", "deposit"] {
        wallet.fault(&[command]).await.refused("holds no wallet", "moneta join INVITE");
    }
    assert!(!wallet.folder().exists());
    let ran = wallet.run(&["balance"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{ran:?}");
    assert!(ran.err.starts_with("moneta: ") && ran.err.contains("moneta recover"), "{ran:?}");
    let mut command = plain_command();
    command.args(["--json", "balance"]).env_remove("HOME");
    finish(command, "").await.fault().refused("no home folder", "--wallet");
}

#[tokio::test]
async fn folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wallet"), "no folder").unwrap();
    let join = ["join", &dead_invite()];
    let fault = wallet(&folder).fault(&join).await;
    fault.unavailable("cannot use", "writable");
    let nowhere = Moneta::new("/proc/moneta");
    nowhere.fault(&join).await.unavailable("cannot use /proc/moneta", "writable");
}

/// A wallet whose only federation has a store of which nothing can be read: it says so, and what to do, and
/// is of use for other federations.
#[tokio::test]
async fn damaged_store_is_told_of_and_nothing_else_fails() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = wallet(&folder);
    wallet.fault(&["join", &dead_invite(), "--timeout", "1"]).await.unavailable("not done", "");
    let damaged = "08".repeat(32);
    plant_damaged_store(&wallet, &damaged);
    let info = wallet.json(&["info"]).await;
    let known = &info["federations"][0];
    assert_eq!(
        (&known["federation_id"], &known["failure"]["kind"]),
        (&json!(damaged), &json!("broken"))
    );
    assert_eq!(info["federation"], json!(null));
    let info = wallet.run(&["info"]).await;
    assert!(
        info.code == 0 && info.out.contains("cannot be opened") && info.out.contains("12 words"),
        "{info:?}"
    );
    wallet.fault(&["info", "--federation", "0808"]).await.check(1, "damaged", "12 words");
    wallet.fault(&["balance"]).await.check(1, "damaged", "12 words");
    // It gets as far as asking guardians.
    let join = ["join", &dead_invite(), "--timeout", "1"];
    wallet.fault(&join).await.unavailable("not done after 1 s", "repeat the command");
}

/// The words are made before the federation answers; they serve the next attempt.
#[tokio::test]
async fn federation_that_does_not_answer_may_be_joined_later() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = wallet(&folder);
    let fault = wallet.fault(&["join", &dead_invite(), "--timeout", "1"]).await;
    fault.unavailable("joining: not done after 1 s", "repeat the command");
    fault.unavailable("guardian 0 at ws://127.0.0.1:1/: no answer", "repeat the command");
    wallet.fault(&["balance"]).await.refused("joined no federation", "moneta join INVITE");
    let words = wallet.run(&["words"]).await;
    assert!(words.out.contains("12  ") && words.out.contains("Write them down"), "{words:?}");
}

#[tokio::test]
async fn guardian_that_does_not_answer_is_named() {
    let operate = async |arguments: &[&str]| {
        let mut command = plain_command();
        command.args(["--json", "guardian", "--url", "ws://127.0.0.1:1"]).args(arguments);
        command.env("MONETA_PASSWORD_API", "password");
        finish(command, "").await.fault()
    };
    operate(&["status"]).await.unavailable("ws://127.0.0.1:1/", "that monetad runs");
    operate(&["audit"]).await.unavailable("ws://127.0.0.1:1/", "that monetad runs");
    // It may be away because it generates keys.
    operate(&["setup", "status"]).await.unavailable("ws://127.0.0.1:1/", "generates keys");
    operate(&["restore", "/nowhere", "--data-dir", "/tmp/x"])
        .await
        .refused("cannot read", "backup");
}

#[tokio::test]
async fn reader_that_leaves_early_is_no_error() {
    let mut command = tokio::process::Command::new("sh");
    command.args([
        "-c",
        "set -o pipefail 2>/dev/null; \"$0\" --help | true",
        crate::moneta::PROGRAM,
    ]);
    let ran = finish(command, "").await;
    assert!(!ran.err.contains("panicked"), "{ran:?}");
}
