//! Rows of a shadow that are only ever put: encoded as they come, and not kept.
//!
//! One rule: a row that is put again takes the place of the one before. In a table with a key that is asked for; without
//! one, the row that came last stays when the key is made.

use std::{collections::BTreeMap, marker::PhantomData};

use super::{
    ProjectError, ReadModel, Rows,
    copy::Binary,
    row::{Row as _, Tuple, place},
    stored::{self, misfit},
    write::Write,
};

/// Rows that are not handed out yet.
pub(super) struct Appended<M: ReadModel> {
    rows: Binary,
    /// Room to encode a row in.
    encoded: Tuple,
    model: PhantomData<fn(M)>,
}

impl<M: ReadModel> Default for Appended<M> {
    fn default() -> Self {
        Self {
            rows: Binary::of(M::Row::COLUMNS.len()),
            encoded: Tuple::default(),
            model: PhantomData,
        }
    }
}

impl<M: ReadModel> Appended<M> {
    /// Takes the rows under `keys` out of `rows`.
    ///
    /// # Errors
    /// When a row cannot be encoded.
    pub(super) fn add(&mut self, rows: &mut Rows<M::Row>, keys: &[String]) -> Result<(), ProjectError> {
        rows.changed.clear();
        for row in keys.iter().filter_map(|key| rows.rows.remove(key)) {
            self.encoded.clear();
            row.encode(&mut self.encoded)
                .map_err(|error| misfit::<M>(&error))?;
            self.rows.push(&[self.encoded.bytes()]);
        }
        Ok(())
    }

    /// Their bytes.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Hands them out, for `table`. `indexed`: it has its key.
    pub(super) fn take(&mut self, table: &str, indexed: bool) -> Vec<Write> {
        if !indexed {
            return self
                .rows
                .take(table, &stored::columns::<M>())
                .into_iter()
                .collect();
        }
        let key = place::<M::Row>(M::KEY).unwrap_or_default();
        let tuples = self.rows.tuples();
        let last: BTreeMap<&[u8], &Tuple> = tuples.iter().map(|tuple| (tuple.field(key), tuple)).collect();
        let writes = match last.is_empty() {
            true => Vec::new(),
            false => vec![Write::Statement(stored::upsert::<M>(table, last.into_values()))],
        };
        self.rows.clear();
        writes
    }
}
