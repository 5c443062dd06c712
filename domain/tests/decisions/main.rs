//! Decisions of every command: given these facts, when this is asked, then those facts are recorded.
//!
//! One rule: a test speaks to a command only through [`support::log::Log`], which loads the streams that the
//! command names and nothing else, as the write path does. So each test also proves that the command names
//! what it reads, and that every fact can be read back.

mod access;
mod administrators;
mod audit;
mod datasets;
mod identity;
mod jobs;
mod models;
mod projects;
mod quotas;
mod sharing;
mod support;
mod uploads;
