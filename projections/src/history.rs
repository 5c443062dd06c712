//! Time travel (AU-4): read models as of any earlier log position.
//!
//! One rule: a query of the past is the query of the present over other rows. A read model that declares
//! [`ReadModel::HISTORY`] keeps a version of a row for every event that changed it, in tables beside its own
//! (`create_history` in the migrations); [`AsOf::of`] names what to select from.

mod as_of;

pub use crate::read_model::{History, HotColumns};
pub use as_of::{AsOfError, AsOfRequest, LogInstant, resolve};

use domain::event_store::Position;

use sqlx::AssertSqlSafe;

use crate::{
    position::stored,
    read_model::{Query, ReadModel, select_list},
};

/// The log position that a query reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AsOf {
    /// The present: what the read models hold.
    #[default]
    Now,
    /// After the event at this position, before the next one. [`resolve`] makes it of what a caller asks for,
    /// once the read models have got there.
    AsOf(Position),
}

impl AsOf {
    /// The SQL to select the rows of `M` from: goes between `from` and an alias. One row per key, with all columns of
    /// the table.
    #[must_use]
    pub fn of<M: ReadModel>(self) -> String {
        const {
            assert!(
                M::HISTORY.is_some() || (M::APPEND_ONLY && M::RECORDED_AT.is_some()),
                "what is asked as of a moment has a past: declare HISTORY, or RECORDED_AT where rows never change"
            );
        };
        match (self, M::HISTORY) {
            (Self::AsOf(position), Some(history)) => past(history, M::KEY, stored(position)),
            (Self::AsOf(position), None) => {
                let (table, at) = (M::TABLE, stored(position));
                let recorded_at = M::RECORDED_AT.unwrap_or(M::KEY);
                format!("(select r.* from {table} r where r.{recorded_at} <= {at})")
            }
            (Self::Now, _) => M::TABLE.to_owned(),
        }
    }

    /// The start of a statement that reads rows of `M`, which it calls `t`.
    #[must_use]
    pub fn select<M: ReadModel>(self) -> String {
        format!("select {} from {} t", select_list::<M::Row>("t"), self.of::<M>())
    }

    /// A query as of this position.
    pub(crate) fn query<'q>(self, statement: String) -> Query<'q> {
        // The past has its position in the text: nothing that a connection should remember.
        sqlx::query(AssertSqlSafe(statement)).persistent(self == Self::Now)
    }

    /// The position, if in the past.
    #[must_use]
    pub fn position(self) -> Option<Position> {
        match self {
            Self::Now => None,
            Self::AsOf(position) => Some(position),
        }
    }
}

fn past(history: History, key: &str, at: i64) -> String {
    let versions = history.table;
    let valid = format!("h.valid_from <= {at} and (h.valid_to is null or h.valid_to > {at})");
    let Some(HotColumns { table, columns }) = history.hot else {
        return format!("(select h.* from {versions} h where {valid})");
    };
    let columns: Vec<String> = columns.iter().map(|column| format!("d.{column}")).collect();
    format!(
        "(select h.*, {columns} from {versions} h cross join lateral \
         (select * from {table} o where o.{key} = h.{key} and o.valid_from <= {at} \
          order by o.valid_from desc limit 1) d where {valid})",
        columns = columns.join(", "),
    )
}
