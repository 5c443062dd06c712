//! Settings of a client.
//!
//! One rule: every one has a default that is fit for production and for strangers.

use std::{sync::Arc, time::Duration};

use domain::clock::{Clock, SystemClock};
use http::HeaderValue;
use rustls::pki_types::CertificateDer;

use crate::{
    breaker::BreakerOptions,
    destinations::Concurrency,
    lookup::{Lookup, SystemLookup},
    policy::Policy,
};

/// Settings of [`crate::Outbound`].
#[derive(Clone)]
pub struct OutboundOptions {
    /// Who may be called.
    pub policy: Policy,
    /// Who finds addresses.
    pub lookup: Arc<dyn Lookup>,
    /// How long a lookup may take; it counts as a part of connecting.
    pub lookup_within: Duration,
    /// How long a connection may take, lookup and TLS included.
    pub connect_within: Duration,
    /// The most bytes of an answer's head (at least 8,192).
    pub header_bytes: u32,
    /// When a destination is left alone.
    pub breaker: BreakerOptions,
    /// How much may be under way.
    pub concurrency: Concurrency,
    /// Authorities that are trusted besides those of the machine.
    pub authorities: Vec<CertificateDer<'static>>,
    /// What the process calls itself.
    pub user_agent: HeaderValue,
    /// What `Retry-After` is compared with, where an answer has no date.
    pub clock: Arc<dyn Clock>,
}

impl Default for OutboundOptions {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            lookup: Arc::new(SystemLookup::default()),
            lookup_within: Duration::from_secs(3),
            connect_within: Duration::from_secs(5),
            header_bytes: 64 << 10,
            breaker: BreakerOptions::default(),
            concurrency: Concurrency::default(),
            authorities: Vec::new(),
            user_agent: HeaderValue::from_static(concat!("anneal/", env!("CARGO_PKG_VERSION"))),
            clock: Arc::new(SystemClock),
        }
    }
}
