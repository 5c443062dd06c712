//! One active administrator stays, whatever two of them do to each other at the same moment (FR4).
//!
//! The rule: the two act in different processes, each with a store and a memory of its own on one database, and the
//! outcome is read from the log.

use std::{collections::BTreeSet, sync::Arc};

use domain::{
    access::{
        administrators::{ADMINISTRATORS, Administrators, AdministratorsEvent},
        assignment::{AssignmentEvent, Assignments, GrantRefusal, RemoveRole},
        builtin,
        role::SeedRoles,
    },
    aggregate::{Aggregate, encode, load},
    authz::{AccountState, Action, Principal, UserPrincipal},
    clock::SystemClock,
    event_store::{Append, EventStore, Expected, Metadata, StreamWrite},
    execute::{Command, ExecuteError, Ports, execute},
    id::{Ids as _, SystemIds, UserId},
    identity::{
        account_status::{AccountRefusal, SetUserActive},
        erasure::{ErasePerson, EraseRefusal},
        reservation::ReservationKey,
        user::{ErasureReason, Profile, User, UserEvent, UserKind},
    },
    rights::LogRights,
};
use event_store::postgres::{PostgresEventStore, Settings, address};
use serde_json::json;
use tests::harness::{Client, Database, TestApp, database};
use tokio::sync::Barrier;

/// Rounds of each pair.
const ROUNDS: usize = 100;

/// How an administrator is taken away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    SwitchOff,
    RemoveRole,
    Erase,
}

const WAYS: [Way; 3] = [Way::SwitchOff, Way::RemoveRole, Way::Erase];

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Removal {
    Done,
    TheLast,
    /// The one who acts was taken away first.
    NoLongerPermitted,
}

async fn run<C: Command>(ports: &Ports, by: &Principal, command: C, last: C::Refusal) -> Removal
where
    C::Refusal: PartialEq,
{
    match execute(ports, by, &Metadata::default(), &command).await {
        Ok(_) => Removal::Done,
        Err(ExecuteError::Refused(reason)) if reason == last => Removal::TheLast,
        Err(ExecuteError::Denied(denied)) if ["deactivated", "role"].contains(&denied.rule) => {
            Removal::NoLongerPermitted
        }
        Err(error) => panic!("neither done nor refused as the last: {error}"),
    }
}

async fn take(ports: &Ports, way: Way, user: UserId, by: &Principal) -> Removal {
    let reason = "leaves".to_owned();
    match way {
        Way::SwitchOff => {
            let command = SetUserActive {
                user,
                active: false,
                reason,
            };
            run(ports, by, command, AccountRefusal::LastAdministrator).await
        }
        Way::RemoveRole => {
            let command = RemoveRole {
                user,
                role: builtin::ADMIN.to_owned(),
                reason,
            };
            run(ports, by, command, GrantRefusal::LastAdministrator).await
        }
        Way::Erase => {
            let command = ErasePerson {
                user,
                reason: ErasureReason::Requested,
                username_reservation: ReservationKey(format!("name-{user}")),
                email_reservation: ReservationKey(format!("mail-{user}")),
            };
            run(ports, by, command, EraseRefusal::LastAdministrator).await
        }
    }
}

fn administrator(user: UserId) -> Principal {
    let role = builtin::roles()
        .into_iter()
        .find(|role| role.name == builtin::ADMIN);
    let role = role.expect("built in");
    Principal::User(Box::new(UserPrincipal {
        user,
        session: None,
        organization: None,
        account: AccountState::Active,
        roles: Arc::new(BTreeSet::from([role.name])),
        permissions: Arc::new(
            role.permissions
                .iter()
                .filter_map(|name| Action::named(name))
                .collect(),
        ),
        may_grant: Arc::new(role.may_grant),
        quotas: role.quotas,
    }))
}

