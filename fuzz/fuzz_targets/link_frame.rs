//! Frames on the link between two guardians.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_net::links::fuzzing::stream;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    /// Reading has time limits, so it needs a clock; it never waits for bytes in memory.
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().build().expect("a runtime without sockets");
}

fuzz_target!(|bytes: &[u8]| {
    RUNTIME.with(|runtime| runtime.block_on(stream(bytes, 1024)));
});
