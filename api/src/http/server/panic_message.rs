//! What a caught panic says, for the log.
//!
//! One rule: it goes to the log only, never into an answer.

use std::any::Any;

/// The text of a panic, as far as it is one.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("not a text")
}
