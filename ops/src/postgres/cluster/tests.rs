//! The promises of the embedded cluster, kept on a real server.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection, PgConnection};

use crate::postgres::process::wait_until;
use crate::postgres::{Cluster, ClusterError, Options, leftover};

/// Tells the child of a test which folder to hold.
const HELD: &str = "ANNEAL_TEST_HELD_FOLDER";

fn options() -> Options {
    Options {
        shared_buffers_mib: 16,
        ..Options::default()
    }
}

async fn scalar(url: &str, statement: &'static str) -> String {
    let mut connection = PgConnection::connect(url).await.expect("a connection");
    let value = sqlx::query_scalar(statement)
        .fetch_one(&mut connection)
        .await
        .expect("a value");
    connection.close().await.expect("closed");
    value
}

async fn execute(url: &str, statement: &'static str) {
    let mut connection = PgConnection::connect(url).await.expect("a connection");
    sqlx::raw_sql(statement)
        .execute(&mut connection)
        .await
        .expect("executed");
    connection.close().await.expect("closed");
}

/// A folder as root's home is: the server's account may not walk through it.
fn private_folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
        .expect("a temporary folder")
}

/// OP-1
#[tokio::test]
async fn what_is_written_is_there_after_a_restart() {
    let temporary = private_folder();
    let data = temporary.path().join("my data");
    let cluster = Cluster::start(&data, &options()).expect("a fresh cluster");
    let url = cluster.create_database("app").await.expect("created");
    assert_eq!(cluster.create_database("app").await.expect("already there"), url);
    execute(&url, "create table t as select 'kept' as v").await;
    assert_eq!(scalar(&url, "show fsync").await, "on");
    assert_eq!(scalar(&url, "show listen_addresses").await, "");
    assert_eq!(scalar(&url, "show server_encoding").await, "UTF8");
    assert_eq!(scalar(&url, "show data_checksums").await, "on");
    assert!(cluster.is_running());
    let odd = cluster.create_database("an \"odd\" name").await.expect("created");
    assert_eq!(
        scalar(&odd, "select current_database()::text").await,
        "an \"odd\" name"
    );
    cluster.stop().expect("stopped");
    cluster.stop().expect("stopping twice is fine");
    assert!(!cluster.is_running());
    drop(cluster);
    let cluster = Cluster::start(&data, &options()).expect("the same cluster");
    assert_eq!(scalar(&cluster.url("app"), "select v from t").await, "kept");
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_works() {
    let temporary = private_folder();
    let data = temporary.path().join("long ".repeat(20)).join("it's, here");
    let cluster = Cluster::start(&data, &options()).expect("a cluster");
    let url = cluster.url("postgres");
    assert_eq!(scalar(&url, "select 'reached'::text").await, "reached");
    let socket = cluster.socket.clone();
    cluster.stop().expect("stopped");
    std::fs::remove_dir_all(socket.parent().expect("its own folder")).expect("removed");
}

#[test]
fn a_cluster_of_another_major_version_is_refused_with_advice() {
    let temporary = private_folder();
    drop(Cluster::start(temporary.path(), &options()).expect("a cluster"));
    std::fs::write(temporary.path().join("postgres/cluster/PG_VERSION"), "9\n").expect("written");
    let error = Cluster::start(temporary.path(), &options()).expect_err("nobody has version 9");
    assert!(
        matches!(&error, ClusterError::OtherMajor { needed: 9, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("install PostgreSQL 9"), "{error}");
}

#[test]
fn a_server_that_dies_at_once_is_reported_with_its_last_words() {
    let temporary = private_folder();
    let bad = Options {
        settings: vec![("max_connections", "many".into())],
        ..options()
    };
    let error = Cluster::start(temporary.path(), &bad).expect_err("not a number");
    assert!(matches!(error, ClusterError::Died { .. }), "{error}");
    assert!(error.to_string().contains("max_connections"), "{error}");
    drop(Cluster::start(temporary.path(), &options()).expect("good settings again"));
}

#[test]
fn a_half_made_cluster_is_made_anew() {
    let temporary = private_folder();
    let half = temporary.path().join("postgres/cluster.new/base");
    std::fs::create_dir_all(&half).expect("made");
    drop(Cluster::start(temporary.path(), &options()).expect("a cluster"));
    assert!(!half.exists());
}

#[test]
fn a_reused_process_number_in_the_pid_file_does_not_matter() {
    let temporary = private_folder();
    drop(Cluster::start(temporary.path(), &options()).expect("a cluster"));
    let pid = std::process::id();
    let file = temporary.path().join("postgres/cluster/postmaster.pid");
    std::fs::write(&file, format!("{pid}\n/x\n1\n5432\n\n\n\nready\n")).expect("written");
    let lock = temporary.path().join("postgres/run/.s.PGSQL.5432.lock");
    std::fs::write(&lock, format!("{pid}\n")).expect("written");
    drop(Cluster::start(temporary.path(), &options()).expect("the number is ours, not a server's"));
}

/// OP-1: `kill -9` loses nothing acknowledged, and leaves nothing running.
#[tokio::test]
async fn the_server_ends_with_a_killed_parent_and_the_next_start_recovers() {
    let temporary = private_folder();
    let (mut child, url) = holder(temporary.path());
    execute(&url, "create table t as select 'acknowledged' as v").await;
    let error = Cluster::start(temporary.path(), &options()).expect_err("the child holds it");
    let pid = child.id().to_string();
    assert!(
        matches!(&error, ClusterError::InUse { pid: held, .. } if *held == pid),
        "{error}"
    );
    child.kill().expect("kill -9");
    child.wait().expect("reaped");
    let pid_file = temporary.path().join("postgres/cluster/postmaster.pid");
    assert!(
        wait_until(Duration::from_secs(20), || !pid_file.exists()),
        "the server is still there"
    );
    let cluster = Cluster::start(temporary.path(), &options()).expect("free again");
    assert_eq!(
        scalar(&cluster.url("postgres"), "select v from t").await,
        "acknowledged"
    );
}

/// OP-1: `kill -9` of everything: the supervisor first, so that nothing stops the server.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_without_parent_and_supervisor_is_stopped_by_the_next_start() {
    let temporary = private_folder();
    let (mut child, url) = holder(temporary.path());
    execute(&url, "create table t as select 'acknowledged' as v").await;
    let cluster_folder = temporary.path().join("postgres/cluster");
    let old = leftover::pid_in_file(&cluster_folder).expect("its number");
    for pid in supervisors_of(old) {
        kill(pid, Signal::SIGKILL).expect("kill -9");
    }
    child.kill().expect("kill -9");
    child.wait().expect("reaped");
    assert_eq!(
        leftover::pid_in_file(&cluster_folder),
        Some(old),
        "nobody stopped it"
    );
    let cluster = Cluster::start(temporary.path(), &options()).expect("recovered");
    assert_ne!(leftover::pid_in_file(&cluster_folder), Some(old));
    assert_eq!(
        scalar(&cluster.url("postgres"), "select v from t").await,
        "acknowledged"
    );
}

/// OP-1: the server itself is killed with its parent; the log of what was acknowledged is replayed.
#[tokio::test]
async fn a_killed_server_recovers_at_the_next_start() {
    let temporary = private_folder();
    let cluster = Cluster::start(temporary.path(), &options()).expect("a cluster");
    execute(
        &cluster.url("postgres"),
        "create table t as select 'acknowledged' as v",
    )
    .await;
    let server = leftover::pid_in_file(&temporary.path().join("postgres/cluster")).expect("its number");
    kill(Pid::from_raw(server), Signal::SIGKILL).expect("kill -9");
    assert!(
        wait_until(Duration::from_secs(10), || !cluster.is_running()),
        "we notice"
    );
    drop(cluster);
    let cluster = Cluster::start(temporary.path(), &options()).expect("recovered");
    assert_eq!(
        scalar(&cluster.url("postgres"), "select v from t").await,
        "acknowledged"
    );
}

/// The supervisor of `server` and its watcher: the shells in the process group of the server's parent.
#[cfg(target_os = "linux")]
fn supervisors_of(server: i32) -> Vec<Pid> {
    let parent = stat(server).expect("it lives")[1].clone();
    let processes = std::fs::read_dir("/proc").expect("readable").flatten();
    let found: Vec<Pid> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| stat(*pid).is_some_and(|fields| fields[2] == parent))
        .filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sh\n"))
        .map(Pid::from_raw)
        .collect();
    assert_eq!(found.len(), 2, "the supervisor and its watcher");
    found
}

/// State, parent and process group of a process.
#[cfg(target_os = "linux")]
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(String::from).collect())
}

/// Starts this test program again as a process that holds a cluster in `folder`, to be killed.
fn holder(folder: &Path) -> (Child, String) {
    let program = std::env::current_exe().expect("this test program");
    let mut child = Command::new(program)
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "postgres::cluster::tests::hold_a_cluster",
        ])
        .env(HELD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let url = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("URL ").map(|(_, url)| url.to_owned()))
        .expect("the child says its URL");
    (child, url)
}

#[test]
#[ignore = "the process that other tests start and kill; they run it"]
fn hold_a_cluster() {
    let folder = std::env::var_os(HELD).expect("run by another test only");
    let cluster = Cluster::start(Path::new(&folder), &options()).expect("a cluster");
    println!("URL {}", cluster.url("postgres"));
    std::thread::sleep(Duration::from_secs(120));
}
