//! Plain HTTP and the doors that GraphQL comes through.

pub mod door;
pub mod problem;
pub mod routes;
pub mod server;
