//! One heap for all threads, which gives back what it does not need.
//!
//! The system's allocator keeps a heap per thread, up to eight per processor. A guardian's work wanders
//! between threads, so each heap grows to what its thread once needed and is mostly gaps after: under load as
//! much again as what is in use. Threads that share one heap wait for each other a little, which no
//! measurement showed.
//!
//! And it learns: once a large block was freed, blocks of that size come from the heap, where whatever is
//! allocated behind them keeps their space. A guardian has a few megabytes for each session and lets go of
//! them at its end. With fixed thresholds they are mapped one by one and are gone when they are freed.
//! (docs/decisions/0018-one-heap.md)

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// How many heaps glibc makes. It reads these when a program starts, and never again.
const HEAPS: &str = "MALLOC_ARENA_MAX";

/// What is set beside [`HEAPS`], unless the operator has: blocks from 128 kB on are mapped one by one, and a
/// free end of the heap is given back from 1 MB on.
const THRESHOLDS: [(&str, &str); 2] =
    [("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "1048576")];

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
    let unset = THRESHOLDS.into_iter().filter(|(name, _)| env::var_os(name).is_none());
    let _failed = anew.args(arguments).env(HEAPS, "1").envs(unset).exec();
}
