//! E-cash, as bytes and as the text that travels.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_core::{Decode, Encode};
use moneta_fuzz::decodes_totally;
use moneta_mint::words::{ECash, EcashPart};

fuzz_target!(|bytes: &[u8]| {
    decodes_totally::<ECash>(bytes);
    if let Ok(ecash) = ECash::from_bytes(bytes) {
        check(&ecash);
        if !has_address(&ecash) {
            assert_eq!(ecash.to_bytes(), bytes, "accepted, but written differently");
        }
    }
    if let Ok(Ok(ecash)) = std::str::from_utf8(bytes).map(str::parse::<ECash>) {
        check(&ecash);
    }
});

/// All questions have answers, and the text of the e-cash, in either case, is the e-cash.
fn check(ecash: &ECash) {
    let _ = (ecash.federation(), ecash.amount(), ecash.unit(), ecash.invite());
    let text = ecash.to_string();
    for text in [text.to_uppercase(), text] {
        match text.parse::<ECash>() {
            Ok(again) => assert!(again == *ecash || has_address(ecash), "other e-cash was read"),
            Err(error) => assert!(has_address(ecash), "own text is refused: {error}"),
        }
    }
}

/// An address need not be written as it was read (docs/protocol/core.md section 1.5).
fn has_address(ecash: &ECash) -> bool {
    ecash.parts().iter().any(|part| matches!(part, EcashPart::Invite { .. }))
}
