//! Values made of other values.
//!
//! Source: docs/protocol/core.md, section 1.2.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{Decode, DecodeError, Encode, Reader, write_bigsize};

impl<T: Encode> Encode for [T] {
    fn encode(&self, out: &mut Vec<u8>) {
        write_bigsize(self.len() as u64, out);
        T::encode_slice(self, out);
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_slice().encode(out);
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = input.take_bigsize()?;
        T::decode_vec(count, input)
    }
}

impl<T: Encode> Encode for VecDeque<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        write_bigsize(self.len() as u64, out);
        let (front, back) = self.as_slices();
        T::encode_slice(front, out);
        T::encode_slice(back, out);
    }
}

impl<T: Decode> Decode for VecDeque<T> {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Vec::decode(input).map(Self::from)
    }
}

impl<T: Encode, const N: usize> Encode for [T; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        T::encode_slice(self, out);
    }
}

impl<T: Decode, const N: usize> Decode for [T; N] {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::decode_array(input)
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.encode(out);
            }
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match input.take_u8()? {
            0 => Ok(None),
            1 => T::decode(input).map(Some),
            flag => Err(DecodeError::BadFlag(flag)),
        }
    }
}

/// 1 stands for `Ok` and 0 for `Err`, the reverse of what one expects.
impl<T: Encode, E: Encode> Encode for Result<T, E> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Ok(value) => {
                out.push(1);
                value.encode(out);
            }
            Err(error) => {
                out.push(0);
                error.encode(out);
            }
        }
    }
}

impl<T: Decode, E: Decode> Decode for Result<T, E> {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match input.take_u8()? {
            1 => T::decode(input).map(Ok),
            0 => E::decode(input).map(Err),
            flag => Err(DecodeError::BadFlag(flag)),
        }
    }
}

impl<K: Encode, V: Encode> Encode for BTreeMap<K, V> {
    fn encode(&self, out: &mut Vec<u8>) {
        write_bigsize(self.len() as u64, out);
        for (key, value) in self {
            key.encode(out);
            value.encode(out);
        }
    }
}

impl<K: Decode + Ord, V: Decode> Decode for BTreeMap<K, V> {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut map = Self::new();
        for _ in 0..input.take_bigsize()? {
            let key = K::decode(input)?;
            check_ascending(map.last_key_value().map(|(last, _)| last), &key)?;
            map.insert(key, V::decode(input)?);
        }
        Ok(map)
    }
}

impl<K: Encode> Encode for BTreeSet<K> {
    fn encode(&self, out: &mut Vec<u8>) {
        write_bigsize(self.len() as u64, out);
        for key in self {
            key.encode(out);
        }
    }
}

impl<K: Decode + Ord> Decode for BTreeSet<K> {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut set = Self::new();
        for _ in 0..input.take_bigsize()? {
            let key = K::decode(input)?;
            check_ascending(set.last(), &key)?;
            set.insert(key);
        }
        Ok(set)
    }
}

/// Keys ascend strictly in the order of the decoded type, not of its bytes. This also bounds the
/// loops above: a key without bytes has one value, so it cannot come twice.
fn check_ascending<K: Ord>(last: Option<&K>, next: &K) -> Result<(), DecodeError> {
    match last {
        Some(last) if last >= next => Err(DecodeError::KeyOrder),
        _ => Ok(()),
    }
}

impl<T: Encode + ?Sized> Encode for &T {
    fn encode(&self, out: &mut Vec<u8>) {
        T::encode(self, out);
    }
}

impl<T: Encode + ?Sized> Encode for Box<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        T::encode(self, out);
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::decode(input).map(Self::new)
    }
}

impl<T: Encode + ?Sized> Encode for Arc<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        T::encode(self, out);
    }
}

impl<T: Decode> Decode for Arc<T> {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::decode(input).map(Self::new)
    }
}

impl Encode for () {
    fn encode(&self, _: &mut Vec<u8>) {}
}

impl Decode for () {
    fn decode(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(())
    }
}

macro_rules! impl_tuple {
    ($($name:ident $field:tt),*) => {
        impl<$($name: Encode),*> Encode for ($($name,)*) {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$field.encode(out);)*
            }
        }

        impl<$($name: Decode),*> Decode for ($($name,)*) {
            fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(($($name::decode(input)?,)*))
            }
        }
    };
}

impl_tuple!(A 0, B 1);
impl_tuple!(A 0, B 1, C 2);
impl_tuple!(A 0, B 1, C 2, D 3);
impl_tuple!(A 0, B 1, C 2, D 3, E 4);
impl_tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