async fn ports(database: &Database) -> Ports {
    let options = address(&database.url).expect("a URL");
    let store = PostgresEventStore::start(options, Settings::default(), Arc::new(SystemClock));
    let store = store.await.expect("the store starts");
    Ports::new(
        store,
        Arc::new(SystemClock),
        Arc::new(SystemIds),
        Arc::new(LogRights),
    )
}

fn write<A: Aggregate>(key: impl std::fmt::Display, events: &[A::Event]) -> StreamWrite {
    let events = events
        .iter()
        .map(|event| encode(SystemIds.next(), event).expect("encoded"));
    StreamWrite {
        stream: A::stream(key),
        expected: Expected::Any,
        events: events.collect(),
    }
}

/// Two fresh administrators in the place of all others.
async fn two(ports: &Ports) -> (UserId, UserId) {
    let store = ports.store.as_ref();
    let users = (UserId(SystemIds.next()), UserId(SystemIds.next()));
    let before: Administrators = load(store, ADMINISTRATORS).await.expect("readable").state;
    let mut circle: Vec<AdministratorsEvent> = Vec::new();
    let mut writes = Vec::new();
    for user in [users.0, users.1] {
        let profile = Profile {
            username: format!("admin-{user}"),
            email: format!("{user}@example.org"),
            first_name: None,
            last_name: None,
            organization: None,
            department: None,
        };
        let account = UserKind::Local;
        let email = profile.email.clone();
        let registered = UserEvent::Registered {
            user,
            account,
            profile,
        };
        let verified = UserEvent::EmailVerified { email };
        writes.push(write::<User>(user, &[registered, verified]));
        let (role, reason) = (builtin::ADMIN.to_owned(), "joins".to_owned());
        writes.push(write::<Assignments>(
            user,
            &[AssignmentEvent::Granted { user, role, reason }],
        ));
        circle.push(AdministratorsEvent::Joined { user });
    }
    circle.extend(
        before
            .members
            .into_iter()
            .map(|user| AdministratorsEvent::Left { user }),
    );
    writes.push(write::<Administrators>(ADMINISTRATORS, &circle));
    let meta = Metadata::default();
    store.append(Append { writes, meta }).await.expect("recorded");
    users
}

async fn active_administrators(store: &dyn EventStore) -> usize {
    let members = load::<Administrators>(store, ADMINISTRATORS)
        .await
        .expect("readable")
        .state
        .members;
    let mut active = 0;
    for user in members {
        let account = load::<User>(store, user).await.expect("readable").state;
        active += usize::from(account.state() == AccountState::Active);
    }
    active
}

/// FR4: each way against each, a hundred times, from two processes at one moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_administrators_that_take_each_other_away_at_once_one_stays() {
    let database = database().await;
    let (here, there) = (ports(&database).await, ports(&database).await);
    let (system, meta) = (Principal::System("test"), Metadata::default());
    execute(&here, &system, &meta, &SeedRoles).await.expect("seeded");
    let mut lost = [0_usize; 2];
    for (index, one) in WAYS.into_iter().enumerate() {
        for other in WAYS.into_iter().skip(index) {
            for round in 0..ROUNDS {
                let (ada, bob) = two(&here).await;
                let start = Arc::new(Barrier::new(2));
                // Each other, or both by operators: whose rights nobody takes away, so that only the witness is left.
                let by_operators = round % 2 == 1;
                let act = |ports: &Ports, way, target, actor| {
                    let (ports, start) = (ports.clone(), start.clone());
                    let actor = match by_operators {
                        true => Principal::System("operator"),
                        false => administrator(actor),
                    };
                    tokio::spawn(async move {
                        start.wait().await;
                        take(&ports, way, target, &actor).await
                    })
                };
                let (first, second) = (act(&here, one, bob, ada), act(&there, other, ada, bob));
                let ends = [first.await.expect("no panic"), second.await.expect("no panic")];
                let left = active_administrators(here.store.as_ref()).await;
                assert_eq!(left, 1, "{one:?} and {other:?}, round {round}: {ends:?}");
                let loser = ends.iter().position(|end| *end != Removal::Done);
                let loser = loser.expect("one is refused");
                if by_operators {
                    assert_eq!(
                        ends[loser],
                        Removal::TheLast,
                        "{one:?} and {other:?}, round {round}"
                    );
                }
                lost[loser] += 1;
            }
        }
    }
    assert!(lost.iter().all(|count| *count > 0), "they really raced: {lost:?}");
}

