//! The binary `anneal`: what it is made of, for itself and for the tests.

pub mod cli;
mod collect;
pub mod commands;
pub mod config;
pub mod contracts;
pub mod demo;
pub mod doctor;
#[cfg(feature = "fail-points")]
pub mod fail_points;
pub mod output;
pub mod postgres;
pub mod system;
pub mod telemetry;
pub mod tls;
pub mod verify;
