//! Guardians as processes: power cuts, absence, mixed-up folders, and ceremonies that go wrong.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::HashMap, ffi::OsString, fs, os::unix::ffi::OsStringExt, path::Path,
    process::Command, time::Duration,
};

use anyhow::{Context, Result, ensure};
use moneta::world::{
    Bitcoind, Guardian, Narrator, Programs, World, WorldOptions, ceremony,
    process::{Probe, poll_until},
};
use moneta_core::{
    ApiUrl, MeBase64, PeerId, Secret, SessionOutcome, api::ApiRequest, session::SessionStatusV2,
    setup_code::PeerSetupCode,
};
use moneta_net::api::{ApiConnector, CallError};
use serde_json::{Value, json};

/// A loaded machine gets time; a healthy one needs seconds.
const PATIENCE: Duration = Duration::from_secs(90);

async fn world(folder: &Path, guardians: u16) -> World {
    let mut options = WorldOptions::in_dir(folder).unwrap();
    options.guardians = guardians;
    World::start(options, &mut Narrator::silent()).await.unwrap()
}

async fn session_count(guardian: &Guardian) -> Result<u64> {
    guardian.call("session_count", Value::Null).await?.as_u64().context("a number")
}

async fn await_sessions(guardian: &Guardian, count: u64) {
    let what = format!("session {count} at {}", guardian.name());
    poll_until(&what, PATIENCE, async || {
        Ok(match session_count(guardian).await? {
            now if now >= count => Probe::Ready(()),
            now => Probe::Waiting(format!("it has {now}")),
        })
    })
    .await
    .unwrap();
}

/// A signed session; which guardians' signatures there are may differ, what they sign may not.
async fn outcome(guardian: &Guardian, session: u64) -> SessionOutcome {
    let answer = guardian.call("signed_session_status", json!(session)).await.unwrap();
    let MeBase64(status) = serde_json::from_value::<MeBase64<SessionStatusV2>>(answer).unwrap();
    let SessionStatusV2::Complete(signed) = status else {
        panic!("session {session} is not signed")
    };
    signed.session_outcome
}

async fn audit(guardian: &Guardian) -> Value {
    guardian.call_admin("audit", Value::Null).await.unwrap()
}

async fn call_with_password(guardian: &Guardian, method: &str, password: &str) -> CallError {
    let url: ApiUrl = guardian.api_url().parse().unwrap();
    let request = ApiRequest::with_password(Value::Null, Secret::new(password.to_owned()));
    ApiConnector::default().call(&url, None, method, request).await.unwrap_err()
}

fn assert_refused(error: &anyhow::Error, code: i32, text: &str) {
    let Some(CallError::Rejected(refusal)) = error.downcast_ref() else { panic!("{error:#}") };
    assert_eq!((refusal.code, refusal.message.as_str()), (code, text));
}

/// Starts a guardian that must not start, and returns what it says.
async fn refusal_to_start(guardian: &mut Guardian) -> String {
    let error = guardian.start().await.expect_err("it started");
    guardian.kill();
    format!("{error:#}")
}

/// The program and environment of a running guardian once more.
fn second_process(guardian: &Guardian) -> std::process::Output {
    let pid = guardian.pid().unwrap();
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let variables: HashMap<OsString, OsString> = environment
        .split(|byte| *byte == 0)
        .filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b'=')?;
            let of = |part: &[u8]| OsString::from_vec(part.to_vec());
            Some((of(&line[..at]), of(&line[at + 1..])))
        })
        .collect();
    Command::new(program).env_clear().envs(variables).output().unwrap()
}

