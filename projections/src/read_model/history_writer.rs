//! Writes the versions of rows that events produce, together with the rows.
//!
//! One rule: each event that changes a row makes one version of it, whatever else the same page holds.

use std::{borrow::Cow, collections::HashMap};

use domain::event_store::RecordedEvent;
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use time::format_description::well_known::Rfc3339;

use super::{
    ProjectError, ReadModel, Target, Write,
    history::History,
    stored::{as_stored, without_nul},
};
use crate::position::stored;

/// Versions that are written by one statement.
const CHUNK: usize = 2_000;

type Columns = Map<String, Value>;

/// The pending versions of the rows of one read model.
pub(crate) struct HistoryWriter {
    history: History,
    target: Target,
    table: &'static str,
    key: &'static str,
    kind: &'static str,
    versions: VersionTrack,
    hot: VersionTrack,
}

/// Versions of one group of columns.
#[derive(Default)]
struct VersionTrack {
    /// Whether a version stores where it ends; versions of hot columns end where the next one begins.
    bounded: bool,
    /// What the newest version of a key holds; nothing for a key without a row.
    latest: HashMap<String, Columns>,
    /// Where the version ends that is written already.
    ends: HashMap<String, i64>,
    added: Vec<Columns>,
    /// Which of `added` is the newest version of a key.
    newest: HashMap<String, usize>,
}

impl HistoryWriter {
    /// For the tables of `M` at `target`; `None` for a read model without a past.
    pub(crate) fn of<M: ReadModel>(target: Target) -> Option<Self> {
        const {
            assert!(
                M::HISTORY.is_none() || !M::APPEND_ONLY,
                "rows that never change have no past"
            );
        };
        Some(Self {
            history: M::HISTORY?,
            target,
            table: M::TABLE,
            key: M::KEY,
            kind: M::KEY_TYPE,
            versions: VersionTrack {
                bounded: true,
                ..VersionTrack::default()
            },
            hot: VersionTrack::default(),
        })
    }

    /// A row as it is stored, before events change it.
    ///
    /// # Errors
    /// When the row cannot be written as JSON.
    pub(crate) fn see<R: serde::Serialize>(&mut self, key: &str, row: &R) -> Result<(), ProjectError> {
        let (versions, hot) = self.split(row)?;
        self.versions.latest.insert(key.to_owned(), versions);
        self.hot.latest.insert(key.to_owned(), hot);
        Ok(())
    }

    /// Notes what `event` made of the row under `key`; `None` when it removed it.
    ///
    /// # Errors
    /// When the row cannot be written as JSON.
    pub(crate) fn note<R: serde::Serialize>(
        &mut self,
        event: &RecordedEvent,
        key: &str,
        row: Option<&R>,
    ) -> Result<(), ProjectError> {
        let at = event.at.format(&Rfc3339).map_err(|error| self.misfit(error))?;
        let (versions, hot) = match row {
            Some(row) => self
                .split(row)
                .map(|(versions, hot)| (Some(versions), Some(hot)))?,
            None => (None, None),
        };
        let position = stored(event.position);
        self.versions.note(key, versions, position, &at);
        if self.history.hot.is_some() {
            self.hot.note(key, hot, position, &at);
        }
        Ok(())
    }

    /// Hands out what is to be written: the ends of versions that are stored, then the new versions.
    ///
    /// # Errors
    /// When a version cannot be written as JSON.
    pub(crate) fn take(&mut self) -> Result<Vec<Write>, ProjectError> {
        let (ends, versions) = self.versions.take();
        let (_, hot) = self.hot.take();
        let mut writes = Vec::new();
        if !ends.is_empty() {
            writes.push(self.ending(&ends)?);
        }
        for (table, added) in self.history.tables().zip([versions, hot]) {
            for some in added.chunks(CHUNK) {
                writes.extend(self.adding(table, some)?);
            }
        }
        Ok(writes)
    }

    /// Forgets all rows: those that events change from now on have to be seen first.
    pub(crate) fn forget(&mut self) {
        self.versions.latest.clear();
        self.hot.latest.clear();
    }

