//! A signed-in account: requests in its name, with tokens renewed before they run out.

use std::time::Duration;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::Instant};

use super::{
    client::{CallError, Client},
    credentials::Account,
};

const LOGIN: &str = "mutation($input: LoginInput!) { answer: login(input: $input) \
     { accessToken refreshToken expiresIn userErrors { path message code } } }";
const REFRESH: &str = "mutation($input: RefreshInput!) { answer: refresh(input: $input) \
     { accessToken refreshToken expiresIn userErrors { path message code } } }";

/// A token that lives shorter than this is renewed first.
const MARGIN: Duration = Duration::from_secs(30);
/// How often a query is tried again when the server is not ready for it.
const TRIES: u32 = 5;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Granted {
    access_token: String,
    refresh_token: String,
    expires_in: u64,
}

struct Tokens {
    access: String,
    refresh: String,
    good_until: Instant,
}

impl From<Granted> for Tokens {
    fn from(granted: Granted) -> Self {
        let life = Duration::from_secs(granted.expires_in).saturating_sub(MARGIN);
        Self {
            access: granted.access_token,
            refresh: granted.refresh_token,
            good_until: Instant::now() + life,
        }
    }
}

/// One of a Relay connection's pages.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pages<T> {
    edges: Vec<Edge<T>>,
    page_info: PageInfo,
}

#[derive(Deserialize)]
struct Edge<T> {
    node: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    has_next_page: bool,
    end_cursor: Option<String>,
}

/// A session of one account.
pub(super) struct Session {
    client: Client,
    account: Account,
    tokens: Mutex<Option<Tokens>>,
}

impl Session {
    /// Logs in.
    pub(super) async fn open(client: &Client, account: &Account) -> Result<Self, CallError> {
        let session = Self {
            client: client.clone(),
            account: account.clone(),
            tokens: Mutex::new(None),
        };
        session.token().await?;
        Ok(session)
    }

    /// Name of the account.
    pub(super) fn username(&self) -> &str {
        &self.account.username
    }

    /// The wire, for requests that are not GraphQL.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// An access token that is good for a while.
    pub(super) async fn token(&self) -> Result<String, CallError> {
        let mut tokens = self.tokens.lock().await;
        if let Some(held) = tokens.as_ref().filter(|held| Instant::now() < held.good_until) {
            return Ok(held.access.clone());
        }
        let renewed = match tokens.take() {
            Some(old) => {
                let input = json!({ "refreshToken": old.refresh });
                self.client.change::<Granted>(None, REFRESH, input).await.ok()
            }
            None => None,
        };
        let granted = match renewed {
            Some(granted) => granted,
            // A session may have ended for many reasons; the password still tells who we are.
            None => {
                let input = json!({
                    "login": self.account.username, "password": self.account.password, "device": "anneal demo",
                });
                self.client.change(None, LOGIN, input).await?
            }
        };
        Ok(tokens.insert(granted.into()).access.clone())
    }

    /// Makes the next request renew the token, because the server no longer takes it.
    pub(super) async fn renew(&self) {
        if let Some(tokens) = self.tokens.lock().await.as_mut() {
            tokens.good_until = Instant::now();
        }
    }

    /// Asks; tries again while the server is not ready, and once with a new token.
    pub(super) async fn query<T: DeserializeOwned>(
        &self,
        document: &str,
        variables: Value,
    ) -> Result<T, CallError> {
        let mut tries = 0;
        loop {
            let token = self.token().await?;
            let error = match self.client.call(Some(&token), document, variables.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            tries += 1;
            if tries >= TRIES || !(error.may_pass() || error.is("UNAUTHENTICATED")) {
                return Err(error);
            }
            if error.is("UNAUTHENTICATED") {
                self.renew().await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Changes something; never tried twice, because the first try may have worked.
    pub(super) async fn change<T: DeserializeOwned>(
        &self,
        document: &str,
        input: Value,
    ) -> Result<T, CallError> {
        let token = self.token().await?;
        self.client.change(Some(&token), document, input).await
    }

    /// All rows of a list. The document takes `$after` and answers with a connection.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        document: &str,
        mut variables: Value,
    ) -> Result<Vec<T>, CallError> {
        let mut rows = Vec::new();
        loop {
            let page: Pages<T> = self.query(document, variables.clone()).await?;
            rows.extend(page.edges.into_iter().map(|edge| edge.node));
            match page.page_info.end_cursor {
                Some(cursor) if page.page_info.has_next_page => variables["after"] = Value::from(cursor),
                _ => return Ok(rows),
            }
        }
    }
}
