//! The access decision against an oracle that was written from the specification, not from the code (AC-3,
//! AC-4, AC-7, A3): every built-in role × every permission × one's part in the thing × the account's state.

use std::collections::BTreeSet;

use domain::{
    access::{builtin, quota::Quotas, role::RoleDefinition},
    authz::{AccountState, Action, Concealment, Principal, Resource, UserPrincipal, Visibility, decide},
    id::{UserId, WorkerId},
};
use uuid::Uuid;

use super::specified::{self, permission_names};

const USER: UserId = UserId(Uuid::from_u128(1));
const OTHER: UserId = UserId(Uuid::from_u128(2));

/// One's part in the thing that is acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Owner,
    OwnerOfPublic,
    Member,
    MemberOfPublic,
    Public,
    Stranger,
    /// A thing without owners, or making a new one.
    Nobodys,
    Absent,
    AbsentOfNobody,
    /// One's own account.
    OwnAccount,
}

const PARTS: [Part; 10] = [
    Part::Owner,
    Part::OwnerOfPublic,
    Part::Member,
    Part::MemberOfPublic,
    Part::Public,
    Part::Stranger,
    Part::Nobodys,
    Part::Absent,
    Part::AbsentOfNobody,
    Part::OwnAccount,
];

const STATES: [AccountState; 3] = [
    AccountState::Active,
    AccountState::Unverified,
    AccountState::Deactivated,
];

