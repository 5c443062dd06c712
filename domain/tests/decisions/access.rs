//! Roles: seeding, granting, removing.

use domain::{
    access::{
        administrators::{ADMINISTRATORS, Administrators, AdministratorsEvent},
        assignment::{AssignmentEvent, Assignments, GrantRefusal, GrantRole, RemoveRole},
        builtin,
        role::{Role, RoleEvent, SeedRoles},
    },
    authz::{Concealment, Principal},
    identity::user::User,
};

use crate::support::{given_when_then::Given, *};

fn defined(name: &str) -> RoleEvent {
    let definition = builtin::roles()
        .into_iter()
        .find(|role| role.name == name)
        .expect("built in");
    RoleEvent::Defined(definition)
}

fn grant(role: &str) -> GrantRole {
    GrantRole {
        user: ADA,
        role: role.into(),
        reason: "joins the team".into(),
    }
}

fn remove(role: &str) -> RemoveRole {
    RemoveRole {
        user: ADA,
        role: role.into(),
        reason: "leaves the team".into(),
    }
}

fn removed(role: &str) -> AssignmentEvent {
    AssignmentEvent::Removed {
        user: ADA,
        role: role.into(),
        reason: "leaves the team".into(),
    }
}

/// Ada has an account; all built-in roles are defined.
fn a_company() -> Given {
    builtin::roles().into_iter().fold(
        given()
            .stream::<Assignments>(ADA, [granted(ADA, "analyst")])
            .stream::<User>(ROOT, registered(ROOT, "root"))
            .administrators(&[ROOT]),
        |given, role| given.stream::<Role>(role.name.clone(), [RoleEvent::Defined(role)]),
    )
}

fn manager() -> Principal {
    user(BOB, &["manager"])
}

#[test]
fn seeding_defines_every_built_in_role_once() {
    let all = builtin::roles().into_iter();
    let after = given()
        .when(SeedRoles)
        .then_records(all.map(|role| expected_event::<Role>(role.name.clone(), &RoleEvent::Defined(role))));
    after.when(SeedRoles).then_already_so();
}

/// AC-1: what an administrator has changed stays.
#[test]
fn seeding_leaves_a_changed_role_as_it_is() {
    let RoleEvent::Defined(mut changed) = defined("viewer");
    changed.permissions.clear();
    let expected = builtin::roles().into_iter().filter(|role| role.name != "viewer");
    given()
        .stream::<Role>("viewer", [RoleEvent::Defined(changed)])
        .when(SeedRoles)
        .then_records(
            expected.map(|role| expected_event::<Role>(role.name.clone(), &RoleEvent::Defined(role))),
        );
}

#[test]
fn only_the_system_seeds() {
    given()
        .when(SeedRoles)
        .by(root())
        .then_denied("system_only", Concealment::Forbidden);
}

/// AC-2: who (the actor of the event), what, whom, why.
#[test]
fn a_manager_grants_what_managers_may_grant() {
    let after = a_company()
        .when(grant("engineer_ii"))
        .by(manager())
        .then_records([expected_event::<Assignments>(ADA, &granted(ADA, "engineer_ii"))]);
    after.when(grant("engineer_ii")).by(manager()).then_already_so();
}

/// AC-2
#[test]
fn a_manager_grants_nothing_beyond() {
    for role in ["manager", "admin", "viewer"] {
        let refusal = GrantRefusal::BeyondOwnGrants(role.into());
        a_company()
            .when(grant(role))
            .by(manager())
            .then_refused(refusal.clone());
        a_company().when(remove(role)).by(manager()).then_refused(refusal);
    }
}

/// AC-2: no one can raise their own permissions, not even an administrator.
#[test]
fn nobody_changes_their_own_roles() {
    let own = |role: &str| GrantRole {
        user: BOB,
        ..grant(role)
    };
    a_company()
        .stream::<Assignments>(BOB, [granted(BOB, "manager")])
        .when(own("engineer_i"))
        .by(manager())
        .then_refused(GrantRefusal::OwnRoles);
    a_company()
        .stream::<Assignments>(ROOT, [granted(ROOT, "admin")])
        .when(RemoveRole {
            user: ROOT,
            ..remove("admin")
        })
        .by(root())
        .then_refused(GrantRefusal::OwnRoles);
}

/// AC-2: needs `roles.grant`.
#[test]
fn engineers_grant_nothing() {
    a_company()
        .when(grant("guest"))
        .by(bob())
        .then_denied("role", Concealment::Forbidden);
    a_company()
        .when(remove("guest"))
        .by(bob())
        .then_denied("role", Concealment::Forbidden);
}

#[test]
fn unknown_roles_and_users_are_named() {
    a_company()
        .when(grant("emperor"))
        .by(root())
        .then_refused(GrantRefusal::UnknownRole("emperor".into()));
    a_company()
        .when(GrantRole {
            user: BOB,
            ..grant("guest")
        })
        .by(root())
        .then_refused(GrantRefusal::UnknownUser);
}

/// AC-2
#[test]
fn a_change_of_roles_needs_a_reason_of_sensible_length() {
    let unfit = |reason: &str| GrantRefusal::Reason(domain::text::reason(reason).expect_err("unfit"));
    for (reason, refusal) in [
        (" ".to_owned(), GrantRefusal::ReasonMissing),
        ("x".repeat(501), unfit(&"x".repeat(501))),
        ("joins\u{1b}[8m".to_owned(), unfit("joins\u{1b}[8m")),
    ] {
        a_company()
            .when(GrantRole {
                reason: reason.clone(),
                ..grant("guest")
            })
            .by(root())
            .then_refused(refusal.clone());
        a_company()
            .when(RemoveRole {
                reason,
                ..remove("guest")
            })
            .by(root())
            .then_refused(refusal);
    }
}

/// AC-2
#[test]
fn a_role_is_removed_once() {
    let after = a_company()
        .stream::<Assignments>(ADA, [granted(ADA, "guest")])
        .when(remove("guest"))
        .by(manager())
        .then_records([expected_event::<Assignments>(ADA, &removed("guest"))]);
    after.when(remove("guest")).by(manager()).then_already_so();
}

#[test]
fn the_circle_of_administrators_follows_the_role() {
    let after = a_company().when(grant("admin")).by(root()).then_records([
        expected_event::<Assignments>(ADA, &granted(ADA, "admin")),
        expected_event::<Administrators>(ADMINISTRATORS, &AdministratorsEvent::Joined { user: ADA }),
    ]);
    after.when(remove("admin")).by(root()).then_records([
        expected_event::<Assignments>(ADA, &removed("admin")),
        expected_event::<Administrators>(ADMINISTRATORS, &AdministratorsEvent::Left { user: ADA }),
    ]);
}
