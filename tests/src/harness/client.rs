//! A real client: GraphQL over HTTP, and plain HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use super::credentials::PASSWORD;

/// A client, signed in or not.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where the application listens.
    pub url: String,
    /// The access token.
    pub token: Option<String>,
    /// The refresh token.
    pub refresh: Option<String>,
    /// The account, when the harness made it.
    pub user_id: String,
    http: reqwest::Client,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, as JSON.
    pub body: Value,
}

impl Answer {
    /// A field of `data`.
    ///
    /// # Panics
    /// When the answer has errors or no data.
    pub fn data(&self, field: &str) -> &Value {
        assert!(
            self.body.get("errors").is_none(),
            "unexpected errors: {}",
            self.body
        );
        let data = self.body.get("data").and_then(|data| data.get(field));
        data.unwrap_or_else(|| panic!("no data.{field}: {}", self.body))
    }

    /// The code of the first top-level error.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.body["errors"][0]["extensions"]["code"].as_str()
    }

    /// The codes of the user errors of a payload.
    #[must_use]
    pub fn user_codes(&self, field: &str) -> Vec<String> {
        let errors = self.data(field)["userErrors"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        errors
            .iter()
            .map(|error| error["code"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

/// A client of the servers that tests start, which takes no proxy from the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "a test calls the server that it has started"
)]
pub fn http() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy()
}

impl Client {
    /// A client that is not signed in.
    ///
    /// # Panics
    /// When no HTTP client can be made.
    #[must_use]
    pub fn new(url: String) -> Self {
        let http = http().timeout(Duration::from_secs(60)).build();
        Self {
            url,
            token: None,
            refresh: None,
            user_id: String::new(),
            http: http.expect("a client"),
        }
    }

    /// The same client with another process of the same installation.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        let url = url.to_owned();
        Self { url, ..self.clone() }
    }

    /// The same client with another access token.
    #[must_use]
    pub fn with_token(&self, token: String) -> Self {
        let token = Some(token);
        Self {
            token,
            ..self.clone()
        }
    }

    /// Signs in with everybody's password.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn login(mut self, name: &str) -> Self {
        let answer = self
            .run(
                "mutation($i: LoginInput!) { login(input: $i) { accessToken refreshToken userErrors { message } } }",
                json!({ "i": { "login": name, "password": PASSWORD } }),
            )
            .await;
        let payload = answer.data("login").clone();
        self.token = Some(
            payload["accessToken"]
                .as_str()
                .unwrap_or_else(|| panic!("{answer:?}"))
                .to_owned(),
        );
        self.refresh = payload["refreshToken"].as_str().map(str::to_owned);
        self
    }

    /// Runs a document.
    ///
    /// # Panics
    /// When the application does not answer.
    pub async fn run(&self, query: &str, variables: Value) -> Answer {
        let request = self.http.post(format!("{}/graphql", self.url));
        let request = request.json(&json!({ "query": query, "variables": variables }));
        self.send(request).await
    }

    /// Sends a request with the token, if there is one.
    ///
    /// # Panics
    /// When the application does not answer.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        Answer {
            status,
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        }
    }

    /// A request to a path.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// Uploads bytes as a version of a dataset.
    pub async fn upload(&self, dataset: &str, file_name: &str, bytes: Vec<u8>) -> Answer {
        let path = format!("/api/datasets/{dataset}/versions?fileName={file_name}");
        self.send(self.request(reqwest::Method::POST, &path).body(bytes))
            .await
    }

    /// Creates a dataset and returns its id.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn dataset(&self, name: &str) -> String {
        let answer = self
            .run(
                "mutation($i: CreateDatasetInput!) { createDataset(input: $i) { dataset { id } userErrors { message } } }",
                json!({ "i": { "name": name } }),
            )
            .await;
        answer.data("createDataset")["dataset"]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer:?}"))
            .to_owned()
    }

    /// Creates a project with an experiment and returns the experiment's id.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn experiment(&self) -> String {
        let answer = self
            .run("mutation { createProject(input: { name: \"P\" }) { project { id } userErrors { message } } }", json!({}))
            .await;
        let project = answer.data("createProject")["project"]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer:?}"));
        let answer = self
            .run(
                "mutation($i: CreateExperimentInput!) { createExperiment(input: $i) { experiment { id } userErrors { message } } }",
                json!({ "i": { "projectId": project, "name": "E" } }),
            )
            .await;
        answer.data("createExperiment")["experiment"]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer:?}"))
            .to_owned()
    }
}
