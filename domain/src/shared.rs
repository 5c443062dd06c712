//! What the access decision needs to know of a shared thing: the thing, its access list, and who is in the projects on
//! that list.
//!
//! One rule: writes, downloads and feeds make the [`Resource`] of a shared thing here, so all of them see the same
//! parts in it. It stands above the contexts, because the things are in some and the lists in another.

use std::collections::BTreeMap;

use crate::{
    aggregate::LoadError,
    authz::{self, Circumstances, Membership, Party, Resource, Shared},
    command::Context,
    decision::{LoadedState, ReadSet},
    event_store::EventStore,
    id::ProjectId,
    loading,
    projects::project::Project,
    sharing::access_list::AccessList,
};

/// Declares the streams that the access to a shared thing comes from: the thing, its list, and the projects on it with
/// theirs. Lists of projects hold users only, so there it ends.
pub fn read<T: Shared>(id: T::Id, loaded: &LoadedState, reads: &mut ReadSet) {
    reads.read::<T>(id).read::<AccessList>(id);
    for project in projects(id, loaded) {
        reads.read::<Project>(project).read::<AccessList>(project);
    }
}

/// What the access decision needs to know of it, from what [`read`] declared.
#[must_use]
pub fn resource<T: Shared>(id: T::Id, loaded: &LoadedState) -> Resource {
    let thing = loaded.peek::<T>(id);
    let list = loaded.peek::<AccessList>(id);
    let members = projects(id, loaded).map(|project| (project, membership(project, loaded)));
    Resource {
        memberships: members.collect::<BTreeMap<_, _>>(),
        ..Resource::of(T::KIND, id, thing.and_then(T::founder))
            .shared_with(list.into_iter().flat_map(AccessList::shares))
            .seen_by(thing.map(T::visibility).unwrap_or_default())
    }
}

/// Whether whoever decides may see it, by what [`read`] declared.
#[must_use]
pub fn sees<T: Shared>(id: T::Id, loaded: &LoadedState, context: &Context<'_>) -> bool {
    let (resource, at) = (resource::<T>(id, loaded), Circumstances::at(context.now));
    authz::decide(context.principal, T::READ, &resource, &at).is_ok()
}

fn projects(id: impl std::fmt::Display, loaded: &LoadedState) -> impl Iterator<Item = ProjectId> {
    let list = loaded.peek::<AccessList>(id);
    let parties = list.into_iter().flat_map(AccessList::shares);
    parties.filter_map(|share| match share.party {
        Party::Project(project) => Some(project),
        Party::User(_) | Party::Organization(_) => None,
    })
}

fn membership(project: ProjectId, loaded: &LoadedState) -> Membership {
    let list = loaded.peek::<AccessList>(project);
    Membership {
        founder: loaded.peek::<Project>(project).and_then(Project::founder),
        shares: list.into_iter().flat_map(AccessList::shares).collect(),
    }
}

/// A shared thing as of now, and what the access decision needs to know of it. For those who only look: a command
/// declares what it reads.
///
/// # Errors
/// See [`LoadError`].
pub async fn load<T: Shared>(store: &dyn EventStore, id: T::Id) -> Result<(T, Resource), LoadError> {
    let loaded = loading::look(store, |loaded, reads| read::<T>(id, loaded, reads)).await?;
    Ok((loaded.get(id), resource::<T>(id, &loaded)))
}
