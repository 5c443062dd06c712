//! The system itself, and anything by its id.

use async_graphql::{Context, ID, Object, Result, SimpleObject};

use super::{
    context::app,
    types::{Node, find_node},
};

/// Public information about the server.
#[derive(SimpleObject)]
pub struct ServerInfo {
    /// The version of Anneal.
    pub version: &'static str,
    /// Whether the first administrator exists; if not, only `createFirstAdministrator` works.
    pub set_up: bool,
    /// Whether self-registration is enabled.
    pub self_registration: bool,
}

/// Queries of the system.
#[derive(Default)]
pub struct SystemQuery;

#[Object]
impl SystemQuery {
    /// The version of the server.
    async fn version(&self, context: &Context<'_>) -> Result<Option<&'static str>> {
        Ok(Some(app(context)?.settings.version))
    }

    /// Public information about the server.
    async fn server(&self, context: &Context<'_>) -> Result<Option<ServerInfo>> {
        let app = app(context)?;
        Ok(Some(ServerInfo {
            version: app.settings.version,
            set_up: app.directory.is_set_up(),
            self_registration: app.settings.self_registration,
        }))
    }

    /// An object by its global ID; null if it does not exist or is not visible to the caller. Only the queries of the
    /// types take `minPosition`.
    async fn node(&self, context: &Context<'_>, #[graphql(desc = "The id.")] id: ID) -> Result<Option<Node>> {
        find_node(context, &id).await
    }
}
