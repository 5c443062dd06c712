//! Registration, and the first administrator.

use domain::{
    access::{
        administrators::{ADMINISTRATORS, Administrators, AdministratorsEvent},
        assignment::{AssignmentEvent, Assignments},
    },
    authz::Principal,
    identity::{
        organization::{self, Organization, OrganizationEvent},
        registration::{CreateFirstAdministrator, NewAccount, Register, RegisterRefusal},
        reservation::{Reservation, ReservationEvent, ReservationKey},
        user::{Profile, User, UserEvent, UserKind},
    },
};
use time::Duration;

use crate::support::{log::ExpectedEvent, *};

fn key(value: &str) -> ReservationKey {
    ReservationKey(format!("hash-of-{value}"))
}

fn account() -> NewAccount {
    NewAccount {
        user: ADA,
        username: "ada".into(),
        username_reservation: key("ada"),
        email: "ada@example.org".into(),
        email_reservation: key("ada@example.org"),
        password: "$argon2id$now".into(),
        first_name: None,
        last_name: None,
        company: None,
        division: None,
        department: None,
    }
}

fn register() -> Register {
    Register {
        account: account(),
        verification_token: uuid::Uuid::from_u128(7),
        verification_hash: "token".into(),
        open: true,
    }
}

fn claimed(user: domain::id::UserId, scope: &str) -> ReservationEvent {
    ReservationEvent::Taken {
        user,
        scope: scope.into(),
    }
}

/// What every new account comes with.
fn expected_account_events(role: &str, reason: &str, profile: Profile) -> Vec<ExpectedEvent> {
    let granted = AssignmentEvent::Granted {
        user: ADA,
        role: role.into(),
        reason: reason.into(),
    };
    vec![
        expected_event::<Reservation>(key("ada"), &claimed(ADA, "username")),
        expected_event::<Reservation>(key("ada@example.org"), &claimed(ADA, "email")),
        expected_event::<User>(
            ADA,
            &UserEvent::Registered {
                user: ADA,
                account: UserKind::Local,
                profile,
            },
        ),
        expected_event::<User>(
            ADA,
            &UserEvent::PasswordSet {
                verifier: "$argon2id$now".into(),
            },
        ),
        expected_event::<Assignments>(ADA, &granted),
    ]
}

/// Facts in the order in which an append writes them: stream by stream.
fn by_stream(events: Vec<ExpectedEvent>) -> Vec<ExpectedEvent> {
    let mut sorted: Vec<ExpectedEvent> = Vec::new();
    for expected_event in events {
        let after = sorted
            .iter()
            .rposition(|other| other.stream == expected_event.stream);
        sorted.insert(after.map_or(sorted.len(), |index| index + 1), expected_event);
    }
    sorted
}

/// ID-1, ID-3: reservations, account, password, default role and a token of one day land in one append.
#[test]
fn registering_makes_an_unverified_guest() {
    let requested = UserEvent::VerificationRequested {
        token_hash: "token".into(),
        expires_at: NOW + Duration::hours(24),
        token: Some(uuid::Uuid::from_u128(7)),
    };
    let mut events = expected_account_events("guest", "role of new accounts", profile("ada"));
    events.push(expected_event::<User>(ADA, &requested));
    given()
        .administrators(&[ROOT])
        .when(register())
        .by(Principal::Anonymous)
        .then_records(by_stream(events));
}

/// ID-1: company and division are found or created.
#[test]
fn the_first_of_a_division_creates_it_and_the_second_joins_it() {
    let at_acme = || {
        let account = NewAccount {
            company: Some(" Acme ".into()),
            division: Some("Labs".into()),
            ..account()
        };
        Register {
            account,
            ..register()
        }
    };
    let id = organization::id_of("acme", Some("labs"));
    let created = OrganizationEvent::Created {
        organization: id,
        company: "Acme".into(),
        division: Some("Labs".into()),
    };
    let mut log = given().administrators(&[ROOT]).log;
    log.run(&at_acme(), &Principal::Anonymous, NOW);
    assert_eq!(log.events::<Organization>(id), [created]);
    assert_eq!(
        log.state::<User>(ADA)
            .profile
            .and_then(|profile| profile.organization),
        Some(id)
    );
    let second = Register {
        account: NewAccount {
            user: BOB,
            username_reservation: key("bob"),
            email_reservation: key("bob@example.org"),
            ..at_acme().account
        },
        ..register()
    };
    log.run(&second, &Principal::Anonymous, NOW);
    assert_eq!(log.events::<Organization>(id).len(), 1);
    assert_eq!(
        log.state::<User>(BOB)
            .profile
            .and_then(|profile| profile.organization),
        Some(id)
    );
}

