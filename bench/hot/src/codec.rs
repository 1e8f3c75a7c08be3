//! Bytes and JSON of transactions.

use std::hint::black_box;

use moneta_core::{Encode as _, MeHex, Transaction};
use moneta_store::{Memory, WriteSet};

use crate::federation::Mint;

fn transaction() -> Transaction {
    let mut mint = Mint::new();
    let store = Memory::store();
    let snapshot = store.snapshot();
    let notes = mint.issue(5, &mut WriteSet::new(&snapshot));
    mint.transaction(&notes)
}

pub(crate) fn decode_submission() -> Box<dyn FnMut()> {
    let text = serde_json::to_string(&MeHex(transaction())).expect("hex is valid JSON");
    Box::new(move || {
        let read: MeHex<Transaction> =
            serde_json::from_str(black_box(&text)).expect("we wrote it a moment ago");
        black_box(read);
    })
}

pub(crate) fn encode_transaction() -> Box<dyn FnMut()> {
    let transaction = transaction();
    Box::new(move || {
        black_box(black_box(&transaction).to_bytes());
        black_box(transaction.txid());
    })
}
