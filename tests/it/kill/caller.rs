//! A client that lives through the death of its server: an answer that does not come is not a failed test.

use std::time::Duration;

use serde_json::{Value, json};
use tests::harness::app::PASSWORD;

/// No answer, or one that says nothing about the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost(pub(super) String);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) url: String,
    pub(super) token: Option<String>,
    http: reqwest::Client,
}

impl Caller {
    pub(super) fn new(url: &str) -> Self {
        let http = tests::harness::client::http()
            .timeout(Duration::from_secs(30))
            .build();
        Self {
            url: url.to_owned(),
            token: None,
            http: http.expect("a client"),
        }
    }

    /// The field `field` of the answer's data.
    ///
    /// # Errors
    /// [`Lost`] when there is none: no connection, or errors in place of data, told by their code.
    pub(super) async fn run(&self, field: &str, document: &str, variables: Value) -> Result<Value, Lost> {
        let request = self
            .http
            .post(format!("{}/graphql", self.url))
            .json(&json!({ "query": document, "variables": variables }));
        let answer = self.send(request).await?;
        if let Some(errors) = answer.get("errors") {
            return Err(Lost(errors.to_string()));
        }
        Ok(answer["data"][field].clone())
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, Lost> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let lost = |error: reqwest::Error| Lost(error.to_string());
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        let text = response.text().await.map_err(lost)?;
        serde_json::from_str(&text).map_err(|_| Lost(format!("{status}: {text}")))
    }

    /// A change. Answers with its payload once it is recorded.
    ///
    /// # Errors
    /// As [`Caller::run`].
    ///
    /// # Panics
    /// When it is refused: the workload asks for nothing that could be.
    pub(super) async fn change(&self, field: &str, document: &str, input: Value) -> Result<Value, Lost> {
        let payload = self.run(field, document, json!({ "i": input })).await?;
        assert_eq!(payload["userErrors"], json!([]), "{field}: {payload}");
        Ok(payload)
    }

    /// Signs in. `None`: there is no such account.
    ///
    /// # Errors
    /// As [`Caller::run`].
    pub(super) async fn login(&self, name: &str) -> Result<Option<Self>, Lost> {
        let document = "mutation($i: LoginInput!) { login(input: $i) { accessToken } }";
        let input = json!({ "i": { "login": name, "password": PASSWORD } });
        let payload = self.run("login", document, input).await?;
        Ok(payload["accessToken"]
            .as_str()
            .map(|token| self.signed_in(token.to_owned())))
    }

    /// The same client with this access token.
    pub(super) fn signed_in(&self, token: String) -> Self {
        Self {
            token: Some(token),
            ..self.clone()
        }
    }

    /// Uploads a version of a dataset; answers with the position.
    ///
    /// # Errors
    /// As [`Caller::run`].
    pub(super) async fn upload(&self, dataset: &str, bytes: Vec<u8>) -> Result<String, Lost> {
        let path = format!("{}/api/datasets/{dataset}/versions?fileName=text.txt", self.url);
        let answer = self.send(self.http.post(path).body(bytes)).await?;
        match answer["position"].as_str() {
            Some(position) => Ok(position.to_owned()),
            None => Err(Lost(answer.to_string())),
        }
    }
}
