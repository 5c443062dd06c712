//! A small KurrentDB in memory: version 1 of `Streams`, `ServerFeatures` and `Gossip`, version 2 of
//! `StreamsService`, as far as the adapter and the official client call them.
//!
//! The rule: each answer is what a server of version 26.1 gives, as its published sources have it, unless the
//! script or a mode says otherwise. Positions have gaps, checkpoints come late, ids are unique per stream only.
//! One thing is simpler: the records of one append get one time, where a server looks at its clock for each.

mod append;
mod log;
mod read;
mod serve;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::watch;
use tonic::transport::Identity;

pub(crate) use log::Log;

/// What one call of the peer does wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It is refused before anything happens.
    Refused,
    /// It happens, and the answer is lost.
    AnswerLost,
    /// It waits so long, then happens.
    Slow(Duration),
    /// It answers with another revision than it wrote.
    WrongRevision,
    /// A read breaks after so many messages.
    BrokenAfter(usize),
    /// A read ends in order after so many messages.
    EndedAfter(usize),
}

/// How the peer is in general.
#[derive(Clone, Debug)]
pub(crate) struct Mode {
    /// Which node leads.
    pub(crate) leader: usize,
    /// It takes no writes.
    pub(crate) read_only: bool,
    /// It knows version 2 of the protocol.
    pub(crate) appends: bool,
    /// Its version.
    pub(crate) version: &'static str,
    /// The header without which it refuses.
    pub(crate) authorization: Option<&'static str>,
}

/// What all nodes share.
pub(crate) struct Shared {
    log: Mutex<Log>,
    mode: Mutex<Mode>,
    appends: Mutex<VecDeque<Fault>>,
    reads: Mutex<VecDeque<Fault>>,
    follows: Mutex<VecDeque<Fault>>,
    /// How many records there are; also sent when the leader changes.
    grown: watch::Sender<usize>,
    ports: Mutex<Vec<u16>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds this")
}

impl Shared {
    fn mode(&self) -> Mode {
        held(&self.mode).clone()
    }
}

/// A cluster.
pub(crate) struct Peer {
    shared: Arc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Peer {
    /// So many nodes, the first of which leads.
    pub(crate) async fn start(nodes: usize) -> Self {
        Self::start_as(nodes, None).await
    }

    /// The same, with TLS where there is an identity.
    pub(crate) async fn start_as(nodes: usize, identity: Option<Identity>) -> Self {
        let shared = Arc::new(Shared {
            log: Mutex::new(Log::default()),
            mode: Mutex::new(Mode {
                leader: 0,
                read_only: false,
                appends: true,
                version: "26.1.0",
                authorization: None,
            }),
            appends: Mutex::default(),
            reads: Mutex::default(),
            follows: Mutex::default(),
            grown: watch::Sender::new(0),
            ports: Mutex::default(),
        });
        let mut tasks = Vec::new();
        for number in 0..nodes {
            tasks.push(serve::node(Arc::clone(&shared), number, identity.clone()).await);
        }
        Self { shared, tasks }
    }

    /// Where all its nodes are.
    pub(crate) fn url(&self) -> String {
        let ports = held(&self.shared.ports).clone();
        let hosts: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("kurrentdb://{}?tls=false", hosts.join(","))
    }

    /// Changes how it is.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Mode)) {
        change(&mut held(&self.shared.mode));
        self.shared.grown.send_modify(|_| ());
    }

    /// The next appends do this wrong, one after the other.
    pub(crate) fn appends(&self, faults: impl IntoIterator<Item = Fault>) {
        held(&self.shared.appends).extend(faults);
    }

    /// The next reads do this wrong.
    pub(crate) fn reads(&self, faults: impl IntoIterator<Item = Fault>) {
        held(&self.shared.reads).extend(faults);
    }

    /// The next subscriptions do this wrong.
    pub(crate) fn follows(&self, faults: impl IntoIterator<Item = Fault>) {
        held(&self.shared.follows).extend(faults);
    }

    /// Faults that were not called for yet.
    pub(crate) fn left(&self) -> usize {
        let left = |faults: &Mutex<VecDeque<Fault>>| held(faults).len();
        left(&self.shared.appends) + left(&self.shared.reads) + left(&self.shared.follows)
    }

    /// Forgets all faults that were not called for.
    pub(crate) fn forgive(&self) {
        for faults in [&self.shared.appends, &self.shared.reads, &self.shared.follows] {
            held(faults).clear();
        }
    }

    /// Writes a record past all rules, as another program could.
    pub(crate) fn write(&self, stream: &str, kind: &str, metadata: &str, data: &str) {
        let mut log = held(&self.shared.log);
        log.tick();
        log.push(
            None,
            stream,
            kind,
            metadata.as_bytes().to_vec(),
            data.as_bytes().to_vec(),
        );
        let length = log.records.len();
        drop(log);
        self.shared.grown.send_replace(length);
    }

    /// How many records a stream holds.
    pub(crate) fn records_of(&self, stream: &str) -> usize {
        held(&self.shared.log).stream(stream).count()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
