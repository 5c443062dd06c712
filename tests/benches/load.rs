//! Many clients at once, each asking again as soon as it is answered.
//!
//! One rule: an answer that is not the right one ends the measurement; errors are fast, and would look good.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use reqwest::{
    Client, Method, Request,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::json;

use crate::numbers::milliseconds;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Requests that are sent again and again: each connection has its own, or shares it with others.
pub(crate) struct Question {
    /// What it is called in the figures.
    pub(crate) name: &'static str,
    requests: Vec<Request>,
    /// What a right answer contains.
    expected: &'static str,
}

impl Question {
    /// A `GET` without credentials.
    pub(crate) fn plain(name: &'static str, url: &str, expected: &'static str) -> Result<Self> {
        Ok(Self {
            name,
            requests: vec![Request::new(Method::GET, url.parse()?)],
            expected,
        })
    }

    /// A GraphQL request to a server that knows nobody.
    pub(crate) fn unsigned(
        name: &'static str,
        url: &str,
        document: &str,
        expected: &'static str,
    ) -> Result<Self> {
        let mut request = Request::new(Method::POST, url.parse()?);
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        *request.body_mut() = Some(json!({ "query": document }).to_string().into());
        Ok(Self {
            name,
            requests: vec![request],
            expected,
        })
    }

    /// A signed-in GraphQL request.
    pub(crate) fn graphql(
        name: &'static str,
        client: &tests::harness::Client,
        document: &str,
        expected: &'static str,
    ) -> Result<Self> {
        Self::of_many(name, &[(client, document)], expected)
    }

    /// Signed-in GraphQL requests of several people.
    pub(crate) fn of_many(
        name: &'static str,
        asked: &[(&tests::harness::Client, &str)],
        expected: &'static str,
    ) -> Result<Self> {
        let request = |(client, document): &(&tests::harness::Client, &str)| {
            let token = client.token.as_deref().context("the client is signed in")?;
            let builder = client.request(Method::POST, "/graphql").bearer_auth(token);
            Ok(builder.json(&json!({ "query": document })).build()?)
        };
        Ok(Self {
            name,
            requests: asked.iter().map(request).collect::<Result<_>>()?,
            expected,
        })
    }

    /// The request of the connection `number`.
    fn request(&self, number: usize) -> Result<Request> {
        let request = self.requests.get(number % self.requests.len().max(1));
        let request = request.and_then(Request::try_clone);
        request.context("a request with a body of bytes")
    }
}

/// What the clients got.
pub(crate) struct Load {
    /// Milliseconds from question to answer.
    pub(crate) latencies: Vec<f64>,
    /// From the first question to the last answer.
    pub(crate) took: Duration,
}

impl Load {
    /// Answers per second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }
}

/// Clients with a kept-alive connection each.
pub(crate) fn clients(count: usize) -> Result<Vec<Client>> {
    let one = || {
        tests::harness::client::http()
            .timeout(TIMEOUT)
            .build()
            .context("a client")
    };
    (0..count).map(|_| one()).collect()
}

/// Has all `clients` ask `question` for `time`.
pub(crate) async fn drive(clients: &[Client], time: Duration, question: &Arc<Question>) -> Result<Load> {
    let begun = Instant::now();
    let asking = clients.iter().enumerate().map(|(number, client)| {
        tokio::spawn(ask((client.clone(), number), Arc::clone(question), begun, time))
    });
    let answers = try_join_all(asking).await?;
    let latencies: Result<Vec<Vec<f64>>> = answers.into_iter().collect();
    Ok(Load {
        latencies: latencies?.concat(),
        took: begun.elapsed(),
    })
}

async fn ask(
    (client, number): (Client, usize),
    question: Arc<Question>,
    begun: Instant,
    time: Duration,
) -> Result<Vec<f64>> {
    let mut latencies = Vec::new();
    while begun.elapsed() < time {
        let request = question.request(number)?;
        let sent = Instant::now();
        let response = client.execute(request).await?;
        let status = response.status();
        let text = response.text().await?;
        latencies.push(milliseconds(sent.elapsed()));
        let right = status.is_success() && text.contains(question.expected) && !text.contains("\"errors\"");
        ensure!(right, "{}: unexpected answer {status}: {text}", question.name);
    }
    Ok(latencies)
}
