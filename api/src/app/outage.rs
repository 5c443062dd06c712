//! What clients are told when the event store does not do its work.
//!
//! One rule: the words are made for clients and say what to expect; why, stands in the process's log.

use domain::event_store::StoreError;

/// What a client is told; `None` for a defect, which is answered without a word on what it is.
#[must_use]
pub fn for_clients(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::Unavailable(_) => Some("the event store does not answer, try again"),
        StoreError::Full(_) => Some(
            "the storage is full, and nothing can be recorded; ask the administrator to free space, then try again",
        ),
        StoreError::ReadOnly(_) => {
            Some("the event store is read-only at present, and nothing can be recorded; try again later")
        }
        StoreError::Corrupt(_) => None,
    }
}
