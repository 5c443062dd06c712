//! Who may do what: the whole matrix against an oracle, and every operation and every route without a sign-in.

mod catalogue;
mod matrix;
mod operations;
mod routes;
pub(crate) mod specified;