/// ID-2
#[test]
fn a_taken_username_is_refused() {
    given()
        .administrators(&[ROOT])
        .stream::<Reservation>(key("ada"), [claimed(BOB, "username")])
        .when(register())
        .by(Principal::Anonymous)
        .then_refused(RegisterRefusal::UsernameTaken);
}

/// ID-2, SE-5: an address that somebody has stays theirs, and the registration does not say so.
#[test]
fn a_taken_address_stays_with_its_account() {
    let mut log = given()
        .administrators(&[ROOT])
        .stream::<Reservation>(key("ada@example.org"), [claimed(BOB, "email")])
        .log;
    log.run(&register(), &Principal::Anonymous, NOW);
    assert_eq!(log.state::<Reservation>(key("ada")).holder, Some(ADA));
    assert_eq!(log.state::<Reservation>(key("ada@example.org")).holder, Some(BOB));
    assert!(log.state::<User>(ADA).profile.is_some());
}

/// ID-2: of two registrations that both saw the name free, one is recorded and the other told to look again.
#[test]
fn of_two_registrations_at_once_one_wins() {
    let mut log = given().administrators(&[ROOT]).log;
    let other = Register {
        account: NewAccount {
            user: BOB,
            email_reservation: key("bob@example.org"),
            ..account()
        },
        ..register()
    };
    let (seen_by_one, seen_by_other) = (log.load(&register()), log.load(&other));
    log.run_on(&seen_by_one, &register(), &Principal::Anonymous, NOW)
        .expect("the first is recorded");
    let conflict = log.run_on(&seen_by_other, &other, &Principal::Anonymous, NOW);
    assert_eq!(
        conflict.expect_err("the name has moved on").as_str(),
        "identity.claim-hash-of-ada"
    );
    assert!(log.events::<User>(BOB).is_empty());
}

/// ID-1
#[test]
fn closed_registration_refuses() {
    given()
        .administrators(&[ROOT])
        .when(Register {
            open: false,
            ..register()
        })
        .by(Principal::Anonymous)
        .then_refused(RegisterRefusal::RegistrationClosed);
}

/// SS-4
#[test]
fn nobody_registers_before_there_is_an_administrator() {
    given()
        .when(register())
        .by(Principal::Anonymous)
        .then_refused(RegisterRefusal::SetupRequired);
}

/// SS-4: the operator typed the address, so it counts as proven.
#[test]
fn the_first_administrator_is_active_at_once() {
    let mut events = expected_account_events("admin", "first administrator", profile("ada"));
    events.push(expected_event::<User>(
        ADA,
        &UserEvent::EmailVerified {
            email: "ada@example.org".into(),
        },
    ));
    events.push(expected_event::<Administrators>(
        ADMINISTRATORS,
        &AdministratorsEvent::Joined { user: ADA },
    ));
    given()
        .when(CreateFirstAdministrator { account: account() })
        .by(Principal::Anonymous)
        .then_records(by_stream(events));
}

/// SS-4
#[test]
fn the_set_up_works_once() {
    given()
        .administrators(&[ROOT])
        .when(CreateFirstAdministrator { account: account() })
        .by(Principal::Anonymous)
        .then_refused(RegisterRefusal::AlreadySetUp);
}

/// SS-4: two set-ups at once make one administrator.
#[test]
fn of_two_set_ups_at_once_one_wins() {
    let mut log = given().log;
    let first = CreateFirstAdministrator { account: account() };
    let other = CreateFirstAdministrator {
        account: NewAccount {
            user: BOB,
            username_reservation: key("bob"),
            email_reservation: key("bob@example.org"),
            ..account()
        },
    };
    let (seen_by_one, seen_by_other) = (log.load(&first), log.load(&other));
    log.run_on(&seen_by_one, &first, &Principal::Anonymous, NOW)
        .expect("the first is recorded");
    let conflict = log.run_on(&seen_by_other, &other, &Principal::Anonymous, NOW);
    assert_eq!(
        conflict.expect_err("somebody was first").as_str(),
        "access.administrators-all"
    );
}

/// ID-2
#[test]
fn the_set_up_does_not_take_over_a_claimed_name() {
    given()
        .stream::<Reservation>(key("ada"), [claimed(BOB, "username")])
        .when(CreateFirstAdministrator { account: account() })
        .by(Principal::Anonymous)
        .then_refused(RegisterRefusal::UsernameTaken);
}
