//! Projects and experiments.

use domain::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::{Quota, QuotaExceeded, Quotas},
    },
    authz::Concealment,
    projects::{
        experiment::{CreateExperiment, CreateExperimentRefusal, Experiment},
        project::{CreateProject, CreateProjectRefusal, Project},
    },
};

use crate::support::*;

pub(crate) fn create_project() -> CreateProject {
    CreateProject {
        project: PROJECT,
        owner: ADA,
        name: " Corpus ".into(),
        description: String::new(),
    }
}

fn create_experiment() -> CreateExperiment {
    CreateExperiment {
        experiment: EXPERIMENT,
        project: PROJECT,
        created_by: ADA,
        name: "First".into(),
        description: String::new(),
    }
}

/// PR-1, QU-1
#[test]
fn founding_a_project_records_it_and_takes_its_place_in_the_quota() {
    given().when(create_project()).by(ada()).then_records([
        expected_event::<Project>(PROJECT, &project_created()),
        expected_event::<QuotaLedger>(ADA, &taken(Quota::Projects, PROJECT)),
    ]);
}

/// QU-1: the refusal says which quota, its limit and the use.
#[test]
fn a_guest_founds_one_project_only() {
    given()
        .stream::<QuotaLedger>(ADA, [taken(Quota::Projects, "another")])
        .when(create_project())
        .by(user(ADA, &["guest"]))
        .then_refused(
            QuotaExceeded {
                quota: Quota::Projects,
                limit: 1,
                used: 1,
            }
            .into(),
        );
}

/// QU-1
#[test]
fn a_place_that_was_given_back_can_be_taken_again() {
    let given_back = LedgerEvent::Released {
        quota: Quota::Projects,
        item: "another".into(),
    };
    given()
        .stream::<QuotaLedger>(ADA, [taken(Quota::Projects, "another"), given_back])
        .when(create_project())
        .by(with_quotas(
            ada(),
            Quotas {
                projects: Some(1),
                ..Quotas::NOTHING
            },
        ))
        .then_records([
            expected_event::<Project>(PROJECT, &project_created()),
            expected_event::<QuotaLedger>(ADA, &taken(Quota::Projects, PROJECT)),
        ]);
}

#[test]
fn an_id_names_one_project() {
    given()
        .stream::<Project>(PROJECT, [project_created()])
        .when(create_project())
        .by(ada())
        .then_refused(CreateProjectRefusal::IdTaken);
}

#[test]
fn a_project_needs_a_name_and_every_bad_text_is_named() {
    let command = CreateProject {
        name: " ".into(),
        description: "x".repeat(2_001),
        ..create_project()
    };
    let mut log = given().log;
    let outcome = log.run(&command, &ada(), NOW);
    let crate::support::log::Outcome::Refused(CreateProjectRefusal::Text(problems), events) = outcome else {
        panic!("both texts are bad: {outcome:?}");
    };
    assert_eq!(
        problems.0.iter().map(|problem| problem.field).collect::<Vec<_>>(),
        ["name", "description"]
    );
    assert_eq!(events, []);
}

#[test]
fn founding_needs_the_permission() {
    given()
        .when(create_project())
        .by(user(ADA, &["viewer"]))
        .then_denied("role", Concealment::Forbidden);
}

/// PR-2
#[test]
fn an_experiment_begins_in_ones_own_project() {
    given()
        .stream::<Project>(PROJECT, [project_created()])
        .when(create_experiment())
        .by(ada())
        .then_records([expected_event::<Experiment>(EXPERIMENT, &experiment_created())]);
}

/// Strangers are not told that the project exists.
#[test]
fn a_strangers_project_and_a_missing_one_look_alike_but_for_the_recorded_rule() {
    given()
        .stream::<Project>(PROJECT, [project_created()])
        .when(create_experiment())
        .by(bob())
        .then_denied("stranger", Concealment::NotFound);
    given()
        .when(create_experiment())
        .by(bob())
        .then_denied("absent", Concealment::NotFound);
}

#[test]
fn owning_the_project_does_not_replace_the_permission_to_create() {
    given()
        .stream::<Project>(PROJECT, [project_created()])
        .when(create_experiment())
        .by(user(ADA, &["viewer"]))
        .then_denied("role", Concealment::Forbidden);
}

#[test]
fn an_id_names_one_experiment() {
    given()
        .stream::<Project>(PROJECT, [project_created()])
        .stream::<Experiment>(EXPERIMENT, [experiment_created()])
        .when(create_experiment())
        .by(ada())
        .then_refused(CreateExperimentRefusal::IdTaken);
}

#[test]
fn an_experiment_needs_a_name() {
    let command = CreateExperiment {
        name: "a\u{7}b".into(),
        ..create_experiment()
    };
    let mut log = given().stream::<Project>(PROJECT, [project_created()]).log;
    let outcome = log.run(&command, &ada(), NOW);
    assert!(
        matches!(
            &outcome,
            crate::support::log::Outcome::Refused(CreateExperimentRefusal::Text(problems), events)
                if problems.0.len() == 1 && events.is_empty()
        ),
        "{outcome:?}"
    );
}
