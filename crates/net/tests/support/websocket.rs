//! A WebSocket client that checks nothing, to send what a proper client would not.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// An open connection.
pub struct RawWebSocket {
    reader: RawReader,
    writer: RawWriter,
}

/// Its receiving half.
pub struct RawReader(OwnedReadHalf);

/// Its sending half.
pub struct RawWriter(OwnedWriteHalf);

impl RawWebSocket {
    /// Connects and upgrades; panics if the server refuses.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let hello = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        socket.write_all(hello.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let (reader, writer) = socket.into_split();
        Self { reader: RawReader(reader), writer: RawWriter(writer) }
    }

    /// Gives the halves to two tasks.
    pub fn split(self) -> (RawReader, RawWriter) {
        (self.reader, self.writer)
    }

    /// Sends one text message.
    pub async fn send(&mut self, text: &str) {
        self.writer.send(text).await;
    }

    /// Receives the next text message, skipping pings.
    pub async fn receive_json(&mut self) -> Value {
        self.reader.receive_json().await
    }
}

impl RawWriter {
    /// Sends one text message, masked with zeros.
    pub async fn send(&mut self, text: &str) {
        let mut frame = vec![0x81];
        match text.len() {
            short @ ..=125 => frame.push(0x80 | short as u8),
            long => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(long).unwrap().to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.0.write_all(&frame).await.unwrap();
    }
}

impl RawReader {
    /// Receives the next text message, skipping pings.
    pub async fn receive_json(&mut self) -> Value {
        loop {
            let kind = self.0.read_u8().await.unwrap();
            let length = match self.0.read_u8().await.unwrap() {
                126 => u64::from(self.0.read_u16().await.unwrap()),
                127 => self.0.read_u64().await.unwrap(),
                short => u64::from(short),
            };
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).await.unwrap();
            if kind == 0x81 {
                return serde_json::from_slice(&payload).unwrap();
            }
            assert_eq!(kind, 0x89, "neither a whole text nor a ping");
        }
    }
}
