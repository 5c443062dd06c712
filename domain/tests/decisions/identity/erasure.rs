//! Erasing a person (AU-7).

use domain::{
    access::{
        administrators::{ADMINISTRATORS, Administrators, AdministratorsEvent},
        assignment::{AssignmentEvent, Assignments},
    },
    authz::{Concealment, Principal},
    id::UserId,
    identity::{
        account_status::{AccountRefusal, SetUserActive},
        erasure::{CompleteErasure, ErasePerson, EraseRefusal, NotErased},
        reservation::{Reservation, ReservationEvent, ReservationKey},
        session::{RefreshRefusal, RefreshSession, Session, SessionEvent},
        user::{ErasureReason, ErasureReceipt, User, UserEvent},
    },
};

use crate::support::{given_when_then::Given, *};

fn erase(user: UserId) -> ErasePerson {
    ErasePerson {
        user,
        reason: ErasureReason::Requested,
        username_reservation: ReservationKey("name".into()),
        email_reservation: ReservationKey("mail".into()),
    }
}

fn claimed(user: UserId, scope: &str) -> ReservationEvent {
    ReservationEvent::Taken {
        user,
        scope: scope.into(),
    }
}

fn released(scope: &str) -> ReservationEvent {
    ReservationEvent::Released {
        user: ADA,
        scope: scope.into(),
    }
}

fn removed(role: &str) -> AssignmentEvent {
    AssignmentEvent::Removed {
        user: ADA,
        role: role.into(),
        reason: "the person was erased".into(),
    }
}

fn erased() -> UserEvent {
    UserEvent::Erased {
        reason: ErasureReason::Requested,
    }
}

fn receipt() -> ErasureReceipt {
    ErasureReceipt {
        key_id: None,
        key_made_at: None,
        destroyed_at: NOW,
        rebuilt: vec!["identity.user".into()],
    }
}

/// Ada with her reservations, and two administrators.
fn ada_is_there() -> Given {
    let joined = |user| AdministratorsEvent::Joined { user };
    given()
        .stream::<User>(ROOT, registered(ROOT, "root"))
        .stream::<User>(ADA, registered(ADA, "ada"))
        .stream::<Reservation>("name", [claimed(ADA, "username")])
        .stream::<Reservation>("mail", [claimed(ADA, "email")])
        .stream::<Assignments>(ADA, [granted(ADA, "admin"), granted(ADA, "guest")])
        .stream::<Administrators>(ADMINISTRATORS, [joined(ROOT), joined(ADA)])
}

fn ada_is_erased() -> Given {
    ada_is_there().when(erase(ADA)).by(root()).then_records([
        expected_event::<User>(ADA, &erased()),
        expected_event::<Reservation>("name", &released("username")),
        expected_event::<Reservation>("mail", &released("email")),
        expected_event::<Assignments>(ADA, &removed("admin")),
        expected_event::<Assignments>(ADA, &removed("guest")),
        expected_event::<Administrators>(ADMINISTRATORS, &AdministratorsEvent::Left { user: ADA }),
    ])
}

/// AU-7: one append switches the account off, frees the names and takes the roles; again it is already so.
#[test]
fn an_erasure_takes_everything_at_once_and_once() {
    ada_is_erased().when(erase(ADA)).by(root()).then_already_so();
}

#[test]
fn claims_of_somebody_else_are_left_alone() {
    given()
        .stream::<User>(ADA, registered(ADA, "ada"))
        .stream::<Reservation>("name", [claimed(ROOT, "username")])
        .when(erase(ADA))
        .by(root())
        .then_records([expected_event::<User>(ADA, &erased())]);
}

#[test]
fn nobody_erases_themselves_and_the_last_administrator_stays() {
    ada_is_there()
        .when(erase(ROOT))
        .by(root())
        .then_refused(EraseRefusal::OwnAccount);
    given()
        .stream::<User>(ADA, registered(ADA, "ada"))
        .stream::<Administrators>(ADMINISTRATORS, [AdministratorsEvent::Joined { user: ADA }])
        .when(erase(ADA))
        .then_refused(EraseRefusal::LastAdministrator);
}

#[test]
fn an_erasure_needs_the_permission_and_the_person() {
    given()
        .stream::<User>(ROOT, registered(ROOT, "root"))
        .when(erase(ROOT))
        .by(ada())
        .then_denied("role", Concealment::Forbidden);
    given()
        .when(erase(ADA))
        .by(root())
        .then_denied("absent", Concealment::NotFound);
}

/// AU-7: for good.
#[test]
fn an_erased_account_is_not_switched_on_again() {
    let on = SetUserActive {
        user: ADA,
        active: true,
        reason: "a mistake".into(),
    };
    ada_is_erased()
        .when(on)
        .by(root())
        .then_refused(AccountRefusal::Erased);
}

/// A2: sessions from before are over.
#[test]
fn a_session_of_an_erased_person_is_not_refreshed() {
    let session = domain::id::SessionId(ADA.0);
    let opened = SessionEvent::Opened {
        session,
        user: ADA,
        refresh_hash: "one".into(),
        expires_at: NOW + time::Duration::days(1),
        device: None,
        deactivations: 0,
    };
    let refresh = RefreshSession {
        session,
        presented_hash: "one".into(),
        next_hash: "two".into(),
    };
    ada_is_erased()
        .stream::<Session>(session, [opened])
        .when(refresh)
        .by(Principal::Anonymous)
        .then_refused(RefreshRefusal::Invalid);
}

#[test]
fn the_receipt_is_recorded_once_and_by_the_system_only() {
    let complete = CompleteErasure {
        user: ADA,
        receipt: receipt(),
    };
    ada_is_there().when(complete.clone()).then_refused(NotErased);
    ada_is_erased()
        .when(complete.clone())
        .by(root())
        .then_denied("system_only", Concealment::Forbidden);
    ada_is_erased()
        .when(complete.clone())
        .then_records([expected_event::<User>(
            ADA,
            &UserEvent::ErasureCompleted(receipt()),
        )])
        .when(complete)
        .then_already_so();
}
