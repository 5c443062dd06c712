//! The access decision against an oracle that was written from the specification, not from the code (AC-3,
//! AC-4, AC-7, A3): every built-in role × every permission × one's part in the thing × the account's state.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use domain::{
    access::{builtin, quota::Quotas, role::RoleDefinition},
    authz::{
        AccountState, Action, Circumstances, Concealment, Membership, Party, PartyRole, Principal, Resource,
        Share, UserPrincipal, Visibility, decide,
    },
    id::{OrganizationId, ProjectId, UserId, WorkerId},
};
use time::{OffsetDateTime, macros::datetime};
use uuid::Uuid;

use super::specified::{self, permission_names};

const USER: UserId = UserId(Uuid::from_u128(1));
const OTHER: UserId = UserId(Uuid::from_u128(2));

const PROJECT: ProjectId = ProjectId(Uuid::from_u128(4));
const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(5));
const NOW: OffsetDateTime = datetime!(2026-11-30 12:00 UTC);

/// One's part in the thing that is acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Founder,
    FounderOfPublic,
    Owner,
    /// Owner of what the thing is in, say of the project of an experiment.
    OwnerAround,
    Editor,
    Member,
    MemberOfPublic,
    Viewer,
    /// Two parts: they add up.
    ViewerAndOwner,
    /// Member of a project that is an editor, and its founder.
    MemberOfEditor,
    FounderOfEditor,
    /// Of an organization that is a viewer.
    OfViewer,
    /// Not any more: over, revoked by time in the project, of another organization, of a project that is no more.
    Expired,
    ExpiredInProject,
    OtherOrganization,
    GoneProject,
    Public,
    Stranger,
    /// A thing without owners, or making a new one.
    Nobodys,
    Absent,
    AbsentOfNobody,
    /// One's own account.
    OwnAccount,
}

