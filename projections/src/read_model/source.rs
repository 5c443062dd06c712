//! Where clients' reads come from: only from read models that follow the log.
//!
//! One rule: a read gets its database from [`Source::serving`] by naming the read models whose tables it reads. Of one that
//! stopped nothing is shown, for its rows no longer say what is so: not who may see what either.

use std::{collections::BTreeMap, sync::Arc};

use sqlx::PgPool;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::watch;

/// The read models that do not follow the log, by name: an event stopped them, or they are folded for the first time. With
/// since when, where that is known.
pub type Unserved = Arc<BTreeMap<String, Option<OffsetDateTime>>>;

/// A read model does not follow the log: nothing of it is shown, as clients are told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the records of {name} cannot be shown: they are not up to date since {}; nothing is lost, try again later",
    self.since()
)]
pub struct NotServed {
    /// Its name.
    pub name: String,
    /// When it stopped; `None` while it is folded for the first time.
    pub since: Option<OffsetDateTime>,
}

impl NotServed {
    fn since(&self) -> String {
        let told = self.since.and_then(|time| time.format(&Rfc3339).ok());
        told.unwrap_or_else(|| "this version was started".to_owned())
    }
}

/// Where rows are read.
pub trait Source: Send + Sync {
    /// The database, to read rows of these read models, named by [`NAME`](super::ReadModel::NAME). Costs no statement.
    ///
    /// # Errors
    /// When one of them does not follow the log.
    fn serving(&self, names: &[&str]) -> Result<&PgPool, NotServed>;
}

/// The system's own work and its operators read whatever is there: what they decide is checked against the log.
impl Source for PgPool {
    fn serving(&self, _: &[&str]) -> Result<&PgPool, NotServed> {
        Ok(self)
    }
}

/// The read models, for clients.
#[derive(Clone, Debug)]
pub struct ReadModels {
    pool: PgPool,
    unserved: watch::Receiver<Unserved>,
}

impl ReadModels {
    pub(crate) fn new(pool: PgPool, unserved: watch::Receiver<Unserved>) -> Self {
        Self { pool, unserved }
    }

    /// Which of them do not follow the log, as last heard: at once in the process that folds them, within a second in others.
    #[must_use]
    pub fn unserved(&self) -> Unserved {
        Arc::clone(&self.unserved.borrow())
    }
}

impl Source for ReadModels {
    fn serving(&self, names: &[&str]) -> Result<&PgPool, NotServed> {
        let unserved = self.unserved.borrow();
        let found = names.iter().find_map(|name| unserved.get_key_value(*name));
        match found {
            None => Ok(&self.pool),
            Some((name, since)) => Err(NotServed {
                name: name.clone(),
                since: *since,
            }),
        }
    }
}
