//! Binaries only: monetad, the wallet CLI and the local development world.
