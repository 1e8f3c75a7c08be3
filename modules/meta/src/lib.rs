//! Module meta.
