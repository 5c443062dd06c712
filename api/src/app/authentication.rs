//! Finding out who asks, from the credentials of a request.
//!
//! One rule: rights are as of the head of the log, never as of the token.

use domain::{authz::Principal, event_store::Metadata};
use time::OffsetDateTime;

use super::{App, Caller, TIMEOUT};
use crate::http::graphql::{AuthError, Credentials};

impl App {
    /// Finds out who asks. Nothing given is nobody; something wrong is an error.
    ///
    /// # Errors
    /// When the credentials do not hold, or rights are not up to date.
    pub async fn authenticate(&self, credentials: &Credentials) -> Result<Caller, AuthError> {
        if credentials.api_key.is_some() {
            return Err(AuthError::Unauthenticated(
                "service API keys are not accepted; send an access token".into(),
            ));
        }
        let mut meta = Metadata {
            actor: Principal::Anonymous.actor(),
            request_id: Some(credentials.request_id.as_str().to_owned()),
            address: credentials.peer.map(|address| address.to_string()),
            user_agent: credentials.user_agent.clone(),
            correlation_id: Some(self.ports.ids.next()),
            ..Metadata::default()
        };
        let address = credentials.peer;
        let Some(token) = &credentials.bearer else {
            return Ok(Caller {
                principal: Principal::Anonymous,
                expires_at: None,
                meta,
                address,
            });
        };
        let now = self.now();
        let claims = self
            .tokens
            .verify(now, token.expose())
            .map_err(|error| AuthError::Unauthenticated(error.to_string().into()))?;
        if let Err(error) = self.directory.at_known_head(TIMEOUT).await {
            tracing::error!(%error, "access rights are behind");
            return Err(AuthError::Unavailable);
        }
        let session = || {
            let found = self.directory.session(claims.session, now);
            found.filter(|user| user.user == claims.user)
        };
        let user = match session() {
            Some(user) => user,
            // Another process may have opened it a moment ago: nobody throws a good token away for that.
            None => {
                if let Err(error) = self.directory.at_head(TIMEOUT).await {
                    tracing::error!(%error, "access rights are behind");
                    return Err(AuthError::Unavailable);
                }
                session()
                    .ok_or_else(|| AuthError::Unauthenticated("the session has ended; log in again".into()))?
            }
        };
        meta.session = Some(claims.session.to_string());
        meta.organization = user.organization.map(|organization| organization.to_string());
        let principal = Principal::User(Box::new(user));
        meta.actor = principal.actor();
        let expires_at = OffsetDateTime::from_unix_timestamp(claims.expires_at).ok();
        Ok(Caller {
            principal,
            expires_at,
            meta,
            address,
        })
    }

    /// The caller with its rights as of the head of the log now: for each operation on a connection that stays open.
    ///
    /// # Errors
    /// When the session has ended meanwhile, or rights are not up to date.
    pub async fn refresh(&self, caller: &Caller) -> Result<Caller, AuthError> {
        if let Err(error) = self.directory.at_head(TIMEOUT).await {
            tracing::error!(%error, "access rights are behind");
            return Err(AuthError::Unavailable);
        }
        let Some(session) = caller.session() else {
            return Ok(caller.clone());
        };
        match self.directory.session(session, self.now()) {
            Some(user) => Ok(Caller {
                principal: Principal::User(Box::new(user)),
                ..caller.clone()
            }),
            None => Err(AuthError::Unauthenticated(
                "the session has ended; log in again".into(),
            )),
        }
    }
}
