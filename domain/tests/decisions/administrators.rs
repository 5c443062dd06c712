//! One active administrator stays, in whatever way others are taken away and whatever is decided at once.

use domain::{
    access::{
        administrators::{ADMINISTRATORS, Administrators},
        assignment::{Assignments, GrantRefusal, RemoveRole},
    },
    access::{builtin, role::Role, role::RoleEvent},
    authz::{AccountState, Principal},
    decision::LoadedState,
    event_store::StreamId,
    id::UserId,
    identity::{
        account_status::{AccountRefusal, SetUserActive},
        erasure::{ErasePerson, EraseRefusal},
        reservation::ReservationKey,
        user::{ErasureReason, User, UserEvent},
    },
};

use crate::support::{
    given_when_then::Given,
    log::{Log, Outcome},
    *,
};

/// How an administrator can be taken away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    SwitchOff,
    RemoveRole,
    Erase,
}

const WAYS: [Way; 3] = [Way::SwitchOff, Way::RemoveRole, Way::Erase];

fn switch_off(user: UserId) -> SetUserActive {
    let reason = "leaves the team".to_owned();
    SetUserActive {
        user,
        active: false,
        reason,
    }
}

fn remove(user: UserId) -> RemoveRole {
    RemoveRole {
        user,
        role: "admin".to_owned(),
        reason: "leaves the team".to_owned(),
    }
}

fn erase(user: UserId) -> ErasePerson {
    ErasePerson {
        user,
        reason: ErasureReason::Requested,
        username_reservation: ReservationKey(format!("name-{user}")),
        email_reservation: ReservationKey(format!("mail-{user}")),
    }
}

/// Whether it is done, or refused because this is the last administrator.
#[derive(Debug, PartialEq)]
enum Removal {
    Done,
    TheLast,
}

fn end<R: std::fmt::Debug + PartialEq>(outcome: Outcome<R>, last: &R) -> Removal {
    match outcome {
        Outcome::Done(events) if !events.is_empty() => Removal::Done,
        Outcome::Refused(reason, events) if reason == *last && events.is_empty() => Removal::TheLast,
        other => panic!("neither done nor refused as the last: {other:?}"),
    }
}

impl Way {
    /// What is decided on.
    fn look(self, log: &Log, user: UserId) -> LoadedState {
        match self {
            Self::SwitchOff => log.load(&switch_off(user)),
            Self::RemoveRole => log.load(&remove(user)),
            Self::Erase => log.load(&erase(user)),
        }
    }

    /// Decides on what was seen, and records unless a stream that was read has moved.
    fn take(
        self,
        log: &mut Log,
        seen: &LoadedState,
        user: UserId,
        by: &Principal,
    ) -> Result<Removal, StreamId> {
        match self {
            Self::SwitchOff => log
                .run_on(seen, &switch_off(user), by, NOW)
                .map(|outcome| end(outcome, &AccountRefusal::LastAdministrator)),
            Self::RemoveRole => log
                .run_on(seen, &remove(user), by, NOW)
                .map(|outcome| end(outcome, &GrantRefusal::LastAdministrator)),
            Self::Erase => log
                .run_on(seen, &erase(user), by, NOW)
                .map(|outcome| end(outcome, &EraseRefusal::LastAdministrator)),
        }
    }
}

fn with_administrators(members: &[UserId]) -> Given {
    let admin = builtin::roles().into_iter().find(|role| role.name == "admin");
    let log = given()
        .administrators(members)
        .stream::<Role>("admin", [RoleEvent::Defined(admin.expect("built in"))]);
    members.iter().fold(log, |given, user| {
        given
            .stream::<Assignments>(user, [granted(*user, "admin")])
            .stream::<User>(user, registered(*user, &format!("admin-{user}")))
    })
}

fn off() -> UserEvent {
    let reason = "on leave".to_owned();
    UserEvent::Deactivated { reason }
}

fn active_administrators(log: &Log) -> usize {
    let members = log.state::<Administrators>(ADMINISTRATORS).members;
    let active = |user: &&UserId| log.state::<User>(user).state() == AccountState::Active;
    members.iter().filter(active).count()
}

const OPERATOR: Principal = Principal::System("operator");

