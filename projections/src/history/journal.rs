//! Writes the versions of rows, in the transaction that writes the rows.
//!
//! One rule: each event that changes a row makes one version of it, whatever else the same page holds.

use std::collections::BTreeMap;

use domain::event_store::RecordedEvent;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, PgConnection};
use time::format_description::well_known::Rfc3339;

use super::{DENSE, History, VERSIONS};
use crate::{
    read_model::{ProjectError, ReadModel, Target, without_nul},
    runner::stored,
};

type Columns = Map<String, Value>;

/// The versions that a page of events makes of the rows of one read model.
pub(crate) struct Journal {
    history: History,
    table: &'static str,
    key: &'static str,
    kind: &'static str,
    versions: Strand,
    dense: Strand,
}

/// Versions of one group of columns.
#[derive(Default)]
struct Strand {
    /// What the newest version of a key holds; nothing for a key without a row.
    latest: BTreeMap<String, Columns>,
    /// Where the version ends that was stored before this page.
    ends: BTreeMap<String, i64>,
    added: Vec<Columns>,
    /// Which of `added` is the newest version of a key.
    newest: BTreeMap<String, usize>,
}

impl Journal {
    /// For a page of events that may change `rows`, given as they are before it; `None` for a read model
    /// without a past.
    ///
    /// # Errors
    /// When a row cannot be written as JSON.
    pub(crate) fn begin<'a, M: ReadModel>(
        rows: impl IntoIterator<Item = (&'a String, &'a M::Row)>,
    ) -> Result<Option<Self>, ProjectError> {
        const {
            assert!(
                M::HISTORY.is_none() || !M::APPEND_ONLY,
                "rows that never change have no past"
            )
        };
        let Some(history) = M::HISTORY else {
            return Ok(None);
        };
        let mut journal = Self {
            history,
            table: M::TABLE,
            key: M::KEY,
            kind: M::KEY_TYPE,
            versions: Strand::default(),
            dense: Strand::default(),
        };
        for (key, row) in rows {
            let (versions, dense) = journal.split(row)?;
            journal.versions.latest.insert(key.clone(), versions);
            journal.dense.latest.insert(key.clone(), dense);
        }
        Ok(Some(journal))
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
        let (versions, dense) = match row {
            Some(row) => self
                .split(row)
                .map(|(versions, dense)| (Some(versions), Some(dense)))?,
            None => (None, None),
        };
        let position = stored(event.position);
        self.versions.note(key, versions, position, &at);
        if !self.history.dense.is_empty() {
            self.dense.note(key, dense, position, &at);
        }
        Ok(())
    }

    /// Stores the versions of the page beside the rows in `target`.
    ///
    /// # Errors
    /// When the database fails, or the stored past is not that of the stored rows.
    pub(crate) async fn save(
        self,
        connection: &mut PgConnection,
        target: Target,
    ) -> Result<(), ProjectError> {
        let versions = target.name(&format!("{}{VERSIONS}", self.table));
        self.end(connection, &versions).await?;
        self.add(connection, &versions, &self.versions.added).await?;
        let dense = target.name(&format!("{}{DENSE}", self.table));
        self.add(connection, &dense, &self.dense.added).await
    }

    /// Splits a row into the columns that are kept together and those that are kept apart.
    fn split<R: serde::Serialize>(&self, row: &R) -> Result<(Columns, Columns), ProjectError> {
        let value = serde_json::to_value(row).map_err(|error| self.misfit(error))?;
        let Value::Object(all) = value else {
            return Err(self.misfit("it is not an object"));
        };
        let often = |column: &str| self.history.dense.contains(&column);
        let (mut dense, versions): (Columns, Columns) = all.into_iter().partition(|(name, _)| often(name));
        if let Some(key) = versions.get(self.key) {
            dense.insert(self.key.to_owned(), key.clone());
        }
        Ok((versions, dense))
    }

    /// Ends the versions that were the present ones before the page.
    async fn end(&self, connection: &mut PgConnection, table: &str) -> Result<(), ProjectError> {
        if self.versions.ends.is_empty() {
            return Ok(());
        }
        let statement = format!(
            "update {table} h set valid_to = e.ended from unnest($1::text[], $2::bigint[]) e(key, ended) \
             cross join lateral (select x.{key}, x.valid_from from {table} x where x.{key} = e.key::{kind} \
              order by x.valid_from desc limit 1) newest \
             where h.{key} = newest.{key} and h.valid_from = newest.valid_from and h.valid_to is null",
            key = self.key,
            kind = self.kind,
        );
        let (keys, ends): (Vec<&str>, Vec<i64>) = self
            .versions
            .ends
            .iter()
            .map(|(key, end)| (key.as_str(), *end))
            .unzip();
        let done = sqlx::query(AssertSqlSafe(statement))
            .bind(&keys)
            .bind(&ends)
            .execute(connection)
            .await?;
        match done.rows_affected() == keys.len() as u64 {
            true => Ok(()),
            false => Err(self
                .misfit("its past does not fit its present; fold the read model anew with `anneal replay`")),
        }
    }

    async fn add(
        &self,
        connection: &mut PgConnection,
        table: &str,
        added: &[Columns],
    ) -> Result<(), ProjectError> {
        let Some(longest) = added.iter().max_by_key(|version| version.len()) else {
            return Ok(());
        };
        let list = longest.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let statement = format!(
            "insert into {table} ({list}) select {list} from jsonb_populate_recordset(null::{table}, $1::jsonb)"
        );
        let json = serde_json::to_string(added).map_err(|error| self.misfit(error))?;
        sqlx::query(AssertSqlSafe(statement))
            .bind(without_nul(json))
            .execute(connection)
            .await?;
        Ok(())
    }

    fn misfit(&self, reason: impl std::fmt::Display) -> ProjectError {
        ProjectError::Row {
            table: self.table,
            reason: reason.to_string(),
        }
    }
}

impl Strand {
    fn note(&mut self, key: &str, columns: Option<Columns>, position: i64, at: &str) {
        if self.latest.get(key) == columns.as_ref() {
            return;
        }
        let before = match &columns {
            Some(columns) => self.latest.insert(key.to_owned(), columns.clone()),
            None => self.latest.remove(key),
        };
        match self.newest.remove(key) {
            Some(newest) => {
                self.added[newest].insert("valid_to".to_owned(), position.into());
            }
            None if before.is_some() => {
                self.ends.insert(key.to_owned(), position);
            }
            None => {}
        }
        if let Some(mut version) = columns {
            version.insert("valid_from".to_owned(), position.into());
            version.insert("valid_from_at".to_owned(), at.into());
            self.newest.insert(key.to_owned(), self.added.len());
            self.added.push(version);
        }
    }
}
