//! What tests of this crate and of its users stand on. Only with the feature `testing`.

use std::{path::Path, sync::Arc, time::Duration};

use domain::id::SystemIds;

use crate::Objects;

/// A store in a fresh folder.
///
/// # Panics
/// When there is no room for one.
pub fn store() -> (tempfile::TempDir, Objects) {
    let folder = tempfile::tempdir().expect("a folder");
    let objects = open(folder.path());
    (folder, objects)
}

/// The store in `folder`.
///
/// # Panics
/// When it cannot be opened.
#[must_use]
pub fn open(folder: &Path) -> Objects {
    Objects::open(&format!("file://{}", folder.display()), Arc::new(SystemIds)).expect("a store")
}

/// Every file below `folder`, also those that the store hides.
///
/// # Panics
/// When the folder cannot be read.
#[must_use]
pub fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).expect("below").display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// Waits until `done`, which background clean-up makes true; fails after ten seconds.
///
/// # Panics
/// When it does not come true.
pub async fn eventually(done: impl Fn() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come true within ten seconds");
}

impl Objects {
    /// The same store, in a bucket that copies at most so many bytes by itself.
    #[must_use]
    pub fn copied_by_store(mut self, bytes: u64) -> Self {
        self.copied_by_store = bytes;
        self
    }
}