#[test]
fn the_last_administrator_stays_whatever_is_tried() {
    for way in WAYS {
        let mut log = with_administrators(&[ADA]).log;
        let seen = way.look(&log, ADA);
        assert_eq!(
            way.take(&mut log, &seen, ADA, &OPERATOR),
            Ok(Removal::TheLast),
            "{way:?}"
        );
        assert_eq!(active_administrators(&log), 1, "{way:?}");
    }
}

/// Somebody whose account is off or whose address is not proven administers nothing.
#[test]
fn an_administrator_who_cannot_act_does_not_count() {
    let unproven = registered(ROOT, "root").into_iter().take(2).collect::<Vec<_>>();
    for way in WAYS {
        let mut log = with_administrators(&[ADA, ROOT])
            .stream::<User>(ROOT, [off()])
            .log;
        let seen = way.look(&log, ADA);
        assert_eq!(
            way.take(&mut log, &seen, ADA, &OPERATOR),
            Ok(Removal::TheLast),
            "{way:?}"
        );
        let mut log = with_administrators(&[ADA])
            .administrators(&[ROOT])
            .stream::<User>(ROOT, unproven.clone())
            .log;
        let seen = way.look(&log, ADA);
        assert_eq!(
            way.take(&mut log, &seen, ADA, &OPERATOR),
            Ok(Removal::TheLast),
            "{way:?}"
        );
        // They may go themselves, since somebody who acts stays.
        let seen = way.look(&log, ROOT);
        if way != Way::RemoveRole {
            assert_eq!(
                way.take(&mut log, &seen, ROOT, &OPERATOR),
                Ok(Removal::Done),
                "{way:?}"
            );
        }
    }
}

/// FR4: each way against each, decided on the same log: one is recorded, the other finds what it read moved, and
/// decided anew it is refused.
#[test]
fn of_two_that_take_each_other_away_at_once_one_stays() {
    let (ada, root) = (user(ADA, &["admin"]), user(ROOT, &["admin"]));
    for one in WAYS {
        for other in WAYS {
            let mut log = with_administrators(&[ADA, ROOT]).log;
            let (seen, by_other) = (one.look(&log, ADA), other.look(&log, ROOT));
            assert_eq!(
                one.take(&mut log, &seen, ADA, &root),
                Ok(Removal::Done),
                "{one:?}"
            );
            let conflict = other.take(&mut log, &by_other, ROOT, &ada);
            assert!(conflict.is_err(), "{one:?} and {other:?}: {conflict:?}");
            let again = other.look(&log, ROOT);
            assert_eq!(
                other.take(&mut log, &again, ROOT, &ada),
                Ok(Removal::TheLast),
                "{one:?} and {other:?}"
            );
            assert_eq!(active_administrators(&log), 1);
        }
    }
}

/// Three who remove each other in a circle: whoever is recorded last keeps somebody.
#[test]
fn of_three_that_take_each_other_away_in_a_circle_one_stays() {
    let circle = [ADA, BOB, ROOT];
    for way in WAYS {
        let mut log = with_administrators(&circle).log;
        let mut seen: Vec<LoadedState> = circle.iter().map(|user| way.look(&log, *user)).collect();
        for (index, taken) in circle.into_iter().enumerate() {
            let by = user(circle[(index + 2) % 3], &["admin"]);
            while way.take(&mut log, &seen[index], taken, &by).is_err() {
                seen[index] = way.look(&log, taken);
            }
        }
        assert_eq!(active_administrators(&log), 1, "{way:?}");
    }
}

/// The cost: one account besides, however many administrators there are; and nobody's for those who are none.
#[test]
fn one_active_account_is_enough_of_a_witness() {
    let many: Vec<UserId> = (1..=50)
        .map(|number| UserId(uuid::Uuid::from_u128(number)))
        .collect();
    let log = with_administrators(&many)
        .stream::<User>(ADA, registered(ADA, "ada"))
        .log;
    let read = |user: UserId| {
        let loaded = log.load(&switch_off(user));
        let mut asked = domain::decision::ReadSet::default();
        many.iter().for_each(|member| {
            asked.read::<User>(member);
        });
        many.len() - loaded.missing(&asked).len()
    };
    assert_eq!(read(many[0]), 2, "the one and its witness");
    assert_eq!(read(many[49]), 2, "the one and its witness");
    assert_eq!(read(ADA), 0, "nobody leaves");
}
