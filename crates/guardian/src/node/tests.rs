//! Whole nodes in one process.

#![allow(clippy::unwrap_used)]

mod latecomer;
mod restored;
mod world;
