//! The client: every call that leaves the process.
//!
//! One rule: a call waits for its turn, passes breaker and guard, and ends within its deadline; whatever comes of it, the
//! caller gets an answer or an error that can be shown.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::ClientConfig;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    answer::Answer,
    attempt::{Begun, attempt},
    call::Call,
    connector::{HttpClient, client},
    destinations::Destinations,
    error::{CallError, Stage},
    guard::Guard,
    options::OutboundOptions,
    policy::Policy,
    prepared::Prepared,
    record::Recording,
    retry::{asked, is_passing},
    tls::{self, CertificateError},
};

/// The way out of the process. Cheap to clone; clones share connections, breakers and limits.
#[derive(Clone)]
pub struct Outbound(Arc<Inner>);

struct Inner {
    options: OutboundOptions,
    tls: Arc<ClientConfig>,
    destinations: Destinations,
    route: RwLock<Route>,
}

/// A policy, and the connections that were made under it.
#[derive(Clone)]
struct Route {
    guard: Guard,
    http: HttpClient,
}

impl Outbound {
    /// A client that calls whom `options.policy` allows.
    ///
    /// # Errors
    /// [`CertificateError`] for an authority that is no certificate.
    pub fn new(options: OutboundOptions) -> Result<Self, CertificateError> {
        let tls = tls::config(&options.authorities)?;
        let policy = Arc::new(options.policy.clone());
        let inner = Inner {
            destinations: Destinations::new(options.concurrency, options.breaker),
            route: RwLock::new(Route::new(&options, &tls, policy)),
            options,
            tls,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Replaces the policy. Connections that were made under the one before are used for what is under way, and for
    /// nothing new.
    pub fn set_policy(&self, policy: Policy) {
        let route = Route::new(&self.0.options, &self.0.tls, Arc::new(policy));
        *self.0.route.write().unwrap_or_else(PoisonError::into_inner) = route;
    }

    /// The guard of the present policy, for clients that speak something else than HTTP. Take a fresh one for each
    /// connection.
    #[must_use]
    pub fn guard(&self) -> Guard {
        self.route().guard
    }

    /// Makes a call. Any status is an answer; redirects are not followed. Dropping the future, or the answer, ends it.
    ///
    /// # Errors
    /// [`CallError`]. [`CallError::Refused`]: nothing was connected to, or nothing sent.
    pub async fn send(&self, call: Call) -> Result<Answer, CallError> {
        let mut recording = Recording::begin(call.purpose, call.target.destination().clone());
        let end = Instant::now() + call.limits.total;
        let prepared = self.prepare(call, end);
        let answered = match prepared {
            Ok(mut prepared) => {
                let tried = timeout_at(end, self.tries(&mut prepared, &recording)).await;
                tried.unwrap_or(Err(CallError::TimedOut(Stage::Total)))
            }
            Err(error) => Err(error),
        };
        match answered {
            Ok(begun) => {
                recording.answered(begun.status());
                Ok(begun.with(recording))
            }
            Err(error) => {
                recording.failed(&error);
                Err(error)
            }
        }
    }

    fn prepare(&self, call: Call, end: Instant) -> Result<Prepared, CallError> {
        self.route().guard.check(call.target.destination())?;
        Prepared::new(call, end, &self.0.options.user_agent)
    }

    /// Tries until there is an answer that stands, or nothing more to try.
    async fn tries(&self, prepared: &mut Prepared, recording: &Recording) -> Result<Begun, CallError> {
        let repeat = prepared.call.may_be_repeated();
        let mut failed = 0;
        loop {
            let outcome = attempt(&self.0.destinations, &self.route().http, prepared).await;
            failed += 1;
            let (passing, asked) = match &outcome {
                Ok(begun) => (
                    is_passing(begun.status()),
                    asked(begun.headers(), &*self.0.options.clock),
                ),
                Err(error) => (error.is_worth_a_retry(), None),
            };
            let wait = match repeat && passing {
                true => prepared.call.retry.wait(failed, rand::random(), asked),
                false => None,
            };
            match wait
                .map(|wait| Instant::now() + wait)
                .filter(|at| *at < prepared.end)
            {
                None => return outcome,
                Some(at) => {
                    // The answer that is given up holds a connection and a turn.
                    drop(outcome);
                    recording.retried();
                    sleep_until(at).await;
                }
            }
        }
    }

    fn route(&self) -> Route {
        self.0
            .route
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Route {
    fn new(options: &OutboundOptions, tls: &Arc<ClientConfig>, policy: Arc<Policy>) -> Self {
        let guard = Guard::new(policy, Arc::clone(&options.lookup), options.lookup_within);
        let http = client(guard.clone(), tls, options.connect_within, options.header_bytes);
        Self { guard, http }
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").finish_non_exhaustive()
    }
}
