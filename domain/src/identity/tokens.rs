//! Tokens that were presented and are not good, one stream per kind of token.
//!
//! One rule: an event says which kind of token and whose account it named, never anything of the token itself.

use crate::{
    aggregate::{Aggregate, event},
    bounded::Count,
    id::UserId,
};

/// The refused tokens of one kind. Keeps nothing: it is there to be read in the log.
#[derive(Clone, Debug, Default)]
pub struct RefusedTokens;

/// A kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// The one that creates the first administrator.
    Setup,
    /// One that proves an e-mail address.
    Verification,
    /// One that goes on with a session.
    Refresh,
}

impl TokenKind {
    /// Its name in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Verification => "verification",
            Self::Refresh => "refresh",
        }
    }
}

/// Facts about refused tokens.
#[event(context = "identity", subject = user)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenEvent {
    /// A token was not good: wrong, used up, too old, or of nothing.
    #[event(name = "TokenRefused", failure)]
    Refused {
        /// `setup`, `verification` or `refresh`.
        #[plain]
        token: String,
        /// The account that it named, if there is one.
        user: Option<UserId>,
    },
    /// Further ones were only counted.
    #[event(name = "TokensLeftOut", subject = nobody, failure)]
    LeftOut(Count),
}

impl Aggregate for RefusedTokens {
    const CATEGORY: &'static str = "identity.tokens";
    type Event = TokenEvent;
    fn evolve(&mut self, _: &TokenEvent) {}
}
