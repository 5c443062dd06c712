//! Values and the columns that hold them.
//!
//! One rule: a value is written as PostgreSQL's binary format has it, the same in a parameter, an array, and a `COPY`.
//! Format: PostgreSQL's `typsend` functions; integers and times are big-endian.

use domain::id::{
    DatasetId, ExperimentId, JobId, ModelId, OrganizationId, ProjectId, SessionId, UserId, WorkerId,
};
use serde_json::value::RawValue;
use sqlx::postgres::{PgTypeInfo, types::Oid};
use time::OffsetDateTime;
use uuid::Uuid;

use super::text::{as_stored, without_nul};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `uuid`
    Uuid,
    /// `text`
    Text,
    /// `integer`
    Integer,
    /// `bigint`
    Bigint,
    /// `double precision`
    Double,
    /// `boolean`
    Boolean,
    /// `timestamptz`
    Timestamp,
    /// `jsonb`
    Jsonb,
    /// `json`, which is kept as it is written
    Json,
}

impl Kind {
    /// As PostgreSQL names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Bigint => "bigint",
            Self::Double => "double precision",
            Self::Boolean => "boolean",
            Self::Timestamp => "timestamp with time zone",
            Self::Jsonb => "jsonb",
            Self::Json => "json",
        }
    }

    /// The `oid` of the type in `pg_type`, which is the same in every database.
    pub(super) const fn oid(self) -> u32 {
        match self {
            Self::Uuid => 2950,
            Self::Text => 25,
            Self::Integer => 23,
            Self::Bigint => 20,
            Self::Double => 701,
            Self::Boolean => 16,
            Self::Timestamp => 1184,
            Self::Jsonb => 3802,
            Self::Json => 114,
        }
    }

    /// Arrays of the type.
    pub(super) const fn array(self) -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(match self {
            Self::Uuid => 2951,
            Self::Text => 1009,
            Self::Integer => 1007,
            Self::Bigint => 1016,
            Self::Double => 1022,
            Self::Boolean => 1000,
            Self::Timestamp => 1185,
            Self::Jsonb => 3807,
            Self::Json => 199,
        }))
    }

    /// A value of this type as text, as a key is spelled; `None` for types of which there are no keys and orders.
    pub(super) fn spell(self, value: &[u8]) -> Option<String> {
        match self {
            Self::Uuid => Uuid::read(value).ok().map(|id| id.to_string()),
            Self::Text => String::read(value).ok(),
            Self::Integer => i32::read(value).ok().map(|number| number.to_string()),
            Self::Bigint => i64::read(value).ok().map(|number| number.to_string()),
            Self::Double | Self::Boolean | Self::Timestamp | Self::Jsonb | Self::Json => None,
        }
    }
}

/// A stored value is not of the type that its field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misread;

/// A type whose values are stored in a column.
#[diagnostic::on_unimplemented(
    note = "say `#[column(text)]` of an enum or `#[column(json)]` of a structure; ids are listed in read_model/column.rs"
)]
pub trait ColumnValue: Sized {
    /// The type of the column.
    const KIND: Kind;

    /// Appends the value. `false`: it is NULL, and nothing was appended.
    fn write(&self, into: &mut Vec<u8>) -> bool;

    /// Reads what [`ColumnValue::write`] wrote.
    ///
    /// # Errors
    /// When it is something else.
    fn read(value: &[u8]) -> Result<Self, Misread>;

    /// What NULL is, if it may be there.
    #[must_use]
    fn null() -> Option<Self> {
        None
    }
}

impl<T: ColumnValue> ColumnValue for Option<T> {
    const KIND: Kind = T::KIND;

    fn write(&self, into: &mut Vec<u8>) -> bool {
        self.as_ref().is_some_and(|value| value.write(into))
    }

    fn read(value: &[u8]) -> Result<Self, Misread> {
        T::read(value).map(Some)
    }

    fn null() -> Option<Self> {
        Some(None)
    }
}

impl ColumnValue for String {
    const KIND: Kind = Kind::Text;

    fn write(&self, into: &mut Vec<u8>) -> bool {
        into.extend_from_slice(as_stored(self).as_bytes());
        true
    }

    fn read(value: &[u8]) -> Result<Self, Misread> {
        std::str::from_utf8(value).map(str::to_owned).map_err(|_| Misread)
    }
}

/// JSON as it is written, in a column of `json`.
impl ColumnValue for Box<RawValue> {
    const KIND: Kind = Kind::Json;

