//! Roles, who holds them, and the directory that access decisions are made from.

pub mod assignment;
pub mod directory;
pub mod role;
