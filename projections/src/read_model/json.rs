//! Rows as JSON, for what compares them by what they hold and knows none of them: contracts and tests.
//!
//! One rule: a value is shown as its column has it, not as its field writes itself.

use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::{
    column::{ColumnValue, Kind, Misread},
    row::{Row, RowError, Tuple},
};

/// The columns of `row` by name.
///
/// # Errors
/// When the row cannot be encoded.
pub fn row_json<R: Row>(row: &R) -> Result<Value, RowError> {
    let tuple = Tuple::of(row)?;
    let mut columns = Map::new();
    for (place, column) in R::COLUMNS.iter().enumerate() {
        let value = tuple.get(place).map(|value| json_of(column.kind, value));
        let value = value.transpose().map_err(|Misread| RowError {
            column: column.name,
            reason: format!("it is no {}", column.kind.name()),
        })?;
        columns.insert(column.name.to_owned(), value.unwrap_or_default());
    }
    Ok(Value::Object(columns))
}

fn json_of(kind: Kind, value: &[u8]) -> Result<Value, Misread> {
    let parsed = |json: &[u8]| serde_json::from_slice(json).map_err(|_| Misread);
    Ok(match kind {
        Kind::Uuid => json!(Uuid::read(value)?),
        Kind::Text => json!(String::read(value)?),
        Kind::Integer => json!(i32::read(value)?),
        Kind::Bigint => json!(i64::read(value)?),
        Kind::Double => json!(f64::read(value)?),
        Kind::Boolean => json!(bool::read(value)?),
        Kind::Timestamp => {
            let time = OffsetDateTime::read(value)?.format(&Rfc3339);
            json!(time.map_err(|_| Misread)?)
        }
        // Its version stands before it.
        Kind::Jsonb => parsed(value.get(1..).unwrap_or_default())?,
        Kind::Json => parsed(value)?,
    })
}
