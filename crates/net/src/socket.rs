//! What every TCP socket of the API and of outgoing streams is set to.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Silence after which the kernel asks the other side's kernel whether it is there.
const SILENCE: Duration = Duration::from_secs(30);

/// Time between such questions while none is answered.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// The connection fails after so many in vain: 45 s after the last sign of life.
const QUESTIONS: u32 = 3;

/// Sends small writes at once, and notices a machine that is gone (a phone without network, a pulled
/// plug) without waking a program on either side. Whether the program behind it lives is for pings
/// and timeouts to tell.
///
/// Errors: the socket is closed already.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(SILENCE).with_interval(ASK_AGAIN).with_retries(QUESTIONS);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn kernel_watches_over_a_tuned_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(!SockRef::from(&stream).keepalive().unwrap());
        tune(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && stream.nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SILENCE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), ASK_AGAIN);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), QUESTIONS);
    }
}
