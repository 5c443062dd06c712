//! Verifying an address; switching accounts off and on; failed logins.

use domain::{
    authz::{Concealment, Principal},
    identity::{
        account_status::{AccountRefusal, SetUserActive},
        login::{LoginAttempts, LoginEvent, LoginRefused, RecordFailedLogin},
        reservation::ReservationKey,
        user::{User, UserEvent, UserKind, VerifyEmail, VerifyRefusal},
    },
};
use time::Duration;

use crate::support::*;

fn unverified() -> Vec<UserEvent> {
    vec![
        UserEvent::Registered {
            user: ADA,
            account: UserKind::Local,
            profile: profile("ada"),
        },
        UserEvent::VerificationRequested {
            token_hash: "token".into(),
            expires_at: NOW,
            token: None,
        },
    ]
}

fn verify(token: &str) -> VerifyEmail {
    VerifyEmail {
        user: ADA,
        token_hash: token.into(),
    }
}

fn verified() -> UserEvent {
    UserEvent::EmailVerified {
        email: "ada@example.org".into(),
    }
}

/// ID-3
#[test]
fn the_token_proves_the_address() {
    given()
        .stream::<User>(ADA, unverified())
        .when(verify("token"))
        .by(Principal::Anonymous)
        .at(NOW - Duration::SECOND)
        .then_records([expected_event::<User>(ADA, &verified())]);
}

/// ID-3: at its end the token is over, not a moment later.
#[test]
fn an_old_token_is_refused() {
    given()
        .stream::<User>(ADA, unverified())
        .when(verify("token"))
        .by(Principal::Anonymous)
        .at(NOW)
        .then_refused(VerifyRefusal::Expired);
}

/// ID-3: single use.
#[test]
fn wrong_used_replaced_and_unknown_tokens_look_alike() {
    let early = NOW - Duration::SECOND;
    let refused = |events: Vec<UserEvent>, token: &str| {
        given()
            .stream::<User>(ADA, events)
            .when(verify(token))
            .by(Principal::Anonymous)
            .at(early)
            .then_refused(VerifyRefusal::InvalidToken);
    };
    refused(unverified(), "wrong");
    refused([unverified(), vec![verified()]].concat(), "token");
    let newer = UserEvent::VerificationRequested {
        token_hash: "newer".into(),
        expires_at: NOW,
        token: None,
    };
    refused([unverified(), vec![newer]].concat(), "token");
    refused(Vec::new(), "token");
}

fn switch(active: bool) -> SetUserActive {
    SetUserActive {
        user: ADA,
        active,
        reason: "left the company".into(),
    }
}

fn deactivated() -> UserEvent {
    UserEvent::Deactivated {
        reason: "left the company".into(),
    }
}

/// ID-5
#[test]
fn an_account_is_switched_off_and_on_with_a_reason() {
    let after = given()
        .stream::<User>(ADA, registered(ADA, "ada"))
        .when(switch(false))
        .by(root())
        .then_records([expected_event::<User>(ADA, &deactivated())]);
    let reactivated = UserEvent::Reactivated {
        reason: "left the company".into(),
    };
    after
        .when(switch(true))
        .by(root())
        .then_records([expected_event::<User>(ADA, &reactivated)]);
}

#[test]
fn switching_an_account_to_what_it_is_changes_nothing() {
    given()
        .stream::<User>(ADA, registered(ADA, "ada"))
        .when(switch(true))
        .by(root())
        .then_already_so();
    let off = [registered(ADA, "ada"), vec![deactivated()]].concat();
    given()
        .stream::<User>(ADA, off)
        .when(switch(false))
        .by(root())
        .then_already_so();
}

#[test]
fn nobody_switches_their_own_account_off() {
    given()
        .stream::<User>(ROOT, registered(ROOT, "root"))
        .when(SetUserActive {
            user: ROOT,
            ..switch(false)
        })
        .by(root())
        .then_refused(AccountRefusal::OwnAccount);
}

#[test]
fn switching_an_account_needs_a_reason_of_sensible_length() {
    let unfit = |reason: &str| AccountRefusal::Reason(domain::text::reason(reason).expect_err("unfit"));
    for (reason, refusal) in [
        (" ".to_owned(), AccountRefusal::ReasonMissing),
        ("x".repeat(501), unfit(&"x".repeat(501))),
        ("left\rADMIN".to_owned(), unfit("left\rADMIN")),
        ("left\u{202e}".to_owned(), unfit("left\u{202e}")),
    ] {
        given()
            .stream::<User>(ADA, registered(ADA, "ada"))
            .when(SetUserActive {
                reason,
                ..switch(false)
            })
            .by(root())
            .then_refused(refusal);
    }
}

#[test]
fn switching_accounts_is_for_those_who_may_change_accounts() {
    given()
        .stream::<User>(ADA, registered(ADA, "ada"))
        .when(switch(false))
        .by(user(BOB, &["manager"]))
        .then_denied("role", Concealment::Forbidden);
    given()
        .when(switch(false))
        .by(root())
        .then_denied("absent", Concealment::NotFound);
}

/// SE-5, A6: a failed attempt is recorded although its command fails, also for a name that is nobody's.
#[test]
fn a_failed_login_is_recorded_and_always_refused_alike() {
    for (account, cause) in [
        (Some(ADA), "wrong_credentials"),
        (Some(ADA), "locked"),
        (None, "wrong_credentials"),
    ] {
        let name = ReservationKey("hash".into());
        let failed = LoginEvent::Failed {
            user: account,
            cause: cause.into(),
        };
        given()
            .when(RecordFailedLogin {
                name: name.clone(),
                user: account,
                cause,
                locked_until: None,
                left_out: None,
            })
            .by(Principal::Anonymous)
            .then_refused_recording(LoginRefused, [expected_event::<LoginAttempts>(name, &failed)]);
    }
}
