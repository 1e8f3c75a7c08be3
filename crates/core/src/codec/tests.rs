#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use super::{DecodeError, write_bigsize, write_variant};
use crate::{Decode, Encode};
use bitcoin::hashes::Hash as _;

/// One value holding most shapes, so that cutting it anywhere cuts through each of them.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct Everything {
    numbers: (u8, u16, u32, u64, bool),
    text: String,
    bytes: Vec<u8>,
    list: Vec<Option<u64>>,
    array: [u16; 3],
    map: BTreeMap<u64, Result<String, ()>>,
    set: BTreeSet<String>,
    duration: std::time::Duration,
    variants: Vec<Open>,
    txid: bitcoin::Txid,
    script: bitcoin::ScriptBuf,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
enum Open {
    Unit,
    Nested(Box<Open>),
    Named {
        a: u64,
        b: Vec<u8>,
    },
    #[codec(unknown)]
    Unknown {
        variant: u64,
        bytes: Vec<u8>,
    },
}

fn everything() -> Everything {
    Everything {
        numbers: (200, 300, 70_000, u64::MAX, true),
        text: "Zürich".into(),
        bytes: vec![9; 300],
        list: vec![None, Some(5), Some(1 << 40)],
        array: [0, 253, u16::MAX],
        map: BTreeMap::from([(1, Ok("one".into())), (300, Err(()))]),
        set: ["a".to_owned(), "b".to_owned()].into(),
        duration: std::time::Duration::new(7, 999_999_999),
        variants: vec![
            Open::Unit,
            Open::Nested(Box::new(Open::Named { a: 1, b: vec![2] })),
            Open::Unknown { variant: 400, bytes: vec![1, 2] },
        ],
        txid: bitcoin::Txid::from_byte_array([3; 32]),
        script: bitcoin::ScriptBuf::from_bytes(vec![0x6a; 20]),
    }
}

/// A small generator with a fixed seed (xorshift), so that failures repeat.
fn pseudo_random() -> impl FnMut() -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

#[test]
fn decode_inverts_encode() {
    let value = everything();
    assert_eq!(Everything::from_bytes(&value.to_bytes()), Ok(value));
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let mut bytes = everything().to_bytes();
    for length in 0..bytes.len() {
        assert!(Everything::from_bytes(&bytes[..length]).is_err(), "cut to {length} bytes");
    }
    bytes.push(0);
    assert_eq!(Everything::from_bytes(&bytes), Err(DecodeError::Trailing { count: 1 }));
}

#[test]
fn what_decodes_encodes_to_the_same_bytes_whatever_was_flipped() {
    let bytes = everything().to_bytes();
    let mut next = pseudo_random();
    for _ in 0..20_000 {
        let mut mutated = bytes.clone();
        for _ in 0..=next() % 3 {
            let position = usize::try_from(next()).unwrap() % mutated.len();
            mutated[position] = next().to_le_bytes()[0];
        }
        if let Ok(value) = Everything::from_bytes(&mutated) {
            assert_eq!(value.to_bytes(), mutated);
        }
    }
}

#[test]
fn noise_never_panics() {
    let mut next = pseudo_random();
    for _ in 0..20_000 {
        let length = usize::try_from(next() % 64).unwrap();
        let noise: Vec<u8> = (0..length).map(|_| next().to_le_bytes()[0]).collect();
        let _ = Everything::from_bytes(&noise);
        let _ = Vec::<Open>::from_bytes(&noise);
        let _ = bitcoin::Transaction::from_bytes(&noise);
        let _ = crate::TxOutProof::from_bytes(&noise);
        let _ = bitcoin::Address::<bitcoin::address::NetworkUnchecked>::from_bytes(&noise);
    }
}

#[test]
fn huge_declared_counts_are_refused_at_once() {
    let mut bytes = Vec::new();
    write_bigsize(u64::MAX, &mut bytes);
    bytes.push(1);
    assert!(Vec::<u8>::from_bytes(&bytes).is_err());
    assert!(Vec::<[u64; 100]>::from_bytes(&bytes).is_err());
    assert!(BTreeMap::<(), ()>::from_bytes(&bytes).is_err());
    assert!(String::from_bytes(&bytes).is_err());
}

#[test]
fn elements_without_bytes_cannot_be_counted() {
    // The trailing bytes make the count look plausible.
    assert!(Vec::<()>::from_bytes(&[3, 0, 0, 0]).is_err());
    assert!(Vec::<[u8; 0]>::from_bytes(&[1, 0]).is_err());
    assert_eq!(Vec::<()>::from_bytes(&[0]), Ok(vec![]));
}

#[test]
fn deep_nesting_is_refused_before_the_stack_ends() {
    let mut bytes = Open::Unit.to_bytes();
    for _ in 0..200 {
        let mut outer = Vec::new();
        write_variant(1, &mut outer, |payload| payload.extend_from_slice(&bytes));
        bytes = outer;
    }
    assert_eq!(Open::from_bytes(&bytes), Err(DecodeError::TooDeep));
}

#[test]
fn proof_that_declares_more_flags_than_it_has_is_refused() {
    // 80 bytes of header, one transaction, no hashes, 4,000,000 bytes of flags that are not there.
    let mut bytes = vec![0; 80];
    bytes.extend([1, 0, 0, 0, 0, 0xfe]);
    bytes.extend(4_000_000_u32.to_le_bytes());
    assert!(crate::TxOutProof::from_bytes(&bytes).is_err());
}

#[test]
fn generic_types_derive_with_bounds_on_their_parameters() {
    #[derive(Debug, PartialEq, Encode, Decode)]
    struct Pair<T, const N: usize>
    where
        T: Clone,
    {
        items: [T; N],
        last: Option<T>,
    }
    #[derive(Debug, PartialEq, Encode, Decode)]
    enum V0<T> {
        V0(T),
        #[codec(unknown)]
        Unknown {
            variant: u64,
            bytes: Vec<u8>,
        },
    }
    let value = V0::V0(Pair { items: [1_u64, 300], last: None });
    assert_eq!(value.to_bytes(), [0, 5, 1, 0xfd, 1, 0x2c, 0]);
    assert_eq!(V0::from_bytes(&value.to_bytes()), Ok(value));
    let other = V0::<()>::Unknown { variant: 1, bytes: vec![] };
    assert_eq!(V0::from_bytes(&[1, 0]), Ok(other));
}
