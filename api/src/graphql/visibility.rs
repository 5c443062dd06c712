//! Who can read an object besides its owner, as the schema names it.
//!
//! One rule: the same two values as in the domain, so a new one there does not compile here until it is named.

use async_graphql::Enum;
use domain::authz;

/// Who can see a resource besides its owner and the members of its project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum Visibility {
    /// Nobody else.
    Private,
    /// Every signed-in user may read it.
    Public,
}

impl From<authz::Visibility> for Visibility {
    fn from(visibility: authz::Visibility) -> Self {
        match visibility {
            authz::Visibility::Private => Self::Private,
            authz::Visibility::Public => Self::Public,
        }
    }
}

impl From<Visibility> for authz::Visibility {
    fn from(visibility: Visibility) -> Self {
        match visibility {
            Visibility::Private => Self::Private,
            Visibility::Public => Self::Public,
        }
    }
}
