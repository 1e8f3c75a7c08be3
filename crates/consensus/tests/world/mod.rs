//! A federation in one process: simulated links with a delay, temporary folders, and guardians
//! that can die and come back. Shared by the tests and by `examples/pace.rs`.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bitcoin::secp256k1::{Keypair, Secp256k1, SecretKey};
use bytes::Bytes;
use moneta_consensus::{Broadcast, Event, Events, Keys, Links, LostFiles, Pacing, Setup};
use tempfile::TempDir;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

/// How long nothing may happen before a test fails; far longer than anything takes.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Waits for something that must happen.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("nothing happened for too long: {what}"),
    }
}

/// The wires between all guardians.
pub struct World {
    pub pacing: Pacing,
    keypairs: Vec<Keypair>,
    dirs: TempDir,
    net: Arc<Net>,
}

struct Net {
    delay: Duration,
    /// Where the frames of the guardian in that place go, while it lives.
    alive: Vec<Mutex<Option<Broadcast>>>,
    /// One queue per guardian keeps the order of frames and delays them all alike.
    queues: Vec<mpsc::UnboundedSender<(Instant, usize, Bytes)>>,
    cut: Vec<AtomicBool>,
    muted: Vec<AtomicBool>,
    wakes: AtomicUsize,
    messages: AtomicUsize,
}

impl Net {
    fn post(&self, from: usize, to: usize, frame: Bytes) {
        let counter = if frame[0] == 2 { &self.wakes } else { &self.messages };
        counter.fetch_add(1, Ordering::Relaxed);
        let muted = self.muted[from].load(Ordering::Relaxed);
        if !muted && !self.is_cut(from) && !self.is_cut(to) {
            // Closed only when the world ends.
            let _ = self.queues[to].send((Instant::now() + self.delay, from, frame));
        }
    }

    fn is_cut(&self, guardian: usize) -> bool {
        self.cut[guardian].load(Ordering::Relaxed)
    }
}

struct Cable {
    from: usize,
    net: Arc<Net>,
}

impl Links for Cable {
    fn send(&self, to: usize, frame: Bytes) {
        self.net.post(self.from, to, frame);
    }
}

/// One living guardian.
pub struct Guardian {
    pub broadcast: Broadcast,
    pub events: Events,
}

impl World {
    pub fn new(n: usize, delay: Duration, pacing: Pacing) -> Self {
        let secp = Secp256k1::new();
        let keypair = |i| SecretKey::from_slice(&[i as u8 + 1; 32]).unwrap().keypair(&secp);
        let (queues, receivers): (Vec<_>, Vec<_>) =
            (0..n).map(|_| mpsc::unbounded_channel()).unzip();
        let net = Arc::new(Net {
            delay,
            alive: (0..n).map(|_| Mutex::new(None)).collect(),
            queues,
            cut: (0..n).map(|_| AtomicBool::new(false)).collect(),
            muted: (0..n).map(|_| AtomicBool::new(false)).collect(),
            wakes: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
        });
        for (to, receiver) in receivers.into_iter().enumerate() {
            tokio::spawn(carry(net.clone(), to, receiver));
        }
        Self {
            pacing,
            keypairs: (0..n).map(keypair).collect(),
            dirs: tempfile::tempdir().unwrap(),
            net,
        }
    }

    pub fn dir(&self, me: usize) -> PathBuf {
        self.dirs.path().join(me.to_string())
    }

    pub fn unit_file(&self, me: usize, session: u64) -> PathBuf {
        self.dir(me).join(format!("session-{session}.units"))
    }

    pub fn keys(&self, me: usize) -> Keys {
        let public: Vec<_> = self.keypairs.iter().map(Keypair::public_key).collect();
        Keys::new(me, self.keypairs[me], &public).unwrap()
    }

    pub async fn start(&self, me: usize, first_session: u64) -> Guardian {
        self.start_with(me, first_session, self.pacing.clone()).await
    }

    pub async fn start_with(&self, me: usize, first_session: u64, pacing: Pacing) -> Guardian {
        let setup = Setup {
            keys: self.keys(me),
            dir: self.dir(me),
            first_session,
            pacing,
            links: Arc::new(Cable { from: me, net: self.net.clone() }),
            lost_files: LostFiles::SitOut,
        };
        let (broadcast, events) = Broadcast::start(setup).await.unwrap();
        *self.net.alive[me].lock().unwrap() = Some(broadcast.clone());
        Guardian { broadcast, events }
    }

    pub async fn start_all(&self) -> Vec<Guardian> {
        let mut guardians = Vec::new();
        for me in 0..self.keypairs.len() {
            guardians.push(self.start(me, 0).await);
        }
        guardians
    }

    /// Stops a guardian; only its files remain.
    pub async fn kill(&self, me: usize, guardian: Guardian) {
        *self.net.alive[me].lock().unwrap() = None;
        guardian.broadcast.shutdown().await;
    }

    /// Cuts or restores all links of a guardian.
    pub fn cut(&self, me: usize, cut: bool) {
        self.net.cut[me].store(cut, Ordering::Relaxed);
    }

    /// Cuts or restores what a guardian sends; it still hears the others.
    pub fn mute(&self, me: usize, muted: bool) {
        self.net.muted[me].store(muted, Ordering::Relaxed);
    }

    pub fn wakes(&self) -> usize {
        self.net.wakes.load(Ordering::Relaxed)
    }

    pub fn messages(&self) -> usize {
        self.net.messages.load(Ordering::Relaxed)
    }
}

async fn carry(
    net: Arc<Net>,
    to: usize,
    mut frames: mpsc::UnboundedReceiver<(Instant, usize, Bytes)>,
) {
    while let Some((at, from, frame)) = frames.recv().await {
        sleep_until(at).await;
        let broadcast = net.alive[to].lock().unwrap().clone();
        if let Some(broadcast) = broadcast {
            broadcast.deliver(from, frame);
        }
    }
}

impl Guardian {
    pub fn submit(&self, item: &[u8]) {
        self.broadcast.submit(item.to_vec()).unwrap();
    }

    pub async fn next(&mut self) -> Event {
        soon("an event", self.events.next()).await.expect("the broadcast goes on")
    }

    /// The events up to the one with `item`, which is the last of those returned.
    pub async fn events_to(&mut self, item: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            events.push(self.next().await);
            if let Some(Event::Ordered { items, .. }) = events.last()
                && items.iter().any(|found| found == item)
            {
                return events;
            }
        }
    }

    /// The events of a session that has ended, its end included.
    pub async fn session(&mut self, index: u64) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await;
            let ends = matches!(event, Event::SessionEnded { session, .. } if session == index);
            events.push(event);
            if ends {
                return events;
            }
        }
    }

    /// Waits until a picture of the broadcast satisfies `wish`. There is no event for what
    /// status shows, so it is looked at again and again.
    pub async fn until(&self, what: &str, wish: impl Fn(&moneta_consensus::Status) -> bool) {
        let look = async {
            while !wish(&self.broadcast.status()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        soon(what, look).await;
    }
}

/// All items of some events, in order.
pub fn items(events: &[Event]) -> Vec<Vec<u8>> {
    let mut found = VecDeque::new();
    for event in events {
        if let Event::Ordered { items, .. } = event {
            found.extend(items.iter().cloned());
        }
    }
    found.into()
}
