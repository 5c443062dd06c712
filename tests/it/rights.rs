//! Rights are read where they are used: what is recorded was permitted at its own place in the log (FA2, FR3).

mod meddling;

use std::sync::Arc;

use domain::{
    access::{
        assignment::{GrantRole, RemoveRole},
        role::{Role, RoleDefinition, RoleEvent},
    },
    authz::{AccountState, Principal, UserPrincipal},
    event_store::{Filter, Metadata, Position},
    execute::{Command, ExecuteError, Ports, execute},
    id::{Ids, ProjectId, SessionId, SystemIds, UserId},
    identity::{account_status::SetUserActive, session::EndSession},
    projects::project::CreateProject,
    quota::Quotas,
};
use futures::{SinkExt, channel::mpsc};
use serde_json::json;
use tests::harness::{Client, Feed, TestApp, events::record};
use tokio_util::bytes::Bytes;

use meddling::Meddling;

/// A claim to be somebody, which grants nothing by itself.
fn claim(user: UserId, session: Option<SessionId>) -> Principal {
    Principal::User(Box::new(UserPrincipal {
        user,
        session,
        organization: None,
        account: AccountState::Active,
        roles: Arc::new(["admin".to_owned()].into()),
        permissions: Arc::new(domain::authz::Action::ALL.iter().copied().collect()),
        may_grant: Arc::new(["admin".to_owned()].into()),
        quotas: Quotas::UNLIMITED,
    }))
}

fn user(client: &Client) -> UserId {
    client.user_id.parse().expect("a user")
}

fn session(app: &TestApp, client: &Client) -> SessionId {
    let parts = &app.system.app;
    let token = client.token.as_deref().expect("signed in");
    parts.tokens.verify(parts.now(), token).expect("a token").session
}

fn project(owner: UserId) -> CreateProject {
    CreateProject {
        project: ProjectId(SystemIds.next()),
        owner,
        name: "P".to_owned(),
        description: String::new(),
    }
}

async fn kinds_of(ports: &Ports, kind: &str) -> usize {
    let filter = Filter {
        stream_prefixes: Vec::new(),
        kind_prefixes: vec![kind.to_owned()],
    };
    let page = ports.store.read_all(Position::START, &filter, 1_000).await;
    page.expect("the log").events.len()
}

async fn done<C: Command>(ports: &Ports, by: &Principal, command: C) {
    let done = execute(ports, by, &Metadata::default(), &command).await;
    done.expect("done");
}

/// A principal is a claim: its permissions, roles and quotas count for nothing.
#[tokio::test]
async fn what_a_principal_says_of_itself_is_not_believed() {
    let app = TestApp::start().await;
    let viewer = app.person("vera", "viewer").await;
    let ports = &app.system.app.ports;
    let roles = json!({ "i": { "userId": viewer.user_id, "role": "guest", "reason": "r" } });
    let removed = "mutation($i: RoleChangeInput!) { removeRole(input: $i) { userErrors { code } } }";
    app.admin.run(removed, roles).await.data("removeRole");
    let asked = execute(
        ports,
        &claim(user(&viewer), None),
        &Metadata::default(),
        &project(user(&viewer)),
    )
    .await;
    assert!(matches!(asked, Err(ExecuteError::Denied(denied)) if denied.rule == "role"));
    let nobody = UserId(SystemIds.next());
    let asked = execute(
        ports,
        &claim(nobody, None),
        &Metadata::default(),
        &project(nobody),
    )
    .await;
    assert!(matches!(asked, Err(ExecuteError::Denied(denied)) if denied.rule == "unverified"));
    assert_eq!(kinds_of(ports, "projects.ProjectCreated").await, 0);
    app.stop().await;
}