    /// Writes the versions beside the rows, inside the transaction of `connection`.
    ///
    /// # Errors
    /// When the database fails, or the stored past is not that of the stored rows.
    pub(crate) async fn save(&mut self, connection: &mut PgConnection) -> Result<(), ProjectError> {
        let ends = self.versions.ends.len() as u64;
        for write in self.take()? {
            let (statement, json, expected) = match write {
                Write::Upsert { statement, json, .. } => (statement, json, Some(ends)),
                Write::Versions { statement, json } => (statement, json, None),
                Write::Copy { .. } => continue,
            };
            let done = sqlx::query(AssertSqlSafe(statement)).bind(json);
            let rows = done.execute(&mut *connection).await?.rows_affected();
            if expected.is_some_and(|expected| expected != rows) {
                let what = "its past does not fit its present; fold it anew with `anneal replay`";
                return Err(self.misfit(what));
            }
        }
        Ok(())
    }

    /// Splits a row into the columns that are kept together and those that are kept apart.
    fn split<R: serde::Serialize>(&self, row: &R) -> Result<(Columns, Columns), ProjectError> {
        let mut value = serde_json::to_value(row).map_err(|error| self.misfit(error))?;
        // A row that was just folded and the same row from the table are one version.
        respell(&mut value);
        let Value::Object(all) = value else {
            return Err(self.misfit("it is not an object"));
        };
        let Some(apart) = self.history.hot else {
            return Ok((all, Columns::new()));
        };
        let often = |column: &str| apart.columns.contains(&column);
        let (mut hot, versions): (Columns, Columns) = all.into_iter().partition(|(name, _)| often(name));
        if let Some(key) = versions.get(self.key) {
            hot.insert(self.key.to_owned(), key.clone());
        }
        Ok((versions, hot))
    }

    /// Ends the versions that are the newest ones stored.
    fn ending(&self, ends: &HashMap<String, i64>) -> Result<Write, ProjectError> {
        let table = self.target.name(self.history.table);
        let statement = format!(
            "update {table} h set valid_to = e.ended from jsonb_to_recordset($1::jsonb) e(key text, ended bigint) \
             cross join lateral (select x.{key}, x.valid_from from {table} x where x.{key} = e.key::{kind} \
              order by x.valid_from desc limit 1) newest \
             where h.{key} = newest.{key} and h.valid_from = newest.valid_from and h.valid_to is null",
            key = self.key,
            kind = self.kind,
        );
        let ends: Vec<Value> = ends
            .iter()
            .map(|(key, ended)| json!({ "key": key, "ended": ended }))
            .collect();
        Ok(Write::Upsert {
            table,
            statement,
            json: self.text(&ends)?,
        })
    }

    fn adding(&self, table: &str, added: &[Columns]) -> Result<Option<Write>, ProjectError> {
        let Some(longest) = added.iter().max_by_key(|version| version.len()) else {
            return Ok(None);
        };
        let table = self.target.name(table);
        let list = longest.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let statement = format!(
            "insert into {table} ({list}) select {list} from jsonb_populate_recordset(null::{table}, $1::jsonb)"
        );
        let json = self.text(added)?;
        Ok(Some(Write::Versions { statement, json }))
    }

    fn text<T: serde::Serialize>(&self, rows: &[T]) -> Result<String, ProjectError> {
        serde_json::to_string(rows)
            .map(without_nul)
            .map_err(|error| self.misfit(error))
    }

    fn misfit(&self, reason: impl std::fmt::Display) -> ProjectError {
        ProjectError::Row {
            table: self.table,
            reason: reason.to_string(),
        }
    }
}

/// Spells every text as the database does.
fn respell(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(stored) = as_stored(text) {
                *text = stored;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(respell),
        Value::Object(fields) => fields.values_mut().for_each(respell),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl VersionTrack {
    fn note(&mut self, key: &str, columns: Option<Columns>, position: i64, at: &str) {
        if self.latest.get(key) == columns.as_ref() {
            return;
        }
        let before = match &columns {
            Some(columns) => self.latest.insert(key.to_owned(), columns.clone()),
            None => self.latest.remove(key),
        };
        match self.newest.remove(key) {
            Some(newest) if self.bounded => {
                self.added[newest].insert("valid_to".to_owned(), position.into());
            }
            None if before.is_some() => {
                self.ends.insert(key.to_owned(), position);
            }
            _ => {}
        }
        if let Some(mut version) = columns {
            version.insert("valid_from".to_owned(), position.into());
            version.insert("valid_from_at".to_owned(), at.into());
            self.newest.insert(key.to_owned(), self.added.len());
            self.added.push(version);
        }
    }

    fn take(&mut self) -> (HashMap<String, i64>, Vec<Columns>) {
        self.newest.clear();
        (std::mem::take(&mut self.ends), std::mem::take(&mut self.added))
    }
}
