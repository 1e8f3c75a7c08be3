//! A guardian: the setup ceremony, the pure engine, and the node that runs it.
//!
//! Three rooms:
//!
//! * [`engine`] decides: state and one ordered unit in, writes out. No clock, no randomness, no
//!   I/O; the simulator drives it as it is.
//! * [`setup`] makes a federation out of strangers: setup codes, distributed key generation, files.
//! * `node` (feature `node`) acts: guardian links, consensus, chain source, API, all as owned
//!   tasks around the engine.
//!
//! Start reading at [`engine::Engine::process_unit`]. Protocol pages: docs/protocol/core.md
//! sections 3, 4 and 8; docs/protocol/guardian.md.

pub mod engine;
#[cfg(feature = "node")]
pub mod node;
pub mod setup;
#[cfg(test)]
mod testing;
