//! Access lists: giving a part in a thing, taking it back, and what races with that (PR-1, PR-4, PR-5).

use domain::{
    audit::sensitive_read::{DownloadModelFile, ReadEvent, SensitiveReads},
    authz::{Concealment, Party, PartyRole, Share, Visibility},
    datasets::dataset::Dataset,
    id::{OrganizationId, UserId},
    identity::user::{ErasureReason, User, UserEvent},
    jobs::{
        spec::{Method, Outputs, TrainingSpec},
        start::StartJob,
    },
    models::model::{Model, ModelEvent, ModelKind},
    problems::Problems,
    projects::project::Project,
    sharing::{
        access_list::{AccessList, AccessListEvent},
        grant::{AccessProblem, GrantAccess, RevokeAccess},
    },
};
use time::Duration;
use uuid::Uuid;

use super::jobs::scenario::*;
use crate::support::{given_when_then::Given, log::Outcome, *};

fn share(party: Party, role: PartyRole) -> Share {
    Share {
        party,
        role,
        until: None,
        by: ADA,
    }
}

fn grant(party: Party, role: PartyRole) -> GrantAccess<Model> {
    GrantAccess {
        resource: BASE,
        share: share(party, role),
    }
}

fn revoke(party: Party, own: bool) -> RevokeAccess<Model> {
    RevokeAccess {
        resource: BASE,
        party,
        own,
    }
}

fn granted(resource: impl std::fmt::Display, party: Party, role: PartyRole) -> AccessListEvent {
    AccessListEvent::Granted {
        resource: resource.to_string(),
        share: Share {
            party,
            role,
            until: None,
            by: ADA,
        },
    }
}

fn model() -> Given {
    given()
        .stream::<Model>(
            BASE,
            [
                base_registered(ModelKind::Full, Visibility::Private),
                ModelEvent::VersionAdded(imported()),
            ],
        )
        .stream::<User>(BOB, registered(BOB, "bob"))
}

