//! Statements that write many rows at once.
//!
//! One rule: every parameter is an array with one element for each row, in PostgreSQL's binary form, so that one text
//! serves for any number of rows. The arrays stand in the select list: in `from` each would be stored once more.

use sqlx::{
    AssertSqlSafe, Encode, PgConnection, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgTypeInfo},
};

use super::{
    ProjectError, Query,
    column::{ColumnValue, Kind},
    row::Tuple,
};

/// An array, encoded.
#[derive(Clone, Debug)]
pub(crate) struct Array {
    kind: Kind,
    elements: Vec<u8>,
    count: i32,
}

impl Array {
    /// Of no element.
    pub(super) fn of(kind: Kind) -> Self {
        Self {
            kind,
            elements: Vec::new(),
            count: 0,
        }
    }

    /// Appends an element that is encoded after its length.
    pub(super) fn push(&mut self, field: &[u8]) {
        self.elements.extend_from_slice(field);
        self.count += 1;
    }

    /// Of these values.
    pub(super) fn collect<T: ColumnValue>(values: impl IntoIterator<Item = T>) -> Self {
        let (mut array, mut tuple) = (Self::of(T::KIND), Tuple::default());
        for value in values {
            tuple.clear();
            tuple.value(&value);
            array.push(tuple.bytes());
        }
        array
    }
}

impl Type<Postgres> for Array {
    fn type_info() -> PgTypeInfo {
        Kind::Text.array()
    }
}

impl Encode<'_, Postgres> for Array {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        // Dimensions, whether there are NULLs (which PostgreSQL finds by itself), the type, the length, the first index.
        for number in [1, 0, self.kind.oid().cast_signed(), self.count, 1] {
            buffer.extend_from_slice(&number.to_be_bytes());
        }
        buffer.extend_from_slice(&self.elements);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.kind.array())
    }
}

/// Stands for the next parameter in the text of a [`Statement`].
const PARAMETER: &str = "$?";

/// A statement that writes rows.
#[derive(Clone, Debug)]
pub struct Statement {
    sql: String,
    arrays: Vec<Array>,
    /// The table of the read model.
    table: &'static str,
    /// The table that must have its key before.
    pub(crate) needs_key: Option<String>,
    /// How many rows it has to change.
    pub(crate) expects: Option<u64>,
}

impl Statement {
    /// Of the read model of `table`. `sql` has one `$?` for each of `arrays`, which it casts to the array's type.
    pub(super) fn new(table: &'static str, sql: String, arrays: Vec<Array>) -> Self {
        Self {
            sql,
            arrays,
            table,
            needs_key: None,
            expects: None,
        }
    }

    /// As text, with parameters from number `next` on, which is moved behind them.
    pub(crate) fn numbered(&self, next: &mut usize) -> String {
        let mut pieces = self.sql.split(PARAMETER);
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            text.push_str(&format!("${next}{piece}"));
            *next += 1;
        }
        text
    }

    /// Binds its parameters, in the order of their numbers.
    pub(crate) fn bind<'q>(&'q self, query: Query<'q>) -> Query<'q> {
        self.arrays.iter().fold(query, Query::bind)
    }

    /// Runs it: how many rows were written.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn execute(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let text = self.numbered(&mut 1);
        let query = self.bind(sqlx::query(AssertSqlSafe(text)));
        Ok(query.execute(connection).await?.rows_affected())
    }

    /// Whether it changed the rows that it had to.
    ///
    /// # Errors
    /// When it did not.
    pub(crate) fn check(&self, written: u64) -> Result<(), ProjectError> {
        match self.expects {
            Some(expected) if expected != written => Err(ProjectError::past(self.table)),
            _ => Ok(()),
        }
    }

    /// About how many bytes it sends.
    pub(crate) fn size(&self) -> usize {
        self.arrays.iter().map(|array| array.elements.len()).sum()
    }
}

/// Parameters for the columns of `tuples`.
pub(super) fn arrays<'t>(kinds: &[Kind], tuples: impl Iterator<Item = &'t Tuple>) -> Vec<Array> {
    let mut arrays: Vec<Array> = kinds.iter().copied().map(Array::of).collect();
    for tuple in tuples {
        for (place, array) in arrays.iter_mut().enumerate() {
            array.push(tuple.field(place));
        }
    }
    arrays
}

/// `unnest` of one parameter for each column.
pub(super) fn unnested(kinds: &[Kind]) -> String {
    let each = kinds
        .iter()
        .map(|kind| format!("unnest({PARAMETER}::{}[])", kind.name()));
    each.collect::<Vec<_>>().join(", ")
}
