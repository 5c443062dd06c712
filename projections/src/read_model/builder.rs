//! Builds the shadow of a read model's table: folds in memory, and says what is to be written.
//!
//! The rule: what is in memory and what is in the shadow table are together exactly the fold of the events that
//! were handed in. Rows leave memory only after they were handed out to be written.

use std::collections::{BTreeSet, HashSet};

use domain::event_store::{BoxFuture, RecordedEvent};
use sqlx::PgConnection;

use super::{
    ProjectError, ReadModel, Rows, Target,
    copy::{Shape, Text},
    fold::{fold_one, keys},
    history_writer::HistoryWriter,
    stored,
    write::Write,
};

/// Length of the text of one write, in bytes, from which on another is begun.
const WRITE: usize = 4 << 20;
/// Estimated bytes that a version of a row takes in memory.
const VERSION: usize = 2_048;

/// The fold of one projection into its shadow.
pub trait Builder: Send + Sync {
    /// The keys of rows that must be loaded before `event` can be folded.
    ///
    /// # Errors
    /// When the event cannot be read.
    fn missing(&self, event: &RecordedEvent) -> Result<Vec<String>, ProjectError>;

    /// Loads rows from the shadow table; everything handed out before has to be written.
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
pub(super) struct Shadow<M: ReadModel> {
    table: String,
    shape: Shape,
    rows: Rows<M::Row>,
    /// What of their past is not handed out yet.
    history_writer: Option<HistoryWriter>,
    /// Keys of rows in memory that are in the table too.
    written: HashSet<String>,
    /// Whether every row of the table is in memory.
    whole: bool,
    /// Estimated bytes of the rows in memory.
    bytes: usize,
    /// Estimated bytes of what of their past is not handed out yet.
    past: usize,
}

impl<M: ReadModel> Shadow<M> {
    /// `fresh`: the shadow table is empty.
    pub(super) fn new(shape: Shape, fresh: bool) -> Self {
        Self {
            table: Target::Shadow.name(M::TABLE),
            shape,
            rows: Rows::default(),
            history_writer: HistoryWriter::of::<M>(Target::Shadow),
            written: HashSet::new(),
            whole: fresh,
            bytes: 0,
            past: 0,
        }
    }

    fn copy(&self, text: Text) -> Write {
        Write::Copy {
            statement: format!("copy {} ({}) from stdin", self.table, text.columns.join(", ")),
            lines: text.lines,
        }
    }

    fn copies(&self, keys: &[String]) -> Result<Vec<Write>, serde_json::Error> {
        let mut writes = Vec::new();
        let mut text = Text::default();
        for row in keys.iter().filter_map(|key| self.rows.rows.get(key)) {
            text.push(row, &self.shape)?;
            if text.lines.len() >= WRITE {
                writes.push(self.copy(std::mem::take(&mut text)));
            }
        }
        if !text.lines.is_empty() {
            writes.push(self.copy(text));
        }
        Ok(writes)
    }

    fn upserts(&self, keys: &[String]) -> Result<Vec<Write>, ProjectError> {
        let mut writes = Vec::new();
        for some in keys.chunks(2_000) {
            let rows: Vec<&M::Row> = some.iter().filter_map(|key| self.rows.rows.get(key)).collect();
            if let Some((statement, json)) = stored::upsert::<M>(&self.table, &rows)? {
                writes.push(Write::Upsert {
                    table: self.table.clone(),
                    statement,
                    json,
                });
            }
        }
        Ok(writes)
    }
}

impl<M: ReadModel> Builder for Shadow<M> {
    fn missing(&self, event: &RecordedEvent) -> Result<Vec<String>, ProjectError> {
        if self.whole || M::APPEND_ONLY {
            return Ok(Vec::new());
        }
        let mut keys = keys::<M>(event)?;
        keys.retain(|key| self.rows.get(key).is_none());
        Ok(keys)
    }

    fn load<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        keys: BTreeSet<String>,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            let found = stored::load::<M>(connection, &self.table, &keys).await?;
            for (key, row) in found {
                self.bytes += size_of::<M::Row>() + 2 * key.len();
                if let Some(history_writer) = &mut self.history_writer {
                    history_writer.see(&key, &row)?;
                    self.bytes += VERSION;
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
                history_writer.note(event, key, self.rows.get(key))?;
            }
            self.past += changed.len() * VERSION;
        }
        let grown = self.rows.rows.len().saturating_sub(before);
        // What an event brings may be kept by the row that it changes.
        let each = size_of::<M::Row>() + 128 + self.history_writer.as_ref().map_or(0, |_| VERSION);
        self.bytes += event.data.get().len() + grown * each;
        Ok(())
    }

    fn full(&self, limit: usize) -> bool {
        self.bytes + self.past > limit || (M::APPEND_ONLY && !self.rows.rows.is_empty())
    }

    fn crowded(&self, limit: usize) -> bool {
        self.bytes > limit
    }

    fn take(&mut self, indexed: bool, keep: bool) -> Result<Vec<Write>, ProjectError> {
        let changed: Vec<String> = std::mem::take(&mut self.rows.changed).into_iter().collect();
        // A row that is only ever put may be put again; with a key in place, that has to be asked for.
        let known = |key: &String| self.written.contains(key) || (M::APPEND_ONLY && indexed);
        let (old, new): (Vec<String>, Vec<String>) = changed.into_iter().partition(known);
        let copied = match self.shape.plain {
            true => self.copies(&new).ok(),
            false => None,
        };
        let mut writes = match copied {
            Some(writes) => writes,
            None => self.upserts(&new)?,
        };
        writes.extend(self.upserts(&old)?);
        if let Some(history_writer) = &mut self.history_writer {
            writes.extend(history_writer.take()?);
            self.past = 0;
            if !keep {
                history_writer.forget();
            }
        }
        if M::APPEND_ONLY || !keep {
            self.rows = Rows::default();
            self.written = HashSet::new();
            self.whole = false;
            self.bytes = 0;
        } else {
            self.written.extend(new);
        }
        Ok(writes)
    }
}