/// FT5: the refusal itself, for each way, on the log of a real system; and its administrator goes on.
#[tokio::test]
async fn the_last_administrator_cannot_be_removed() {
    let app = TestApp::start().await;
    let me = app.admin.run("{ me { id } }", json!({})).await;
    let root = me.data("me")["id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("a user");
    // Somebody who holds the role and whose account is off does not count.
    let away = app.person("away", builtin::ADMIN).await;
    let off = "mutation($i: SetUserActiveInput!) { setUserActive(input: $i) { userErrors { code } } }";
    let input = json!({ "i": { "userId": away.user_id, "active": false, "reason": "on leave" } });
    let answer = app.admin.run(off, input).await;
    assert_eq!(answer.data("setUserActive")["userErrors"], json!([]));
    let ports = &app.system.app.ports;
    for way in WAYS {
        let end = take(ports, way, root, &Principal::System("operator")).await;
        assert_eq!(end, Removal::TheLast, "{way:?}");
    }
    assert!(administers(&app.admin).await);
    app.stop().await;
}

async fn administers(client: &Client) -> bool {
    client
        .run("{ users { nodes { id } } }", json!({}))
        .await
        .code()
        .is_none()
}

/// The document that takes `user` away, and its variables.
fn request(way: Way, user: &str) -> (&'static str, serde_json::Value) {
    match way {
        Way::SwitchOff => (
            "mutation($i: SetUserActiveInput!) { done: setUserActive(input: $i) { userErrors { code } } }",
            json!({ "i": { "userId": user, "active": false, "reason": "leaves" } }),
        ),
        Way::RemoveRole => (
            "mutation($i: RoleChangeInput!) { done: removeRole(input: $i) { userErrors { code } } }",
            json!({ "i": { "userId": user, "role": "admin", "reason": "leaves" } }),
        ),
        Way::Erase => (
            "mutation($i: ErasePersonInput!) { done: erasePerson(input: $i) { userErrors { code } } }",
            json!({ "i": { "userId": user, "reason": "REQUESTED" } }),
        ),
    }
}

/// The same through the doors, as two people do it in two browsers.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_administrators_who_take_each_other_away_in_their_browsers_leave_one() {
    let app = TestApp::start().await;
    let mut survivor = app.admin.clone();
    let me = survivor.run("{ me { id } }", json!({})).await;
    survivor.user_id = me.data("me")["id"].as_str().expect("an id").to_owned();
    for (round, (one, other)) in WAYS
        .into_iter()
        .flat_map(|one| WAYS.map(|other| (one, other)))
        .enumerate()
    {
        let name = format!("rival{round}");
        let rival = tests::harness::people::person(&survivor, &app.data_dir, &name, "admin").await;
        let (first, second) = (request(one, &rival.user_id), request(other, &survivor.user_id));
        let (by_survivor, by_rival) =
            tokio::join!(survivor.run(first.0, first.1), rival.run(second.0, second.1));
        let done = |answer: &tests::harness::Answer| {
            answer.body["data"]["done"]["userErrors"] == json!([]) && answer.body.get("errors").is_none()
        };
        let ends = (done(&by_survivor), done(&by_rival));
        assert!(
            ends.0 != ends.1,
            "{one:?} and {other:?}: {by_survivor:?} {by_rival:?}"
        );
        let left = (administers(&survivor).await, administers(&rival).await);
        assert_eq!(
            left, ends,
            "{one:?} and {other:?}: whoever was recorded first administers"
        );
        if ends.1 {
            survivor = rival;
        }
    }
    app.stop().await;
}
