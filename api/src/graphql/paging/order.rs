//! The orders of lists, as clients ask for them.
//!
//! One rule: an order is by a column that always has a value, or by the key; with the key behind it, it is total.

use async_graphql::Enum;
use projections::paging::Column;

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// What cursors call it.
    pub name: &'static str,
    /// By this column; `None`: by the key.
    pub column: Option<Column>,
    /// The smallest first.
    pub ascending: bool,
}

impl Sort {
    /// By the key, which is the order in which things came to be, the newest first.
    pub const NEWEST_FIRST: Self = Self::by(None, None);

    /// By `column`, or by the key. Unless a direction is asked for, keys go from the newest, values from the smallest.
    #[must_use]
    pub const fn by(column: Option<Column>, direction: Option<SortDirection>) -> Self {
        let name = match column {
            Some(column) => column.name,
            None => "created",
        };
        let ascending = match direction {
            Some(SortDirection::Ascending) => true,
            Some(SortDirection::Descending) => false,
            None => column.is_some(),
        };
        Self {
            name,
            column,
            ascending,
        }
    }
}

/// Direction of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum SortDirection {
    /// The smallest, first in the alphabet, or oldest first.
    Ascending,
    /// The greatest, last in the alphabet, or newest first.
    Descending,
}

/// An order that clients can ask for.
pub trait ListOrder {
    /// What it stands for.
    fn sort(self) -> Sort;
}

/// Declares the orders of a list: its input, and the enum of what it can be ordered by, with what it is ordered by if
/// nobody says.
macro_rules! list_order {
    (
        $(#[$doc:meta])*
        $order:ident by $(#[$by_doc:meta])* $by:ident = $default:ident {
            $(#[$created_doc:meta])* Created,
            $($(#[$field_doc:meta])* $field:ident => $column:expr),* $(,)?
        }
    ) => {
        $(#[$by_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, async_graphql::Enum)]
        pub enum $by {
            $(#[$created_doc])*
            Created,
            $($(#[$field_doc])* $field),*
        }

        $(#[$doc])*
        #[derive(Debug, async_graphql::InputObject)]
        pub struct $order {
            /// What it goes by.
            #[graphql(default)]
            pub by: $by,
            /// Direction; if omitted, newest first by time of creation, and ascending by anything else.
            pub direction: Option<$crate::graphql::paging::SortDirection>,
        }

        impl Default for $by {
            fn default() -> Self {
                Self::$default
            }
        }

        impl $crate::graphql::paging::ListOrder for $order {
            fn sort(self) -> $crate::graphql::paging::Sort {
                let column = match self.by {
                    $by::Created => None,
                    $($by::$field => Some($column)),*
                };
                $crate::graphql::paging::Sort::by(column, self.direction)
            }
        }
    };
}
pub(crate) use list_order;
