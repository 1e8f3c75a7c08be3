//! Module mint.
