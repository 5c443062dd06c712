//! Live clients: `graphql-transport-ws` over a real socket.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};

use super::Client;

/// How long a test waits for one message.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The fields of every kind of item of a job's feed.
pub const JOB_FEED: &str = "subscription($id: ID!, $after: Long) { jobFeed(jobId: $id, after: $after) { __typename \
    ... on JobSnapshot { position job { state step } } \
    ... on JobDelta { position event state attempt message } \
    ... on JobMetricBatch { position step totalSteps points { step loss } evaluations { step loss } } \
    ... on JobLogChunk { position lines { level message step } } \
    ... on FeedGap { position reason } ... on FeedHeartbeat { position } ... on FeedEnd { position state reason } } }";

/// One subscription on a socket of its own.
pub struct Feed {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Feed {
    /// Subscribes.
    ///
    /// # Panics
    /// When the server refuses the socket.
    pub async fn open(client: &Client, query: &str, variables: Value) -> Self {
        let url = format!("{}/graphql", client.url.replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("a URL");
        let protocol = HeaderValue::from_static("graphql-transport-ws");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let (mut socket, _) = connect_async(request).await.expect("a socket");
        let token = client.token.clone().unwrap_or_default();
        let init =
            json!({ "type": "connection_init", "payload": { "authorization": format!("Bearer {token}") } });
        socket.send(Message::text(init.to_string())).await.expect("sent");
        let mut feed = Self { socket };
        let ack = feed.message().await.expect("an acknowledgement");
        assert_eq!(ack["type"], "connection_ack", "{ack}");
        let subscribe =
            json!({ "id": "1", "type": "subscribe", "payload": { "query": query, "variables": variables } });
        feed.socket
            .send(Message::text(subscribe.to_string()))
            .await
            .expect("sent");
        feed
    }

    /// Follows a job.
    pub async fn of_job(client: &Client, job: &str, after: Option<&str>) -> Self {
        Self::open(client, JOB_FEED, json!({ "id": job, "after": after })).await
    }

    async fn message(&mut self) -> Option<Value> {
        loop {
            let message = tokio::time::timeout(TIMEOUT, self.socket.next())
                .await
                .expect("a message in time");
            match message {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next item, or the error that ended the feed; `None` at its end.
    ///
    /// # Panics
    /// When nothing comes for a minute.
    pub async fn next(&mut self) -> Option<Result<Value, Value>> {
        let message = self.message().await?;
        match message["type"].as_str() {
            Some("next") if message["payload"].get("errors").is_some() => {
                Some(Err(message["payload"]["errors"].clone()))
            }
            Some("next") => Some(Ok(message["payload"]["data"]["jobFeed"].clone())),
            Some("error") => Some(Err(message["payload"].clone())),
            _ => None,
        }
    }

    /// Runs another operation on the same socket; its first response, or the errors for which it was not run. Messages of
    /// the subscription that come meanwhile are passed over.
    ///
    /// # Panics
    /// When the socket ends or nothing comes for a minute.
    pub async fn run(&mut self, id: &str, query: &str, variables: Value) -> Result<Value, Value> {
        let subscribe =
            json!({ "id": id, "type": "subscribe", "payload": { "query": query, "variables": variables } });
        self.socket
            .send(Message::text(subscribe.to_string()))
            .await
            .expect("sent");
        loop {
            let message = self.message().await.expect("the socket is open");
            match message["type"].as_str() {
                _ if message["id"] != id => {}
                Some("next") => return Ok(message["payload"].clone()),
                Some("error") => return Err(message["payload"].clone()),
                _ => panic!("the operation ended without a response: {message}"),
            }
        }
    }

    /// Everything up to the end of the feed.
    ///
    /// # Panics
    /// When the feed ends by an error.
    pub async fn to_end(&mut self) -> Vec<Value> {
        let mut items = Vec::new();
        while let Some(item) = self.next().await {
            items.push(item.unwrap_or_else(|error| panic!("the feed ended by {error}")));
        }
        items
    }

    /// Waits for the first item that `wanted` accepts.
    ///
    /// # Panics
    /// When the feed ends before.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let item = self
                .next()
                .await
                .expect("the feed goes on")
                .unwrap_or_else(|error| panic!("{error}"));
            if wanted(&item) {
                return item;
            }
        }
    }
}
