//! Who may do what: one closed catalogue of actions, one pure decision with its reason (AC-3).
//!
//! Every command and every read goes through [`decide`]; nothing else decides. Callers state the facts of
//! the resource ([`Resource`]); the policy alone knows what follows from them.

mod action;
pub mod denial;
mod principal;
mod requirement;
mod resource;
mod rights;
mod shared;

pub use action::Action;
pub use principal::{AccountState, Principal, UserPrincipal};
pub use requirement::{Needs, Requirement};
pub use resource::{Membership, Party, PartyRole, Resource, Share, Visibility};
pub use rights::ReadRights;
pub use shared::Shared;
use time::OffsetDateTime;

/// The circumstances of an attempt: what a decision depends on besides the actor and the thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// When. Parts in things end at their second (PR-5).
    pub now: OffsetDateTime,
    /// From which network address, where a client asks.
    pub address: Option<String>,
}

impl Circumstances {
    /// At that time, by the system itself.
    #[must_use]
    pub fn at(now: OffsetDateTime) -> Self {
        Self { now, address: None }
    }

    /// From this network address.
    #[must_use]
    pub fn from(self, address: Option<String>) -> Self {
        Self { address, ..self }
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
pub fn permit(
    principal: &Principal,
    requirement: &Requirement,
    circumstances: &Circumstances,
) -> Result<(), Denied> {
    match requirement {
        Requirement::Open(_) => Ok(()),
        Requirement::System if matches!(principal, Principal::System(_)) => Ok(()),
        Requirement::Worker(_) | Requirement::LeaseOf(_) if matches!(principal, Principal::System(_)) => {
            Ok(())
        }
        Requirement::Worker(worker) if matches!(principal, Principal::Worker(own) if own == worker) => Ok(()),
        Requirement::LeaseOf(job) if matches!(principal, Principal::Worker(_)) => {
            decide(principal, Action::TrainingUpdate, job, circumstances).map(|_| ())
        }
        Requirement::System | Requirement::Worker(_) | Requirement::LeaseOf(_) => Err(Denied {
            action: Action::SystemAdmin,
            resource: "system".to_owned(),
            rule: "system_only",
            reason: "only the system itself does this".to_owned(),
            concealment: Concealment::Forbidden,
        }),
        Requirement::All(needs) => needs.iter().try_for_each(|(action, resource)| {
            decide(principal, *action, resource, circumstances).map(|_| ())
        }),
    }
}

/// The one access decision: may `principal` do `action` to `resource` under these circumstances, and by which rule?
///
/// # Errors
/// The denial, with the rule and the reason.
pub fn decide(
    principal: &Principal,
    action: Action,
    resource: &Resource,
    circumstances: &Circumstances,
) -> Result<Allowed, Denied> {
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
    let decided = decide_for_user(user, action, resource, circumstances.now);
    decided.map_or_else(|(rule, why, how)| no(rule, &why, how), Ok)
}

type Refusal = (&'static str, String, Concealment);

fn decide_for_user(
    user: &UserPrincipal,
    action: Action,
    resource: &Resource,
    now: OffsetDateTime,
) -> Result<Allowed, Refusal> {
    check_account(user, resource)?;
    if !resource.exists {
        let why = "there is no such thing".to_owned();
        return Err(("absent", why, Concealment::NotFound));
    }
    let decided = match resource.owned {
        true => decide_by_part(user, action, resource, now),
        false => decide_by_role(user, action),
    };
    // Last, so that this rule says: an administrator at what belongs to others (AC-4).
    decided.or_else(|refusal| match user.permissions.contains(&Action::SystemAdmin) {
        true => Ok(Allowed::by(
            "administrator",
            "the system.admin permission allows everything",
        )),
        false => Err(refusal),
    })
}

/// Refuses what the state of the account does not let anybody do.
fn check_account(user: &UserPrincipal, resource: &Resource) -> Result<(), Refusal> {
    let own_account = resource.founder == Some(user.user) && resource.name == user.user.to_string();
    match user.account {
        AccountState::Active => Ok(()),
        AccountState::Deactivated => {
            let why = "the account is deactivated".to_owned();
            Err(("deactivated", why, Concealment::Unauthenticated))
        }
        AccountState::Unverified if own_account => Ok(()),
        AccountState::Unverified => {
            let why = "verify the e-mail address first".to_owned();
            Err(("unverified", why, Concealment::Forbidden))
        }
    }
}

/// At what belongs to nobody, the permission alone decides.
fn decide_by_role(user: &UserPrincipal, action: Action) -> Result<Allowed, Refusal> {
    if user.permissions.contains(&action) {
        return Ok(Allowed::by("role", format!("a role of the user holds {action}")));
    }
    let why = format!("none of the user's roles holds {action}");
    Err(("role", why, Concealment::Forbidden))
}

/// At what belongs to somebody, the part that the user has in it decides.
fn decide_by_part(
    user: &UserPrincipal,
    action: Action,
    resource: &Resource,
    now: OffsetDateTime,
) -> Result<Allowed, Refusal> {
    let held = user.permissions.contains(&action);
    let founder = resource.founder == Some(user.user);
    if founder && (held || action.comes_with_ownership()) {
        return Ok(Allowed::by("founder", "the user created it"));
    }
    let roles = resource.roles_of(user, now);
    let allowing = roles.iter().find(|role| role.allows(action, resource.kind, held));
    if let Some(role) = allowing {
        let why = format!("the user has a part in it, as {}", role.name());
        return Ok(Allowed::by(role.name(), why));
    }
    let public = resource.visibility == Visibility::Public;
    if public && (action.verb() == "read" || (held && action.verb() == "export")) {
        return Ok(Allowed::by("public", "it is public"));
    }
    if founder || !roles.is_empty() || public {
        let why = match held {
            true => format!("it may be read, but the role in it does not include {action}"),
            false => format!("it may be read, but none of the roles of the account includes {action}"),
        };
        return Err(("role", why, Concealment::Forbidden));
    }
    let why = "the user has no part in it".to_owned();
    Err(("stranger", why, Concealment::NotFound))
}
