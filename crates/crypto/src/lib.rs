//! Threshold blind signatures, key-generation maths and key derivation.
