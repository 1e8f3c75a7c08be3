//! The whole plug-in contract between modules and the guardian or client that hosts them.
