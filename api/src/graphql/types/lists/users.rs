//! Lists of accounts.
//!
//! One rule: see [`super`].

use async_graphql::{InputObject, Result};
use projections::{identity::user, read_model::RowFilter};

use crate::graphql::{
    filters::{Conditions, Created, ListFilter},
    paging::list_order,
};

/// Filter of accounts; all conditions must match.
#[derive(Debug, Default, InputObject)]
pub struct UserFilter {
    /// Text in the username, the e-mail address, or the first or last name, at most 100 characters; case-insensitive.
    pub name_contains: Option<String>,
    /// With a verified e-mail address, or without.
    pub verified: Option<bool>,
    /// Disabled, or not.
    pub deactivated: Option<bool>,
    /// When the account was registered.
    #[graphql(flatten)]
    pub created: Created,
}

impl ListFilter for UserFilter {
    fn rows(self) -> Result<RowFilter> {
        let name = self.name_contains.as_deref();
        let conditions = Conditions::default()
            .contains("filter.nameContains", &user::NAMES, name)?
            .is(user::VERIFIED, self.verified)
            .is(user::DEACTIVATED, self.deactivated)
            .created(user::CREATED, self.created);
        Ok(conditions.rows())
    }
}

list_order! {
    /// Order of accounts.
    UserOrder by
    /// What accounts can be ordered by.
    UserOrderField = Created {
        /// Time of registration.
        Created,
        /// Username.
        Name => user::USERNAME,
    }
}
