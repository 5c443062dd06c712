//! Folds events into rows in memory, and says what is to be written: into the live tables, or into their shadows.
//!
//! The rule: what is in memory and what is in the table are together exactly the fold of the events that were handed in.
//! Rows leave memory only after they were handed out to be written, those first that no event changed of late.

use std::collections::{BTreeSet, HashMap};

use domain::event_store::{BoxFuture, RecordedEvent};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    ProjectError, ReadModel, Rows, Target,
    appended::Appended,
    copy::Binary,
    fold::{fold_one, keys},
    history_writer::HistoryWriter,
    row::{Row as _, Tuple},
    stored::{self, misfit},
    write::Write,
};

/// Bytes of rows that are only ever put, from which on they are written.
const APPENDED: usize = 4 << 20;
/// Rows of one upsert.
const UPSERT: usize = 2_000;
/// Estimated bytes that a row takes in memory beside what it holds: keys, entries of maps.
const OVERHEAD: usize = 320;

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

    /// About how many bytes it holds: rows, and what is to be written.
    fn size(&self) -> usize;

    /// Whether memory is full, by `limit` bytes, or holds rows that need not be kept.
    fn full(&self, limit: usize) -> bool;

    /// Whether that is so because of the rows themselves, so that they have to leave.
    fn crowded(&self, limit: usize) -> bool;

    /// Hands out the rows that are to be written. `indexed`: the table has its key already. `keep`: rows stay
    /// in memory; else those leave that no event has touched since rows left the last time.
    ///
    /// # Errors
    /// When a row does not fit its table.
    fn take(&mut self, indexed: bool, keep: bool) -> Result<Vec<Write>, ProjectError>;
}

/// What is known of a row in memory.
#[derive(Clone, Copy)]
struct Remembered {
    /// Estimated bytes: exact when the row was written last, and more with each event since.
    weight: usize,
    /// Whether it is in the table too.
    written: bool,
    /// Whether an event touched it since rows left the last time.
    touched: bool,
}

