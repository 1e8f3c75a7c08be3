//! Payments between wallets against a whole local federation, and the page of all figures.
//!
//! * [`report`]: what a run of `moneta-bench` found, as it is written and read.
//!
//! Two programs use it: `moneta-bench` measures, `moneta-figures` puts the results of `./dev bench full`
//! into tables. What it is not: the load generator (`bench/load`), which pays from prepared notes.

pub mod report;
