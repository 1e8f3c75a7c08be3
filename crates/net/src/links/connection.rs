//! One open connection to a peer: sending, receiving, pings.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter},
    sync::Notify,
    time::{self, Instant, MissedTickBehavior},
};

use super::{
    Channel,
    frame::{self, Head},
    peer::Peer,
};

/// Socket buffers on our side; one system call then carries many small frames.
const BUFFER: usize = 64 * 1024;

const PING: u8 = 0;
const PONG: u8 = 1;

/// Bytes of a control frame: kind and number.
const CONTROL_BYTES: usize = 9;

/// What the receiving half tells the sending half.
#[derive(Default)]
struct Pings {
    state: Mutex<PingState>,
    changed: Notify,
}

#[derive(Default)]
struct PingState {
    /// The peer's ping we have not answered yet. A newer one replaces it, so a flood costs nothing.
    to_answer: Option<u64>,
    /// Our last ping and when it left.
    sent: Option<(u64, Instant)>,
}

/// How long a peer gets to take our goodbye.
pub(super) const GOODBYE: Duration = Duration::from_millis(500);

/// Runs one connection until it ends and returns why. Dropping the future closes it without a
/// goodbye, which the peer takes for a loss.
pub(super) async fn run<S: AsyncRead + AsyncWrite>(peer: &Peer, stream: S) -> io::Error {
    let (reader, writer) = tokio::io::split(stream);
    let mut writer = BufWriter::with_capacity(BUFFER, writer);
    let pings = Pings::default();
    // Kept to the end: the links wait for all of these before they end.
    let mut closing = peer.closing.subscribe();
    let error = tokio::select! {
        error = receive(peer, BufReader::with_capacity(BUFFER, reader), &pings) => error,
        error = send(peer, &mut writer, &pings) => error,
        () = peer.drop_connection.notified() => io::Error::other("reconnect was asked for"),
        _ = closing.wait_for(|closing| *closing) => io::Error::other("our links end"),
    };
    // A connection that broke cannot be closed in order; then there is nothing to do about it.
    let _ = time::timeout(GOODBYE, writer.shutdown()).await;
    error
}

async fn receive<R: AsyncRead + Unpin>(peer: &Peer, mut reader: R, pings: &Pings) -> io::Error {
    loop {
        if let Err(error) = receive_one(peer, &mut reader, pings).await {
            return error;
        }
    }
}

async fn receive_one<R: AsyncRead + Unpin>(
    peer: &Peer,
    reader: &mut R,
    pings: &Pings,
) -> io::Result<()> {
    let silence = peer.timing.silence;
    let head = frame::read_head(reader, peer.limits.frame_bytes, silence).await?;
    let Head { channel, payload_bytes } = head;
    if channel == Channel::CONTROL {
        if payload_bytes != CONTROL_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "malformed control frame"));
        }
        let payload = frame::read_payload(reader, payload_bytes, silence).await?;
        peer.heard();
        pings.received(peer, &payload);
        return Ok(());
    }
    // Waiting here stops reading from this peer alone. Its silence is then ours, so no clock runs.
    let Some(room) = peer.inbox.reserve(payload_bytes).await else {
        return Err(io::Error::other("links have ended"));
    };
    let payload = frame::read_payload(reader, payload_bytes, silence).await?;
    peer.heard();
    peer.inbox.deliver(channel, payload, room);
    Ok(())
}

async fn send<W: AsyncWrite + Unpin>(peer: &Peer, writer: &mut W, pings: &Pings) -> io::Error {
    let mut ticks = time::interval(peer.timing.ping);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Wake-ups are remembered by both notifies, so nothing queued before this point is missed.
        let due = tokio::select! {
            _ = ticks.tick() => true,
            () = pings.changed.notified() => false,
            () = peer.work.notified() => false,
        };
        if let Err(error) = send_waiting(peer, writer, pings, due).await {
            return error;
        }
    }
}

/// Sends what waits: our ping if due, the peer's answer, then the queue until it is empty.
async fn send_waiting<W: AsyncWrite + Unpin>(
    peer: &Peer,
    writer: &mut W,
    pings: &Pings,
    ping_is_due: bool,
) -> io::Result<()> {
    let patience = peer.timing.silence;
    if ping_is_due {
        let number = pings.next_ping();
        frame::write(writer, Channel::CONTROL, &control(PING, number), patience).await?;
        // Out at once, so that the queue behind it is not counted into the round trip.
        frame::flush(writer, patience).await?;
    }
    let mut started = Instant::now();
    loop {
        if let Some(number) = pings.take_answer() {
            frame::write(writer, Channel::CONTROL, &control(PONG, number), patience).await?;
        }
        let Some((channel, payload)) = peer.pop() else { break };
        frame::write(writer, channel, &payload, patience).await?;
        // A queue that never empties must not keep pings from going out.
        if started.elapsed() >= peer.timing.ping {
            started = Instant::now();
            let number = pings.next_ping();
            frame::write(writer, Channel::CONTROL, &control(PING, number), patience).await?;
        }
    }
    frame::flush(writer, patience).await
}

fn control(kind: u8, number: u64) -> [u8; CONTROL_BYTES] {
    let mut payload = [kind; CONTROL_BYTES];
    payload[1..].copy_from_slice(&number.to_be_bytes());
    payload
}

impl Pings {
    fn next_ping(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.sent.map_or(0, |(last, _)| last.wrapping_add(1));
        state.sent = Some((number, Instant::now()));
        number
    }

    fn take_answer(&self) -> Option<u64> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).to_answer.take()
    }

    /// Handles a control frame of [`CONTROL_BYTES`]. Unknown kinds are ignored: a later version may
    /// have more.
    fn received(&self, peer: &Peer, payload: &[u8]) {
        let Some((kind, number)) = payload.split_first() else { return };
        let Ok(number) = number.try_into().map(u64::from_be_bytes) else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *kind {
            PING => {
                state.to_answer = Some(number);
                self.changed.notify_one();
            }
            PONG => {
                if let Some((sent, at)) = state.sent
                    && sent == number
                {
                    let rtt: Duration = at.elapsed();
                    peer.measured(rtt);
                }
            }
            _ => {}
        }
    }
}
