//! One active administrator stays, whatever is decided at once (FR4).
//!
//! The rule: whatever may take away the last one names a **witness**, another administrator whose account is active
//! ([`read_witness`]). The witness's account and the list of administrators are read by the decision, so the append
//! checks both: of two administrators who take each other away at once, by whatever operations, the second decides
//! anew. It stands above the contexts because roles are in one and accounts in another.

use crate::{
    access::assignment::{ADMINISTRATORS, Administrators},
    authz::AccountState,
    id::UserId,
    identity::user::User,
    world::{Reads, World},
};

/// Names what shows that an active administrator stays when `leaving` is one no longer: the list and, when `leaving`
/// is on it, the accounts of others up to the first that is active. Nearly always that is one stream more, however
/// many administrators and users there are.
pub fn read_witness(world: &World, leaving: UserId, reads: &mut Reads) {
    reads.read::<Administrators>(ADMINISTRATORS);
    for witness in others_than(&world.get(ADMINISTRATORS), leaving) {
        let mut account = Reads::default();
        account.read::<User>(witness);
        reads.read::<User>(witness);
        if !world.missing(&account).is_empty() || is_active(world, witness) {
            return;
        }
    }
}

/// Whether `leaving` is the last administrator with an active account; of what [`read_witness`] named.
#[must_use]
pub fn is_last(world: &World, leaving: UserId) -> bool {
    let all: Administrators = world.get(ADMINISTRATORS);
    all.members.contains(&leaving) && !others_than(&all, leaving).any(|witness| is_active(world, witness))
}

/// The others, when `leaving` is one of them; otherwise nobody leaves, and nobody needs to stay.
fn others_than(all: &Administrators, leaving: UserId) -> impl Iterator<Item = UserId> {
    let leaves = all.members.contains(&leaving);
    let members = all.members.iter().copied();
    members.filter(move |member| leaves && *member != leaving)
}

fn is_active(world: &World, user: UserId) -> bool {
    world.get::<User>(user).state() == AccountState::Active
}
