//! Merkle proofs that a bitcoin transaction is in a block.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_core::TxOutProof;
use moneta_fuzz::decodes_canonically;

fuzz_target!(|bytes: &[u8]| {
    decodes_canonically::<TxOutProof>(bytes);
});
