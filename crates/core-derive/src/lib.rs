//! Derive macros for the consensus encoding.
