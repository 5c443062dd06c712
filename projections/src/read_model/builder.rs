//! Folds events into rows in memory, and says what is to be written: into the live tables, or into their shadows.
//!
//! The rule: what is in memory and what is in the table are together exactly the fold of the events that were handed in.
//! Rows leave memory only after they were handed out to be written.

use std::collections::{BTreeSet, HashSet};

use domain::event_store::{BoxFuture, RecordedEvent};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    ProjectError, ReadModel, Rows, Target,
    copy::Binary,
    fold::{fold_one, keys},
    history_writer::HistoryWriter,
    row::{Row as _, Tuple},
    stored::{self, misfit},
    write::Write,
};

/// Length of the rows of one write, in bytes, from which on another is begun.
const WRITE: usize = 4 << 20;
/// Rows of one upsert.
const UPSERT: usize = 2_000;

/// The fold of one projection into its tables.
pub trait Builder: Send + Sync {
    /// The keys of rows that must be loaded before `event` can be folded.
    ///
    /// # Errors
    /// When the event cannot be read.
    fn missing(&self, event: &RecordedEvent) -> Result<Vec<String>, ProjectError>;

    /// Loads rows from the table; everything handed out before has to be written.
    fn load<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        keys: BTreeSet<String>,
    ) -> BoxFuture<'a, Result<(), ProjectError>>;

    /// Folds `event` in memory. After an error, the builder must not be used any more.
    ///
    /// # Errors
    /// When the event cannot be read.
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), ProjectError>;

    /// Whether memory is full, by `limit` bytes, or holds rows that need not be kept.
    fn full(&self, limit: usize) -> bool;

    /// Whether that is so because of the rows themselves, so that they have to leave.
    fn crowded(&self, limit: usize) -> bool;

    /// Hands out the rows that are to be written. `indexed`: the table has its key already. `keep`: rows stay
    /// in memory.
    ///
    /// # Errors
    /// When a row does not fit its table.
    fn take(&mut self, indexed: bool, keep: bool) -> Result<Vec<Write>, ProjectError>;
}

/// See [`Builder`].
pub(super) struct Folding<M: ReadModel> {
    target: Target,
    rows: Rows<M::Row>,
    /// What of their past is not handed out yet.
    history_writer: Option<HistoryWriter>,
    /// Keys of rows in memory that are in the table too.
    written: HashSet<String>,
    /// Whether every row of the table is in memory.
    whole: bool,
    /// Estimated bytes of the rows in memory.
    bytes: usize,
}

impl<M: ReadModel> Folding<M> {
    /// `fresh`: the table is empty.
    pub(super) fn new(target: Target, fresh: bool) -> Self {
        Self {
            target,
            rows: Rows::default(),
            history_writer: HistoryWriter::of::<M>(target),
            written: HashSet::new(),
            whole: fresh,
            bytes: 0,
        }
    }

    fn table(&self) -> String {
        self.target.name(M::TABLE)
    }

    fn copies(&self, keys: &[String]) -> Result<Vec<Write>, ProjectError> {
        let names: Vec<&str> = M::Row::COLUMNS.iter().map(|column| column.name).collect();
        let statement = format!(
            "copy {} ({}) from stdin (format binary)",
            self.table(),
            names.join(", ")
        );
        let copy = |rows: Binary| Write::Copy {
            statement: statement.clone(),
            rows: rows.finish(),
        };
        let (mut writes, mut binary, mut tuple) = (Vec::new(), Binary::of(names.len()), Tuple::default());
        for row in keys.iter().filter_map(|key| self.rows.rows.get(key)) {
            tuple.clear();
            row.encode(&mut tuple).map_err(|error| misfit::<M>(&error))?;
            binary.push(&[tuple.bytes()]);
            if binary.len() >= WRITE {
                writes.push(copy(std::mem::replace(&mut binary, Binary::of(names.len()))));
            }
        }
        if !keys.is_empty() {
            writes.push(copy(binary));
        }
        Ok(writes)
    }

