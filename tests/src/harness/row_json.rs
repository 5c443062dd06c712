//! Rows of read models as JSON, for tests that compare them by what they hold.

use projections::read_model::{ColumnValue as _, Kind, Row, Tuple};
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The columns of `row` by name.
///
/// # Panics
/// When the row cannot be encoded.
#[must_use]
pub fn row_json<R: Row>(row: &R) -> Value {
    let tuple = Tuple::of(row).expect("a row can be encoded");
    let columns = R::COLUMNS.iter().enumerate();
    let columns = columns.map(|(place, column)| {
        let value = tuple
            .get(place)
            .map_or(Value::Null, |value| json_of(column.kind, value));
        (column.name.to_owned(), value)
    });
    Value::Object(columns.collect::<Map<_, _>>())
}

fn json_of(kind: Kind, value: &[u8]) -> Value {
    let eight = || value.try_into().expect("eight bytes");
    let text = |value: &[u8]| std::str::from_utf8(value).expect("UTF-8").to_owned();
    match kind {
        Kind::Uuid => json!(uuid::Uuid::from_slice(value).expect("an id")),
        Kind::Text => json!(text(value)),
        Kind::Integer => json!(i32::from_be_bytes(value.try_into().expect("four bytes"))),
        Kind::Bigint => json!(i64::from_be_bytes(eight())),
        Kind::Timestamp => {
            let time = OffsetDateTime::read(value).expect("a time");
            json!(time.format(&Rfc3339).expect("a year of four digits"))
        }
        Kind::Double => json!(f64::from_be_bytes(eight())),
        Kind::Boolean => json!(value == [1]),
        Kind::Jsonb => serde_json::from_slice(&value[1..]).expect("JSON"),
        Kind::Json => serde_json::from_slice(value).expect("JSON"),
    }
}
