//! The wallet library: operation driver, transaction builder, history, recovery.
