//! Something between guardians' ports and everybody who calls them.

use std::{fmt, io, net::SocketAddr, sync::Arc};

/// Opens, for a port that a guardian will listen on, another port that leads there. The guardian
/// announces the other one, so that its peers and clients come that way: a proxy that delays or counts.
#[derive(Clone)]
pub struct Front(Arc<dyn Fn(SocketAddr) -> io::Result<SocketAddr> + Send + Sync>);

impl Front {
    /// A front made by `open`, which is called once per announced port, before the guardian starts.
    pub fn new(
        open: impl Fn(SocketAddr) -> io::Result<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(open))
    }

    pub(super) fn open(&self, behind: SocketAddr) -> io::Result<SocketAddr> {
        (self.0)(behind)
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Front")
    }
}
