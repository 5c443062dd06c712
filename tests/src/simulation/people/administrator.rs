//! The administrator, who sets the system up, grants, removes and switches accounts off and on.
//!
//! One rule: in the end everybody is on.

use std::{cell::RefCell, rc::Rc};

use domain::{
    access::{
        assignment::{GrantRole, RemoveRole},
        role::SeedRoles,
    },
    authz::Principal,
    id::UserId,
    identity::{
        account_status::SetUserActive,
        erasure::ErasePerson,
        registration::{CreateFirstAdministrator, Register},
        reservation::ReservationKey,
        user::ErasureReason,
    },
};
use uuid::Uuid;

use super::{TIMEOUT, User, account, pause};
use crate::simulation::{
    environment::SimulatedEnvironment,
    process::{Answer, Process},
};

const ADMINISTRATOR: UserId = UserId(Uuid::from_u128(0xad));

/// How far the administrator has come. Survives crashes.
#[derive(Default)]
pub(in crate::simulation) struct AdministratorProgress {
    seeded: bool,
    set_up: bool,
    turns: u32,
    /// Guests that came and were erased.
    guests: u32,
}

/// Guests of a run.
const GUESTS: u32 = 3;

/// Sets the system up, then grants, removes and switches accounts off and on; at the end everybody is on.
pub(in crate::simulation) async fn administer(
    environment: Rc<SimulatedEnvironment>,
    progress: Rc<RefCell<AdministratorProgress>>,
    users: Vec<Rc<RefCell<User>>>,
) {
    let process = Process::start(&environment, "admin");
    while !progress.borrow().seeded {
        let answer = process.run(&Principal::System("start"), &SeedRoles).await;
        process.say(&format!("seeds the roles: {answer:?}"));
        progress.borrow_mut().seeded = answer == Answer::Done;
        environment.linger(TIMEOUT).await;
    }
    while !progress.borrow().set_up {
        let command = CreateFirstAdministrator {
            account: account(ADMINISTRATOR, "admin", "admin@example.org"),
        };
        let answer = process.run(&Principal::Anonymous, &command).await;
        process.say(&format!("sets up: {answer:?}"));
        progress.borrow_mut().set_up = answer != Answer::Unknown;
        environment.linger(TIMEOUT).await;
    }
    while progress.borrow().turns < 24 {
        progress.borrow_mut().turns += 1;
        pause(&environment).await;
        let chosen = usize::try_from(environment.below(users.len() as u64)).unwrap_or(0);
        if let Some(user) = users.get(chosen) {
            let user = user.borrow().account;
            govern(&process, user).await;
        }
    }
    while progress.borrow().guests < GUESTS {
        let number = progress.borrow().guests;
        if host(&process, number).await != Answer::Unknown {
            progress.borrow_mut().guests += 1;
        }
        pause(&environment).await;
    }
}

/// Somebody registers and is erased, soon or a while after; asked for again, it is done already.
async fn host(process: &Process, number: u32) -> Answer {
    let (user, name) = (
        UserId(Uuid::from_u128(0x6e00 + u128::from(number))),
        format!("guest{number}"),
    );
    let email = format!("{name}@example.org");
    let command = Register {
        account: account(user, &name, &email),
        verification_token: user.0,
        verification_hash: format!("token-{user}"),
        open: true,
    };
    let registered = process.run(&Principal::Anonymous, &command).await;
    process.say(&format!("has {name} come: {registered:?}"));
    if registered == Answer::Unknown {
        return registered;
    }
    if number > 0 {
        pause(&process.environment).await;
    }
    let command = ErasePerson {
        user,
        reason: ErasureReason::Requested,
        username_reservation: ReservationKey(format!("username-{name}")),
        email_reservation: ReservationKey(format!("email-{email}")),
    };
    let erased = process.request(ADMINISTRATOR, &command).await;
    process.say(&format!("erases {name}: {erased:?}"));
    erased
}

async fn govern(process: &Process, user: UserId) {
    let reason = "because".to_owned();
    let role = "engineer_i".to_owned();
    let dice = process.environment.below(10);
    let answer = match dice {
        0..=2 => {
            process
                .request(ADMINISTRATOR, &GrantRole { user, role, reason })
                .await
        }
        3 => {
            process
                .request(ADMINISTRATOR, &RemoveRole { user, role, reason })
                .await
        }
        4 => {
            let role = "guest".to_owned();
            process
                .request(ADMINISTRATOR, &RemoveRole { user, role, reason })
                .await
        }
        5 => {
            let role = "guest".to_owned();
            process
                .request(ADMINISTRATOR, &GrantRole { user, role, reason })
                .await
        }
        _ => {
            let active = dice > 6;
            process
                .request(ADMINISTRATOR, &SetUserActive { user, active, reason })
                .await
        }
    };
    process.say(&format!("decides {dice} about {user}: {answer:?}"));
}