/// What happens in another process between a decision and its append; the rule that refuses the decision taken anew.
#[tokio::test]
async fn a_right_that_goes_between_decision_and_append_makes_the_append_lose() {
    let app = TestApp::start().await;
    let parts = &app.system.app;
    let other = parts.ports.clone();
    let operator = Principal::System("operator");
    for (name, rule) in [
        ("removed", "role"),
        ("redefined", "role"),
        ("switched-off", "session_ended"),
        ("logged-out", "session_ended"),
        ("another", ""),
    ] {
        let person = app.person(name, "engineer_i").await;
        let (who, session) = (user(&person), session(&app, &person));
        let before = kinds_of(&other, "projects.ProjectCreated").await;
        let (there, by, url) = (other.clone(), operator.clone(), app.database_url.clone());
        let meddle = async move {
            match name {
                "removed" => {
                    for role in ["engineer_i", "guest"] {
                        let reason = "r".to_owned();
                        done(
                            &there,
                            &by,
                            RemoveRole {
                                user: who,
                                role: role.to_owned(),
                                reason,
                            },
                        )
                        .await;
                    }
                }
                "redefined" => {
                    for role in ["engineer_i", "guest"] {
                        let emptied = RoleDefinition {
                            name: role.to_owned(),
                            description: "Nothing.".to_owned(),
                            permissions: std::collections::BTreeSet::new(),
                            quotas: Quotas::NOTHING,
                            may_grant: std::collections::BTreeSet::new(),
                        };
                        record::<Role>(&url, role, &RoleEvent::Defined(emptied)).await;
                    }
                }
                "switched-off" => {
                    let reason = "r".to_owned();
                    done(
                        &there,
                        &by,
                        SetUserActive {
                            user: who,
                            active: false,
                            reason,
                        },
                    )
                    .await;
                }
                "logged-out" => {
                    done(
                        &there,
                        &by,
                        EndSession {
                            session,
                            cause: "logout",
                        },
                    )
                    .await;
                }
                _ => {
                    let reason = "r".to_owned();
                    done(
                        &there,
                        &by,
                        GrantRole {
                            user: who,
                            role: "viewer".to_owned(),
                            reason,
                        },
                    )
                    .await;
                }
            }
        };
        let store = Arc::new(Meddling::before_the_first_append(other.store.clone(), meddle));
        let here = Ports {
            store,
            aggregates: domain::aggregate_cache::AggregateCache::default(),
            queue: domain::write_queue::WriteQueue::default(),
            ..other.clone()
        };
        let asked = execute(
            &here,
            &claim(who, Some(session)),
            &Metadata::default(),
            &project(who),
        )
        .await;
        let recorded = kinds_of(&other, "projects.ProjectCreated").await - before;
        match asked {
            Ok(_) => assert_eq!((rule, recorded), ("", 1), "{name}"),
            Err(ExecuteError::Denied(denied)) => assert_eq!((denied.rule, recorded), (rule, 0), "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
        // The roles as they were, for the next.
        for role in domain::access::builtin::roles() {
            if ["engineer_i", "guest"].contains(&role.name.as_str()) && name == "redefined" {
                record::<Role>(&app.database_url, role.name.clone(), &RoleEvent::Defined(role)).await;
            }
        }
    }
    app.stop().await;
}

/// A way to lose the right to what one has begun.
type Loss = (&'static str, u16, &'static str);

const LOSSES: [Loss; 5] = [
    ("logout", 401, "mutation { logout { userErrors { code } } }"),
    (
        "deactivated",
        401,
        "mutation($u: ID!) { setUserActive(input: { userId: $u, active: false, reason: \"r\" }) { userErrors { code } } }",
    ),
    (
        "role",
        403,
        "mutation($u: ID!) { a: removeRole(input: { userId: $u, role: \"engineer_i\", reason: \"r\" }) { userErrors { code } } \
         b: removeRole(input: { userId: $u, role: \"guest\", reason: \"r\" }) { userErrors { code } } }",
    ),
    (
        "erased",
        401,
        "mutation($u: ID!) { erasePerson(input: { userId: $u, reason: REQUESTED }) { userErrors { code } } }",
    ),
    ("nothing", 201, ""),
];

/// FR3: an upload that takes long is recorded with the rights at its end, not with those at its beginning.
#[tokio::test]
async fn an_upload_is_decided_again_when_it_is_recorded() {
    let app = TestApp::start().await;
    for (loss, status, mutation) in LOSSES {
        let person = app.person(loss, "engineer_i").await;
        let dataset = person.dataset(loss).await;
        let (mut sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(0);
        let path = format!("/api/datasets/{dataset}/versions?fileName=a.txt");
        let request = person.request(reqwest::Method::POST, &path);
        let body = reqwest::Body::wrap_stream(receiver);
        let upload = tokio::spawn({
            let person = person.clone();
            async move { person.send(request.body(body)).await }
        });
        let line = || Ok(Bytes::from_static(b"one line\n"));
        sender.send(line()).await.expect("begun");
        sender.send(line()).await.expect("under way");
        if !mutation.is_empty() {
            let by = if loss == "logout" { &person } else { &app.admin };
            let lost = by.run(mutation, json!({ "u": person.user_id })).await;
            assert!(lost.body["errors"].is_null(), "{loss}: {lost:?}");
        }
        sender.send(line()).await.expect("still under way");
        drop(sender);
        let answer = upload.await.expect("no panic");
        assert_eq!(answer.status, status, "{loss}: {answer:?}");
        let recorded = kinds_of(&app.system.app.ports, "datasets.VersionAdded").await;
        assert_eq!(recorded, usize::from(status == 201), "{loss}");
    }
    app.stop().await;
}

/// FA1: a role that is removed while a socket is open does not work on it any more, for no kind of operation.
#[tokio::test]
async fn a_removed_role_stops_working_on_an_open_socket() {
    let app = TestApp::start().await;
    let manager = app.person("mara", "manager").await;
    let users = "{ users { nodes { id } } }";
    let grant = "mutation($i: RoleChangeInput!) { grantRole(input: $i) { userErrors { code } } }";
    let granted = json!({ "i": { "userId": app.person("ada", "guest").await.user_id, "role": "viewer", "reason": "r" } });
    let mut socket = Feed::open(&manager, users, json!({})).await;
    let answer = socket.run("2", users, json!({})).await.expect("run");
    assert!(answer.get("errors").is_none(), "{answer}");
    for (client, role) in [(&app.admin, "manager"), (&app.admin, "guest")] {
        let removed = "mutation($i: RoleChangeInput!) { removeRole(input: $i) { userErrors { code } } }";
        let input = json!({ "i": { "userId": manager.user_id, "role": role, "reason": "r" } });
        client.run(removed, input).await.data("removeRole");
    }
    for (id, query, variables) in [("3", users, json!({})), ("4", grant, granted)] {
        let answer = socket.run(id, query, variables).await.expect("run");
        assert_eq!(
            answer["errors"][0]["extensions"]["code"], "FORBIDDEN",
            "{query}: {answer}"
        );
    }
    app.stop().await;
}
