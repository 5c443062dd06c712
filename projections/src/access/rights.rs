//! Who may do what: roles, permissions and quotas of accounts, at any moment (AU-4).
//!
//! One rule: what roles add up to is worked out by the same function that access decisions are made with.

use std::collections::HashMap;

use domain::{
    access::role::RoleDefinition,
    authz::{Action, UserPrincipal},
    id::UserId,
    rights::Holder,
};

use super::{
    account::{self, AccountRow, Accounts},
    assignment::{self, AssignmentRow, Assignments},
    role::{self, Roles},
    usage::{self, UsageRow},
};
use crate::{
    history::AsOf,
    paging::{Page, PageRequest},
    read_model::{ReadError, ReadModel, Row, Source, fetch_page},
};

/// What an account may do, and what it has taken of its quotas.
#[derive(Clone, Debug)]
pub struct Rights {
    /// What decisions are made from.
    pub principal: UserPrincipal,
    /// The roles, with who granted them when and why; by name.
    pub assignments: Vec<AssignmentRow>,
    /// What is taken of the quotas.
    pub usage: UsageRow,
}

/// The rights of one account; `None` when there is no such account at that moment. The parts are read one
/// after the other: they fit each other exactly for a moment of the past, which nothing changes any more.
///
/// # Errors
/// When the database fails.
pub async fn of_user(source: &impl Source, as_of: AsOf, user: UserId) -> Result<Option<Rights>, ReadError> {
    let Some(AccountRow {
        state,
        organization_id,
        ..
    }) = account::find(source, as_of, user).await?
    else {
        return Ok(None);
    };
    let assignments = assignment::of_users(source, as_of, &[user]).await?;
    let definitions = role::all(source, as_of).await?;
    let definitions = definitions.into_iter().map(|role| (role.name.clone(), role));
    let definitions: HashMap<String, RoleDefinition> = definitions.collect();
    let holder = Holder {
        user,
        session: None,
        organization: organization_id,
        account: state,
        roles: &assignments.iter().map(|held| held.role.clone()).collect(),
    };
    Ok(Some(Rights {
        principal: holder.principal(|name| definitions.get(name)),
        assignments,
        usage: usage::of_user(source, as_of, user).await?,
    }))
}

/// An account that holds a permission.
#[derive(Row)]
struct Holding {
    id: UserId,
}

/// The active accounts that hold `permission` by one of their roles, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn holders(
    source: &impl Source,
    as_of: AsOf,
    permission: Action,
    page: &PageRequest,
) -> Result<Page<UserId>, ReadError> {
    let pool = source.serving(&[Accounts::NAME, Assignments::NAME, Roles::NAME])?;
    let statement = format!(
        "select t.id from {accounts} t where state = 'active' and ($2::text is null or t.id < $2::text::uuid) \
         and exists (select from {assignments} a join {roles} r on r.name = a.role \
          where a.user_id = t.id and a.active and r.permissions ? $1) order by t.id desc limit $3",
        accounts = as_of.of::<Accounts>(),
        assignments = as_of.of::<Assignments>(),
        roles = as_of.of::<Roles>(),
    );
    let query = as_of
        .query(statement)
        .bind(permission.name())
        .bind(page.after.as_ref().map(|after| &after.key));
    let Page { rows, has_next } = fetch_page::<Holding>(pool, query, page).await?;
    let rows = rows.into_iter().map(|holding| holding.id).collect();
    Ok(Page { rows, has_next })
}
