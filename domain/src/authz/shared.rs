//! What people share: things with an access list.
//!
//! One rule: a thing states its founder, its visibility and the parts that can be given in it; everything about access
//! lists is written once, over this trait ([`crate::shared`], [`crate::sharing`]).

use super::{Action, PartyRole, Visibility};
use crate::{aggregate::Aggregate, id::UserId};

/// A kind of thing that people share.
pub trait Shared: Aggregate {
    /// Its id.
    type Id: Copy + std::fmt::Debug + std::fmt::Display + Send + Sync;
    /// Its kind, as the permissions name it: `models` of `models.read`.
    const KIND: &'static str;
    /// The permission to see it.
    const READ: Action;
    /// The permission to give others a part in it.
    const SHARE: Action;
    /// The parts that can be given in it.
    const ROLES: &'static [PartyRole];
    /// Whether projects and organizations can be given a part in it, or only users.
    const GROUPS: bool;

    /// Who created it; `None` when there is no such thing.
    fn founder(&self) -> Option<UserId>;

    /// Who can read it without a part in it.
    fn visibility(&self) -> Visibility {
        Visibility::Private
    }
}
