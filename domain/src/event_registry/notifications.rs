//! Samples of notifications.

use super::{id, samples_of};
use crate::notifications::delivery::DeliveryEvent;

samples_of! {
    DeliveryEvent {
        Redriven => DeliveryEvent::Redriven { delivery: Some(id(11)) },
    } also {
        "all" => DeliveryEvent::Redriven { delivery: None },
    }
}
