//! Writes the versions of rows that events produce, together with the rows.
//!
//! One rule: each event that changes a row makes one version of it, whatever else the same page holds. Two versions are the
//! same when they are encoded the same.

use std::{collections::HashMap, sync::Arc};

use domain::event_store::RecordedEvent;
use time::OffsetDateTime;

use super::{
    ReadModel, Statement, Target, Write,
    column::Kind,
    copy::Binary,
    row::{Row, RowError, Tuple, place},
    statement::{self, Array},
};
use crate::position::stored;

/// Estimated bytes that a version takes in memory beside its values: counters, keys, entries of maps.
const OVERHEAD: usize = 384;

/// The pending versions of the rows of one read model.
pub(crate) struct HistoryWriter {
    target: Target,
    table: &'static str,
    key: &'static str,
    key_type: &'static str,
    versions: VersionTrack,
    /// Of the hot columns, where they are kept apart.
    hot: Option<VersionTrack>,
    /// Room to encode a row in.
    encoded: Tuple,
}

/// Versions of one group of columns.
struct VersionTrack {
    /// The table that holds them.
    table: &'static str,
    /// Whether a version stores where it ends; versions of hot columns end where the next one begins.
    bounded: bool,
    /// Its columns, by name and type, and their places in the row.
    names: Vec<&'static str>,
    kinds: Vec<Kind>,
    places: Vec<usize>,
    /// What the newest version of a key holds; nothing for a key without a row.
    latest: HashMap<String, Arc<Tuple>>,
    /// Where the version ends that is written already.
    ends: HashMap<String, i64>,
    added: Vec<Version>,
    /// Which of `added` is the newest version of a key.
    newest: HashMap<String, usize>,
    /// Estimated bytes of `latest`, and of `added`.
    kept: usize,
    pending: usize,
}

/// What a row holds from one event on.
struct Version {
    columns: Arc<Tuple>,
    from: i64,
    at: OffsetDateTime,
    /// Where it ends, if that is known.
    to: Option<i64>,
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
        let history = M::HISTORY?;
        let is_hot = |name: &str| history.hot.is_some_and(|hot| hot.columns.contains(&name));
        let hot = history
            .hot
            .map(|hot| VersionTrack::of::<M::Row>(hot.table, false, |name| name == M::KEY || is_hot(name)));
        Some(Self {
            target,
            table: M::TABLE,
            key: M::KEY,
            key_type: M::KEY_TYPE,
            versions: VersionTrack::of::<M::Row>(history.table, true, |name| !is_hot(name)),
            hot,
            encoded: Tuple::default(),
        })
    }

    fn tracks(&mut self) -> impl Iterator<Item = &mut VersionTrack> {
        std::iter::once(&mut self.versions).chain(self.hot.as_mut())
    }

    /// A row as it is stored, before events change it.
    pub(crate) fn see(&mut self, key: &str, row: &Tuple) {
        self.tracks().for_each(|track| track.see(key, row));
    }

    /// Notes what `event` made of the row under `key`; `None` when it removed it.
    ///
    /// # Errors
    /// When the row cannot be encoded.
    pub(crate) fn note<R: Row>(
        &mut self,
        event: &RecordedEvent,
        key: &str,
        row: Option<&R>,
    ) -> Result<(), RowError> {
        self.encoded.clear();
        if let Some(row) = row {
            row.encode(&mut self.encoded)?;
        }
        let tuple = row.is_some().then_some(&self.encoded);
        let (position, at) = (stored(event.position), event.at);
        for track in std::iter::once(&mut self.versions).chain(self.hot.as_mut()) {
            track.note(key, tuple, position, at);
        }
        Ok(())
    }

    /// Estimated bytes of the rows that it remembers, and of the versions that are not handed out yet.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let each = std::iter::once(&self.versions).chain(&self.hot);
        each.fold((0, 0), |(kept, pending), track| {
            (kept + track.kept, pending + track.pending)
        })
    }

    /// Hands out what is to be written: the ends of versions that are stored, then the new versions.
    pub(crate) fn take(&mut self) -> Vec<Write> {
        let (target, table) = (self.target, self.table);
        let ends = std::mem::take(&mut self.versions.ends);
        let mut writes = Vec::new();
        if !ends.is_empty() {
            writes.push(Write::Statement(self.ending(&ends)));
        }
        for track in self.tracks() {
            track.ends.clear();
            writes.extend(track.take(target, table));
        }
        writes
    }

    /// Forgets a row whose versions are all handed out: before an event changes it again it has to be seen.
    pub(crate) fn forget(&mut self, key: &str) {
        self.tracks().for_each(|track| track.forget(key));
    }

    /// Ends the versions that are the newest ones stored.
    fn ending(&self, ends: &HashMap<String, i64>) -> Statement {
        let (table, key, key_type) = (self.target.name(self.versions.table), self.key, self.key_type);
        let sql = format!(
            "update {table} h set valid_to = newest.ended \
             from (select unnest($?::text[]) as key, unnest($?::bigint[]) as ended) e \
             cross join lateral (select x.{key}, x.valid_from, e.ended from {table} x where x.{key} = e.key::{key_type} \
              order by x.valid_from desc limit 1) newest \
             where h.{key} = newest.{key} and h.valid_from = newest.valid_from and h.valid_to is null"
        );
        let arrays = vec![
            Array::collect(ends.keys().cloned()),
            Array::collect(ends.values().copied()),
        ];
        let mut statement = Statement::new(self.table, sql, arrays);
        statement.needs_key = Some(table);
        statement.expects = Some(ends.len() as u64);
        statement
    }
}

