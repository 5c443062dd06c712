//! How the server is set up: written anew at every start, so that an upgrade of Anneal upgrades it too.
//!
//! An operator's own settings go to `postgres/cluster/local.conf`, which is read last and never written.

use std::fmt::Write;
use std::time::Duration;

/// What may differ between uses of the cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections at most, over all pools of the process.
    pub max_connections: u16,
    /// PostgreSQL's own cache in MiB.
    pub shared_buffers_mib: u32,
    /// How long the server may take to become ready; recovery after a crash counts.
    pub start_deadline: Duration,
    /// Further settings as name and value; they win over ours. The tests switch off what only replicas need.
    pub settings: Vec<(&'static str, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // Some thirty for each process on it, and the verbs of operators beside them.
            max_connections: 120,
            shared_buffers_mib: 64,
            start_deadline: Duration::from_secs(60),
            settings: Vec::new(),
        }
    }
}

/// The whole `postgresql.conf`; `socket_folder` may be relative to the cluster.
pub(super) fn postgresql_conf(options: &Options, socket_folder: &str) -> String {
    let mut conf = String::from("# Written by Anneal at every start. Your own settings: local.conf\n");
    let max_connections = options.max_connections.to_string();
    let shared_buffers = format!("{}MB", options.shared_buffers_mib);
    let fixed = [
        // Reachable through the private socket only.
        ("listen_addresses", ""),
        ("unix_socket_directories", socket_folder),
        ("unix_socket_permissions", "0700"),
        ("max_connections", &max_connections),
        ("shared_buffers", &shared_buffers),
        // What is acknowledged is on the disk.
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("max_wal_size", "1GB"),
        // One machine: the cores belong to training, and containers have little shared memory.
        ("max_parallel_workers_per_gather", "0"),
        ("jit", "off"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        // One file per weekday. Statements, keys and values of rows are personal data: never logged.
        ("logging_collector", "on"),
        ("log_directory", "../log"),
        ("log_filename", "postgres-%a.log"),
        ("log_file_mode", "0600"),
        ("log_truncate_on_rotation", "on"),
        ("log_rotation_age", "1d"),
        ("log_rotation_size", "0"),
        ("log_min_error_statement", "panic"),
        ("log_error_verbosity", "terse"),
        ("log_line_prefix", "%m [%p] "),
    ];
    for (name, value) in fixed {
        setting(&mut conf, name, value);
    }
    for (name, value) in &options.settings {
        setting(&mut conf, name, value);
    }
    conf.push_str("include_if_exists = 'local.conf'\n");
    conf
}

fn setting(conf: &mut String, name: &str, value: &str) {
    let value = value.replace('\\', "\\\\").replace('\'', "''");
    // Writing to a String cannot fail.
    let _ = writeln!(conf, "{name} = '{value}'");
}

/// The whole `pg_hba.conf`. Who reaches the socket is its owner or root, because the folder around it is
/// private; a password would only have to lie in the same folder.
pub(super) const PG_HBA_CONF: &str = "# Written by Anneal at every start.\nlocal all all trust\n";

#[cfg(test)]
mod tests {
    use super::{Options, postgresql_conf};

    #[test]
    fn durability_is_on_and_the_network_is_off() {
        let conf = postgresql_conf(&Options::default(), "../run");
        for line in [
            "fsync = 'on'",
            "synchronous_commit = 'on'",
            "listen_addresses = ''",
        ] {
            assert!(conf.lines().any(|found| found == line), "{line} in\n{conf}");
        }
    }

    #[test]
    fn values_are_quoted() {
        let conf = postgresql_conf(&Options::default(), "/tmp/it's\\here");
        assert!(
            conf.contains(r"unix_socket_directories = '/tmp/it''s\\here'"),
            "{conf}"
        );
    }
}
