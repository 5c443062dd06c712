//! Grants of resources to principals and projects, with expiry. Nothing is decided here yet.
