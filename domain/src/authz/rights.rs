//! How the write path learns what an account may do.
//!
//! One rule: rights belong to what a decision reads. The append checks the streams that they come from, so a role taken
//! away, a session ended or an account switched off between request and record makes the decision be taken anew.

use time::OffsetDateTime;

use super::{Denied, UserPrincipal};
use crate::decision::{LoadedState, ReadSet};

/// Reads the rights of accounts from the streams of the log.
pub trait ReadRights: Send + Sync {
    /// Declares the streams that the rights of `known` come from. Called again with the loaded state until it declares
    /// nothing new, as [`crate::execute::Command::reads`].
    fn reads(&self, known: &UserPrincipal, loaded: &LoadedState, reads: &mut ReadSet);

    /// The rights at `now`, from what was loaded. Of `known` only the account and the session count.
    ///
    /// # Errors
    /// When the session has ended: nobody acts in it any more.
    fn current(
        &self,
        known: &UserPrincipal,
        loaded: &LoadedState,
        now: OffsetDateTime,
    ) -> Result<UserPrincipal, Denied>;
}
