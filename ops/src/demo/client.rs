//! The wire: GraphQL and plain HTTP requests with deadlines, and answers or reasons.
//!
//! One rule: every document names its one root field `answer`, so that each answer is read the same way.

use std::time::Duration;

use anyhow::Context;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use url::Url;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one GraphQL request may take.
const CALL: Duration = Duration::from_secs(40);
/// How long a stream may be silent; the server gives a sign of life every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// Nobody answers, or not in time.
    #[error("Anneal does not answer at {url} ({reason}); start it with `anneal up`, then run this again")]
    Unreachable {
        /// Its address.
        url: String,
        /// What the connection said.
        reason: String,
    },
    /// The server says no.
    #[error("{message} ({code})")]
    Refused {
        /// For programs.
        code: String,
        /// For people.
        message: String,
    },
    /// The answer is of another form than this build expects.
    #[error("the server's answer cannot be read ({0}); use client and server of the same version")]
    Unreadable(String),
}

impl CallError {
    /// Whether the server gave this reason.
    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }

    /// Whether the same request may work in a moment.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. }) || self.is("UNAVAILABLE") || self.is("RATE_LIMITED")
    }
}

/// One thing the server holds against a request.
#[derive(Deserialize)]
struct GraphqlError {
    message: String,
    #[serde(default)]
    extensions: Value,
}

/// One thing that is wrong with an input.
#[derive(Deserialize)]
struct UserError {
    #[serde(default)]
    path: Vec<String>,
    message: String,
    code: String,
}

/// The answer to one GraphQL request.
#[derive(Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    data: Value,
    #[serde(default)]
    errors: Vec<GraphqlError>,
}

impl Answer {
    /// What `answer` holds.
    pub(super) fn read<T: DeserializeOwned>(mut self) -> Result<T, CallError> {
        if let Some(error) = self.errors.into_iter().next() {
            let code = error
                .extensions
                .get("code")
                .and_then(Value::as_str)
                .unwrap_or("INVALID")
                .to_owned();
            return Err(CallError::Refused {
                code,
                message: error.message,
            });
        }
        let answer = self.data.get_mut("answer").map(Value::take).unwrap_or_default();
        serde_json::from_value(answer).map_err(|error| CallError::Unreadable(error.to_string()))
    }
}

/// RFC 9457.
#[derive(Deserialize)]
struct Problem {
    title: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    errors: Vec<ProblemLine>,
}

#[derive(Deserialize)]
struct ProblemLine {
    pointer: String,
    message: String,
}