    fn write(&self, into: &mut Vec<u8>) -> bool {
        into.extend_from_slice(without_nul(self.get()).as_bytes());
        true
    }

    fn read(value: &[u8]) -> Result<Self, Misread> {
        serde_json::from_slice(value).map_err(|_| Misread)
    }
}

impl ColumnValue for bool {
    const KIND: Kind = Kind::Boolean;

    fn write(&self, into: &mut Vec<u8>) -> bool {
        into.push(u8::from(*self));
        true
    }

    fn read(value: &[u8]) -> Result<Self, Misread> {
        match value {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Misread),
        }
    }
}

/// Numbers, in network order.
macro_rules! numbers {
    ($($number:ty: $kind:ident),+) => {$(
        impl ColumnValue for $number {
            const KIND: Kind = Kind::$kind;

            fn write(&self, into: &mut Vec<u8>) -> bool {
                into.extend_from_slice(&self.to_be_bytes());
                true
            }

            fn read(value: &[u8]) -> Result<Self, Misread> {
                value.try_into().map(Self::from_be_bytes).map_err(|_| Misread)
            }
        }
    )+};
}

numbers!(i32: Integer, i64: Bigint, f64: Double);

/// 1 January 2000, from which PostgreSQL counts microseconds; seconds since 1970.
const EPOCH: i64 = 946_684_800;

impl ColumnValue for OffsetDateTime {
    const KIND: Kind = Kind::Timestamp;

    fn write(&self, into: &mut Vec<u8>) -> bool {
        let micros = (self.unix_timestamp() - EPOCH) * 1_000_000 + i64::from(self.microsecond());
        micros.write(into)
    }

    fn read(value: &[u8]) -> Result<Self, Misread> {
        let micros = i128::from(i64::read(value)?) + i128::from(EPOCH) * 1_000_000;
        Self::from_unix_timestamp_nanos(micros * 1_000).map_err(|_| Misread)
    }
}

impl ColumnValue for Uuid {
    const KIND: Kind = Kind::Uuid;

    fn write(&self, into: &mut Vec<u8>) -> bool {
        into.extend_from_slice(self.as_bytes());
        true
    }

    fn read(value: &[u8]) -> Result<Self, Misread> {
        Self::from_slice(value).map_err(|_| Misread)
    }
}

/// Ids are stored bare.
macro_rules! ids {
    ($($id:ty),+ $(,)?) => {$(
        impl ColumnValue for $id {
            const KIND: Kind = Kind::Uuid;

            fn write(&self, into: &mut Vec<u8>) -> bool {
                self.0.write(into)
            }

            fn read(value: &[u8]) -> Result<Self, Misread> {
                Uuid::read(value).map(Self)
            }
        }
    )+};
}

ids!(
    DatasetId,
    ExperimentId,
    JobId,
    ModelId,
    OrganizationId,
    ProjectId,
    SessionId,
    UserId,
    WorkerId,
);

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::{ColumnValue, Kind, OffsetDateTime, Uuid};

    fn written(value: &impl ColumnValue) -> Vec<u8> {
        let mut bytes = Vec::new();
        assert!(value.write(&mut bytes));
        bytes
    }

    #[test]
    fn a_time_is_counted_in_microseconds_since_2000() {
        for (time, micros) in [
            (datetime!(2000-01-01 00:00:00.000001 UTC), 1_i64),
            (datetime!(1999-12-31 23:59:59.999999 UTC), -1),
            (datetime!(2026-11-30 12:00:00.5 +2), 849_348_000_500_000),
        ] {
            assert_eq!(written(&time), micros.to_be_bytes());
            assert_eq!(OffsetDateTime::read(&written(&time)), Ok(time));
        }
    }

    #[test]
    fn null_is_only_where_it_may_be() {
        assert!(!None::<i32>.write(&mut Vec::new()));
        assert_eq!(<Option<i32> as ColumnValue>::null(), Some(None));
        assert_eq!(i32::null(), None);
        assert!(i32::read(&[0; 8]).is_err());
    }

    #[test]
    fn a_key_is_spelled_as_its_column_spells_it() {
        let id = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        let spelled = Kind::Uuid.spell(&written(&id));
        assert_eq!(spelled.as_deref(), Some("01234567-89ab-cdef-0123-456789abcdef"));
        assert_eq!(Kind::Bigint.spell(&written(&-7_i64)).as_deref(), Some("-7"));
        assert_eq!(
            Kind::Text.spell(&written(&"a\0b".to_owned())).as_deref(),
            Some("a\u{fffd}b")
        );
    }
}
