//! Models.

use domain::{
    authz::{Concealment, Visibility},
    models::model::{Model, ModelEvent, ModelKind, RegisterModel, RegisterModelRefusal},
};

use crate::support::{log::Outcome, *};

fn register() -> RegisterModel {
    RegisterModel {
        model: BASE,
        owner: ADA,
        name: "Base".into(),
        description: String::new(),
        visibility: Visibility::Public,
        version: imported(),
    }
}

/// MO-1
#[test]
fn a_base_model_is_registered_with_its_first_version() {
    given().when(register()).by(ada()).then_records([
        fact::<Model>(BASE, &base_registered(ModelKind::Full, Visibility::Public)),
        fact::<Model>(BASE, &ModelEvent::VersionAdded(imported())),
    ]);
}

#[test]
fn an_id_names_one_model() {
    given()
        .a_workshop()
        .when(register())
        .by(ada())
        .then_refused(RegisterModelRefusal::IdTaken);
}

#[test]
fn a_model_needs_a_name() {
    let outcome = given().log.run(
        &RegisterModel {
            name: String::new(),
            ..register()
        },
        &ada(),
        NOW,
    );
    assert!(
        matches!(&outcome, Outcome::Refused(RegisterModelRefusal::Text(problems), _) if problems.0.len() == 1),
        "{outcome:?}"
    );
}

#[test]
fn registering_needs_the_permission() {
    given()
        .when(register())
        .by(user(ADA, &["guest"]))
        .then_denied("role", Concealment::Forbidden);
}
