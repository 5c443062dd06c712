//! A data folder of an installation whose database is gone.
//!
//! The rule: no empty database is made beside the keys of another one. It would answer for the lost one, and be in the
//! way of a restore.

use std::path::Path;

use super::ClusterError;

/// What only a start leaves that had a database, below the data folder, with what it is called.
const TRACES: [(&str, &str); 7] = [
    ("keys/active.pem", "the keys"),
    ("keys/log.key", "the keys"),
    ("keys/personal.key", "the keys"),
    ("keys/pepper.key/pepper.key", "the keys"),
    ("checkpoints/checkpoint", "the signed checkpoints"),
    ("objects/datasets", "the files"),
    ("objects/artifacts", "the files"),
];

/// Refuses a folder that has traces of an installation and no database. Makes nothing; may run before the folder is
/// locked, since a first start makes the database before any of the traces.
///
/// # Errors
/// [`ClusterError::LostDatabase`].
pub fn refuse_lost_database(folder: &Path) -> Result<(), ClusterError> {
    let mut traces: Vec<&str> = TRACES
        .into_iter()
        .filter(|(place, _)| folder.join(place).symlink_metadata().is_ok())
        .map(|(_, name)| name)
        .collect();
    traces.dedup();
    // Looked at last: who finds the traces of a start that is under way finds its database too.
    if traces.is_empty() || folder.join("postgres/cluster/PG_VERSION").exists() {
        return Ok(());
    }
    Err(ClusterError::LostDatabase {
        folder: folder.to_owned(),
        traces: traces.join(" and "),
    })
}

#[cfg(test)]
mod tests {
    use super::{TRACES, refuse_lost_database};

    #[test]
    fn any_trace_without_a_database_is_refused_and_nothing_is_made() {
        for (place, name) in TRACES {
            let folder = tempfile::tempdir().expect("a folder");
            refuse_lost_database(folder.path()).expect("a fresh folder");
            let path = folder.path().join(place);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(&path, "x").expect("written");
            let said = refuse_lost_database(folder.path())
                .expect_err("refused")
                .to_string();
            assert!(said.contains(name) && said.contains("Restore"), "{said}");
            assert!(!folder.path().join("postgres").exists());
            let cluster = folder.path().join("postgres/cluster");
            std::fs::create_dir_all(&cluster).expect("made");
            refuse_lost_database(folder.path()).expect_err("an empty folder is no database");
            std::fs::write(cluster.join("PG_VERSION"), "16").expect("written");
            refuse_lost_database(folder.path()).expect("it is there");
        }
    }
}
