//! Values of the on-chain module, and what its endpoints answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_fuzz::{decodes_canonically, reads_json_stably};
use moneta_wallet::words::{
    FederationWallet, OutputInfo, TxInfo, WalletInput, WalletInputError, WalletItem, WalletOutput,
    WalletOutputError,
};

fuzz_target!(|bytes: &[u8]| {
    decodes_canonically::<WalletInput>(bytes);
    decodes_canonically::<WalletOutput>(bytes);
    decodes_canonically::<WalletItem>(bytes);
    decodes_canonically::<WalletInputError>(bytes);
    decodes_canonically::<WalletOutputError>(bytes);
    decodes_canonically::<FederationWallet>(bytes);
    decodes_canonically::<TxInfo>(bytes);
    reads_json_stably::<Vec<OutputInfo>>(bytes);
    reads_json_stably::<Vec<TxInfo>>(bytes);
    reads_json_stably::<FederationWallet>(bytes);
});
