//! Values of the metadata module, and what clients make of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_fuzz::{decodes_canonically, reads_json_stably};
use moneta_meta::words::{
    ConsensusValue, MetaConfig, MetaInputError, MetaItem, MetaOutputError, MetaValue, NoValue,
    SubmitRequest,
};

fuzz_target!(|bytes: &[u8]| {
    decodes_canonically::<MetaItem>(bytes);
    decodes_canonically::<ConsensusValue>(bytes);
    decodes_canonically::<MetaConfig>(bytes);
    decodes_canonically::<NoValue>(bytes);
    decodes_canonically::<MetaInputError>(bytes);
    decodes_canonically::<MetaOutputError>(bytes);
    reads_json_stably::<SubmitRequest>(bytes);
    reads_json_stably::<ConsensusValue>(bytes);
    let _ = MetaValue(bytes.to_vec()).to_fields();
});
