//! Lists of workers. They are no rows, but what is known of the few that are there, so they are chosen in memory.
//!
//! One rule: places are compared as in lists of rows, by the value of the order and then by the id.

use std::cmp::Ordering;

use async_graphql::{InputObject, Result};
use projections::{
    jobs::worker::{self, ActiveWorker},
    paging::{Page, PageRequest},
};

use super::super::WorkerState;
use crate::graphql::{filters::searched, paging::list_order};

/// Filter of workers; all conditions must match.
#[derive(Debug, Default, InputObject)]
pub struct WorkerFilter {
    /// Text in the name, at most 100 characters; case-insensitive.
    pub name_contains: Option<String>,
    /// In one of these states; an empty list matches no worker.
    pub states: Option<Vec<WorkerState>>,
    /// With this label.
    pub label: Option<String>,
}

impl WorkerFilter {
    /// The workers of `all` that it lets through.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` for what cannot be meant.
    pub fn of(self, mut all: Vec<ActiveWorker>) -> Result<Vec<ActiveWorker>> {
        let name = self.name_contains.as_deref();
        let name = name
            .map(|text| searched("filter.nameContains", text))
            .transpose()?;
        let name = name.map(str::to_lowercase);
        all.retain(|one| {
            let declared = &one.worker;
            name.as_ref()
                .is_none_or(|text| declared.name.to_lowercase().contains(text))
                && (self.states.as_ref()).is_none_or(|states| states.contains(&one.state().into()))
                && (self.label.as_ref()).is_none_or(|label| declared.labels.contains(label))
        });
        Ok(all)
    }
}

list_order! {
    /// Order of workers.
    WorkerOrder by
    /// What workers can be ordered by.
    WorkerOrderField = Name {
        /// Time of registration.
        Created,
        /// Name.
        Name => worker::NAME,
    }
}

/// A page of `all` in its order, each with its key and its value.
pub fn page_of(all: Vec<ActiveWorker>, page: &PageRequest) -> Page<(String, Option<String>, ActiveWorker)> {
    let named = page.order.is_some();
    let mut rows: Vec<_> = all
        .into_iter()
        .map(|one| {
            let value = named.then(|| one.worker.name.clone());
            (one.worker.id.0.to_string(), value, one)
        })
        .collect();
    let compare = |one: (&Option<String>, &String), other: (&Option<String>, &String)| {
        let order = one.cmp(&other);
        if page.ascending { order } else { order.reverse() }
    };
    rows.sort_by(|(key, value, _), (other, than, _)| compare((value, key), (than, other)));
    if let Some(after) = &page.after {
        rows.retain(|(key, value, _)| compare((value, key), (&after.value, &after.key)) == Ordering::Greater);
    }
    Page::from_overread(rows, page.first)
}
