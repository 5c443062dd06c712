//! Sessions: opened by a password, carried on by rotating tokens, ended.

use domain::{
    authz::{AccountState, Concealment, Principal},
    identity::{
        login::LoginRefused,
        session::{EndSession, OpenSession, RefreshRefusal, RefreshSession, Session, SessionEvent},
        user::{User, UserEvent},
    },
};
use time::Duration;

use crate::support::{given_when_then, log::Outcome, *};

const ENDS: time::OffsetDateTime = NOW.saturating_add(Duration::days(30));

fn open() -> OpenSession {
    OpenSession {
        session: SESSION,
        user: ADA,
        proven: "$argon2id$now".into(),
        rehashed: None,
        refresh_hash: "first".into(),
        expires_at: ENDS,
        device: Some("Firefox".into()),
    }
}

fn opened() -> SessionEvent {
    SessionEvent::Opened {
        session: SESSION,
        user: ADA,
        refresh_hash: "first".into(),
        expires_at: ENDS,
        device: Some("Firefox".into()),
        deactivations: 0,
    }
}

fn refresh(presented: &str, next: &str) -> RefreshSession {
    RefreshSession {
        session: SESSION,
        presented_hash: presented.into(),
        next_hash: next.into(),
    }
}

fn refreshed(hash: &str) -> SessionEvent {
    SessionEvent::Refreshed {
        refresh_hash: hash.into(),
    }
}

fn revoked(cause: &str) -> SessionEvent {
    SessionEvent::Revoked { cause: cause.into() }
}

fn signed_in(more: impl IntoIterator<Item = SessionEvent>) -> given_when_then::Given {
    let events = std::iter::once(opened()).chain(more);
    given()
        .stream::<User>(ADA, registered(ADA, "ada"))
        .stream::<Session>(SESSION, events)
}

/// SE-1
#[test]
fn a_proven_password_opens_a_session() {
    given()
        .stream::<User>(ADA, registered(ADA, "ada"))
        .when(open())
        .by(Principal::Anonymous)
        .then_records([expected_event::<Session>(SESSION, &opened())]);
}

/// SE-1: a login whose answer was lost is asked for again; found by the simulation, seed 2.
#[test]
fn the_same_opening_again_is_one_session() {
    signed_in([])
        .when(open())
        .by(Principal::Anonymous)
        .then_already_so();
}

/// SE-2, SE-3
#[test]
fn a_session_that_moved_on_or_ended_is_not_opened_again() {
    for since in [refreshed("second"), revoked("logout")] {
        signed_in([since])
            .when(open())
            .by(Principal::Anonymous)
            .then_refused(LoginRefused);
    }
    signed_in([])
        .stream::<User>(BOB, registered(BOB, "bob"))
        .when(OpenSession { user: BOB, ..open() })
        .by(Principal::Anonymous)
        .then_refused(LoginRefused);
}

/// SE-4: a verifier of older parameters is replaced in the same append.
#[test]
fn a_weaker_verifier_is_replaced_at_login() {
    given()
        .stream::<User>(ADA, registered(ADA, "ada"))
        .when(OpenSession {
            rehashed: Some("$argon2id$stronger".into()),
            ..open()
        })
        .by(Principal::Anonymous)
        .then_records([
            expected_event::<Session>(SESSION, &opened()),
            expected_event::<User>(
                ADA,
                &UserEvent::PasswordSet {
                    verifier: "$argon2id$stronger".into(),
                },
            ),
        ]);
}

/// SE-6: a password that was changed between proof and opening opens nothing.
#[test]
fn a_password_that_has_changed_since_opens_nothing() {
    let changed = UserEvent::PasswordSet {
        verifier: "$argon2id$new".into(),
    };
    given()
        .stream::<User>(ADA, registered(ADA, "ada"))
        .stream::<User>(ADA, [changed])
        .when(open())
        .by(Principal::Anonymous)
        .then_refused(LoginRefused);
    given()
        .when(open())
        .by(Principal::Anonymous)
        .then_refused(LoginRefused);
}

/// ID-5
#[test]
fn a_deactivated_account_opens_nothing() {
    given()
        .stream::<User>(ADA, registered(ADA, "ada"))
        .stream::<User>(
            ADA,
            [UserEvent::Deactivated {
                reason: "left".into(),
            }],
        )
        .when(open())
        .by(Principal::Anonymous)
        .then_refused(LoginRefused);
}

/// SE-2
#[test]
fn a_refresh_rotates_the_token() {
    signed_in([])
        .when(refresh("first", "second"))
        .by(Principal::Anonymous)
        .then_records([expected_event::<Session>(SESSION, &refreshed("second"))])
        .when(refresh("second", "third"))
        .by(Principal::Anonymous)
        .then_records([expected_event::<Session>(SESSION, &refreshed("third"))]);
}

