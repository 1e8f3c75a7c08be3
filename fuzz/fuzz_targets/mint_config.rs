//! Configurations of the e-cash module.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_fuzz::{decodes_canonically, reads_json_stably};
use moneta_mint::words::{Fees, MintConfig, MintPrivate};

fuzz_target!(|bytes: &[u8]| {
    decodes_canonically::<MintConfig>(bytes);
    decodes_canonically::<MintPrivate>(bytes);
    decodes_canonically::<Fees>(bytes);
    reads_json_stably::<MintConfig>(bytes);
});
