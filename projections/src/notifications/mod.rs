//! Notifications: deliveries of reactors, as they are shown.

pub mod delivery;
