//! Derive macros for the consensus encoding.
//!
//! * A struct is its fields in the order they are written.
//! * An enum is its variant index, the length of its payload, and its payload: the variant's
//!   fields in order. Variants count from 0 in the order they are written.
//!
//! Attributes on enum variants:
//!
//! * `#[codec(index = 7)]` sets the index. Either no variant has it or every variant has it.
//! * `#[codec(unknown)]` marks the catch-all `Unknown { variant: u64, bytes: Vec<u8> }`, which
//!   takes no index. An enum without it is closed: unknown indices are refused.
//!
//! The generated code names everything through `::moneta_core`.
//!
//! Source: docs/protocol/core.md, section 1.3.

mod attributes;
mod decode;
mod encode;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives `moneta_core::Encode`.
#[proc_macro_derive(Encode, attributes(codec))]
pub fn derive_encode(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    encode::expand(input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Derives `moneta_core::Decode`.
#[proc_macro_derive(Decode, attributes(codec))]
pub fn derive_decode(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    decode::expand(input).unwrap_or_else(|error| error.to_compile_error()).into()
}
