//! Samples of the events of requests.

use super::{id, samples_of};
use crate::request::RequestEvent;

samples_of! {
    RequestEvent {
        Completed => RequestEvent::Completed {
            fingerprint: "5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592".into(),
            entity: id(4),
        },
    }
}
