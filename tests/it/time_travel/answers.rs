//! What the read side answers at a moment, through the functions that the API asks.

use std::collections::BTreeMap;

use domain::{authz::Action, id::UserId, jobs::job::JobState};
use projections::{
    access::{rights, role},
    history::AsOf,
    jobs::{
        job::{self, Jobs},
        queue,
    },
    paging::PageRequest,
    projects::{experiment::Experiments, project::Projects},
    read_model::{self, Row, RowFilter, Viewer, row_json},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use time::OffsetDateTime;

use super::{
    oracle::{PERMISSIONS, STATES},
    scenario::Participants,
};

/// Answers by question.
pub(super) type Answers = BTreeMap<String, Value>;

fn all() -> PageRequest {
    PageRequest::newest(100, None)
}

fn shown<R: Row>(row: &R) -> Value {
    row_json(row).expect("encoded")
}

fn rows<R: Row>(page: &projections::paging::Page<R>) -> Value {
    assert!(!page.has_next, "the histories of this test fit a page");
    page.rows.iter().map(shown).collect()
}

async fn rights_of(pool: &PgPool, as_of: AsOf, user: domain::id::UserId) -> Value {
    let Some(rights) = rights::of_user(pool, as_of, user).await.expect("readable") else {
        return Value::Null;
    };
    let roles = rights.assignments.iter().map(shown).map(|row| {
        json!({ "role": row["role"], "granted_at": row["granted_at"], "granted_by": row["granted_by"],
            "reason": row["reason"] })
    });
    let mut roles: Vec<Value> = roles.collect();
    roles.sort_by_key(|row| row["role"].to_string());
    let permissions = rights.principal.permissions.iter();
    let mut permissions: Vec<&str> = permissions.map(|action| action.name()).collect();
    permissions.sort_unstable();
    json!({
        "state": rights.principal.account,
        "organization": rights.principal.organization,
        "roles": roles,
        "permissions": permissions,
        "may_grant": *rights.principal.may_grant,
        "quotas": rights.principal.quotas,
        "usage": shown(&rights.usage),
    })
}

/// A user without roles, so that only ownership counts.
pub(super) fn viewer(user: UserId) -> Viewer {
    let rights = domain::rights::of_account(user, &domain::decision::LoadedState::default());
    Viewer::of(&rights, OffsetDateTime::UNIX_EPOCH)
}

/// Every question about `participants`, asked of `as_of`.
pub(super) async fn ask(pool: &PgPool, as_of: AsOf, participants: &Participants) -> Answers {
    let mut answers = Answers::new();
    let mut add = |question: String, answer: Value| answers.insert(question, answer);
    let everything = &Viewer::everything(OffsetDateTime::UNIX_EPOCH);
    let none = &RowFilter::all();
    let mut roles = role::all(pool, as_of).await.expect("readable");
    roles.sort_by(|one, other| one.name.cmp(&other.name));
    add("roles".to_owned(), roles.iter().map(shown).collect());
    let found = read_model::page::<Projects>(pool, everything, as_of, none, &all())
        .await
        .expect("readable");
    add("projects".to_owned(), rows(&found));
    let found = read_model::page::<Experiments>(pool, everything, as_of, none, &all())
        .await
        .expect("readable");
    add("experiments".to_owned(), rows(&found));
    let jobs = async |viewer: &Viewer, state: Option<JobState>| {
        let filter = RowFilter::all();
        let filter = state.map_or(filter.clone(), |state| filter.is(job::STATE, state.name()));
        let found = read_model::page::<Jobs>(pool, viewer, as_of, &filter, &all()).await;
        rows(&found.expect("readable"))
    };
    add("jobs".to_owned(), jobs(everything, None).await);
    for state in STATES {
        add(format!("jobs in {state:?}"), jobs(everything, Some(state)).await);
    }
    for user in &participants.users {
        add(format!("rights of {user}"), rights_of(pool, as_of, *user).await);
        let viewer = &viewer(*user);
        let found = read_model::page::<Projects>(pool, viewer, as_of, none, &all())
            .await
            .expect("readable");
        add(format!("projects of {user}"), rows(&found));
        add(format!("jobs of {user}"), jobs(viewer, None).await);
    }
    for permission in PERMISSIONS {
        let action = Action::named(permission).expect("a permission");
        let found = rights::holders(pool, as_of, action, &all())
            .await
            .expect("readable");
        add(format!("holders of {permission}"), json!(found.rows));
    }
    for id in &participants.jobs {
        let found = read_model::find::<Jobs>(pool, everything, as_of, id.0)
            .await
            .expect("readable");
        if found.as_ref().is_some_and(|job| job.state == JobState::Queued) {
            let places = queue::places(pool, as_of, &[*id]).await.expect("readable");
            add(
                format!("before {id}"),
                json!(places.get(id).map(|place| place.before)),
            );
        }
        add(format!("{id}"), json!(found.as_ref().map(shown)));
    }
    answers
}
