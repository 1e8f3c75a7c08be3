//! Entrances for the fuzz targets, which are a workspace of their own. No part of the surface: only
//! the feature `fuzzing` opens them. Each takes the bytes of a stranger and panics on a finding.

use moneta_core::{Decode, Encode};

use super::{backup, gossip::News, latecomers, signing::SignatureMessage};

/// A frame of a channel that is the node's own: setup, signatures, news.
pub fn frame(bytes: &[u8]) {
    canonical::<latecomers::Message>(bytes);
    canonical::<SignatureMessage>(bytes);
    // Addresses need not be written as they were read (docs/protocol/core.md section 1.5).
    if let Ok(news) = News::from_bytes(bytes) {
        let _ = News::from_bytes(&news.to_bytes());
    }
}

/// The archive of a guardian's backup.
pub fn archive(bytes: &[u8]) {
    let _ = backup::unpack(bytes);
}

fn canonical<T: Decode + Encode>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        assert_eq!(value.to_bytes(), bytes, "accepted, but written differently");
    }
}
