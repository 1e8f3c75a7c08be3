//! Atomic broadcast of opaque bytes among guardians, paced by need.
