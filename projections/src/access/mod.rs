//! Roles, who holds them, and the directory that access decisions are made from.

pub mod account;
pub mod assignment;
pub mod directory;
pub mod rights;
pub mod role;
pub mod usage;
