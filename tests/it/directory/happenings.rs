//! What happens to accounts, sessions and roles, at random.
//!
//! One rule: the same seed is the same order of events; whatever text they carry of a person says `canary`.

use std::collections::BTreeSet;

use domain::{
    access::{
        administrators::{ADMINISTRATORS, Administrators, AdministratorsEvent},
        assignment::{AssignmentEvent, Assignments},
        role::{Role, RoleDefinition, RoleEvent},
    },
    event_store::StreamWrite,
    id::{Ids, OrganizationId, SessionId, SystemIds, UserId},
    identity::{
        session::{Session, SessionEvent},
        user::{ErasureReason, Profile, User, UserEvent, UserKind},
    },
    quota::Quotas,
};
use projections::access::directory::Directory;
use time::{Duration as Span, OffsetDateTime};
use uuid::Uuid;

use super::fixture::{Fixture, write};

/// Names of roles.
const ROLES: [&str; 4] = ["guest", "engineer", "manager", "auditor"];

pub(super) fn role(name: &str, permissions: usize) -> RoleDefinition {
    let all = ["projects.create", "datasets.create", "jobs.start", "roles.grant"];
    RoleDefinition {
        name: name.to_owned(),
        description: "A role.".to_owned(),
        permissions: all
            .iter()
            .take(permissions)
            .map(|name| (*name).to_owned())
            .collect(),
        quotas: Quotas::NOTHING,
        may_grant: BTreeSet::from([name.to_owned()]),
    }
}

/// Things that happen to accounts, at random but the same for the same seed.
pub(super) struct Happenings {
    state: u64,
    users: Vec<UserId>,
    sessions: Vec<SessionId>,
}

impl Happenings {
    pub(super) fn of(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            users: (1..=12).map(|n| UserId(Uuid::from_u128(n))).collect(),
            sessions: Vec::new(),
        }
    }

    /// SplitMix64.
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("small")
    }

    /// Records `count` events of any kind.
    pub(super) async fn record(&mut self, fixture: &Fixture, count: usize) {
        for _ in 0..count {
            let one = self.one(fixture.now());
            fixture.append(vec![one]).await;
        }
    }

    fn one(&mut self, now: OffsetDateTime) -> StreamWrite {
        let (place, role_place) = (self.below(self.users.len()), self.below(ROLES.len()));
        let (user, name) = (self.users[place], ROLES[role_place].to_owned());
        let reason = "canary".to_owned();
        match self.below(16) {
            0 | 1 => write::<User>(user, &registered(user, place)),
            2 => write::<User>(user, &UserEvent::EmailVerified { email: reason }),
            3 => write::<User>(user, &password(self.below(3))),
            4 => write::<User>(user, &UserEvent::Deactivated { reason }),
            5 => write::<User>(user, &UserEvent::Reactivated { reason }),
            6 if self.below(4) == 0 => {
                let reason = ErasureReason::Requested;
                write::<User>(user, &UserEvent::Erased { reason })
            }
            7 | 8 => write::<Assignments>(
                user,
                &AssignmentEvent::Granted {
                    user,
                    role: name,
                    reason,
                },
            ),
            9 => write::<Assignments>(
                user,
                &AssignmentEvent::Removed {
                    user,
                    role: name,
                    reason,
                },
            ),
            10 => {
                let permissions = self.below(5);
                write::<Role>(name.clone(), &RoleEvent::Defined(role(&name, permissions)))
            }
            11 => write::<Administrators>(ADMINISTRATORS, &AdministratorsEvent::Joined { user }),
            12 => write::<Administrators>(ADMINISTRATORS, &AdministratorsEvent::Left { user }),
            13 if !self.sessions.is_empty() => {
                let place = self.below(self.sessions.len());
                let session = self.sessions[place];
                let cause = "logout".to_owned();
                write::<Session>(session, &SessionEvent::Revoked { cause })
            }
            _ => {
                let minutes = i64::try_from(1 + self.below(120)).expect("small");
                let session = SessionId(SystemIds.next());
                self.sessions.push(session);
                write::<Session>(session, &opened(session, user, now + Span::minutes(minutes)))
            }
        }
    }

    /// An account that may act, without roles.
    pub(super) async fn active_user(&mut self, fixture: &Fixture) -> UserId {
        let user = UserId(SystemIds.next());
        self.users.push(user);
        let email = "canary@example.org".to_owned();
        fixture.record::<User>(user, &registered(user, 0)).await;
        fixture
            .record::<User>(user, &UserEvent::EmailVerified { email })
            .await;
        user
    }

    /// A session of `user` that ends after `life`.
    pub(super) async fn session(&mut self, fixture: &Fixture, user: UserId, life: Span) -> SessionId {
        let session = SessionId(SystemIds.next());
        self.sessions.push(session);
        let event = opened(session, user, fixture.now() + life);
        fixture.record::<Session>(session, &event).await;
        session
    }

    /// Both answer the same about every account, session and role.
    pub(super) fn same(&self, one: &Directory, other: &Directory, now: OffsetDateTime) {
        for user in &self.users {
            assert_eq!(
                format!("{:?}", one.user(*user)),
                format!("{:?}", other.user(*user))
            );
        }
        for session in &self.sessions {
            let (one, other) = (one.session(*session, now), other.session(*session, now));
            assert_eq!(format!("{one:?}"), format!("{other:?}"));
        }
        for name in ROLES {
            assert_eq!(one.role(name), other.role(name));
        }
        for pick in 0..20 {
            assert_eq!(one.password_parameters(pick), other.password_parameters(pick));
        }
        assert_eq!(one.is_set_up(), other.is_set_up());
        let text = |directory: &Directory| String::from_utf8(directory.to_bytes().expect("bytes"));
        assert_eq!(text(one), text(other));
    }
}

fn registered(user: UserId, number: usize) -> UserEvent {
    let organization = OrganizationId(Uuid::from_u128(number as u128 % 3));
    UserEvent::Registered {
        user,
        account: UserKind::Local,
        profile: Profile {
            username: format!("canary{number}"),
            email: "canary@example.org".to_owned(),
            first_name: None,
            last_name: Some("Canary".to_owned()),
            organization: Some(organization).filter(|_| !number.is_multiple_of(4)),
            department: None,
        },
    }
}

fn password(strength: usize) -> UserEvent {
    UserEvent::PasswordSet {
        verifier: format!(
            "$argon2id$v=19$m={},t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
            8 << strength
        ),
    }
}

fn opened(session: SessionId, user: UserId, expires_at: OffsetDateTime) -> SessionEvent {
    SessionEvent::Opened {
        session,
        user,
        refresh_hash: "hash".to_owned(),
        expires_at,
        device: Some("canary".to_owned()),
        deactivations: 0,
    }
}
