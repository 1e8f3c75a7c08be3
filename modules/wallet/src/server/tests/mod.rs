#![allow(clippy::unwrap_used)]

mod guardians;
mod rules;
mod scenarios;
