//! Why there is no connection.
//!
//! The rule: the words hold neither user nor password, and say what to look at.

/// No connection could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The address cannot be read. It is not repeated here, because it may hold a password.
    #[error(
        "the database address is not a PostgreSQL URL; write it as postgres://user:password@host:5432/database"
    )]
    Address,
    /// The address has parameters that are not known, or values that would not do.
    #[error("the database address: {0}")]
    Parameters(String),
    /// Nobody answers, or we are not let in.
    #[error("no connection to PostgreSQL at {at}: {why}; {remedy}")]
    Refused {
        /// Host and port, or the socket.
        at: String,
        /// What the network or the server said.
        why: String,
        /// What to look at.
        remedy: &'static str,
    },
}
