//! What a command needs permitted.
//!
//! One rule: a requirement that requires nothing cannot be written. What everybody may try says why.

use super::{Action, Resource, Visibility};
use crate::id::WorkerId;

/// What a command needs permitted.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// Everybody may try; the reason why is given.
    Open(&'static str),
    /// Only the named parts of the system itself.
    System,
    /// This worker, and the system.
    Worker(WorkerId),
    /// The worker that holds the lease of this job, and the system; not its owner: people do not report.
    LeaseOf(Resource),
    /// All of these.
    All(Needs),
}

/// Actions on resources, at least one.
#[derive(Clone, Debug)]
pub struct Needs {
    first: (Action, Resource),
    others: Vec<(Action, Resource)>,
}

impl Needs {
    /// One action on one resource.
    #[must_use]
    pub fn one(action: Action, resource: Resource) -> Self {
        Self {
            first: (action, resource),
            others: Vec::new(),
        }
    }

    /// What it takes to create a thing of `kind` that is seen by `visibility`: `create`, and `share` where everybody sees
    /// it, because to show something to everybody is to share it.
    #[must_use]
    pub fn to_create(kind: &'static str, visibility: Visibility, create: Action, share: Action) -> Self {
        let needs = Self::one(create, Resource::kind(kind));
        match visibility {
            Visibility::Private => needs,
            Visibility::Public => needs.and(share, Resource::kind(kind)),
        }
    }

    /// And another.
    #[must_use]
    pub fn and(mut self, action: Action, resource: Resource) -> Self {
        self.others.push((action, resource));
        self
    }

    /// And all of `more`.
    #[must_use]
    pub fn and_all(mut self, more: Self) -> Self {
        self.others.push(more.first);
        self.others.extend(more.others);
        self
    }

    /// In the order in which they are checked.
    pub fn iter(&self) -> impl Iterator<Item = &(Action, Resource)> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl From<Needs> for Requirement {
    fn from(needs: Needs) -> Self {
        Self::All(needs)
    }
}

impl Requirement {
    /// One action on one resource.
    #[must_use]
    pub fn one(action: Action, resource: Resource) -> Self {
        Self::All(Needs::one(action, resource))
    }
}
