//! What wallets compute.

use std::hint::black_box;

use moneta_crypto::derive::DerivableSecret;
use moneta_mint::client::{NoteRequest, NoteSecrets};
use moneta_mint::words::Denomination;

fn secrets() -> NoteSecrets {
    NoteSecrets::new(DerivableSecret::root(&[7; 32], &[8; 8]))
}

pub(crate) fn note_keys() -> Box<dyn FnMut()> {
    let secrets = secrets();
    let mut number = 0_u128;
    Box::new(move || {
        number += 1;
        let request = NoteRequest { denomination: Denomination(9), tweak: number.to_be_bytes() };
        black_box(secrets.keys(black_box(request)).blinded());
    })
}

pub(crate) fn grind() -> Box<dyn FnMut()> {
    let secrets = secrets();
    let mut start = 0;
    Box::new(move || {
        start += 4096;
        black_box(secrets.grind(black_box(start), 4096).count());
    })
}
