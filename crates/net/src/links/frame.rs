//! Frames on the wire: length (u32, big-endian), channel, payload.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time,
};

use super::Channel;

/// Bytes read or written before the clock starts anew; a slow link passes a large frame in steps.
const STEP: usize = 64 * 1024;

/// The first five bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) channel: Channel,
    pub(super) payload_bytes: usize,
}

/// Reads the head of the next frame.
///
/// Errors: `NotConnected` if the peer closed the connection in order; `TimedOut` after `silence`
/// without a whole head; `InvalidData` if the frame is empty or longer
/// than `limit_bytes`; nothing of the payload has been read then, and no memory taken.
pub(super) async fn read_head<R: AsyncRead + Unpin>(
    reader: &mut R,
    limit_bytes: usize,
    silence: Duration,
) -> io::Result<Head> {
    let mut head = [0; 5];
    let (first, rest) = head.split_at_mut(1);
    if within(silence, reader.read(first)).await? == 0 {
        return Err(io::Error::new(io::ErrorKind::NotConnected, "the guardian closed the link"));
    }
    within(silence, reader.read_exact(rest)).await?;
    let [a, b, c, d, channel] = head;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    match length.checked_sub(1) {
        Some(payload_bytes) if payload_bytes <= limit_bytes => {
            Ok(Head { channel: Channel(channel), payload_bytes })
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("announced a frame of {length} bytes, limit {limit_bytes}"),
        )),
    }
}

/// Reads the payload. Memory grows with what has arrived, not with what was announced.
pub(super) async fn read_payload<R: AsyncRead + Unpin>(
    reader: &mut R,
    payload_bytes: usize,
    silence: Duration,
) -> io::Result<Vec<u8>> {
    let mut payload = Vec::new();
    while payload.len() < payload_bytes {
        let start = payload.len();
        payload.resize(payload_bytes.min(start + STEP), 0);
        within(silence, reader.read_exact(&mut payload[start..])).await?;
    }
    Ok(payload)
}

/// Writes one frame. The caller flushes.
///
/// Errors: `TimedOut` if a step of it finds no room for `patience`.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    channel: Channel,
    payload: &[u8],
    patience: Duration,
) -> io::Result<()> {
    let length = u32::try_from(payload.len() + 1)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "frame above 4 GiB"))?;
    let mut head = [0; 5];
    head[..4].copy_from_slice(&length.to_be_bytes());
    head[4] = channel.0;
    within(patience, writer.write_all(&head)).await?;
    for step in payload.chunks(STEP) {
        within(patience, writer.write_all(step)).await?;
    }
    Ok(())
}

/// Flushes with the same patience.
pub(super) async fn flush<W: AsyncWrite + Unpin>(
    writer: &mut W,
    patience: Duration,
) -> io::Result<()> {
    within(patience, writer.flush()).await
}

async fn within<T>(limit: Duration, action: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match time::timeout(limit, action).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no progress for {} ms", limit.as_millis()),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SILENCE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn frame_arrives_as_sent() {
        let (mut a, mut b) = tokio::io::duplex(1 << 20);
        write(&mut a, Channel(7), &[9; 200_000], SILENCE).await.unwrap();
        let head = read_head(&mut b, 200_000, SILENCE).await.unwrap();
        assert_eq!(head, Head { channel: Channel(7), payload_bytes: 200_000 });
        let payload = read_payload(&mut b, head.payload_bytes, SILENCE).await.unwrap();
        assert_eq!(payload, vec![9; 200_000]);
    }

    #[tokio::test]
    async fn endless_and_empty_frames_are_refused() {
        for head in [[0xff, 0xff, 0xff, 0xff, 0], [0, 0, 0, 102, 0], [0, 0, 0, 0, 0]] {
            let error = read_head(&mut &head[..], 100, SILENCE).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        assert!(read_head(&mut &[0, 0, 0, 101, 0][..], 100, SILENCE).await.is_ok());
    }

    #[tokio::test]
    async fn half_a_frame_times_out() {
        let (mut a, mut b) = tokio::io::duplex(1024);
        a.write_all(&[0, 0, 0, 50, 1, 2, 3]).await.unwrap();
        let head = read_head(&mut b, 100, SILENCE).await.unwrap();
        let short = Duration::from_millis(10);
        let error = read_payload(&mut b, head.payload_bytes, short).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
