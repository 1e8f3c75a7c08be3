//! Configurations of the on-chain module.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_core::Decode;
use moneta_fuzz::{decodes_canonically, reads_json_stably};
use moneta_wallet::descriptor::{Descriptor, claim_tweak};
use moneta_wallet::words::WalletConfig;

fuzz_target!(|bytes: &[u8]| {
    decodes_canonically::<WalletConfig>(bytes);
    reads_json_stably::<WalletConfig>(bytes);
    if let Ok(config) = WalletConfig::from_bytes(bytes)
        && let Some(descriptor) = Descriptor::new(&config.bitcoin_pks)
        && let Some(key) = config.bitcoin_pks.values().next()
    {
        // Keys of a hostile config may cancel each other out; that is an error, not a panic.
        let _ = descriptor.script_pubkey(&claim_tweak(key));
    }
});