fn resource(part: Part) -> Resource {
    let of = |owner: UserId| Resource::of("thing", Some(owner));
    match part {
        Part::Owner => of(USER),
        Part::OwnerOfPublic => of(USER).seen_by(Visibility::Public),
        Part::Member => of(OTHER).with_members([USER]),
        Part::MemberOfPublic => of(OTHER).with_members([USER]).seen_by(Visibility::Public),
        Part::Public => of(OTHER).seen_by(Visibility::Public),
        Part::Stranger => of(OTHER).with_members([UserId(Uuid::from_u128(3))]),
        Part::Nobodys => Resource::kind("things"),
        Part::Absent => Resource::of("thing", None),
        Part::AbsentOfNobody => Resource {
            exists: false,
            ..Resource::kind("things")
        },
        Part::OwnAccount => Resource::of(USER, Some(USER)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    /// As if there were no such thing.
    Hidden,
    Forbidden,
    /// Sign in first.
    SignIn,
}

/// What the specification says, in the order in which it says it.
fn oracle(held: &BTreeSet<&str>, action: &str, part: Part, state: AccountState) -> Answer {
    // ID-5: a deactivated account may do nothing. ID-3: an unverified one gets only its own profile.
    if state == AccountState::Deactivated {
        return Answer::SignIn;
    }
    if state == AccountState::Unverified && part != Part::OwnAccount {
        return Answer::Forbidden;
    }
    if matches!(part, Part::Absent | Part::AbsentOfNobody) {
        return Answer::Hidden;
    }
    // AC-4: administrators may see (and do) all.
    if held.contains("system.admin") {
        return Answer::Yes;
    }
    let permitted = held.contains(action);
    let (reading, changing) = (
        action.ends_with(".read"),
        action.ends_with(".update") || action.ends_with(".delete"),
    );
    let allowed = match part {
        Part::Nobodys => permitted,
        // AC-4: owning gives access without the permission; making new things and taking them out does not.
        Part::Owner | Part::OwnerOfPublic | Part::OwnAccount => permitted || reading || changing,
        Part::Member | Part::MemberOfPublic => permitted || reading,
        Part::Public => reading,
        Part::Stranger => false,
        Part::Absent | Part::AbsentOfNobody => unreachable!("answered above"),
    };
    match (allowed, part) {
        (true, _) => Answer::Yes,
        (false, Part::Stranger) => Answer::Hidden,
        (false, _) => Answer::Forbidden,
    }
}

fn answer(principal: &Principal, action: Action, resource: &Resource) -> Answer {
    match decide(principal, action, resource) {
        Ok(allowed) => {
            assert!(
                !allowed.rule.is_empty() && !allowed.reason.is_empty(),
                "a decision has rule and reason"
            );
            Answer::Yes
        }
        Err(denied) => {
            assert!(
                !denied.rule.is_empty() && !denied.reason.is_empty(),
                "a decision has rule and reason"
            );
            assert_eq!(
                (denied.action, denied.resource.as_str()),
                (action, resource.name.as_str())
            );
            match denied.concealment {
                Concealment::NotFound => Answer::Hidden,
                Concealment::Forbidden => Answer::Forbidden,
                Concealment::Unauthenticated => Answer::SignIn,
            }
        }
    }
}

fn principal(role: &str, held: &BTreeSet<String>, account: AccountState) -> Principal {
    Principal::User(Box::new(UserPrincipal {
        user: USER,
        session: None,
        organization: None,
        account,
        roles: [role.to_owned()].into(),
        permissions: held
            .iter()
            .map(|name| Action::named(name).expect("in the permission_names"))
            .collect(),
        may_grant: BTreeSet::new(),
        quotas: Quotas::NOTHING,
    }))
}

/// The permission_names is the specification's: nothing is missing, and nothing is there that it does not list.
#[test]
fn the_permissions_are_those_of_the_specification() {
    let found: BTreeSet<&str> = Action::ALL.iter().map(|action| action.name()).collect();
    assert_eq!(found, permission_names());
    assert_eq!(
        Action::ALL.len(),
        permission_names().len(),
        "each stands there once"
    );
}

/// AC-1, QU-1: what the built-in roles get, what they may grant, and their quotas.
#[test]
fn the_built_in_roles_are_those_of_the_specification() {
    let (built_in, specified) = (builtin::roles(), specified::roles());
    let names = |role: &RoleDefinition| role.name.clone();
    assert_eq!(
        built_in.iter().map(names).collect::<Vec<_>>(),
        specified.iter().map(|role| role.name).collect::<Vec<_>>()
    );
    for (found, expected) in built_in.iter().zip(&specified) {
        let name = expected.name;
        let texts = |set: &BTreeSet<&'static str>| set.iter().map(|text| (*text).to_owned()).collect();
        let (permissions, may_grant): (BTreeSet<String>, BTreeSet<String>) =
            (texts(&expected.permissions), texts(&expected.may_grant));
        assert_eq!(found.permissions, permissions, "{name}");
        assert_eq!(found.may_grant, may_grant, "{name}");
        let quotas = found.quotas;
        let limits = [
            quotas.projects,
            quotas.datasets,
            quotas.concurrent_jobs,
            quotas.storage_gb,
            quotas.gpu_hours,
        ];
        assert_eq!(limits, expected.limits, "{name}");
    }
}

/// AC-3, AC-7, A3: the code's own roles go into the decision, the specification's into the oracle.
#[test]
fn every_decision_is_the_oracles() {
    let nobody = ("none", BTreeSet::new(), BTreeSet::new());
    let roles = specified::roles().into_iter().map(|role| {
        let built_in = builtin::roles().into_iter().find(|found| found.name == role.name);
        let built_in = built_in.unwrap_or_else(|| panic!("there is no role {}", role.name));
        (role.name, built_in.permissions, role.permissions)
    });
    let mut cases = 0;
    for (role, held, specified) in roles.chain([nobody]) {
        for state in STATES {
            let principal = principal(role, &held, state);
            for action in Action::ALL {
                for part in PARTS {
                    let (found, expected) = (
                        answer(&principal, *action, &resource(part)),
                        oracle(&specified, action.name(), part, state),
                    );
                    assert_eq!(found, expected, "{role}, {state:?}, {action}, {part:?}");
                    cases += 1;
                }
            }
        }
    }
    // Eleven roles and none, three states, the whole permission_names, ten parts.
    assert_eq!(cases, 12 * 3 * permission_names().len() * 10);
}

/// Several roles: permissions add up (AC-1), so two roles may do what either may.
#[test]
fn two_roles_may_do_what_either_may() {
    let roles = builtin::roles();
    for one in &roles {
        for other in &roles {
            let both: BTreeSet<String> = one.permissions.union(&other.permissions).cloned().collect();
            let together = principal("both", &both, AccountState::Active);
            let alone = [&one.permissions, &other.permissions]
                .map(|held| principal("one", held, AccountState::Active));
            for action in Action::ALL {
                for part in PARTS {
                    let resource = resource(part);
                    let either = alone
                        .iter()
                        .any(|one| answer(one, *action, &resource) == Answer::Yes);
                    let allowed = answer(&together, *action, &resource) == Answer::Yes;
                    assert_eq!(
                        allowed, either,
                        "{} + {}: {action}, {part:?}",
                        one.name, other.name
                    );
                }
            }
        }
    }
}

#[test]
fn who_is_not_signed_in_may_do_nothing() {
    for action in Action::ALL {
        for part in PARTS {
            assert_eq!(
                answer(&Principal::Anonymous, *action, &resource(part)),
                Answer::SignIn,
                "{action}, {part:?}"
            );
        }
    }
}

/// JB-4: a worker reports on the job that it leases, and does nothing else.
#[test]
fn a_worker_acts_only_on_the_job_that_it_leases() {
    let (own, other) = (WorkerId(Uuid::from_u128(8)), WorkerId(Uuid::from_u128(9)));
    for action in Action::ALL {
        for part in PARTS {
            for holder in [None, Some(own), Some(other)] {
                let leased = resource(part).leased_to(holder);
                let expected = match *action == Action::TrainingUpdate && holder == Some(own) {
                    true => Answer::Yes,
                    false => Answer::Forbidden,
                };
                assert_eq!(
                    answer(&Principal::Worker(own), *action, &leased),
                    expected,
                    "{action}, {part:?}, {holder:?}"
                );
            }
        }
    }
}
