//! Whole nodes in one process.

#![allow(clippy::unwrap_used)]

mod latecomer;
mod liar;
mod restored;
mod world;
