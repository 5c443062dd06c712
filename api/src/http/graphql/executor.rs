//! The interface between the endpoint and the application: authentication and execution.

use std::borrow::Cow;

use async_graphql::{Request, Response};
use async_trait::async_trait;
use futures::stream::BoxStream;

use super::auth_error::AuthError;
use super::credentials::Credentials;
use crate::http::shares::Holder;

/// The schema and the sessions, as the endpoint sees them.
#[async_trait]
pub trait Executor: Clone + Send + Sync + 'static {
    /// Who asks. Anonymous callers are callers too: logging in is a mutation.
    type Caller: Clone + Send + Sync + 'static;

    /// Finds the caller of a request or a socket.
    ///
    /// Without bearer token and API key the answer is the anonymous caller, not an error.
    ///
    /// # Errors
    /// An [`AuthError`] when credentials were given and do not hold.
    async fn authenticate(&self, credentials: Credentials) -> Result<Self::Caller, AuthError>;

    /// Whose account the caller acts for, as the holder of bounded places; `None` for who is not signed in.
    fn account(&self, caller: &Self::Caller) -> Option<Holder>;

    /// The caller with the rights that hold now, as of everything that was recorded when this was called. Sockets ask
    /// for each operation, because their caller was found when they were opened.
    ///
    /// # Errors
    /// An [`AuthError`] when the session has ended since, or when it cannot be known.
    async fn refresh(&self, caller: &Self::Caller) -> Result<Self::Caller, AuthError>;

    /// Runs a query or a mutation. The document has passed the guard and is parsed already.
    async fn execute(&self, caller: &Self::Caller, request: Request) -> Response;

    /// Runs a subscription: a response for each event, the end when there is nothing more to come.
    ///
    /// A response whose `extensions.position` is set can be resumed after: event streams carry it as the
    /// event's id, and the request's data holds [`ResumeFrom`] when a client comes back with it.
    fn subscribe(&self, caller: &Self::Caller, request: Request) -> BoxStream<'static, Response>;

    /// Waits until the caller's session ends; never comes back for callers without one.
    ///
    /// Sockets and event streams watch it and end with the session.
    async fn session_end(&self, caller: &Self::Caller) -> SessionEnd;
}

/// Why a session ended under an open socket or event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// Its token ran out: come back with a fresh one.
    Expired,
    /// It was ended, or its user lost access; clients read the reason.
    Revoked(Cow<'static, str>),
}

/// The position after which a client wants to go on, as it was given in `extensions.position`.
///
/// It is in the request's data when a subscription was asked for as an event stream with `Last-Event-ID`. The text is
/// a decimal number of up to 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeFrom(pub String);
