//! Distance on one machine: a TCP proxy that delivers late.
//!
//! Each direction of a connection delivers in order, no earlier than the delay after a piece came in.
//! A new connection waits one round trip first, as its handshake would.
//!
//! What it is not: a network. There is no bandwidth limit and no real loss. A *lost* piece is one that
//! comes a retransmission later: the larger of [`RETRANSMISSION`] and a round trip; all behind it wait,
//! as they do in TCP. The sender's congestion control does not notice, so bulk transfer over a lossy
//! link is too fast here; messages of a few packets behave about right.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Linux waits at least so long before it sends again what was not confirmed.
pub const RETRANSMISSION: Duration = Duration::from_millis(200);

/// Largest piece read at once.
const PIECE_BYTES: usize = 16 * 1024;

/// Pieces under way per direction; above it the sender is made to wait. 16 MB, far above what
/// guardians send within the longest delay.
const PIECES: usize = 1024;

/// What links are like, changeable while they carry traffic. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    values: Arc<Values>,
}

#[derive(Debug, Default)]
struct Values {
    delay_us: AtomicU64,
    jitter_us: AtomicU64,
    loss_ppm: AtomicU64,
}

/// One setting of [`Conditions`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Weather {
    /// One way.
    pub delay: Duration,
    /// Added at random on top, from nothing up to this.
    pub jitter: Duration,
    /// Share of pieces that come a retransmission later, in millionths.
    pub loss_ppm: u64,
}

impl Conditions {
    /// From now on.
    pub fn set(&self, weather: Weather) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.values.delay_us.store(micros(weather.delay), Ordering::Relaxed);
        self.values.jitter_us.store(micros(weather.jitter), Ordering::Relaxed);
        self.values.loss_ppm.store(weather.loss_ppm, Ordering::Relaxed);
    }

    /// As it is now.
    pub fn weather(&self) -> Weather {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        Weather {
            delay: Duration::from_micros(load(&self.values.delay_us)),
            jitter: Duration::from_micros(load(&self.values.jitter_us)),
            loss_ppm: load(&self.values.loss_ppm),
        }
    }

    /// Opens a port on loopback whose connections go to `target` under these conditions. Must be
    /// called inside a tokio runtime; the port lives as long as the runtime.
    ///
    /// Errors: no port can be opened.
    pub fn open(&self, target: SocketAddr) -> io::Result<SocketAddr> {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let conditions = self.clone();
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((near, _)) => {
                        tokio::spawn(carry(near, target, conditions.clone()));
                    }
                    // Out of file descriptors, most likely: some will be given back.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Ok(address)
    }
}

impl Weather {
    /// How late a piece comes; `luck` is random, below a million, `spread` from 0 to 1.
    fn lateness(self, luck: u64, spread: f64) -> Duration {
        let usual = self.delay + self.jitter.mul_f64(spread);
        if luck < self.loss_ppm { usual + RETRANSMISSION.max(self.delay * 2) } else { usual }
    }
}

async fn carry(near: TcpStream, target: SocketAddr, conditions: Conditions) {
    tokio::time::sleep(conditions.weather().delay * 2).await;
    let Ok(far) = TcpStream::connect(target).await else { return };
    // Small messages must not wait for each other on top of the delay.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::join!(
        one_way(near_read, far_write, conditions.clone()),
        one_way(far_read, near_write, conditions),
    );
}

/// Moves bytes from `from` to `to`, late, until one of both ends; then ends the other.
async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, conditions: Conditions) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let reading = async move {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let (luck, spread) = {
                let mut rng = rand::thread_rng();
                (rng.gen_range(0..1_000_000), rng.r#gen::<f64>())
            };
            let due = Instant::now() + conditions.weather().lateness(luck, spread);
            if sender.send((due, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        // In order: a late piece holds up those behind it.
        while let Some((due, piece)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn bytes_come_whole_in_order_and_late() {
        let conditions = Conditions::default();
        let port = conditions.open(echo().await).unwrap();
        let mut stream = TcpStream::connect(port).await.unwrap();
        let sent: Vec<u8> = (0..200_000_u32).map(|index| index as u8).collect();
        conditions.set(Weather { delay: Duration::from_millis(40), ..Weather::default() });
        let began = Instant::now();
        let (mut read, mut write) = stream.split();
        let mut received = vec![0; sent.len()];
        let (wrote, got) = tokio::join!(write.write_all(&sent), read.read_exact(&mut received));
        wrote.unwrap();
        got.unwrap();
        assert_eq!(received, sent);
        assert!(began.elapsed() >= Duration::from_millis(80), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn the_end_of_one_side_reaches_the_other() {
        let port = Conditions::default().open(echo().await).unwrap();
        let mut stream = TcpStream::connect(port).await.unwrap();
        stream.write_all(b"last words").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"last words");
    }

    #[test]
    fn a_lost_piece_comes_a_retransmission_later() {
        let weather = Weather {
            delay: Duration::from_millis(50),
            jitter: Duration::from_millis(10),
            loss_ppm: 10_000,
        };
        let millis = Duration::from_millis;
        assert_eq!(weather.lateness(10_000, 0.0), millis(50));
        assert_eq!(weather.lateness(10_000, 0.5), millis(55));
        assert_eq!(weather.lateness(9_999, 0.0), millis(250));
        let far = Weather { delay: millis(150), ..weather };
        assert_eq!(far.lateness(0, 0.0), millis(450));
    }
}
