//! Notifications: channels, preferences, delivery. Nothing is decided here yet.
