//! Entrance for the fuzz targets, which are a workspace of their own. No part of the surface: only
//! the feature `fuzzing` opens it.

use std::{io, time::Duration};

use super::frame;

/// Reads all frames of a stream that another guardian sends, and writes them again; panics unless
/// that gives the bytes that were read.
pub async fn stream(bytes: &[u8], limit_bytes: usize) {
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut rest = bytes;
    let mut written = Vec::new();
    loop {
        let before = bytes.len() - rest.len();
        assert_eq!(written, bytes[..before], "read, but written differently");
        let read = async {
            let head = frame::read_head(&mut rest, limit_bytes, PATIENCE).await?;
            assert!(head.payload_bytes <= limit_bytes, "a frame above the limit");
            let payload = frame::read_payload(&mut rest, head.payload_bytes, PATIENCE).await?;
            Ok::<_, io::Error>((head.channel, payload))
        };
        let Ok((channel, payload)) = read.await else { return };
        let write = frame::write(&mut written, channel, &payload, PATIENCE);
        write.await.expect("memory takes what is written");
    }
}
