//! Access: roles, who holds them, quotas, and the record of what was denied.

pub mod administrators;
pub mod assignment;
pub mod builtin;
pub mod ledger;
pub mod quota;
pub mod role;
pub mod role_definition;
