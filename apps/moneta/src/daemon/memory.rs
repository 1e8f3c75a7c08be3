//! One heap for all threads.
//!
//! The system's allocator keeps a heap per thread, up to eight per processor. A guardian's work wanders
//! between threads, so each heap grows to what its thread once needed and is mostly gaps after: under load as
//! much again as what is in use. Threads that share one heap wait for each other a little, which no
//! measurement showed (docs/decisions/0018-one-heap.md).

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// How many heaps glibc makes. It reads this when a program starts, and never again.
const HEAPS: &str = "MALLOC_ARENA_MAX";

/// Starts this program anew in the same process, with one heap. To be called before anything else.
///
/// Returns if the setting is there, ours or the operator's, and where there is no such setting. It also does
/// if the program cannot be started anew: it takes more memory then, which is no reason to stop.
pub fn share_one_heap() {
    if cfg!(not(all(target_os = "linux", target_env = "gnu"))) || env::var_os(HEAPS).is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let mut anew = Command::new(program);
    if let Some(name) = arguments.next() {
        anew.arg0(name);
    }
    let _failed = anew.args(arguments).env(HEAPS, "1").exec();
}
