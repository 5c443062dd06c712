//! Who may do what: one closed catalogue of actions, one pure decision with its reason (AC-3).
//!
//! Every command and every read goes through [`decide`]; nothing else decides. Callers state the facts of
//! the resource ([`Resource`]); the policy alone knows what follows from them.

mod action;
pub mod denial;
mod parties;
mod rights;

pub use action::Action;
pub use parties::{AccountState, Principal, Resource, UserPrincipal, Visibility};
pub use rights::ReadRights;

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
    All(Vec<(Action, Resource)>),
}

impl Requirement {
    /// One action on one resource.
    #[must_use]
    pub fn one(action: Action, resource: Resource) -> Self {
        Self::All(vec![(action, resource)])
    }
}

/// How a denial is worded to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concealment {
    /// It may not even know that the resource exists.
    NotFound,
    /// It sees the resource but may not do this.
    Forbidden,
    /// It has to sign in first.
    Unauthenticated,
}

/// A "no" with its reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action} on {resource} is denied: {reason}")]
pub struct Denied {
    /// The action that was asked for.
    pub action: Action,
    /// On what.
    pub resource: String,
    /// The rule that decided; a stable name.
    pub rule: &'static str,
    /// Why, in words for the caller.
    pub reason: String,
    /// What the caller may learn of it.
    pub concealment: Concealment,
}

/// A "yes" with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The rule that decided; a stable name.
    pub rule: &'static str,
    /// Why, in words.
    pub reason: String,
}

impl Allowed {
    fn by(rule: &'static str, reason: impl Into<String>) -> Self {
        Self {
            rule,
            reason: reason.into(),
        }
    }
}

/// Checks everything that is required.
///
/// # Errors
/// The first denial.
pub fn permit(principal: &Principal, requirement: &Requirement) -> Result<(), Denied> {
    match requirement {
        Requirement::Open(_) => Ok(()),
        Requirement::System if matches!(principal, Principal::System(_)) => Ok(()),
        Requirement::Worker(_) | Requirement::LeaseOf(_) if matches!(principal, Principal::System(_)) => {
            Ok(())
        }
        Requirement::Worker(worker) if matches!(principal, Principal::Worker(own) if own == worker) => Ok(()),
        Requirement::LeaseOf(job) if matches!(principal, Principal::Worker(_)) => {
            decide(principal, Action::TrainingUpdate, job).map(|_| ())
        }
        Requirement::System | Requirement::Worker(_) | Requirement::LeaseOf(_) => Err(Denied {
            action: Action::SystemAdmin,
            resource: "system".to_owned(),
            rule: "system_only",
            reason: "only the system itself does this".to_owned(),
            concealment: Concealment::Forbidden,
        }),
        Requirement::All(list) => list
            .iter()
            .try_for_each(|(action, resource)| decide(principal, *action, resource).map(|_| ())),
    }
}

/// The one access decision: may `principal` do `action` to `resource`, and by which rule?
///
/// # Errors
/// The denial, with the rule and the reason.
pub fn decide(principal: &Principal, action: Action, resource: &Resource) -> Result<Allowed, Denied> {
    let no = |rule, reason: &str, concealment| {
        Err(Denied {
            action,
            resource: resource.name.clone(),
            rule,
            reason: reason.to_owned(),
            concealment,
        })
    };
    let user = match principal {
        Principal::System(_) if !resource.exists => {
            return no("absent", "there is no such thing", Concealment::NotFound);
        }
        Principal::System(part) => return Ok(Allowed::by("system", format!("done by the system's {part}"))),
        Principal::Worker(worker)
            if action == Action::TrainingUpdate && resource.leased_to == Some(*worker) =>
        {
            return Ok(Allowed::by("lease", "the worker holds the lease of this job"));
        }
        Principal::Worker(_) => {
            return no(
                "lease",
                "a worker acts only on the job that it leases",
                Concealment::Forbidden,
            );
        }
        Principal::Anonymous => return no("anonymous", "sign in first", Concealment::Unauthenticated),
        Principal::User(user) => user,
    };
    decide_for_user(user, action, resource).map_or_else(|(rule, why, how)| no(rule, &why, how), Ok)
}

type Refusal = (&'static str, String, Concealment);

fn decide_for_user(user: &UserPrincipal, action: Action, resource: &Resource) -> Result<Allowed, Refusal> {
    let owner = resource.owners.contains(&user.user);
    check_account(user, owner, resource)?;
    if !resource.exists {
        let why = "there is no such thing".to_owned();
        return Err(("absent", why, Concealment::NotFound));
    }
    let held = user.permissions.contains(&action);
    if owner && (held || action.comes_with_ownership()) {
        return Ok(Allowed::by("owner", "the user owns it"));
    }
    // After ownership, so that this rule says: an administrator at what belongs to others (AC-4).
    if user.permissions.contains(&Action::SystemAdmin) {
        let why = "the system.admin permission allows everything";
        return Ok(Allowed::by("administrator", why));
    }
    if resource.owned {
        decide_by_part(user, action, resource)
    } else {
        decide_by_role(held, action)
    }
}

/// Refuses what the state of the account does not let anybody do.
fn check_account(user: &UserPrincipal, owner: bool, resource: &Resource) -> Result<(), Refusal> {
    match user.account {
        AccountState::Active => Ok(()),
        AccountState::Deactivated => {
            let why = "the account is deactivated".to_owned();
            Err(("deactivated", why, Concealment::Unauthenticated))
        }
        AccountState::Unverified if owner && resource.name == user.user.to_string() => Ok(()),
        AccountState::Unverified => {
            let why = "verify the e-mail address first".to_owned();
            Err(("unverified", why, Concealment::Forbidden))
        }
    }
}

/// At what belongs to nobody, the permission alone decides.
fn decide_by_role(held: bool, action: Action) -> Result<Allowed, Refusal> {
    if held {
        return Ok(Allowed::by("role", format!("a role of the user holds {action}")));
    }
    let why = format!("none of the user's roles holds {action}");
    Err(("role", why, Concealment::Forbidden))
}

/// At what belongs to somebody, the part that the user has in it decides.
fn decide_by_part(user: &UserPrincipal, action: Action, resource: &Resource) -> Result<Allowed, Refusal> {
    let held = user.permissions.contains(&action);
    let owner = resource.owners.contains(&user.user);
    let member = resource.members.contains(&user.user);
    let public = resource.visibility == Visibility::Public;
    let reads = action.verb() == "read";
    if member && (held || reads) {
        return Ok(Allowed::by("member", "the user is a member of it"));
    }
    if public && reads {
        return Ok(Allowed::by("public", "it is public"));
    }
    if owner || member || public {
        let why = match held {
            true => format!("the user sees it, but {action} is for its owner and members"),
            false => format!("the user sees it, but none of their roles holds {action}"),
        };
        return Err(("role", why, Concealment::Forbidden));
    }
    let why = "the user has no part in it".to_owned();
    Err(("stranger", why, Concealment::NotFound))
}