const PARTS: [Part; 22] = [
    Part::Founder,
    Part::FounderOfPublic,
    Part::Owner,
    Part::OwnerAround,
    Part::Editor,
    Part::Member,
    Part::MemberOfPublic,
    Part::Viewer,
    Part::ViewerAndOwner,
    Part::MemberOfEditor,
    Part::FounderOfEditor,
    Part::OfViewer,
    Part::Expired,
    Part::ExpiredInProject,
    Part::OtherOrganization,
    Part::GoneProject,
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

fn share(party: Party, role: PartyRole) -> Share {
    Share {
        party,
        role,
        until: Some(NOW + time::Duration::SECOND),
        by: OTHER,
    }
}

fn membership(founder: Option<UserId>, members: &[Share]) -> BTreeMap<ProjectId, Membership> {
    let shares = members.to_vec();
    [(PROJECT, Membership { founder, shares })].into()
}

/// A thing of the kind that `action` is about, or one that such things are in.
fn resource(part: Part, action: Action) -> Resource {
    let kind = action.resource();
    let of = |founder: UserId| Resource::of(kind, "thing", Some(founder));
    let (me, third) = (Party::User(USER), Party::User(UserId(Uuid::from_u128(3))));
    let mine = |role| of(OTHER).shared_with([share(me, role)]);
    let project = of(OTHER).shared_with([share(Party::Project(PROJECT), PartyRole::Editor)]);
    let organization = |id| of(OTHER).shared_with([share(Party::Organization(id), PartyRole::Viewer)]);
    let over = |role| Share {
        until: Some(NOW),
        ..share(me, role)
    };
    match part {
        Part::Founder => of(USER),
        Part::FounderOfPublic => of(USER).seen_by(Visibility::Public),
        Part::Owner => mine(PartyRole::Owner),
        Part::OwnerAround => Resource {
            kind: "around",
            ..mine(PartyRole::Owner)
        },
        Part::Editor => mine(PartyRole::Editor),
        Part::Member => mine(PartyRole::Member),
        Part::MemberOfPublic => mine(PartyRole::Member).seen_by(Visibility::Public),
        Part::Viewer => mine(PartyRole::Viewer),
        Part::ViewerAndOwner => of(OTHER).shared_with([
            share(me, PartyRole::Viewer),
            share(Party::Organization(ORGANIZATION), PartyRole::Owner),
        ]),
        Part::MemberOfEditor => Resource {
            memberships: membership(Some(OTHER), &[share(me, PartyRole::Member)]),
            ..project
        },
        Part::FounderOfEditor => Resource {
            memberships: membership(Some(USER), &[]),
            ..project
        },
        Part::OfViewer => organization(ORGANIZATION),
        Part::Expired => of(OTHER).shared_with([over(PartyRole::Owner)]),
        Part::ExpiredInProject => Resource {
            memberships: membership(Some(OTHER), &[over(PartyRole::Owner)]),
            ..project
        },
        Part::OtherOrganization => organization(OrganizationId(Uuid::from_u128(6))),
        Part::GoneProject => Resource {
            memberships: membership(None, &[share(me, PartyRole::Member)]),
            ..project
        },
        Part::Public => of(OTHER).seen_by(Visibility::Public),
        Part::Stranger => of(OTHER).shared_with([share(third, PartyRole::Owner)]),
        Part::Nobodys => Resource::kind(kind),
        Part::Absent => Resource::of(kind, "thing", None),
        Part::AbsentOfNobody => Resource::unowned(kind, "thing", false),
        Part::OwnAccount => Resource::of(kind, USER, Some(USER)),
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
    match (allowed_by_part(held.contains(action), action, part), part) {
        (true, _) => Answer::Yes,
        (
            false,
            Part::Stranger
            | Part::Expired
            | Part::ExpiredInProject
            | Part::OtherOrganization
            | Part::GoneProject,
        ) => Answer::Hidden,
        (false, _) => Answer::Forbidden,
    }
}

/// PR-1, PR-4, PR-5, AC-4: what one's part in a thing allows, with the permission or without.
fn allowed_by_part(permitted: bool, action: &str, part: Part) -> bool {
    let ends_with = |verbs: &[&str]| verbs.iter().any(|verb| action.ends_with(verb));
    let (reading, changing, ending) = (
        ends_with(&[".read"]),
        ends_with(&[".update"]),
        ends_with(&[".delete"]),
    );
    match part {
        Part::Nobodys => permitted,
        // AC-4: owning gives access without the permission; making new things and taking them out does not.
        Part::Founder | Part::FounderOfPublic | Part::OwnAccount => {
            permitted || reading || changing || ending
        }
        // PR-1: settings, members, invitations; only the founding owner or an administrator deletes.
        Part::Owner | Part::ViewerAndOwner => !ending && (permitted || reading || changing),
        Part::OwnerAround => permitted || reading || changing || ending,
        // PR-5, PR-8: new versions, and taking it out.
        Part::Editor | Part::MemberOfEditor | Part::FounderOfEditor => {
            reading || (permitted && ends_with(&[".update", ".create", ".export"]))
        }
        // PR-1: see, create runs.
        Part::Member => reading || (permitted && ends_with(&[".create"])),
        Part::MemberOfPublic => reading || (permitted && ends_with(&[".create", ".export"])),
        // PR-5: query.
        Part::Viewer | Part::OfViewer => reading,
        // PR-4, models.export: what is public is taken out by whoever may take models out.
        Part::Public => reading || (permitted && ends_with(&[".export"])),
        Part::Stranger
        | Part::Expired
        | Part::ExpiredInProject
        | Part::OtherOrganization
        | Part::GoneProject => false,
        Part::Absent | Part::AbsentOfNobody => unreachable!("answered before"),
    }
}

fn answer(principal: &Principal, action: Action, resource: &Resource) -> Answer {
    match decide(principal, action, resource, &Circumstances::at(NOW)) {
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
        organization: Some(ORGANIZATION),
        account,
        roles: Arc::new([role.to_owned()].into()),
        permissions: Arc::new(
            held.iter()
                .map(|name| Action::named(name).expect("in the permission_names"))
                .collect(),
        ),
        may_grant: Arc::default(),
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
                        answer(&principal, *action, &resource(part, *action)),
                        oracle(&specified, action.name(), part, state),
                    );
                    assert_eq!(found, expected, "{role}, {state:?}, {action}, {part:?}");
                    cases += 1;
                }
            }
        }
    }
    // Eleven roles and none, three states, the whole catalogue, every part.
    assert_eq!(cases, 12 * 3 * permission_names().len() * PARTS.len());
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
                    let resource = resource(part, *action);
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
                answer(&Principal::Anonymous, *action, &resource(part, *action)),
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
                let leased = resource(part, *action).leased_to(holder);
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