/// Estimated bytes of a version in memory.
fn weight(columns: &Tuple) -> usize {
    columns.bytes().len() + OVERHEAD
}

impl VersionTrack {
    fn of<R: Row>(table: &'static str, bounded: bool, wanted: impl Fn(&str) -> bool) -> Self {
        let columns: Vec<_> = R::COLUMNS.iter().filter(|column| wanted(column.name)).collect();
        Self {
            table,
            bounded,
            names: columns.iter().map(|column| column.name).collect(),
            kinds: columns.iter().map(|column| column.kind).collect(),
            places: columns
                .iter()
                .filter_map(|column| place::<R>(column.name))
                .collect(),
            latest: HashMap::new(),
            ends: HashMap::new(),
            added: Vec::new(),
            newest: HashMap::new(),
            kept: 0,
            pending: 0,
        }
    }

    fn see(&mut self, key: &str, row: &Tuple) {
        self.remember(key, Arc::new(row.pick(&self.places)));
    }

    fn remember(&mut self, key: &str, columns: Arc<Tuple>) {
        self.kept += weight(&columns);
        if let Some(before) = self.latest.insert(key.to_owned(), columns) {
            self.kept -= weight(&before);
        }
    }

    fn note(&mut self, key: &str, row: Option<&Tuple>, position: i64, at: OffsetDateTime) {
        let known = self.latest.get(key);
        let before = known.is_some();
        let same = match (known, row) {
            (Some(known), Some(row)) => self.is_same(known, row),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        match self.newest.remove(key) {
            Some(newest) => self.added[newest].to = Some(position).filter(|_| self.bounded),
            None if before => {
                self.ends.insert(key.to_owned(), position);
            }
            None => {}
        }
        let Some(row) = row else { return self.forget(key) };
        let columns = Arc::new(row.pick(&self.places));
        self.pending += weight(&columns);
        self.remember(key, columns.clone());
        self.newest.insert(key.to_owned(), self.added.len());
        self.added.push(Version {
            columns,
            from: position,
            at,
            to: None,
        });
    }

    /// Whether a row is still what its newest version says.
    fn is_same(&self, known: &Tuple, row: &Tuple) -> bool {
        let mut each = self.places.iter().enumerate();
        each.all(|(index, place)| known.field(index) == row.field(*place))
    }

    fn forget(&mut self, key: &str) {
        self.kept -= self.latest.remove(key).map_or(0, |before| weight(&before));
    }

    /// Hands out the new versions of rows of the table `of`.
    fn take(&mut self, target: Target, of: &'static str) -> Vec<Write> {
        let added = std::mem::take(&mut self.added);
        self.newest.clear();
        self.pending = 0;
        if added.is_empty() {
            return Vec::new();
        }
        let table = target.name(self.table);
        match target {
            Target::Live => vec![Write::Statement(self.inserting(of, &table, &added))],
            Target::Shadow => self.copy(&table, added).into_iter().collect(),
        }
    }

    /// The names of the columns of the table.
    fn columns(&self) -> String {
        let beside: &[&str] = match self.bounded {
            true => &["valid_from", "valid_from_at", "valid_to"],
            false => &["valid_from", "valid_from_at"],
        };
        [self.names.as_slice(), beside].concat().join(", ")
    }

    fn inserting(&self, of: &'static str, table: &str, added: &[Version]) -> Statement {
        let mut kinds = self.kinds.clone();
        let mut arrays = statement::arrays(&kinds, added.iter().map(|version| version.columns.as_ref()));
        kinds.extend([Kind::Bigint, Kind::Timestamp]);
        arrays.push(Array::collect(added.iter().map(|version| version.from)));
        arrays.push(Array::collect(added.iter().map(|version| version.at)));
        if self.bounded {
            kinds.push(Kind::Bigint);
            arrays.push(Array::collect(added.iter().map(|version| version.to)));
        }
        let sql = format!(
            "insert into {table} ({}) select {}",
            self.columns(),
            statement::unnested(&kinds)
        );
        Statement::new(of, sql, arrays)
    }

    fn copy(&self, table: &str, added: Vec<Version>) -> Option<Write> {
        let fields = self.names.len() + if self.bounded { 3 } else { 2 };
        let (mut binary, mut beside) = (Binary::of(fields), Tuple::default());
        for version in added {
            beside.clear();
            beside.value(&version.from);
            beside.value(&version.at);
            if self.bounded {
                beside.value(&version.to);
            }
            binary.push(&[version.columns.bytes(), beside.bytes()]);
        }
        binary.take(table, &self.columns())
    }
}
