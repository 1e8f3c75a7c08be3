//! A guardian whose data folder takes nothing more. The folder is a file system of its own, of a few
//! megabytes, which only root can mount; everybody else skips the test.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{fs, io::Write as _, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};
use moneta::world::{
    Guardian, Narrator, World, WorldOptions,
    process::{Probe, poll_until},
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

/// A small file system in memory; ends with the value.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn over(folder: &'a Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs"]).arg(folder);
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }

    fn remount(&self, how: &str) {
        let mut mount = Command::new("mount");
        let done = mount.args(["-o", &format!("remount,{how}")]).arg(self.0).status().unwrap();
        assert!(done.success(), "remount {how}");
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Takes all the space that is left.
fn fill(file: &Path) {
    let mut ballast = fs::File::options().create(true).append(true).open(file).unwrap();
    for size in [1 << 16, 1 << 10, 1] {
        while ballast.write_all(&vec![7; size]).is_ok() {}
    }
}

async fn sessions(guardian: &Guardian) -> Result<u64> {
    guardian.call("session_count", Value::Null).await?.as_u64().context("a number")
}

async fn await_sessions(guardian: &Guardian, count: u64) {
    let what = format!("session {count} at {}", guardian.name());
    poll_until(&what, PATIENCE, async || {
        Ok(match sessions(guardian).await {
            Ok(now) if now >= count => Probe::Ready(()),
            now => Probe::Waiting(format!("it has {now:?}")),
        })
    })
    .await
    .unwrap();
}

/// Waits until the guardian has ended by itself, and returns what it said last.
async fn await_end(guardian: &Guardian) -> String {
    let process = format!("/proc/{}/stat", guardian.pid().unwrap());
    poll_until("the guardian's end", PATIENCE, async || {
        // After its end, and until somebody asks for its status, a process is a zombie.
        let stat = fs::read_to_string(&process).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        Ok(match state {
            None | Some('Z') => Probe::Ready(()),
            Some(state) => Probe::Waiting(format!("its state is {state}")),
        })
    })
    .await
    .unwrap();
    fs::read_to_string(guardian.log()).unwrap()
}

#[tokio::test]
async fn guardian_with_a_full_disk_halts_says_why_and_goes_on_after_space_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = WorldOptions::in_dir(folder.path()).unwrap();
    options.guardians = 4;
    let mut world = World::start(options, &mut Narrator::silent()).await.unwrap();

    world.guardians[3].stop().await.unwrap();
    let data = world.guardians[3].data_dir();
    let saved = folder.path().join("saved");
    fs::rename(&data, &saved).unwrap();
    fs::create_dir(&data).unwrap();
    let Some(mount) = Mount::over(&data) else {
        eprintln!("skipped: this user cannot mount a file system");
        world.stop().await.unwrap();
        return;
    };
    copy_all(&saved, &data);
    world.guardians[3].start().await.unwrap();

    let ballast = data.join("ballast");
    fill(&ballast);
    let said = await_end(&world.guardians[3]).await;
    assert!(said.contains("No space left on device"), "{said}");
    assert!(
        said.contains("Make space on its disk") && said.contains("start the guardian again"),
        "{said}"
    );
    world.guardians[3].kill();
    // Without space it ends again and says the same; what its end set free is taken, too.
    fill(&ballast);
    world.guardians[3].launch().unwrap();
    let again = await_end(&world.guardians[3]).await;
    let advice = "Make space on its disk";
    assert!(again.matches(advice).count() > said.matches(advice).count(), "{again}");
    world.guardians[3].kill();

    // The others go on; with space it does, too, and agrees with them.
    let now = sessions(&world.guardians[0]).await.unwrap();
    world.bitcoind.mine(2).await.unwrap();
    await_sessions(&world.guardians[0], now + 1).await;
    fs::remove_file(&ballast).unwrap();
    world.guardians[3].start().await.unwrap();
    await_sessions(&world.guardians[3], now + 1).await;

    // A disk that became read-only is named, too.
    world.guardians[3].stop().await.unwrap();
    mount.remount("ro");
    let refused = world.guardians[3].start().await.unwrap_err();
    assert!(format!("{refused:#}").contains("Read-only file system"), "{refused:#}");
    world.guardians[3].kill();
    mount.remount("rw");
    world.guardians[3].start().await.unwrap();
    let now = sessions(&world.guardians[0]).await.unwrap();
    await_sessions(&world.guardians[3], now + 1).await;
    for session in 0..=now {
        let of =
            |index: usize| world.guardians[index].call("await_session_outcome", json!(session));
        assert_eq!(of(3).await.unwrap(), of(0).await.unwrap(), "session {session}");
    }
    world.stop().await.unwrap();
    drop(mount);
}