    fn upserts(&self, keys: &[String]) -> Result<Vec<Write>, ProjectError> {
        let table = self.table();
        let mut writes = Vec::new();
        for some in keys.chunks(UPSERT) {
            let rows: Vec<&M::Row> = some.iter().filter_map(|key| self.rows.rows.get(key)).collect();
            if let Some(mut statement) = stored::upsert::<M>(&table, &rows)? {
                statement.needs_key = Some(table.clone());
                writes.push(Write::Statement(statement));
            }
        }
        Ok(writes)
    }

    /// Whether `event` is the one that makes the row under `key`, so that there is none yet; see [`ReadModel::CATEGORIES`].
    fn makes(event: &RecordedEvent, key: &str) -> bool {
        event.revision == 0
            && M::CATEGORIES.first() == Some(&event.stream.category())
            && is_key(event.stream.key(), key)
    }
}

/// Whether a row under `key` is that of the stream under `name`: the same text, or the same id with its prefix.
fn is_key(name: &str, key: &str) -> bool {
    let id = name.split_once('_').and_then(|(_, id)| Uuid::try_parse(id).ok());
    name == key || id.is_some_and(|id| Uuid::try_parse(key) == Ok(id))
}

impl<M: ReadModel> Builder for Folding<M> {
    fn missing(&self, event: &RecordedEvent) -> Result<Vec<String>, ProjectError> {
        if self.whole || M::APPEND_ONLY {
            return Ok(Vec::new());
        }
        let mut keys = keys::<M>(event)?;
        keys.retain(|key| self.rows.get(key).is_none() && !Self::makes(event, key));
        Ok(keys)
    }

    fn load<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        keys: BTreeSet<String>,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            let found = stored::load::<M>(connection, &self.table(), &keys).await?;
            for (key, row) in found {
                self.bytes += size_of::<M::Row>() + 2 * key.len();
                if let Some(history_writer) = &mut self.history_writer {
                    history_writer
                        .see(&key, &row)
                        .map_err(|error| misfit::<M>(&error))?;
                }
                self.written.insert(key.clone());
                self.rows.rows.insert(key, row);
            }
            Ok(())
        })
    }

    fn fold(&mut self, event: &RecordedEvent) -> Result<(), ProjectError> {
        let before = self.rows.rows.len();
        let changed = fold_one::<M>(event, &mut self.rows)?;
        if let Some(history_writer) = &mut self.history_writer {
            for key in &changed {
                let noted = history_writer.note(event, key, self.rows.get(key));
                noted.map_err(|error| misfit::<M>(&error))?;
            }
        }
        let grown = self.rows.rows.len().saturating_sub(before);
        // What an event brings may be kept by the row that it changes.
        self.bytes += event.data.get().len() + grown * (size_of::<M::Row>() + 128);
        Ok(())
    }

    fn full(&self, limit: usize) -> bool {
        let (kept, pending) = self.history_writer.as_ref().map_or((0, 0), HistoryWriter::bytes);
        self.bytes + kept + pending > limit || (M::APPEND_ONLY && !self.rows.rows.is_empty())
    }

    fn crowded(&self, limit: usize) -> bool {
        let (kept, _) = self.history_writer.as_ref().map_or((0, 0), HistoryWriter::bytes);
        self.bytes + kept > limit
    }

    fn take(&mut self, indexed: bool, keep: bool) -> Result<Vec<Write>, ProjectError> {
        let changed: Vec<String> = std::mem::take(&mut self.rows.changed).into_iter().collect();
        // A row that is only ever put may be put again; with a key in place, that has to be asked for.
        let known = |key: &String| {
            self.target == Target::Live || self.written.contains(key) || (M::APPEND_ONLY && indexed)
        };
        let (old, new): (Vec<String>, Vec<String>) = changed.into_iter().partition(known);
        let mut writes = self.copies(&new)?;
        writes.extend(self.upserts(&old)?);
        if let Some(history_writer) = &mut self.history_writer {
            writes.extend(history_writer.take());
            if !keep {
                history_writer.forget();
            }
        }
        if M::APPEND_ONLY || !keep {
            self.rows = Rows::default();
            self.written = HashSet::new();
            self.whole = false;
            self.bytes = 0;
        } else if self.target == Target::Shadow {
            self.written.extend(new);
        }
        Ok(writes)
    }
}
