//! Who may do what: the whole matrix against an oracle, and every operation without a sign-in.

mod matrix;
mod operations;
pub(crate) mod specified;