/// SE-2: a used token ends the whole session, on record; then nothing works any more.
#[test]
fn a_used_token_ends_the_session_and_is_recorded() {
    let after = signed_in([refreshed("second"), refreshed("third")])
        .when(refresh("first", "stolen"))
        .by(Principal::Anonymous)
        .then_refused_recording(
            RefreshRefusal::Reused,
            [
                expected_event::<Session>(SESSION, &SessionEvent::Reused {}),
                expected_event::<Session>(SESSION, &revoked("reuse")),
            ],
        );
    after
        .when(refresh("third", "fourth"))
        .by(Principal::Anonymous)
        .then_refused(RefreshRefusal::Invalid);
}

/// SE-2, A4: of fifty exchanges that saw the same token good, one succeeds.
#[test]
fn of_fifty_exchanges_at_once_one_wins() {
    let mut log = signed_in([]).log;
    let attempts: Vec<_> = (0..50)
        .map(|index| refresh("first", &format!("next-{index}")))
        .collect();
    let seen: Vec<_> = attempts.iter().map(|attempt| log.load(attempt)).collect();
    let mut landed = 0;
    for (attempt, loaded) in attempts.iter().zip(&seen) {
        match log.run_on(loaded, attempt, &Principal::Anonymous, NOW) {
            Ok(Outcome::Done(_)) => landed += 1,
            Ok(other) => panic!("an exchange on what it saw is good: {other:?}"),
            Err(conflict) => assert_eq!(conflict.category(), "identity.session"),
        }
    }
    assert_eq!(landed, 1);
    let again = log.run(&attempts[1], &Principal::Anonymous, NOW);
    assert!(
        matches!(again, Outcome::Refused(RefreshRefusal::Reused, _)),
        "{again:?}"
    );
    assert!(log.state::<Session>(SESSION).revoked);
}

/// SE-2: what was never a token of this session does not end it.
#[test]
fn a_foreign_token_is_refused_and_ends_nothing() {
    signed_in([])
        .when(refresh("guessed", "next"))
        .by(Principal::Anonymous)
        .then_refused(RefreshRefusal::Invalid);
    given()
        .when(refresh("first", "next"))
        .by(Principal::Anonymous)
        .then_refused(RefreshRefusal::Invalid);
}

/// SE-1: at its end the session is over, not a moment later.
#[test]
fn an_expired_session_is_not_carried_on() {
    signed_in([])
        .when(refresh("first", "second"))
        .by(Principal::Anonymous)
        .at(ENDS)
        .then_refused(RefreshRefusal::Invalid);
}

/// ID-5: deactivation ends every session immediately.
#[test]
fn a_deactivated_account_is_not_carried_on() {
    signed_in([])
        .stream::<User>(
            ADA,
            [UserEvent::Deactivated {
                reason: "left".into(),
            }],
        )
        .when(refresh("first", "second"))
        .by(Principal::Anonymous)
        .then_refused(RefreshRefusal::Invalid);
}

/// ID-5: and stays ended when the account is switched on again.
#[test]
fn a_session_from_before_a_deactivation_stays_ended() {
    let off_and_on = [
        UserEvent::Deactivated {
            reason: "lost laptop".into(),
        },
        UserEvent::Reactivated {
            reason: "new one".into(),
        },
    ];
    signed_in([])
        .stream::<User>(ADA, off_and_on)
        .when(refresh("first", "second"))
        .by(Principal::Anonymous)
        .then_refused(RefreshRefusal::Invalid);
}

const END: EndSession = EndSession {
    session: SESSION,
    cause: "logout",
};

/// SE-3
#[test]
fn a_session_is_ended_by_its_owner_once() {
    let after = signed_in([])
        .when(END)
        .by(ada())
        .then_records([expected_event::<Session>(SESSION, &revoked("logout"))]);
    after.when(END).by(ada()).then_already_so();
}

/// SE-3
#[test]
fn an_ended_session_is_not_carried_on() {
    signed_in([revoked("logout")])
        .when(refresh("first", "second"))
        .by(Principal::Anonymous)
        .then_refused(RefreshRefusal::Invalid);
}

/// ID-3: sessions belong to the profile, which an unverified account has.
#[test]
fn an_unverified_account_ends_its_own_session() {
    signed_in([])
        .when(END)
        .by(in_state(ada(), AccountState::Unverified))
        .then_records([expected_event::<Session>(SESSION, &revoked("logout"))]);
}

#[test]
fn the_session_of_others_is_not_found() {
    signed_in([])
        .when(END)
        .by(bob())
        .then_denied("stranger", Concealment::NotFound);
    given()
        .when(END)
        .by(ada())
        .then_denied("absent", Concealment::NotFound);
    signed_in([])
        .when(END)
        .by(Principal::Anonymous)
        .then_denied("anonymous", Concealment::Unauthenticated);
}

#[test]
fn an_administrator_ends_the_session_of_others() {
    signed_in([])
        .when(END)
        .by(root())
        .then_records([expected_event::<Session>(SESSION, &revoked("logout"))]);
}
