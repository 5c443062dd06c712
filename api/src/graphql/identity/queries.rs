//! Who there is, and what sessions the caller has.

use async_graphql::{Context, Object, Result};
use domain::authz::Action;
use projections::{
    history::AsOf, identity::user::UserRow, identity::user::Users, read_model, read_model::Viewer,
};

use crate::graphql::{
    as_of::ResolvedAsOf,
    context::{app, honor_min_position, require, user},
    errors::{error_with_code, read_failed},
    paging::AsOfInfo,
    paging::{Connection, List},
    reads,
    reads::Wanted,
    scalars::Long,
    types::{Session, User, UserFilter, UserOrder},
};

/// The list of accounts.
const USERS: List = List::by_id("users");

/// Queries about accounts.
#[derive(Default)]
pub struct IdentityQuery;

#[Object]
impl IdentityQuery {
    /// The signed-in account.
    async fn me(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<User>> {
        honor_min_position(context, min_position).await?;
        let id = user(context)?.user;
        let own = Viewer::of(user(context)?, app(context)?.now());
        let row = read_model::find::<Users>(&app(context)?.read_models, &own, AsOf::Now, id.0)
            .await
            .map_err(|e| read_failed(&e))?;
        let row =
            row.ok_or_else(|| error_with_code("UNAVAILABLE", "the account is not readable yet, try again"))?;
        Ok(Some(User(row)))
    }

    /// The caller's open sessions, newest first; at most 100.
    async fn sessions(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Vec<Session>>> {
        honor_min_position(context, min_position).await?;
        let (app, user) = (app(context)?, user(context)?);
        let rows = projections::identity::session::open(&app.read_models, user.user, app.now()).await;
        let rows = rows.map_err(|error| read_failed(&error))?;
        let sessions = rows.into_iter().map(|row| {
            let current = Some(row.id) == user.session;
            Session(row, current)
        });
        Ok(Some(sessions.collect()))
    }

    /// All accounts. Requires `users.read`.
    async fn users(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Filter; all accounts if omitted.")] filter: Option<UserFilter>,
        #[graphql(desc = "Order; newest first if omitted.")] order: Option<UserOrder>,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Connection<User, AsOfInfo>>> {
        require(context, Action::UsersRead, "users")?;
        honor_min_position(context, min_position).await?;
        let wanted = Wanted::of(filter, order, first, after)?;
        let node = |row: UserRow| (row.id.0.to_string(), User(row));
        let connection = reads::list::<Users, _>(context, USERS, ResolvedAsOf::NOW, wanted, node).await?;
        Ok(Some(connection))
    }
}