#[tokio::test]
async fn federation_outlives_power_cuts_absence_and_mixed_up_folders() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = world(folder.path(), 4).await;

    let wrong = call_with_password(&world.guardians[0], "audit", "wrong").await;
    assert_refused(&wrong.into(), 401, "Invalid authorization");
    let right = &world.admin_password;
    let unknown = call_with_password(&world.guardians[0], "no_such_endpoint", right).await;
    assert!(matches!(&unknown, CallError::Rejected(e) if e.code == -32601), "{unknown}");

    let second = second_process(&world.guardians[1]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("in use by another process"), "{said}");

    // A power cut in the middle of a session: the guardian goes on where it was.
    world.bitcoind.mine(2).await.unwrap();
    world.guardians[1].kill();
    world.guardians[1].start().await.unwrap();

    // One guardian is away for several sessions; the others go on without it.
    let away_from = session_count(&world.guardians[0]).await.unwrap();
    world.guardians[3].kill();
    for session in 1..=3 {
        world.bitcoind.mine(1).await.unwrap();
        await_sessions(&world.guardians[0], away_from + session).await;
    }
    world.guardians[3].start().await.unwrap();
    let now = session_count(&world.guardians[0]).await.unwrap();
    await_sessions(&world.guardians[3], now).await;
    await_sessions(&world.guardians[1], now).await;
    let mut items = 0;
    for session in 0..now {
        let first = outcome(&world.guardians[0], session).await;
        items += first.items.len();
        for other in &world.guardians[1..] {
            await_sessions(other, now).await;
            assert_eq!(
                outcome(other, session).await,
                first,
                "session {session} at {}",
                other.name()
            );
        }
    }
    assert!(items > 0, "nothing was ordered at all");
    let first = audit(&world.guardians[0]).await;
    for other in &world.guardians[1..] {
        assert_eq!(audit(other).await, first, "at {}", other.name());
    }

    // Parts of another guardian's folder.
    let [_, _, two, three] = &mut world.guardians[..] else { panic!("four guardians") };
    two.stop().await.unwrap();
    three.stop().await.unwrap();
    for (file, complaint) in [
        ("private.json", "the secrets are not those of guardian 3"),
        ("local.json", "the secrets are not those of guardian 2"),
        ("database.redb", "belongs to guardian 2 of federation"),
    ] {
        // A database is several files.
        let names: Vec<_> = fs::read_dir(three.data_dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with(file))
            .collect();
        let saved = three.data_dir().join("saved");
        fs::create_dir(&saved).unwrap();
        for name in &names {
            fs::rename(three.data_dir().join(name), saved.join(name)).unwrap();
            fs::copy(two.data_dir().join(name), three.data_dir().join(name)).unwrap();
        }
        let said = refusal_to_start(three).await;
        assert!(said.contains(complaint), "{file}: {said}");
        for name in &names {
            fs::rename(saved.join(name), three.data_dir().join(name)).unwrap();
        }
        fs::remove_dir(saved).unwrap();
    }
    let (local, saved) = (three.data_dir().join("local.json"), three.data_dir().join("saved"));
    fs::rename(&local, &saved).unwrap();
    let said = refusal_to_start(three).await;
    assert!(said.contains("local.json is missing"), "{said}");
    fs::write(&local, "{\"identity\": ").unwrap();
    let said = refusal_to_start(three).await;
    assert!(said.contains("is damaged"), "{said}");
    fs::rename(&saved, &local).unwrap();
    two.start().await.unwrap();
    three.start().await.unwrap();

    // Asked to end, every guardian ends with status 0.
    world.stop().await.unwrap();
}

#[tokio::test]
async fn federation_of_one_keeps_its_sessions_over_a_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = world(folder.path(), 1).await;
    world.bitcoind.mine(3).await.unwrap();
    await_sessions(&world.guardians[0], 1).await;
    let before = outcome(&world.guardians[0], 0).await;
    world.guardians[0].kill();
    world.guardians[0].start().await.unwrap();
    assert_eq!(outcome(&world.guardians[0], 0).await, before);
    await_sessions(&world.guardians[0], 2).await;
    world.stop().await.unwrap();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[tokio::test]
async fn guardian_has_one_heap_and_the_arguments_and_the_process_it_was_started_with() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 1).await;
    let process = format!("/proc/{}", world.guardians[0].pid().unwrap());
    let environment = fs::read(format!("{process}/environ")).unwrap();
    for setting in ["MALLOC_ARENA_MAX=1", "MALLOC_MMAP_THRESHOLD_=131072"] {
        let mut entries = environment.split(|byte| *byte == 0);
        assert!(entries.any(|entry| entry == setting.as_bytes()), "{setting}");
    }
    let name = fs::read(format!("{process}/cmdline")).unwrap();
    let name = name.split(|byte| *byte == 0).next().unwrap();
    assert!(name.ends_with(b"/monetad"), "{}", String::from_utf8_lossy(name));
    world.stop().await.unwrap();
}

