//! A server that an earlier, killed run left behind.
//!
//! Usually its supervisor is just stopping it, and it is enough to wait. When the supervisor was killed as
//! well, the server is stopped here. A process is taken for our server only when it is named `postgres`,
//! belongs to the server's account and works in our cluster, or is the one that the cluster's own pid file
//! names; so a process that happens to have got an old number is never touched.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use small_files::read_text;

use super::Account;
use super::error::{ClusterError, at};
use super::folder::replace;
use super::process::{self, wait_until};

/// The most that is read of a file with a few lines, in bytes.
const LARGEST: u64 = 64 << 10;
/// How long its supervisor gets to end it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A number above the highest that Linux (4,194,304) or macOS (99,999) give to a process.
const NOBODY: i32 = 1_073_741_823;
/// How long it may take after we asked.
const STOPPING: Duration = Duration::from_secs(60);

/// Returns when no server of an earlier run works on `cluster`, whose socket is in `socket`.
pub(super) fn end(cluster: &Path, socket: &Path, account: &Account) -> Result<(), ClusterError> {
    let gone = || servers(cluster, account).is_empty();
    if !wait_until(TIMEOUT, gone) {
        tracing::warn!("a database server of an earlier run is still there; stopping it");
        signal(cluster, account, Signal::SIGINT);
        if !wait_until(STOPPING, gone) {
            signal(cluster, account, Signal::SIGQUIT);
            if !wait_until(TIMEOUT, gone) {
                let pid = servers(cluster, account).first().copied().unwrap_or_default();
                return Err(ClusterError::Leftover {
                    pid,
                    cluster: cluster.to_owned(),
                });
            }
        }
    }
    forget_number(cluster, socket, account)
}

/// Signals the main process; when only its children are left, tells them to go at once.
fn signal(cluster: &Path, account: &Account, wanted: Signal) {
    let servers = servers(cluster, account);
    let main = pid_in_file(cluster).filter(|pid| servers.contains(pid));
    let (pids, wanted) = match main {
        Some(pid) => (vec![pid], wanted),
        None => (servers, Signal::SIGQUIT),
    };
    for pid in pids {
        if let Err(error) = kill(Pid::from_raw(pid), wanted) {
            tracing::warn!(pid, %error, "could not signal the earlier database server");
        }
    }
}

/// PostgreSQL refuses to start while the number in its pid files is any living process, which after a
/// restart of a container or machine can be anything, or a dead one that nobody has buried. We have made
/// sure that it is not a server, so the number is replaced by one that no process can have. The rest of
/// the file stays: by it PostgreSQL finds children of a dead server that still share its memory.
fn forget_number(cluster: &Path, socket: &Path, account: &Account) -> Result<(), ClusterError> {
    let lock = socket.join(".s.PGSQL.5432.lock");
    match std::fs::remove_file(&lock) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(at("remove", &lock)(error)),
        _ => {}
    }
    let file = cluster.join("postmaster.pid");
    let text = match read_text(&file, LARGEST) {
        Ok(text) => text,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    replace(&file, &format!("{NOBODY}\n{rest}"), |file| account.own(file))
}

/// The process that the cluster's pid file names.
pub(super) fn pid_in_file(cluster: &Path) -> Option<i32> {
    let text = read_text(&cluster.join("postmaster.pid"), LARGEST).ok()?;
    text.lines().next()?.trim().parse().ok().filter(|pid| *pid > 1)
}

/// The name of a living process; a dead one that its parent has not buried yet has none.
fn command_of(pid: i32) -> Option<String> {
    if cfg!(target_os = "linux") {
        // "123 (name) S …": the name may hold any sign, also brackets.
        let text = read_text(Path::new(&format!("/proc/{pid}/stat")), LARGEST).ok()?;
        let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
        let is_dead = rest.trim_start().starts_with(['Z', 'X']);
        return (!is_dead).then(|| name.to_owned());
    }
    let mut command = process::clean("ps");
    command.args(["-o", "comm=", "-p", &pid.to_string()]);
    let said = process::output(command, Duration::from_secs(10)).ok()?;
    let path = String::from_utf8(said.stdout).ok()?;
    let name = path.trim().rsplit('/').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// The server processes at work on `cluster`.
fn servers(cluster: &Path, account: &Account) -> Vec<i32> {
    let named = pid_in_file(cluster);
    if !cfg!(target_os = "linux") {
        return named
            .filter(|pid| command_of(*pid).as_deref() == Some("postgres"))
            .into_iter()
            .collect();
    }
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| command_of(*pid).as_deref() == Some("postgres") && account.runs(*pid))
        .filter(|pid| match std::fs::read_link(format!("/proc/{pid}/cwd")) {
            Ok(folder) => folder == cluster,
            // Without the right to look (a container's root), the pid file decides.
            Err(_) => named == Some(*pid),
        })
        .collect()
}
