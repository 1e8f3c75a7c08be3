//! Ports nobody else takes between choosing and listening.

use std::{
    fs::{File, OpenOptions, TryLockError},
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context, Result, bail};

/// Below the range from which systems pick ports for outgoing connections (32768 on Linux), so that no
/// stray connection of this machine sits on a port while a guardian restarts.
const FIRST: u16 = 20_000;
/// Ports we choose from.
const COUNT: u16 = 12_000;

/// A loopback port that belongs to this value until it is dropped, also while nobody listens on it.
///
/// Worlds of all processes of this user keep off each other by locking one file per port, which the
/// system gives back when a process dies. Other programs are noticed by listening once.
#[derive(Debug)]
pub struct ReservedPort {
    number: u16,
    _claim: File,
}

impl ReservedPort {
    /// Reserves a port that nobody uses now.
    ///
    /// Errors: the lock files cannot be made, or all ports are taken.
    pub fn reserve() -> Result<Self> {
        // Different processes begin at different places, which saves tries; correctness comes from the lock.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let user = rustix::process::getuid().as_raw();
        let folder = std::env::temp_dir().join(format!("moneta-ports-{user}"));
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let start = u16::try_from(std::process::id().wrapping_mul(31) % u32::from(COUNT))
            .expect("a remainder below a u16 fits it");
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
            let number = FIRST + (start + step) % COUNT;
            let path = folder.join(number.to_string());
            let claim = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .with_context(|| format!("open {}", path.display()))?;
            match claim.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("lock {}", path.display()));
                }
            }
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _claim: claim });
            }
        }
        bail!("no free port between {FIRST} and {}", FIRST + COUNT)
    }

    /// The port.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:port`, to bind or to call.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn reserved_ports_differ_although_nobody_listens() {
        let ports: Vec<_> = (0..50).map(|_| ReservedPort::reserve().unwrap()).collect();
        let distinct: std::collections::BTreeSet<_> =
            ports.iter().map(ReservedPort::number).collect();
        assert_eq!(distinct.len(), ports.len());
    }

    #[test]
    fn reserved_port_can_be_listened_on() {
        let port = ReservedPort::reserve().unwrap();
        TcpListener::bind(port.address()).unwrap();
    }
}
