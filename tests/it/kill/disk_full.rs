//! A full disk (E2): writes are refused by name, nothing acknowledged is lost, and room is enough to go on.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anneal::postgres::Cluster;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tests::harness::here::cannot_run;

use super::{
    caller::{Caller, Lost},
    scenario::Scenario,
    server::{Server, last_words},
};

/// How soon it must work again once there is room.
const RECOVERED: Duration = Duration::from_secs(30);
/// Refusals that are waited for.
const REFUSALS: usize = 5;

/// A small file system in memory, at a folder.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`: this machine does not let us mount one.
    fn mount(at: &Path, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(at).expect("made");
        let options = format!("size={mib}m,mode=700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "anneal-test"])
            .arg(at)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Self(at.to_owned()))
    }

    /// Takes all room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = std::fs::File::create(&path).expect("made");
        let mut block = vec![0_u8; 1 << 20];
        while !block.is_empty() {
            if file.write_all(&block).is_err() {
                block.truncate(block.len() / 2);
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.0.display());
        }
    }
}

/// Uploads and changes until some are refused; what they are told.
async fn until_refused(scenario: &Scenario, admin: &Caller, number: &mut u32) -> Vec<Lost> {
    let mut refusals = Vec::new();
    let begun = Instant::now();
    while refusals.len() < REFUSALS {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "a full disk refuses nothing"
        );
        *number += 1;
        let made = scenario.project(admin, *number).await.map(|_| ());
        let stored = scenario.dataset(admin, *number).await.map(|_| ());
        refusals.extend([made, stored].into_iter().filter_map(Result::err));
    }
    refusals
}

/// Makes PostgreSQL need room for its write-ahead log at once: it cannot go on without, and stops.
async fn exhaust_write_ahead_log(data: &Path) {
    let url = Cluster::url_of_running(data, "anneal")
        .expect("readable")
        .expect("a cluster");
    let Ok(mut connection) = PgConnection::connect(&url).await else {
        return;
    };
    // Fails with the server.
    for statement in ["select pg_switch_wal()", "create table full_disk (n integer)"] {
        connection.execute(sqlx::raw_sql(statement)).await.ok();
    }
}

/// Works again within half a minute of there being room, started anew if it ended.
async fn recovered(scenario: &mut Scenario, mut server: Server) -> Server {
    let freed = Instant::now();
    loop {
        if server.is_gone() {
            server = scenario.start_unarmed();
        }
        match scenario.round(&server.url.clone(), None).await {
            Ok(_) => return server,
            Err(lost) => assert!(
                freed.elapsed() < RECOVERED,
                "{lost:?}: {}",
                last_words(&scenario.data)
            ),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Tables, objects, and the write-ahead log, for which there is no room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_room_is_enough_to_go_on() {
    let mut scenario = Scenario::new();
    let Some(disk) = SmallDisk::mount(&scenario.data, 420) else {
        cannot_run("mounting a small file system needs root");
        return;
    };
    let mut server = scenario.start_unarmed();
    scenario.round(&server.url, None).await.expect("there is room");
    let admin = scenario.admin(&server.url).await.expect("an administrator");
    let mut number = 10_000;

    let ballast = disk.fill();
    for refusal in until_refused(&scenario, &admin, &mut number).await {
        assert!(
            refusal.0.contains("UNAVAILABLE") || refusal.0.contains("507"),
            "{refusal:?}"
        );
    }
    assert!(
        !server.is_gone(),
        "a full disk is no reason to die: {}",
        last_words(&scenario.data)
    );
    let said = last_words(&scenario.data);
    assert!(said.contains("No space left on device"), "{said}");
    std::fs::remove_file(&ballast).expect("removed");
    server = recovered(&mut scenario, server).await;

    let ballast = disk.fill();
    exhaust_write_ahead_log(&scenario.data).await;
    let refusals = until_refused(&scenario, &admin, &mut number).await;
    assert!(!refusals.is_empty());
    std::fs::remove_file(&ballast).expect("removed");
    server = recovered(&mut scenario, server).await;
    assert!(server.stop().success());
    scenario.settle().await;
    drop(disk);
}
