//! Process managers (NO-3, E1): at least once, once where nothing crashes, and nobody held up by what fails.
//!
//! One rule: the real runner on a real database; what leaves it is caught by a post office that fails as it is told.

mod commands;
mod failing;
mod fixture;
mod from_outside;
mod owners;
mod starts;
mod uploads;
