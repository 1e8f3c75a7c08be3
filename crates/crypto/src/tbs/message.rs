//! Hashing bytes to messages. This is the protocol's own map, not RFC 9380.
//!
//! Source: docs/protocol/mint.md, section 1.2.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use sha2::{Digest, Sha256};
use sha3::Sha3_256;

use super::Message;
use crate::curve::{G1, g1};
use crate::workers::map_chunks;

/// Tag of the first mint generation.
const TAG_V1: &[u8] = b"TBS_BLS12-381_";

/// Tag of the second mint generation.
const TAG_V2: &[u8] = b"FEDIMINT_TBS_BLS12_381_MESSAGE";

/// Stream bytes one try uses: two 48-byte halves of x and a 4-byte word whose low bit is the sign.
const BYTES_PER_TRY: usize = 100;

/// Hashing one message costs about 0.1 ms, far above starting a thread.
const MESSAGES_PER_WORKER_MIN: usize = 4;

/// Hashes bytes (a note's 33-byte nonce) to a message of the first mint generation.
pub fn hash_to_message_v1(bytes: &[u8]) -> Message {
    let seed = Sha3_256::new().chain_update(TAG_V1).chain_update(bytes).finalize();
    Message(seed_to_point(&seed.into()).0)
}

/// Hashes bytes (a note's 33-byte nonce) to a message of `mintv2`.
pub fn hash_to_message_v2(bytes: &[u8]) -> Message {
    let seed = Sha256::new().chain_update(TAG_V2).chain_update(bytes).finalize();
    Message(seed_to_point(&seed.into()).0)
}

/// [`hash_to_message_v2`] of each item, in order, on up to `workers` threads (0 and 1: on this one).
pub fn hash_to_messages_v2<B: AsRef<[u8]> + Sync>(items: &[B], workers: usize) -> Vec<Message> {
    let hash_all = |chunk: &[B]| -> Vec<Message> {
        chunk.iter().map(|bytes| hash_to_message_v2(bytes.as_ref())).collect()
    };
    map_chunks(items, workers, MESSAGES_PER_WORKER_MIN, hash_all).concat()
}

/// Maps a seed to a point by try and increment over its key stream; also returns the sign bit and
/// the number of tries of the hit.
///
/// The loop has no bound by design: every honest implementation must find the same point, each try
/// succeeds with probability one half, and one seed's stream lasts for billions of tries.
pub(crate) fn seed_to_point(seed: &[u8; 32]) -> (G1, bool, u32) {
    // IETF layout with zero nonce equals the original layout for the lengths used here.
    let mut stream = ChaCha20::new(seed.into(), &[0; 12].into());
    let mut tries = 0;
    loop {
        tries += 1;
        let mut bytes = [0; BYTES_PER_TRY];
        stream.apply_keystream(&mut bytes);
        // The second 48 bytes are the high half of x.
        let mut x_wide = [0; 96];
        x_wide[..48].copy_from_slice(&bytes[48..96]);
        x_wide[48..].copy_from_slice(&bytes[..48]);
        let negate = bytes[96] & 1 == 1;
        if let Some(point) = g1::map_to_curve(&x_wide, negate) {
            return (point, negate, tries);
        }
    }
}
