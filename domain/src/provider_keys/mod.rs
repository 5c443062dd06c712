//! External model providers and their keys. Nothing is decided here yet.
