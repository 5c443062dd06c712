//! PostgreSQL killed under load (E2): what was acknowledged stays, and the system comes back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    caller::Caller,
    scenario::Scenario,
    server::{children, last_words, postmaster},
};

/// Clients at work at once.
const CLIENTS: u32 = 6;
/// Acknowledged changes to wait for before and after a kill.
const ENOUGH: u32 = 40;
/// How long that may take: a recovery is in it.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Clients that create projects as long as they are let.
struct Load {
    acknowledged: Arc<AtomicU32>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(scenario: &Arc<Scenario>, admin: &Caller, numbers: &Arc<AtomicU32>) -> Self {
        let acknowledged = Arc::new(AtomicU32::new(0));
        let client = |_| {
            let (scenario, admin) = (Arc::clone(scenario), admin.clone());
            let (numbers, acknowledged) = (Arc::clone(numbers), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                loop {
                    let number = 1_000 + numbers.fetch_add(1, Ordering::SeqCst);
                    match scenario.project(&admin, number).await {
                        Ok(_) => acknowledged.fetch_add(1, Ordering::SeqCst),
                        Err(_) => {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            continue;
                        }
                    };
                }
            })
        };
        Self {
            clients: (0..CLIENTS).map(client).collect(),
            acknowledged,
        }
    }

    async fn further(&self, scenario: &Scenario) {
        let (begun, wanted) = (Instant::now(), self.acknowledged.load(Ordering::SeqCst) + ENOUGH);
        while self.acknowledged.load(Ordering::SeqCst) < wanted {
            assert!(
                begun.elapsed() < TIMEOUT,
                "no progress: {}",
                last_words(&scenario.data)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.clients.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// One server process dies: PostgreSQL recovers by itself, and so do we. Its main process dies: we end, say
/// so, and the next start recovers. Six clients write all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_killed_under_load_loses_nothing_acknowledged() {
    let scenario = Arc::new(Scenario::new());
    let numbers = Arc::new(AtomicU32::new(0));
    let mut server = scenario.start_unarmed();
    let admin = scenario.admin(&server.url).await.expect("an administrator");
    let load = Load::start(&scenario, &admin, &numbers);
    load.further(&scenario).await;
    let main = postmaster(&scenario.data).expect("it runs");
    let writer = children(main, "postgres")
        .into_iter()
        .max()
        .expect("it has servers");
    kill(Pid::from_raw(writer), Signal::SIGKILL).expect("killed");
    load.further(&scenario).await;
    assert!(!server.is_gone(), "one process of the database is not all of it");

    kill(Pid::from_raw(main), Signal::SIGKILL).expect("killed");
    let status = server.ended();
    assert_eq!(status.code(), Some(1));
    let said = last_words(&scenario.data);
    assert!(said.contains("the embedded PostgreSQL ended by itself"), "{said}");
    drop(load);
    scenario.settle().await;
}