/// A connection to one server.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    /// A client of the server at `url`; connects when first used.
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        let base = Url::parse(url)
            .with_context(|| format!("{url} is no address; write it as http://127.0.0.1:8080"))?;
        #[expect(
            clippy::disallowed_methods,
            reason = "a client of our own server, at the address that its user types"
        )]
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .user_agent(concat!("anneal-demo/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Self { http, base })
    }

    /// A request to a path of the server, in the name of the bearer of `token`.
    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
    ) -> anyhow::Result<RequestBuilder> {
        let url = self
            .base
            .join(path)
            .with_context(|| format!("{path} is no path"))?;
        let request = self.http.request(method, url);
        Ok(match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    /// That the server answers at all.
    pub(super) async fn reach(&self) -> anyhow::Result<()> {
        let request = self.request(Method::GET, "healthz", None)?.timeout(CONNECT);
        self.send(request).await?;
        Ok(())
    }

    /// Sends; any answer of the server is `Ok`.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, CallError> {
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    /// A failure of the connection, in words without the address of every redirect.
    pub(super) fn unreachable(&self, error: &reqwest::Error) -> CallError {
        let reason = match error {
            error if error.is_connect() => "no connection".to_owned(),
            error if error.is_timeout() => "no answer in time".to_owned(),
            error => error.to_string(),
        };
        CallError::Unreachable {
            url: self.base.to_string(),
            reason,
        }
    }

    /// Runs a document and reads what `answer` holds.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        token: Option<&str>,
        document: &str,
        variables: Value,
    ) -> Result<T, CallError> {
        let request = self.request(Method::POST, "graphql", token);
        let request = request.map_err(|error| CallError::Unreadable(error.to_string()))?;
        let request = request
            .timeout(CALL)
            .header(header::ACCEPT, "application/graphql-response+json")
            .json(&json!({ "query": document, "variables": variables }));
        let response = self.send(request).await?;
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        let answer: Answer =
            serde_json::from_slice(&bytes).map_err(|error| CallError::Unreadable(error.to_string()))?;
        answer.read()
    }

    /// Runs a mutation; what is wrong with its input becomes an error with all messages.
    pub(super) async fn change<T: DeserializeOwned>(
        &self,
        token: Option<&str>,
        document: &str,
        input: Value,
    ) -> Result<T, CallError> {
        let mut payload: Value = self.call(token, document, json!({ "input": input })).await?;
        let faults = payload.get_mut("userErrors").map(Value::take).unwrap_or_default();
        let faults: Vec<UserError> =
            serde_json::from_value(faults).map_err(|error| CallError::Unreadable(error.to_string()))?;
        if let Some(first) = faults.first() {
            let code = first.code.clone();
            let told = |fault: &UserError| match fault.path.is_empty() {
                true => fault.message.clone(),
                false => format!("{}: {}", fault.path.join("."), fault.message),
            };
            let message = faults.iter().map(told).collect::<Vec<_>>().join("; ");
            return Err(CallError::Refused { code, message });
        }
        serde_json::from_value(payload).map_err(|error| CallError::Unreadable(error.to_string()))
    }
}

/// The answer of a plain route, or the problem that it tells (RFC 9457), with its first lines.
pub(super) async fn accepted(response: Response) -> anyhow::Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.unwrap_or_default();
    Err(refusal(status, &text).into())
}

fn refusal(status: StatusCode, text: &str) -> CallError {
    let code = format!("HTTP {}", status.as_u16());
    let message = match serde_json::from_str::<Problem>(text) {
        Ok(problem) => {
            let lines = problem
                .errors
                .iter()
                .take(5)
                .map(|line| format!("; {} {}", line.pointer, line.message));
            format!(
                "{}: {}{}",
                problem.title,
                problem.detail,
                lines.collect::<String>()
            )
        }
        Err(_) => "the server refuses the request".to_owned(),
    };
    CallError::Refused { code, message }
}

#[cfg(test)]
mod tests {
    use super::{Answer, CallError, refusal};
    use reqwest::StatusCode;

    fn answer(text: &str) -> Answer {
        serde_json::from_str(text).expect("it is an answer")
    }

    #[test]
    fn an_error_comes_before_the_data_beside_it() {
        let text = r#"{"data":{"answer":null},"errors":[{"message":"sign in first","extensions":{"code":"UNAUTHENTICATED"}}]}"#;
        let error = answer(text).read::<Option<u32>>().expect_err("there is an error");
        assert!(error.is("UNAUTHENTICATED") && !error.may_pass(), "{error}");
    }

    #[test]
    fn an_answer_of_another_form_names_the_cure() {
        let error = answer(r#"{"data":{"answer":"x"}}"#)
            .read::<u32>()
            .expect_err("no number");
        assert!(matches!(error, CallError::Unreadable(_)));
        assert!(error.to_string().contains("same version"));
    }

    #[test]
    fn a_problem_is_told_with_its_lines() {
        let text = r##"{"title":"Dataset refused","status":422,"detail":"2 lines are wrong","errors":[{"pointer":"#line=3","code":"X","message":"no JSON"}]}"##;
        let said = refusal(StatusCode::UNPROCESSABLE_ENTITY, text).to_string();
        assert_eq!(
            said,
            "Dataset refused: 2 lines are wrong; #line=3 no JSON (HTTP 422)"
        );
    }
}
