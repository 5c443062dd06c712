//! Accounts in the log: what their rights and limits are read from.
//!
//! The rule: after [`Log::person`], the streams give the account exactly the rights of that principal.

use domain::{
    access::{
        assignment::{AssignmentEvent, Assignments},
        ledger::QuotaLedger,
        role::{Role, RoleDefinition, RoleEvent},
    },
    aggregate::Aggregate,
    authz::{AccountState, Principal, UserPrincipal},
    decision::{LoadedState, ReadSet},
    event_store::StreamId,
    execute::Command,
    id::UserId,
    identity::user::{User, UserEvent},
};

use super::{
    fixtures::{ada, bob, granted, registered, root},
    log::Log,
};

/// Who this is in the tests when nothing else is said of it.
fn known(user: UserId) -> Option<Principal> {
    [ada(), bob(), root()]
        .into_iter()
        .find(|principal| principal.user() == Some(user))
}

fn reason() -> String {
    "a test".to_owned()
}

impl Log {
    /// Records what gives the account exactly the permissions, quotas and grants of `principal`, by a role of its own,
    /// and its state.
    pub(crate) fn person(&mut self, principal: &Principal) {
        let Principal::User(person) = principal else {
            panic!("only people have accounts: {principal:?}");
        };
        self.account(person);
        self.role_of_its_own(person);
    }

    fn account(&mut self, person: &UserPrincipal) {
        let id = person.user;
        if self.state::<User>(id).profile.is_none() {
            let mut events = registered(id, &format!("user-{}", id.0.simple()));
            if person.account == AccountState::Unverified {
                events.retain(|event| !matches!(event, UserEvent::EmailVerified { .. }));
            }
            self.record::<User>(id, &events);
        }
        let reason = reason();
        match (self.state::<User>(id).state(), person.account) {
            (now, wanted) if now == wanted => {}
            (_, AccountState::Deactivated) => self.record::<User>(id, &[UserEvent::Deactivated { reason }]),
            (AccountState::Deactivated, _) => self.record::<User>(id, &[UserEvent::Reactivated { reason }]),
            (now, wanted) => panic!("{id} is {now:?} and cannot become {wanted:?}"),
        }
        assert_eq!(self.state::<User>(id).state(), person.account);
    }

    fn role_of_its_own(&mut self, person: &UserPrincipal) {
        let (user, name) = (person.user, format!("of_{}", person.user.0.simple()));
        let definition = RoleDefinition {
            name: name.clone(),
            description: "What one account may do.".to_owned(),
            permissions: person
                .permissions
                .iter()
                .map(|action| action.name().to_owned())
                .collect(),
            quotas: person.quotas,
            may_grant: (*person.may_grant).clone(),
        };
        self.record::<Role>(&name, &[RoleEvent::Defined(definition)]);
        for role in self.state::<Assignments>(user).roles {
            let reason = reason();
            self.record::<Assignments>(user, &[AssignmentEvent::Removed { user, role, reason }]);
        }
        self.record::<Assignments>(user, &[granted(user, &name)]);
    }

    /// Records the accounts whose ledgers `command` counts against their limits and of which the log knows no roles: the
    /// actor as it acts, or else who it is by the fixtures.
    pub(super) fn introduce<C: Command>(&mut self, command: &C, actor: &Principal) {
        loop {
            let streams = self.declared(command);
            let unknown = streams.iter().find_map(|stream| {
                let user: UserId = stream.key().parse().ok()?;
                let roles = Assignments::stream(user);
                let counted = stream.category() == QuotaLedger::CATEGORY && streams.contains(&roles);
                (counted && self.events::<Assignments>(user).is_empty()).then_some(user)
            });
            let Some(user) = unknown else { return };
            match Some(actor.clone())
                .filter(|actor| actor.user() == Some(user))
                .or(known(user))
            {
                Some(principal) => self.person(&principal),
                None => panic!("the limits of {user} are read; say who it is with `person`"),
            }
        }
    }

    /// The streams that `command` names.
    fn declared<C: Command>(&self, command: &C) -> Vec<StreamId> {
        let mut reads = ReadSet::default();
        command.reads(&self.load(command), &mut reads);
        LoadedState::default().missing(&reads)
    }
}
