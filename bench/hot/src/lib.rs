//! The hot paths of guardians and wallets, each alone on fixed input.
//!
//! Two programs use the paths. `benches/micro.rs` takes times (`./dev bench micro`). `src/main.rs` runs one
//! path a given number of times, so that `scripts/bench-gate.sh` can count its instructions under
//! callgrind and compare them with a recorded baseline (`./dev bench gate`): counts hardly depend on
//! what else the machine does.
//!
//! [`fill`] and [`grown`] are about one path with much behind it: payments over a store on disk that holds
//! up to millions of spent notes (`src/growth`, `./dev bench growth`).
//!
//! Everything is made from constant seeds. A path is prepared once and then called; each call does the
//! same work, cold caches included where it says so.

mod codec;
mod engine;
mod federation;
pub mod fill;
pub mod grown;
mod store;
mod tbs;
mod wallet;

pub use store::commit_to_disk;
pub use tbs::{batch_of, verify_items};

/// One path.
pub struct HotPath {
    /// Its name, in lower case with hyphens.
    pub name: &'static str,
    /// What one call does.
    pub about: &'static str,
    /// How many calls the gate counts: enough to drown the noise, few enough for seconds.
    pub calls: usize,
    /// Makes the input; the result does the work, once per call.
    pub prepare: fn() -> Box<dyn FnMut()>,
}

/// All paths whose instructions are counted.
pub const PATHS: [HotPath; 11] = [
    HotPath {
        name: "decode-submission",
        about: "JSON of a submitted transaction with 5 notes in and 5 out to a transaction",
        calls: 50,
        prepare: codec::decode_submission,
    },
    HotPath {
        name: "encode-transaction",
        about: "a transaction with 5 notes in and 5 out to bytes, and its id",
        calls: 200,
        prepare: codec::encode_transaction,
    },
    HotPath {
        name: "hash-to-message",
        about: "one nonce to a point",
        calls: 20,
        prepare: tbs::hash_to_message,
    },
    HotPath {
        name: "sign-share",
        about: "one blind signature share",
        calls: 20,
        prepare: tbs::sign_one_share,
    },
    HotPath { name: "verify-one", about: "one note signature", calls: 4, prepare: tbs::verify_one },
    HotPath {
        name: "verify-batch-50",
        about: "50 note signatures under one key",
        calls: 2,
        prepare: tbs::verify_batch_of_50,
    },
    HotPath {
        name: "check-submission",
        about: "the engine's verdict on a new transaction with 5 notes in and 5 out",
        calls: 2,
        prepare: engine::check_submission,
    },
    HotPath {
        name: "process-unit",
        about: "an ordered unit of 10 transactions with 5 notes in and 5 out, nothing seen before",
        calls: 1,
        prepare: engine::process_unit,
    },
    HotPath {
        name: "commit-memory",
        about: "a batch of 100 keys into the store in memory",
        calls: 20,
        prepare: store::commit_to_memory,
    },
    HotPath {
        name: "note-keys",
        about: "a wallet derives a note's keys and blinds its message",
        calls: 10,
        prepare: wallet::note_keys,
    },
    HotPath {
        name: "grind-tweaks",
        about: "a wallet tries 4096 tweaks",
        calls: 4,
        prepare: wallet::grind,
    },
];

/// The path of that name.
pub fn find(name: &str) -> Option<&'static HotPath> {
    PATHS.iter().find(|path| path.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_runs_and_runs_again() {
        for path in &PATHS {
            let mut call = (path.prepare)();
            call();
            call();
        }
    }
}
