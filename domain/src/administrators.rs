//! One active administrator stays, whatever is decided at once (FR4).
//!
//! The rule: whatever may take away the last one names a **witness**, another administrator whose account is active
//! ([`read_witness`]). The witness's account and the list of administrators are read by the decision, so the append
//! checks both: of two administrators who take each other away at once, by whatever operations, the second decides
//! anew. It stands above the contexts because roles are in one and accounts in another.

use crate::{
    access::administrators::{ADMINISTRATORS, Administrators},
    authz::AccountState,
    decision::{LoadedState, ReadSet},
    id::UserId,
    identity::user::User,
};

/// Names what shows that an active administrator stays when `leaving` is one no longer: the list and, when `leaving`
/// is on it, the accounts of others up to the first that is active. Nearly always that is one stream more, however
/// many administrators and users there are.
pub fn read_witness(loaded: &LoadedState, leaving: UserId, reads: &mut ReadSet) {
    reads.read::<Administrators>(ADMINISTRATORS);
    for witness in others_than(&loaded.get(ADMINISTRATORS), leaving) {
        let mut account = ReadSet::default();
        account.read::<User>(witness);
        reads.read::<User>(witness);
        if !loaded.missing(&account).is_empty() || is_active(loaded, witness) {
            return;
        }
    }
}

/// Whether `leaving` is the last administrator with an active account; of what [`read_witness`] named.
#[must_use]
pub fn is_last(loaded: &LoadedState, leaving: UserId) -> bool {
    let all: Administrators = loaded.get(ADMINISTRATORS);
    all.members.contains(&leaving) && !others_than(&all, leaving).any(|witness| is_active(loaded, witness))
}

/// The others, when `leaving` is one of them; otherwise nobody leaves, and nobody needs to stay.
fn others_than(all: &Administrators, leaving: UserId) -> impl Iterator<Item = UserId> {
    let leaves = all.members.contains(&leaving);
    let members = all.members.iter().copied();
    members.filter(move |member| leaves && *member != leaving)
}

fn is_active(loaded: &LoadedState, user: UserId) -> bool {
    loaded.get::<User>(user).state() == AccountState::Active
}
