//! Whole nodes in one process.

#![allow(clippy::unwrap_used)]

mod crowded;
mod latecomer;
mod leftovers;
mod liar;
mod restored;
mod world;
