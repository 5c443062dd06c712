//! The libraries alone: the same GraphQL questions to a bare server of axum, async-graphql and sqlx over the same database.
//!
//! One rule: nothing of the product is in it, neither who asks nor what may be seen, no limits, no headers, no log. What the
//! product takes beyond this is its own; what this takes it cannot save with these libraries.

use anyhow::Result;
use async_graphql::{Context, EmptyMutation, EmptySubscription, ID, Object, Request, Schema, SimpleObject};
use axum::{Json, Router, extract::State, http::header, response::IntoResponse, routing::post};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{runtime::Runtime, task::JoinHandle};

use crate::load::Question;

/// Connections to the database, as the product has them.
const POOL: u32 = 12;

/// What it is called in the figures, beside the product's.
pub(crate) const SCALAR: &str = "libraries: scalar";
/// One row.
pub(crate) const ONE_ROW: &str = "libraries: one row";
/// A list.
pub(crate) const LIST: &str = "libraries: list of 25";

type Bare = Schema<Query, EmptyMutation, EmptySubscription>;

struct Query;

#[derive(SimpleObject)]
struct Me {
    id: ID,
    username: String,
}

#[derive(SimpleObject)]
struct Experiment {
    id: ID,
    name: String,
    created_at: String,
}

#[derive(SimpleObject)]
struct PageInfo {
    end_cursor: Option<String>,
}

#[derive(SimpleObject)]
struct Experiments {
    nodes: Vec<Experiment>,
    page_info: PageInfo,
}

#[Object]
impl Query {
    async fn version(&self) -> &str {
        "0.1.0"
    }

    async fn me(&self, context: &Context<'_>) -> async_graphql::Result<Me> {
        let found = sqlx::query_as("select id::text, username from identity_user where username = $1");
        let (id, username): (String, String) = found.bind("ada").fetch_one(context.data::<PgPool>()?).await?;
        Ok(Me { id: ID(id), username })
    }

    async fn experiments(&self, context: &Context<'_>) -> async_graphql::Result<Experiments> {
        let found = sqlx::query_as(
            "select row.id::text, row.name, row.created_at::text from projects_experiment row order by row.id limit 25",
        );
        let rows: Vec<(String, String, String)> = found.fetch_all(context.data::<PgPool>()?).await?;
        let node = |(id, name, created_at)| Experiment {
            id: ID(id),
            name,
            created_at,
        };
        let nodes: Vec<Experiment> = rows.into_iter().map(node).collect();
        let end_cursor = nodes.last().map(|last| last.id.to_string());
        let page_info = PageInfo { end_cursor };
        Ok(Experiments { nodes, page_info })
    }
}

async fn answer(State(schema): State<Bare>, Json(request): Json<Request>) -> impl IntoResponse {
    let response = schema.execute(request).await;
    let json = serde_json::to_string(&response).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], json)
}

/// Serves on `server` over the database at `url`, which has rows; its questions, and what ends it when it is aborted.
pub(crate) async fn start(server: &Runtime, url: &str) -> Result<(Vec<Question>, JoinHandle<()>)> {
    let url = url.to_owned();
    let (address, serving) = server
        .spawn(async move {
            let pool = PgPoolOptions::new().max_connections(POOL);
            let pool = pool.test_before_acquire(false).connect(&url).await?;
            let schema = Schema::build(Query, EmptyMutation, EmptySubscription)
                .data(pool)
                .finish();
            let router = Router::new().route("/graphql", post(answer)).with_state(schema);
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let serving = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
            anyhow::Ok((address, serving))
        })
        .await??;
    let url = format!("http://{address}/graphql");
    let list = "{ experiments { nodes { id name createdAt } pageInfo { endCursor } } }";
    let questions = vec![
        Question::unsigned(SCALAR, &url, "{ version }", "\"version\"")?,
        Question::unsigned(ONE_ROW, &url, "{ me { id username } }", "\"ada\"")?,
        Question::unsigned(LIST, &url, list, "\"nodes\":[{")?,
    ];
    Ok((questions, serving))
}