/// See [`Builder`].
pub(super) struct Folding<M: ReadModel> {
    target: Target,
    rows: Rows<M::Row>,
    remembered: HashMap<String, Remembered>,
    /// Of a shadow whose rows are only ever put: those that are not handed out yet.
    appended: Appended<M>,
    /// What of their past is not handed out yet.
    history_writer: Option<HistoryWriter>,
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
            remembered: HashMap::new(),
            appended: Appended::default(),
            history_writer: HistoryWriter::of::<M>(target),
            whole: fresh,
            bytes: 0,
        }
    }

    /// Whether rows leave as they come.
    fn appends(&self) -> bool {
        M::APPEND_ONLY && self.target == Target::Shadow
    }

    /// An event of so many bytes touched the row under `key`, which may keep all of them.
    fn touch(&mut self, key: &str, bytes: usize) {
        let grown = match self.remembered.get_mut(key) {
            Some(row) => {
                row.weight += bytes;
                row.touched = true;
                bytes
            }
            None => self.remember(key, bytes, false),
        };
        self.bytes += grown;
    }

    /// Remembers a new row of so many bytes; returns its weight.
    fn remember(&mut self, key: &str, bytes: usize, written: bool) -> usize {
        let weight = Self::weight(key, bytes);
        let row = Remembered {
            weight,
            written,
            touched: true,
        };
        self.remembered.insert(key.to_owned(), row);
        weight
    }

    fn weight(key: &str, bytes: usize) -> usize {
        size_of::<M::Row>() + bytes + 3 * key.len() + OVERHEAD
    }

    /// The row under `key` is written, and this long.
    fn note_written(&mut self, key: &str, length: usize) {
        if let Some(row) = self.remembered.get_mut(key) {
            let weight = Self::weight(key, length);
            self.bytes = (self.bytes + weight).saturating_sub(row.weight);
            row.weight = weight;
            row.written = true;
        }
    }

    /// What was changed since rows were handed out the last time: rows that are in the table, after the new ones.
    fn changed(&mut self) -> Result<Vec<Write>, ProjectError> {
        let mut changed: Vec<String> = self.rows.changed.drain().collect();
        // Whoever writes the same rows meets them in the same order.
        changed.sort_unstable();
        let table = self.target.name(M::TABLE);
        let (mut new, mut old) = (Binary::of(M::Row::COLUMNS.len()), Vec::new());
        let (mut tuple, mut writes) = (Tuple::default(), Vec::new());
        for key in changed {
            let Some(row) = self.rows.rows.get(&key) else {
                continue;
            };
            tuple.clear();
            row.encode(&mut tuple).map_err(|error| misfit::<M>(&error))?;
            let known = self.remembered.get(&key).is_some_and(|row| row.written);
            match known || self.target == Target::Live {
                true => old.push(tuple.clone()),
                false => new.push(&[tuple.bytes()]),
            }
            self.note_written(&key, tuple.bytes().len());
        }
        writes.extend(new.take(&table, &stored::columns::<M>()));
        let upserts = old.chunks(UPSERT);
        writes.extend(upserts.map(|rows| Write::Statement(stored::upsert::<M>(&table, rows.iter()))));
        Ok(writes)
    }

    /// Lets the rows go that no event has touched since this was done the last time; of those that are only ever put, all.
    fn leave(&mut self) {
        let (rows, history_writer) = (&mut self.rows, &mut self.history_writer);
        let bytes = &mut self.bytes;
        self.remembered.retain(|key, row| {
            if row.touched && !M::APPEND_ONLY {
                row.touched = false;
                return true;
            }
            rows.rows.remove(key);
            if let Some(history_writer) = history_writer.as_mut() {
                history_writer.forget(key);
            }
            *bytes = bytes.saturating_sub(row.weight);
            false
        });
        self.whole = false;
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
            let found = stored::load::<M>(connection, &self.target.name(M::TABLE), &keys).await?;
            for (key, row) in found {
                let tuple = Tuple::of(&row).map_err(|error| misfit::<M>(&error))?;
                if let Some(history_writer) = &mut self.history_writer {
                    history_writer.see(&key, &tuple);
                }
                self.bytes += self.remember(&key, tuple.bytes().len(), true);
                self.rows.rows.insert(key, row);
            }
            Ok(())
        })
    }

    fn fold(&mut self, event: &RecordedEvent) -> Result<(), ProjectError> {
        let changed = fold_one::<M>(event, &mut self.rows)?;
        if self.appends() {
            return self.appended.add(&mut self.rows, &changed);
        }
        for key in &changed {
            if let Some(history_writer) = &mut self.history_writer {
                let noted = history_writer.note(event, key, self.rows.get(key));
                noted.map_err(|error| misfit::<M>(&error))?;
            }
            self.touch(key, event.data.get().len());
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let (kept, pending) = self.history_writer.as_ref().map_or((0, 0), HistoryWriter::bytes);
        self.bytes + kept + pending + self.appended.len()
    }

    fn full(&self, limit: usize) -> bool {
        self.size() > limit || self.appended.len() > APPENDED
    }

    fn crowded(&self, limit: usize) -> bool {
        let (kept, _) = self.history_writer.as_ref().map_or((0, 0), HistoryWriter::bytes);
        self.bytes + kept > limit
    }

    fn take(&mut self, indexed: bool, keep: bool) -> Result<Vec<Write>, ProjectError> {
        let table = self.target.name(M::TABLE);
        let mut writes = self.appended.take(&table, indexed);
        writes.extend(self.changed()?);
        if let Some(history_writer) = &mut self.history_writer {
            writes.extend(history_writer.take());
        }
        if M::APPEND_ONLY || !keep {
            self.leave();
        }
        Ok(writes)
    }
}
