//! What every TCP socket of the API and of outgoing streams is set to.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Silence after which the kernel asks the other side's kernel whether it is there.
const SILENCE: Duration = Duration::from_secs(30);

/// Time between such questions while none is answered.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// The connection fails after so many in vain.
const QUESTIONS: u32 = 3;

/// The same for what was sent and not received by the other kernel, which is not asked then.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNRECEIVED: Duration = Duration::from_secs(45);

/// Sends small writes at once, and notices a machine that is gone (a phone without network, a pulled
/// plug) without waking a program on either side, 45 s after the last sign of life. On systems other than
/// Linux it takes longer if something is under way to that machine, minutes as a rule. Whether the
/// program behind it lives is for pings and timeouts to tell.
///
/// Errors: the socket is closed already.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(SILENCE).with_interval(ASK_AGAIN).with_retries(QUESTIONS);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(UNRECEIVED))?;
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
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
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNRECEIVED));
    }
}
