//! Samples of identity.

use time::{OffsetDateTime, macros::datetime};

use super::{id, samples_of};
use crate::{
    bounded::Count,
    id::{OrganizationId, SessionId, UserId},
    identity::{
        login::LoginEvent,
        organization::OrganizationEvent,
        reservation::ReservationEvent,
        session::SessionEvent,
        tokens::TokenEvent,
        user::{ErasureReason, ErasureReceipt, Profile, UserEvent, UserKind},
    },
};

const USER: UserId = UserId(id(1));
const LATER: OffsetDateTime = datetime!(2026-11-20 12:00:00.000001 UTC);
const LEFT_OUT: Count = Count {
    count: 12,
    since: datetime!(2026-11-20 12:00:00.000001 UTC),
    until: datetime!(2026-11-20 12:59:59 UTC),
};

samples_of! {
    ReservationEvent {
        Taken => ReservationEvent::Taken { user: USER, scope: "username".into() },
        Released => ReservationEvent::Released { user: USER, scope: "email".into() },
    }
}

samples_of! {
    LoginEvent {
        Failed => LoginEvent::Failed { user: Some(USER), cause: "wrong_credentials".into() },
        Locked => LoginEvent::Locked { user: Some(USER), until: LATER },
        LeftOut => LoginEvent::LeftOut(LEFT_OUT),
    } also {
        "unknown" => LoginEvent::Failed { user: None, cause: "wrong_credentials".into() },
    }
}

samples_of! {
    TokenEvent {
        Refused => TokenEvent::Refused { token: "verification".into(), user: Some(USER) },
        LeftOut => TokenEvent::LeftOut(LEFT_OUT),
    } also {
        "unknown" => TokenEvent::Refused { token: "setup".into(), user: None },
    }
}

samples_of! {
    OrganizationEvent {
        Created => OrganizationEvent::Created {
            organization: OrganizationId(id(2)),
            company: "Acme".into(),
            division: Some("Labs".into()),
        },
    }
}

samples_of! {
    SessionEvent {
        Opened => SessionEvent::Opened {
            session: SessionId(id(3)),
            user: USER,
            refresh_hash: "9f86d081".into(),
            expires_at: LATER,
            device: Some("Firefox".into()),
            deactivations: 0,
        },
        Refreshed => SessionEvent::Refreshed { refresh_hash: "60303ae2".into() },
        Reused => SessionEvent::Reused {},
        Revoked => SessionEvent::Revoked { cause: "logout".into() },
    }
}

samples_of! {
    UserEvent {
        Registered => UserEvent::Registered { user: USER, account: UserKind::Local, profile: profile() },
        PasswordSet => UserEvent::PasswordSet { verifier: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into() },
        VerificationRequested => UserEvent::VerificationRequested {
            token_hash: "9f86d081".into(),
            expires_at: LATER,
            token: None,
        },
        EmailVerified => UserEvent::EmailVerified { email: "ada@example.org".into() },
        Deactivated => UserEvent::Deactivated { reason: "left the company".into() },
        Reactivated => UserEvent::Reactivated { reason: "came back".into() },
        Erased => UserEvent::Erased { reason: ErasureReason::Requested },
        ErasureCompleted => UserEvent::ErasureCompleted(receipt(Some("9f86d081".into()), Some(LATER))),
    } also {
        "derived" => UserEvent::VerificationRequested {
            token_hash: "9f86d081".into(),
            expires_at: LATER,
            token: Some(id(10)),
        },
        "unsealed" => UserEvent::ErasureCompleted(receipt(None, None)),
        "external" => UserEvent::Registered { user: USER, account: UserKind::External, profile: profile() },
        "service" => UserEvent::Registered { user: USER, account: UserKind::Service, profile: profile() },
    }
}

fn receipt(key_id: Option<String>, key_made_at: Option<OffsetDateTime>) -> ErasureReceipt {
    ErasureReceipt {
        key_id,
        key_made_at,
        destroyed_at: LATER,
        rebuilt: vec!["identity.user".into()],
    }
}

fn profile() -> Profile {
    Profile {
        username: "ada".into(),
        email: "ada@example.org".into(),
        first_name: Some("Ada".into()),
        last_name: None,
        organization: Some(OrganizationId(id(2))),
        department: Some("Engines".into()),
    }
}
