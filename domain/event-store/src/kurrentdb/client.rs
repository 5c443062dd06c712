//! The official client, replaced by a new one when it gives up.
//!
//! The rule: an answer that a second try can bring is tried for until the deadline. The client ends its
//! connection task for good after one failed reconnection; after a failure that passes, the next call makes
//! a new client.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kurrentdb::{
    Client, Credentials, ReadAllOptions, ReadEvent, ReadStream, ReadStreamOptions, ResolvedEvent,
};

use super::{
    address::Address,
    failure::{Failure, Patience},
};

/// Reads of one process.
pub(super) struct Reading {
    address: Address,
    /// How long one read may take, with all its tries.
    pub(super) limit: Duration,
    client: Mutex<Option<Client>>,
}

/// What is to be read.
#[derive(Clone)]
pub(super) enum Question {
    /// The whole log.
    All(ReadAllOptions),
    /// One stream.
    Stream(String, ReadStreamOptions),
}

impl Reading {
    pub(super) fn new(address: Address, limit: Duration) -> Self {
        Self {
            address,
            limit,
            client: Mutex::new(None),
        }
    }

    fn client(&self) -> Result<Client, Failure> {
        let mut held = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = held.as_ref() {
            return Ok(client.clone());
        }
        let client = Client::new(self.address.settings.clone())
            .map_err(|error| Failure::Passing(error.to_string()))?;
        Ok(held.insert(client).clone())
    }

    fn forget(&self) {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn credentials(&self) -> Option<Credentials> {
        self.address
            .login
            .as_ref()
            .map(super::address::Login::credentials)
    }

    /// The events that answer `question`, at most `most`, and only as many as fit into `bytes` of payload (but
    /// one at least). Nothing when there is no such stream.
    pub(super) async fn ask(
        &self,
        question: &Question,
        most: usize,
        bytes: usize,
    ) -> Result<Vec<ResolvedEvent>, Failure> {
        let mut last = None;
        let tries = async {
            let mut patience = Patience::default();
            loop {
                match self.ask_once(question, most, bytes).await {
                    Err(failure) if failure.passes() => {
                        self.forget_after(&failure);
                        last = Some(failure);
                        patience.pause().await;
                    }
                    outcome => return outcome,
                }
            }
        };
        match tokio::time::timeout(self.limit, tries).await {
            Ok(outcome) => outcome,
            Err(_) => {
                // The connection may be one that swallows everything.
                self.forget();
                let why = last.map_or_else(
                    || "no answer came".to_owned(),
                    |failure| failure.into_store().to_string(),
                );
                Err(Failure::Passing(format!(
                    "KurrentDB did not answer within {} s: {why}",
                    self.limit.as_secs_f32()
                )))
            }
        }
    }

    /// After a refusal that names the leader the client goes there by itself.
    fn forget_after(&self, failure: &Failure) {
        if !matches!(failure, Failure::NotLeader(Some(_))) {
            self.forget();
        }
    }

    async fn ask_once(
        &self,
        question: &Question,
        most: usize,
        bytes: usize,
    ) -> Result<Vec<ResolvedEvent>, Failure> {
        let mut stream = match self.open(question.clone(), most).await {
            Err(kurrentdb::Error::ResourceNotFound) => return Ok(Vec::new()),
            opened => opened?,
        };
        let mut events: Vec<ResolvedEvent> = Vec::new();
        let mut room = bytes;
        loop {
            match stream.next_read_event().await {
                Err(kurrentdb::Error::ResourceNotFound) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
                Ok(None) => return Ok(events),
                Ok(Some(ReadEvent::Event(event))) => {
                    let length = event.get_original_event().data.len();
                    if length > room && !events.is_empty() {
                        return Ok(events);
                    }
                    room = room.saturating_sub(length);
                    events.push(event);
                }
                Ok(Some(_)) => {}
            }
        }
    }

    async fn open(&self, question: Question, most: usize) -> kurrentdb::Result<ReadStream> {
        let client = self.client().map_err(|_| kurrentdb::Error::ConnectionClosed)?;
        match question {
            Question::All(options) => {
                let options = options.requires_leader(true).deadline(self.limit).max_count(most);
                let options = match self.credentials() {
                    Some(credentials) => options.authenticated(credentials),
                    None => options,
                };
                client.read_all(&options).await
            }
            Question::Stream(name, options) => {
                let options = options.requires_leader(true).deadline(self.limit).max_count(most);
                let options = match self.credentials() {
                    Some(credentials) => options.authenticated(credentials),
                    None => options,
                };
                client.read_stream(name, &options).await
            }
        }
    }
}
