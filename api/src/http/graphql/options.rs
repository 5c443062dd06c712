//! The limits of the GraphQL endpoint, in one place.

use std::time::Duration;

use crate::graphql::guard::Limits;

/// Time and size limits of the GraphQL endpoint. The defaults are those of GQ-6.
#[derive(Clone, Debug)]
pub struct EndpointOptions {
    /// What a document may cost.
    pub limits: Limits,
    /// Origins besides the server's own that browsers may call from, as they send them
    /// (`https://console.example`), without a path.
    pub allowed_origins: Vec<String>,
    /// Length of a request's body, in bytes.
    pub body_bytes: usize,
    /// How long reading a body, authenticating and executing may each take.
    pub request_timeout: Duration,
    /// Sockets and event streams at the same time in this process.
    pub streams: usize,
    /// Of these, from one address.
    pub streams_per_address: usize,
    /// Of these, of one account.
    pub streams_per_account: usize,
    /// Operations at the same time on all sockets of one account.
    pub operations_per_account: usize,
    /// Queries and mutations under way at the same time of one account; further ones wait. 0: eight for each processor core.
    pub running_per_account: usize,
    /// How many of one account may wait; one more is told to come again.
    pub waiting_per_account: usize,
    /// How long one may wait before it is told to come again.
    pub patience: Duration,
    /// Time between two signs of life on a quiet event stream or socket.
    pub keep_alive: Duration,
    /// Length of a message on a socket, in bytes.
    pub message_bytes: usize,
    /// Operations at the same time on one socket.
    pub operations_per_socket: usize,
    /// How long a socket may take to send `connection_init`, and how long one may stay that sent no credentials with it.
    pub init_timeout: Duration,
    /// How long a socket's peer may be silent, pongs included.
    pub silence: Duration,
    /// How long a socket's peer may leave what it is sent unread.
    pub stall: Duration,
}

impl Default for EndpointOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            allowed_origins: Vec::new(),
            body_bytes: 256 * 1024,
            request_timeout: Duration::from_secs(30),
            streams: 5_000,
            streams_per_address: 2_500,
            streams_per_account: 1_000,
            operations_per_account: 2_000,
            running_per_account: 0,
            waiting_per_account: 1_024,
            patience: Duration::from_secs(15),
            keep_alive: Duration::from_secs(15),
            message_bytes: 64 * 1024,
            operations_per_socket: 50,
            init_timeout: Duration::from_secs(5),
            silence: Duration::from_secs(45),
            stall: Duration::from_secs(30),
        }
    }
}
