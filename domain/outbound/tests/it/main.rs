//! Outbound calls against real servers on loopback, most of them hostile.
//!
//! One rule: "nothing connects" is what a listener counts, never what an error says; and each such check has a control in
//! which something does connect.

mod bounds;
mod breaking;
mod cancelling;
mod deadlines;
mod embeddings;
mod forgery;
mod http2;
mod payloads;
mod rebinding;
mod retries;
mod secrets;
mod support;
mod tls;
