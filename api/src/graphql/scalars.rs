//! Scalars of our own.

use async_graphql::{Error, InputValueError, InputValueResult, Result, Scalar, ScalarType, Value, to_value};
use domain::{clock::to_micros, event_store::Position};
use serde::Serialize;
use serde_json::value::RawValue;
use time::{OffsetDateTime, UtcOffset};

/// A whole number of up to 64 bits, written as a decimal string so that no client loses digits. As input
/// a number is taken too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Long(pub u64);

/// A whole number of up to 64 bits, written as a decimal string so that no client loses digits. As input a number is
/// taken too. It is ProtoJSON's `uint64`.
#[Scalar(specified_by_url = "https://protobuf.dev/programming-guides/json/")]
impl ScalarType for Long {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::Number(number) => number.as_u64().map(Self),
            Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok().map(Self)
            }
            _ => None,
        }
        .ok_or_else(|| InputValueError::custom("expected a whole number from 0 to 18446744073709551615"))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

impl From<Position> for Long {
    fn from(position: Position) -> Self {
        Self(position.0)
    }
}

impl From<i64> for Long {
    fn from(value: i64) -> Self {
        Self(u64::try_from(value).unwrap_or_default())
    }
}

/// A point in time, as RFC 3339 writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime(pub OffsetDateTime);

/// A point in time in the form of RFC 3339. Answers are in UTC (`2026-11-30T04:00:19.123456Z`); inputs may have any
/// offset.
#[Scalar(specified_by_url = "https://www.rfc-editor.org/rfc/rfc3339")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let time = <OffsetDateTime as ScalarType>::parse(value).map_err(InputValueError::propagate)?;
        stored(time)
            .map(Self)
            .ok_or_else(|| InputValueError::custom("a time has to lie in the years 0000 to 9999 of UTC"))
    }

    fn to_value(&self) -> Value {
        self.0.to_value()
    }
}

/// A time as it is stored and read back: in UTC, in whole microseconds; `None` for what cannot be.
fn stored(time: OffsetDateTime) -> Option<OffsetDateTime> {
    let utc = to_micros(time.checked_to_offset(UtcOffset::UTC)?);
    (0..=9_999).contains(&utc.year()).then_some(utc)
}

impl From<OffsetDateTime> for DateTime {
    fn from(time: OffsetDateTime) -> Self {
        Self(time)
    }
}

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonValue(Value);

impl JsonValue {
    /// The JSON of `value`.
    ///
    /// # Errors
    /// When it has none, which is a defect.
    pub fn of(value: &impl Serialize) -> Result<Self> {
        to_value(value)
            .map(Self)
            .map_err(|error| Error::new(error.to_string()))
    }

    /// The value that `json` is.
    ///
    /// # Errors
    /// When GraphQL has no such value, which is a defect.
    pub fn read(json: &RawValue) -> Result<Self> {
        serde_json::from_str(json.get())
            .map(Self)
            .map_err(|error| Error::new(error.to_string()))
    }
}

/// Any JSON value.
#[Scalar(name = "JSON", specified_by_url = "https://www.rfc-editor.org/rfc/rfc8259")]
impl ScalarType for JsonValue {
    fn parse(value: Value) -> InputValueResult<Self> {
        Ok(Self(value))
    }

    fn to_value(&self) -> Value {
        self.0.clone()
    }
}
