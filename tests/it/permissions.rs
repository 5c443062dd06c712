//! Who may do what: the whole matrix against an oracle, and every operation and every route without a sign-in.

mod matrix;
mod operations;
mod required;
mod routes;
pub(crate) mod specified;
