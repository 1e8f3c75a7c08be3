//! Values of the e-cash module: what is in transactions, why it is refused, the recovery log.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_fuzz::{decodes_canonically, reads_json_stably};
use moneta_mint::words::{
    MintInput, MintInputError, MintItem, MintOutcome, MintOutput, MintOutputError, RecoveryItem,
    SliceRange, SpendableNote,
};

fuzz_target!(|bytes: &[u8]| {
    decodes_canonically::<MintInput>(bytes);
    decodes_canonically::<MintOutput>(bytes);
    decodes_canonically::<MintOutcome>(bytes);
    decodes_canonically::<MintItem>(bytes);
    decodes_canonically::<MintInputError>(bytes);
    decodes_canonically::<MintOutputError>(bytes);
    decodes_canonically::<SpendableNote>(bytes);
    decodes_canonically::<Vec<RecoveryItem>>(bytes);
    reads_json_stably::<Vec<RecoveryItem>>(bytes);
    reads_json_stably::<SliceRange>(bytes);
});
