//! What guardians deal to each other in key generation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_crypto::dkg::{Dealing, DealtShares, Shape};

fuzz_target!(|bytes: &[u8]| {
    let shape = Shape::new(4, 3, 1).expect("a shape that is allowed");
    if let Ok(dealing) = Dealing::from_bytes(shape, bytes) {
        assert_eq!(dealing.to_bytes(), bytes, "accepted, but written differently");
        let _ = dealing.judge(1, &bytes[..32]);
    }
    if let Ok(shares) = DealtShares::from_bytes(shape, bytes) {
        assert_eq!(*shares.to_bytes(), bytes, "accepted, but written differently");
    }
});