#[test]
fn the_founder_gives_a_part_and_the_same_again_changes_nothing() {
    let bob = Party::User(BOB);
    model()
        .when(grant(bob, PartyRole::Viewer))
        .by(ada())
        .then_records([expected_event::<AccessList>(
            BASE,
            &granted(BASE, bob, PartyRole::Viewer),
        )]);
    model()
        .stream::<AccessList>(BASE, [granted(BASE, bob, PartyRole::Viewer)])
        .when(grant(bob, PartyRole::Viewer))
        .by(ada())
        .then_already_so();
    model()
        .stream::<AccessList>(BASE, [granted(BASE, bob, PartyRole::Viewer)])
        .when(grant(bob, PartyRole::Editor))
        .by(ada())
        .then_records([expected_event::<AccessList>(
            BASE,
            &granted(BASE, bob, PartyRole::Editor),
        )]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let nobody = Party::User(UserId(Uuid::from_u128(0xdead)));
    let past = GrantAccess::<Model> {
        resource: BASE,
        share: Share {
            until: Some(NOW),
            ..share(nobody, PartyRole::Owner)
        },
    };
    model().when(past).by(ada()).then_refused(Problems(vec![
        AccessProblem::UnknownParty("user"),
        AccessProblem::Role("models", "viewer and editor".to_owned()),
        AccessProblem::Expired,
    ]));
    let organization = Party::Organization(OrganizationId(Uuid::from_u128(9)));
    for (party, problem) in [
        (Party::User(ADA), AccessProblem::Founder),
        (Party::Project(PROJECT), AccessProblem::UnknownParty("project")),
        (organization, AccessProblem::UnknownParty("organization")),
    ] {
        model()
            .when(grant(party, PartyRole::Viewer))
            .by(ada())
            .then_refused(Problems(vec![problem]));
    }
}

/// Lists of projects and datasets hold users only, so that no membership nests.
#[test]
fn a_project_is_no_member_of_a_dataset() {
    given()
        .a_project_with_data()
        .when(GrantAccess::<Dataset> {
            resource: DATASET,
            share: share(Party::Project(PROJECT), PartyRole::Member),
        })
        .by(ada())
        .then_refused(Problems(vec![AccessProblem::UsersOnly("datasets")]));
}

/// PR-1: owners invite, members do not.
#[test]
fn members_see_a_project_and_owners_share_it() {
    let carol = UserId(Uuid::from_u128(0xca401));
    for (role, allowed) in [(PartyRole::Member, false), (PartyRole::Owner, true)] {
        let invites = given()
            .a_project_with_data()
            .stream::<User>(carol, registered(carol, "carol"))
            .stream::<AccessList>(PROJECT, [granted(PROJECT, Party::User(BOB), role)])
            .when(GrantAccess::<Project> {
                resource: PROJECT,
                share: Share {
                    by: BOB,
                    ..share(Party::User(carol), PartyRole::Member)
                },
            })
            .by(bob());
        match allowed {
            true => drop(invites.then_records([expected_event::<AccessList>(
                PROJECT,
                &AccessListEvent::Granted {
                    resource: PROJECT.to_string(),
                    share: Share {
                        party: Party::User(carol),
                        role: PartyRole::Member,
                        until: None,
                        by: BOB,
                    },
                },
            )])),
            false => invites.then_denied("role", Concealment::Forbidden),
        }
    }
}

#[test]
fn a_stranger_does_not_learn_of_the_model_and_a_viewer_does_not_share_it() {
    let carol = Party::User(UserId(Uuid::from_u128(0xca401)));
    model()
        .when(grant(carol, PartyRole::Viewer))
        .by(bob())
        .then_denied("stranger", Concealment::NotFound);
    model()
        .stream::<AccessList>(BASE, [granted(BASE, Party::User(BOB), PartyRole::Viewer)])
        .when(grant(carol, PartyRole::Viewer))
        .by(bob())
        .then_denied("role", Concealment::Forbidden);
}

#[test]
fn a_part_is_taken_back_once_and_given_up_by_oneself_only() {
    let bob_party = Party::User(BOB);
    let revoked = AccessListEvent::Revoked {
        resource: BASE.to_string(),
        party: bob_party,
    };
    let shared = || model().stream::<AccessList>(BASE, [granted(BASE, bob_party, PartyRole::Editor)]);
    for (principal, own) in [(ada(), false), (bob(), true)] {
        shared()
            .when(revoke(bob_party, own))
            .by(principal)
            .then_records([expected_event::<AccessList>(BASE, &revoked)]);
    }
    shared()
        .when(revoke(bob_party, false))
        .by(bob())
        .then_denied("role", Concealment::Forbidden);
    // Who claims that it is their own is looked at.
    shared()
        .when(revoke(bob_party, true))
        .by(ada())
        .then_refused(AccessProblem::NotOnTheList);
    shared()
        .stream::<AccessList>(BASE, [revoked])
        .when(revoke(bob_party, false))
        .by(ada())
        .then_refused(AccessProblem::NotOnTheList);
}

/// PR-5: at its very second, without any job having to run.
#[test]
fn an_expired_part_gives_nothing() {
    let until = NOW + Duration::SECOND;
    let download = || DownloadModelFile {
        model: BASE,
        version: 1,
        file: "config.json".to_owned(),
        merged: false,
    };
    let expiring = AccessListEvent::Granted {
        resource: BASE.to_string(),
        share: Share {
            party: Party::User(BOB),
            role: PartyRole::Editor,
            until: Some(until),
            by: ADA,
        },
    };
    let shared = || model().stream::<AccessList>(BASE, [expiring.clone()]);
    let read = ReadEvent::ModelDownloaded {
        model: BASE,
        version: 1,
        file: "config.json".to_owned(),
        merged: false,
    };
    shared()
        .when(download())
        .by(bob())
        .at(until - Duration::NANOSECOND)
        .then_records([expected_event::<SensitiveReads>(bob().actor(), &read)]);
    shared()
        .when(download())
        .by(bob())
        .at(until)
        .then_denied("stranger", Concealment::NotFound);
}

/// PR-5: a viewer queries a model and does not take its files out.
#[test]
fn a_viewer_does_not_download() {
    model()
        .stream::<AccessList>(BASE, [granted(BASE, Party::User(BOB), PartyRole::Viewer)])
        .when(DownloadModelFile {
            model: BASE,
            version: 1,
            file: "config.json".to_owned(),
            merged: false,
        })
        .by(bob())
        .then_denied("role", Concealment::Forbidden);
}

/// A grant reads the account that it is about: an erasure in between makes it be decided anew.
#[test]
fn a_grant_races_with_the_erasure_of_its_party() {
    let bob_party = Party::User(BOB);
    let mut log = model().person(&ada()).log;
    let command = grant(bob_party, PartyRole::Viewer);
    let before = log.load(&command);
    let erased = UserEvent::Erased {
        reason: ErasureReason::Requested,
    };
    log.record::<User>(BOB, &[erased]);
    let moved = log.run_on(&before, &command, &ada(), NOW);
    assert!(
        moved.is_err_and(|stream| stream.to_string() == format!("identity.user-{BOB}")),
        "the grant is not recorded on what was read before"
    );
    let Outcome::Refused(refusal, _) = log.run(&command, &ada(), NOW) else {
        panic!("an erased account is granted nothing");
    };
    assert_eq!(refusal, Problems(vec![AccessProblem::UnknownParty("user")]));
}

/// PR-5: what a viewer may not download is not copied by a training either.
#[test]
fn a_viewer_of_a_base_trains_an_adapter_and_no_copy_of_it() {
    let share = |thing: String, role| granted(thing, Party::User(BOB), role);
    let of_bob = |spec| StartJob {
        owner: BOB,
        spec,
        ..start_lora()
    };
    let merged = TrainingSpec {
        outputs: Outputs { merged: true },
        ..lora()
    };
    let full = TrainingSpec {
        method: Method::Full,
        ..lora()
    };
    let shared = |role| {
        given()
            .a_project_with_data()
            .stream::<AccessList>(PROJECT, [share(PROJECT.to_string(), PartyRole::Member)])
            .stream::<AccessList>(DATASET, [share(DATASET.to_string(), PartyRole::Member)])
            .stream::<AccessList>(BASE, [share(BASE.to_string(), role)])
    };
    for (role, spec, allowed) in [
        (PartyRole::Viewer, lora(), true),
        (PartyRole::Viewer, merged.clone(), false),
        (PartyRole::Viewer, full, false),
        (PartyRole::Editor, merged, true),
    ] {
        let mut log = shared(role).person(&bob()).log;
        match log.run(&of_bob(spec), &bob(), NOW) {
            Outcome::Denied(denied) => assert!(!allowed, "{denied}"),
            Outcome::Done(events) => assert!(allowed && !events.is_empty()),
            Outcome::Refused(reason, _) => panic!("refused: {reason}"),
        }
    }
}
