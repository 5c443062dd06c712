//! One conversation on one socket.
//!
//! One rule: the loop in [`Session::run`] alone talks to the peer. Operations run in tasks of their own
//! and hand over what they have through one bounded channel, so a slow peer slows its operations down.

use std::collections::HashMap;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use axum::extract::ws::{Message, WebSocket};
use futures::future::{self, BoxFuture};
use futures::stream::{BoxStream, SplitStream};
use futures::{FutureExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::close::Close;
use super::message::{self, FromClient};
use super::outbox::Outbox;
use crate::http::graphql::auth_error::AuthError;
use crate::http::graphql::credentials::Credentials;
use crate::http::graphql::executor::{Executor, SessionEnd};
use crate::http::graphql::params::{Params, ParamsError};
use crate::http::graphql::rejection::Rejection;
use crate::http::graphql::{GraphqlEndpoint, http, operation};
use crate::http::server::RequestId;
use crate::http::shares::{Holder, Place};

/// Responses, boxed, that wait between all operations of a socket and its loop. The channel always holds room for 32.
const EVENTS: usize = 64;

/// How long a peer may take to answer a close frame.
const FAREWELL: Duration = Duration::from_secs(1);

/// Timers do not tick faster than this, whatever the options say.
const SHORTEST_TICK: Duration = Duration::from_millis(10);

/// What an operation's task hands over.
struct Event {
    id: String,
    /// Which of the operations that ever had this id it is from.
    generation: u64,
    kind: EventKind,
}

enum EventKind {
    /// A response, as JSON.
    Next(String),
    /// The operation was not executed; the errors say why.
    Refused(Value),
    /// The last response was handed over before.
    Complete,
}

/// An operation under way. Dropping it ends its task.
struct Running {
    generation: u64,
    _task: AbortOnDropHandle<()>,
    _place: Option<Place>,
}

/// Why the loop ends.
enum Disconnect {
    /// The server closes the socket.
    Close(Close),
    /// The peer closed it, or is gone.
    Gone,
}

impl From<Close> for Disconnect {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

impl From<AuthError> for Disconnect {
    fn from(error: AuthError) -> Self {
        Self::Close(error.into())
    }
}

/// The state of one conversation.
pub(super) struct Session<E: Executor> {
    endpoint: GraphqlEndpoint<E>,
    request_id: RequestId,
    outbox: Outbox,
    inbox: SplitStream<WebSocket>,
    /// Until `connection_init` took them.
    credentials: Option<Result<Credentials, AuthError>>,
    /// From `connection_ack` on.
    caller: Option<E::Caller>,
    /// The account of the caller, with its place among the account's sockets.
    account: Option<(Holder, Option<Place>)>,
    /// Where the peer is.
    address: Option<Holder>,
    session_end: BoxFuture<'static, SessionEnd>,
    running: HashMap<String, Running>,
    generations: u64,
    events: mpsc::Sender<Box<Event>>,
    heard: Instant,
}

impl<E: Executor> Session<E> {
    pub(super) fn new(
        endpoint: GraphqlEndpoint<E>,
        socket: WebSocket,
        credentials: Result<Credentials, AuthError>,
        address: Option<Holder>,
        request_id: RequestId,
    ) -> Self {
        let (sink, inbox) = socket.split();
        Self {
            endpoint,
            request_id,
            outbox: Outbox::new(sink),
            inbox,
            credentials: Some(credentials),
            caller: None,
            account: None,
            address,
            session_end: future::pending().boxed(),
            running: HashMap::new(),
            generations: 0,
            // Replaced when the loop begins; until then nothing runs that could send.
            events: mpsc::channel(1).0,
            heard: Instant::now(),
        }
    }

    /// Talks until one side has enough. `speaks` says whether the client offered our subprotocol.
    pub(super) async fn run(mut self, speaks: bool) {
        let end = if speaks {
            self.converse().await
        } else {
            Disconnect::Close(Close::wrong_protocol())
        };
        self.running.clear();
        let Self {
            mut outbox,
            mut inbox,
            ..
        } = self;
        if let Disconnect::Close(close) = end {
            tracing::debug!(?close, "closing a socket");
            outbox.push(close.frame());
        }
        // Reading on lets the peer's answer to the close frame arrive; without it the peer sees code 1006.
        let farewell = future::join(
            async {
                if let Err(error) = outbox.send_rest().await {
                    tracing::debug!(%error, "the last messages did not leave");
                }
            },
            async { while let Some(Ok(_)) = inbox.next().await {} },
        );
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::debug!("the peer did not answer the close frame");
        }
    }

    async fn converse(&mut self) -> Disconnect {
        let (sender, mut events) = mpsc::channel(EVENTS);
        self.events = sender;
        let options = self.endpoint.options.clone();
        let shutdown = self.endpoint.shutdown.token.clone();
        let init_deadline = Instant::now() + options.init_timeout;
        let keep_alive = options.keep_alive.max(SHORTEST_TICK);
        let mut ping = tokio::time::interval_at(Instant::now() + keep_alive, keep_alive);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = tokio::time::interval((options.stall.min(options.silence) / 30).max(SHORTEST_TICK));
        loop {
            let room = self.outbox.has_room();
            let step = tokio::select! {
                () = shutdown.cancelled() => Err(Close::shutting_down().into()),
                () = tokio::time::sleep_until(init_deadline), if self.account.is_none() => {
                    Err(self.out_of_time().into())
                }
                end = &mut self.session_end => Err(self.end_all(end)),
                sent = self.outbox.send_all() => sent.map_err(|_| Disconnect::Gone),
                Some(event) = events.recv(), if room => {
                    self.deliver(*event);
                    Ok(())
                }
                frame = self.inbox.next(), if room => self.on_frame(frame).await,
                _ = ping.tick() => {
                    self.outbox.push(Message::Ping(bytes::Bytes::new()));
                    Ok(())
                }
                _ = watch.tick() => self.check_alive(),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Who has not said who it is in time. Logging in over a socket fits into that; nobody stays without an account.
    fn out_of_time(&self) -> Close {
        match self.caller {
            None => Close::init_timeout(),
            Some(_) => Close::no_credentials(),
        }
    }

    /// Gives up on peers that take nothing or say nothing.
    fn check_alive(&self) -> Result<(), Disconnect> {
        let options = &self.endpoint.options;
        if self.outbox.stalled_for() > options.stall {
            return Err(Close::try_again("too slow; come back and resume").into());
        }
        if self.heard.elapsed() > options.silence {
            return Err(Close::try_again("no sign of life").into());
        }
        Ok(())
    }

    async fn on_frame(&mut self, frame: Option<Result<Message, axum::Error>>) -> Result<(), Disconnect> {
        self.heard = Instant::now();
        let limit = self.endpoint.options.message_bytes;
        match frame {
            None => Err(Disconnect::Gone),
            Some(Err(_)) => Err(Close::broken().into()),
            Some(Ok(Message::Close(_))) => Err(Disconnect::Gone),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Binary(_))) => Err(Close::bad_message("messages must be text frames").into()),
            Some(Ok(Message::Text(text))) if text.len() > limit => Err(Close::too_long(limit).into()),
            Some(Ok(Message::Text(text))) => match FromClient::read(text.as_str())? {
                // Its future is large, and the socket's would hold the room for it as long as it is open.
                FromClient::Init(payload) => Box::pin(self.init(&payload)).await,
                FromClient::Ping(payload) => {
                    self.outbox.push_text(message::pong(payload));
                    Ok(())
                }
                FromClient::Pong => Ok(()),
                FromClient::Subscribe { id, params } => self.subscribe(id, params),
                FromClient::Complete { id } => {
                    self.running.remove(&id);
                    Ok(())
                }
            },
        }
    }

    async fn init(&mut self, payload: &Map<String, Value>) -> Result<(), Disconnect> {
        let Some(credentials) = self.credentials.take() else {
            return Err(Close::second_init().into());
        };
        let credentials = credentials.and_then(|credentials| credentials.with_init_payload(payload))?;
        let caller = http::authenticate(&self.endpoint, credentials).await?;
        let executor = self.endpoint.executor.clone();
        if let Some(account) = executor.account(&caller) {
            let place = self.endpoint.streams.of_account(Some(&account));
            self.account = Some((account, place.map_err(Close::over_share)?));
        }
        let watched = caller.clone();
        self.session_end = async move { executor.session_end(&watched).await }.boxed();
        self.caller = Some(caller);
        self.outbox.push_text(message::ack());
        Ok(())
    }

    fn subscribe(&mut self, id: String, params: Result<Params, ParamsError>) -> Result<(), Disconnect> {
        let Some(caller) = self.caller.clone() else {
            return Err(Close::unauthorized().into());
        };
        if self.running.contains_key(&id) {
            return Err(Close::duplicate(&id).into());
        }
        let (request, kind) = match self.accept(params) {
            Ok(accepted) => accepted,
            Err(rejection) => {
                let errors = json!([rejection.error(&self.request_id)]);
                self.outbox.push_text(message::error(&id, &errors));
                return Ok(());
            }
        };
        let holder = self.account.as_ref().map(|(account, _)| account);
        let place = match self.endpoint.streams.operation(holder.or(self.address.as_ref())) {
            Ok(place) => place,
            Err(full) => {
                let errors = json!([Rejection::over_share(full).error(&self.request_id)]);
                self.outbox.push_text(message::error(&id, &errors));
                return Ok(());
            }
        };
        self.generations += 1;
        let generation = self.generations;
        let responses = operation::responses_by_present_rights(
            self.endpoint.clone(),
            caller,
            request,
            kind,
            self.request_id.clone(),
        );
        let pump = pump(
            responses,
            id.clone(),
            generation,
            self.events.clone(),
            self.request_id.clone(),
        );
        let task = AbortOnDropHandle::new(tokio::spawn(pump.in_current_span()));
        self.running.insert(
            id,
            Running {
                generation,
                _task: task,
                _place: place,
            },
        );
        Ok(())
    }

    /// Measures an operation and finds out what kind it is.
    fn accept(
        &self,
        params: Result<Params, ParamsError>,
    ) -> Result<(async_graphql::Request, OperationType), Rejection> {
        let options = &self.endpoint.options;
        if self.running.len() >= options.operations_per_socket {
            let message = format!(
                "at most {} operations run at the same time on one socket; complete one or open another socket",
                options.operations_per_socket
            );
            return Err(Rejection::new(axum::http::StatusCode::TOO_MANY_REQUESTS, message));
        }
        let params = params.map_err(Rejection::bad_request)?;
        let mut request = params.into_request(&options.limits)?;
        let (kind, _) = self.endpoint.documents.check(&mut request, &options.limits)?;
        Ok((request, kind))
    }

    /// Sends what an operation handed over, unless the client has ended the operation since.
    fn deliver(&mut self, event: Event) {
        let Event { id, generation, kind } = event;
        if self
            .running
            .get(&id)
            .is_none_or(|running| running.generation != generation)
        {
            return;
        }
        let text = match &kind {
            EventKind::Next(response) => message::next(&id, response),
            EventKind::Refused(errors) => message::error(&id, errors),
            EventKind::Complete => message::complete(&id),
        };
        if !matches!(kind, EventKind::Next(_)) {
            self.running.remove(&id);
        }
        self.outbox.push_text(text);
    }

    /// Ends each operation with the reason for which the session ended. Nothing is wrong with the operations of a session
    /// whose token ran out: the client asks for them again with a fresh one, and takes an error as their end.
    fn end_all(&mut self, end: SessionEnd) -> Disconnect {
        if end == SessionEnd::Expired {
            return Disconnect::Close(end.into());
        }
        let errors = json!([Rejection::from(end.clone()).error(&self.request_id)]);
        for (id, _) in self.running.drain() {
            self.outbox.push_text(message::error(&id, &errors));
        }
        Disconnect::Close(end.into())
    }
}

/// Runs one operation and hands over what it has, as fast as the socket takes it.
async fn pump(
    mut responses: BoxStream<'static, async_graphql::Response>,
    id: String,
    generation: u64,
    events: mpsc::Sender<Box<Event>>,
    request_id: RequestId,
) {
    let event = |kind| {
        let id = id.clone();
        Box::new(Event { id, generation, kind })
    };
    let mut started = false;
    while let Some(response) = responses.next().await {
        let refused = !started && operation::is_request_error(&response);
        started = true;
        let kind = if refused {
            EventKind::Refused(json!(response.errors))
        } else {
            EventKind::Next(operation::to_json_or_internal(&response, &request_id))
        };
        // A closed channel means that the socket is gone, and this operation with it.
        if events.send(event(kind)).await.is_err() || refused {
            return;
        }
    }
    let closed = events.send(event(EventKind::Complete)).await.is_err();
    tracing::trace!(closed, "an operation is over");
}
