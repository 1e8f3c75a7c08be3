//! Module wallet.
