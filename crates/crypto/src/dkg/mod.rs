//! Key-generation maths for threshold blind signatures.
