//! What people do about accounts and roles.

use super::*;

impl Scenario {
    pub(super) fn account(&self) -> NewAccount {
        let number = self.participants.users.len();
        NewAccount {
            user: UserId(SystemIds.next()),
            username: format!("user{number}"),
            username_reservation: ReservationKey(format!("username-{number}")),
            email: format!("user{number}@example.org"),
            email_reservation: ReservationKey(format!("email-{number}")),
            password: "never used".to_owned(),
            first_name: None,
            last_name: None,
            company: (number % 2 == 1).then(|| "Example".to_owned()),
            division: None,
            department: None,
        }
    }

    pub(super) async fn register(&mut self) {
        if self.participants.users.len() >= 5 {
            return self.roles().await;
        }
        let account = self.account();
        let (user, verification_hash) = (account.user, "a hash".to_owned());
        let command = Register {
            account,
            verification_token: user.0,
            verification_hash: verification_hash.clone(),
            open: true,
        };
        self.attempt(&Principal::Anonymous, command).await;
        self.participants.users.push(user);
        if self.random.below(4) > 0 {
            let command = VerifyEmail {
                user,
                token_hash: verification_hash,
            };
            self.attempt(&Principal::Anonymous, command).await;
        }
    }

    pub(super) async fn roles(&mut self) {
        let (_, principal) = match self.random.below(3) {
            0 => self.anybody().await,
            _ => (self.participants.users[0], self.administrator().await),
        };
        let user = self.random.pick(&self.participants.users).expect("somebody");
        let role = self.random.pick(&builtin::NAMES).expect("a role").to_owned();
        let reason = format!("reason {}", self.random.below(100));
        match self.random.below(5) {
            0 | 1 => self.attempt(&principal, RemoveRole { user, role, reason }).await,
            _ => self.attempt(&principal, GrantRole { user, role, reason }).await,
        }
    }

    pub(super) async fn switch(&mut self) {
        let (user, active) = (
            self.random.pick(&self.participants.users).expect("somebody"),
            self.random.below(3) > 0,
        );
        let command = SetUserActive {
            user,
            active,
            reason: "test".to_owned(),
        };
        self.attempt(&self.administrator().await, command).await;
    }

    /// A role is defined anew; there is no command for that yet.
    pub(super) async fn define(&mut self) {
        let mut role = self.random.pick(&builtin::roles()).expect("a role");
        if role.name != builtin::ADMIN {
            let kept = self.random.below(4);
            role.permissions.retain(|name| name.len() as u64 % 4 != kept);
            role.quotas.projects = Some(u32::try_from(self.random.below(5)).expect("small"));
        }
        let stream = Role::stream(&role.name);
        let event = encode(SystemIds.next(), &RoleEvent::Defined(role)).expect("encodes");
        let append = Append {
            writes: vec![StreamWrite {
                stream,
                expected: Expected::Any,
                events: vec![event],
            }],
            meta: Metadata::default(),
        };
        self.store.append(append).await.expect("recorded");
    }
}
