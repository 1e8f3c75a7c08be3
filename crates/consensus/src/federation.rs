//! A federation of two and more.
#![allow(clippy::unused_self)]
use std::{io, sync::Arc};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{Event, Setup, Status, SubmitError};

pub(crate) struct Federation;

impl Federation {
    pub(crate) async fn start(_: Setup, _: mpsc::Sender<Event>) -> io::Result<Arc<Self>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    pub(crate) fn submit(&self, _: Vec<u8>) -> Result<(), SubmitError> {
        Err(SubmitError::Stopped)
    }
    pub(crate) fn deliver(&self, _: usize, _: Bytes) {}
    pub(crate) fn link_restored(&self, _: usize) {}
    pub(crate) fn jump_to(&self, _: u64) {}
    pub(crate) fn close_session(&self) {}
    pub(crate) fn verdict(&self, _: usize, _: bool) {}
    pub(crate) fn status(&self) -> Status {
        unreachable!("never started")
    }
    pub(crate) fn shutdown(&self) {}
}