#[tokio::test]
async fn ceremony_that_fails_says_why_and_may_be_held_again() {
    let folder = tempfile::tempdir().unwrap();
    let programs = Programs::find().unwrap();
    let bitcoind =
        Bitcoind::start(&programs.bitcoind, &folder.path().join("bitcoind")).await.unwrap();
    bitcoind.mine(101).await.unwrap();
    let mut guardians: Vec<Guardian> = (0..4)
        .map(|index| {
            let own = folder.path().join(format!("guardian-{index}"));
            Guardian::prepare(index, 4, &own, &programs, &bitcoind.report(), "password").unwrap()
        })
        .collect();
    for guardian in &mut guardians {
        guardian.start().await.unwrap();
    }

    // What the setup endpoints refuse.
    let wrong = call_with_password(&guardians[0], "start_dkg", "wrong").await;
    assert_refused(&wrong.into(), 401, "Invalid authorization");
    let early = guardians[0].call_admin("start_dkg", Value::Null).await.unwrap_err();
    assert_refused(&early, 500, "Set the local parameters first");
    let params = |name: &str| {
        json!({"name": name, "federation_name": null,
        "disable_base_fees": null, "enabled_modules": null, "federation_size": null})
    };
    let nameless = guardians[0].call_admin("set_local_params", params("")).await.unwrap_err();
    assert_refused(&nameless, 400, "The guardian name is empty");
    let malformed = guardians[0].call_admin("set_local_params", json!(7)).await.unwrap_err();
    assert!(
        matches!(malformed.downcast_ref(), Some(CallError::Rejected(e)) if e.code == 400),
        "{malformed:#}"
    );

    // One guardian enters a code that is not quite the one of the others.
    ceremony::exchange_codes(&guardians, "Friends").await.unwrap();
    let code = guardians[1].call("get_setup_code", Value::Null).await.unwrap_err();
    assert_refused(&code, 401, "Invalid authorization");
    let mut codes = Vec::new();
    for guardian in &guardians {
        let code = guardian.call_admin("get_setup_code", Value::Null).await.unwrap();
        codes.push(code.as_str().unwrap().to_owned());
    }
    guardians[3].call_admin("reset_peer_setup_codes", Value::Null).await.unwrap();
    let mut altered: PeerSetupCode = codes[1].parse().unwrap();
    altered.name.push('x');
    for code in [codes[0].clone(), altered.to_string(), codes[2].clone()] {
        guardians[3].call_admin("add_peer_setup_code", json!(code)).await.unwrap();
    }
    // Started by the operators' own tool, which waits for the end and says what came of it.
    let starts = guardians.iter().map(|guardian| operate(guardian, &["setup", "start"]));
    let ends = futures::future::join_all(starts).await;
    for (index, guardian) in guardians.iter().enumerate() {
        let reason = await_failure(guardian).await.unwrap();
        let (code, said) = &ends[index];
        let message = said["error"]["message"].as_str().unwrap();
        assert!(*code == 3 && message.ends_with(&reason), "{code} {said}");
        let (code, said) = operate(guardian, &["setup", "status"]).await;
        assert_eq!((code, said["failure"].as_str()), (0, Some(reason.as_str())), "{said}");
        let named = if index == 3 { vec![0, 1, 2] } else { vec![3] };
        let is_expected = reason.contains("have entered other setup codes")
            || reason.contains("gave up") && reason.contains("other setup codes");
        assert!(is_expected, "{reason}");
        if !reason.contains("gave up") {
            let named: Vec<PeerId> = named.into_iter().map(PeerId::new).collect();
            assert!(reason.contains(&format!("{named:?}")), "{reason}");
        }
    }

    // Held again, with a power cut right after the start of key generation.
    ceremony::exchange_codes(&guardians, "Friends").await.unwrap();
    for guardian in &guardians {
        guardian.call_admin("start_dkg", Value::Null).await.unwrap();
    }
    guardians[2].kill();
    guardians[2].launch().unwrap();
    for guardian in &guardians {
        await_running(guardian).await.unwrap();
    }
    let hashes: Vec<Value> = futures::future::try_join_all(
        guardians.iter().map(|one| one.call("server_config_consensus_hash", Value::Null)),
    )
    .await
    .unwrap();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    for guardian in &mut guardians {
        let left = |name: &str| guardian.data_dir().join(name).exists();
        assert!(!left("setup.json") && !left("keygen"), "secrets of the ceremony are left");
        guardian.stop().await.unwrap();
    }
}

/// Runs `moneta guardian`; returns its exit code and what it printed.
async fn operate(guardian: &Guardian, arguments: &[&str]) -> (i32, Value) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_moneta"));
    command.args(["--json", "guardian", "--url", guardian.api_url()]).args(arguments);
    let output = command.env("MONETA_PASSWORD_API", "password").output().await.unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code().unwrap(), said)
}

/// Waits until a guardian is back at the beginning of the ceremony, and returns why.
async fn await_failure(guardian: &Guardian) -> Result<String> {
    let what = format!("a new ceremony at {}", guardian.name());
    poll_until(&what, PATIENCE, async || {
        match guardian.call("setup_status", Value::Null).await {
            Ok(status) if status == "AwaitingLocalParams" => {}
            Ok(status) => return Ok(Probe::Waiting(format!("it says {status}"))),
            Err(error) => return Ok(Probe::Waiting(format!("{error:#}"))),
        }
        let failure = guardian.call_admin("moneta_setup_failure", Value::Null).await?;
        ensure!(failure.is_string(), "no reason: {failure}");
        Ok(Probe::Ready(failure.as_str().unwrap_or_default().to_owned()))
    })
    .await
}

async fn await_running(guardian: &Guardian) -> Result<()> {
    let what = format!("consensus at {}", guardian.name());
    poll_until(&what, PATIENCE, async || {
        Ok(match guardian.call("setup_status", Value::Null).await {
            Ok(status) if status == "ConsensusIsRunning" => Probe::Ready(()),
            Ok(status) => Probe::Waiting(format!("it says {status}")),
            Err(error) => Probe::Waiting(format!("{error:#}")),
        })
    })
    .await
}
