//! Entrance for the fuzz targets, see `node/fuzzing.rs`.

use moneta_core::{Decode, Encode};

use super::keygen::Stage;
use super::message::{Answers, Complaints, Contribution, Echo, Finished, Hello};

/// What another guardian says during key generation.
pub fn message(bytes: &[u8]) {
    canonical::<Stage>(bytes);
    canonical::<Hello>(bytes);
    canonical::<Contribution>(bytes);
    canonical::<Echo>(bytes);
    canonical::<Complaints>(bytes);
    canonical::<Answers>(bytes);
    canonical::<Finished>(bytes);
}

fn canonical<T: Decode + Encode>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        assert_eq!(value.to_bytes(), bytes, "accepted, but written differently");
    }
}
