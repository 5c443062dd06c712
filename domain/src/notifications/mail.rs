//! PORT: mail.
//!
//! One rule: a mail is at least once, with an id that stays the same however often it is handed over; whoever takes it
//! puts that into its `Message-ID`, and nothing of its address or text into a log or an error.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{event_store::BoxFuture, id::UserId};

/// A mail to one person. Not `Debug`: its text may hold a token.
#[derive(Clone)]
pub struct Mail {
    /// Its id, made of what it is about: a mail that is handed over again has the same.
    pub id: Uuid,
    /// When what it is about happened: its `Date`, the same each time.
    pub at: OffsetDateTime,
    /// Whom it is for: what is still here of it goes when the person is erased.
    pub person: UserId,
    /// Address.
    pub to: String,
    /// Subject.
    pub subject: String,
    /// Text. May hold a token, so it is never logged.
    pub body: String,
}

/// A mail that was not handed over. Its reason is one of the program's own sentences, so that no address and no text gets
/// where errors are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mail could not be handed over: {reason}")]
pub struct MailError {
    /// Why.
    pub reason: &'static str,
    /// Whether trying again is of no use.
    pub permanent: bool,
}

/// Sends mail.
pub trait Mailer: Send + Sync {
    /// Hands one mail over. Handing it over again replaces it, or gives the receiver the same `Message-ID`.
    ///
    /// # Errors
    /// When it was not, or when nothing is known of it.
    fn send<'a>(&'a self, mail: &'a Mail) -> BoxFuture<'a, Result<(), MailError>>;

    /// Removes what is still here of mails to `person`, and says how many were. Repeating it is safe.
    ///
    /// # Errors
    /// When one could not be looked at or removed.
    fn forget(&self, person: UserId) -> BoxFuture<'_, Result<u32, MailError>>;
}
