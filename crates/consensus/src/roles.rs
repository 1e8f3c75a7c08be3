//! The roles in which AlephBFT calls us, besides the network: it asks for data ([`Provider`],
//! decided by the session's pace), it saves units before it uses them ([`Saver`], which is also how
//! we see the graph grow), and it hands over ordered units ([`Orderer`]). All are thin.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use aleph_bft::{DataProvider, OrderedUnit, UnitFinalizationHandler};
use futures::AsyncWrite;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::{
    batch::UnitData,
    keys::Sha256,
    session::{Output, Session},
};

/// Answers AlephBFT's question for data, when it is time to.
pub(crate) struct Provider(pub(crate) Arc<Session>);

#[async_trait::async_trait]
impl DataProvider for Provider {
    type Output = UnitData;

    async fn get_data(&mut self) -> Option<UnitData> {
        let asked_at = Instant::now();
        loop {
            // Registered before the decision, so that no change between the two is missed.
            let changed = self.0.changed();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            match self.0.decide(asked_at) {
                Ok(data) => return data,
                Err(None) => changed.await,
                Err(Some(until)) => {
                    tokio::select! {
                        () = changed => {}
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
    }
}

/// Passes on what AlephBFT has ordered.
pub(crate) struct Orderer {
    pub(crate) session: Arc<Session>,
    /// Unbounded, since AlephBFT cannot wait here. A session's budgets bound what is in it, and
    /// AlephBFT holds the same units in memory anyway.
    pub(crate) outputs: mpsc::UnboundedSender<Output>,
}

impl UnitFinalizationHandler for Orderer {
    type Data = UnitData;
    type Hasher = Sha256;

    fn batch_finalized(&mut self, batch: Vec<OrderedUnit<UnitData, Sha256>>) {
        for unit in batch {
            if let Some(output) = self.session.ordered(unit) {
                self.session.output_made();
                // The receiver is gone only while the session is being stopped.
                let _ = self.outputs.send(output);
            }
        }
        self.session.batch_done();
    }
}

/// Saves the units AlephBFT writes: one unit, then a flush.
pub(crate) struct Saver {
    pub(crate) session: Arc<Session>,
    pub(crate) unit: Vec<u8>,
    pub(crate) syncing: Option<JoinHandle<io::Result<()>>>,
}

impl Saver {
    fn poll_saved(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.unit.is_empty() {
            let unit = std::mem::take(&mut self.unit);
            if self.session.save(&unit)? {
                let session = self.session.clone();
                self.syncing = Some(tokio::task::spawn_blocking(move || session.sync()));
            }
        }
        let Some(syncing) = &mut self.syncing else { return Poll::Ready(Ok(())) };
        let synced = ready!(Pin::new(syncing).poll(context));
        self.syncing = None;
        Poll::Ready(synced.map_err(io::Error::other)?)
    }
}

impl AsyncWrite for Saver {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.unit.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let saved = ready!(self.poll_saved(context));
        if let Err(error) = &saved {
            self.session.saving_failed(error);
        }
        Poll::Ready(saved)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}
