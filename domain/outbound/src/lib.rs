//! The one way by which anything leaves the process over the network to an address that a person or a configuration gives:
//! providers, webhooks, mail, object stores, identity providers (PK-8, D4).
//!
//! One rule: nothing else connects. What a call reaches is decided by [`Policy`] for its origin and for every address that
//! its name has at that time; the connection goes to a judged address and nowhere else.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use outbound::{Call, Method, Outbound, OutboundOptions, Target};
//!
//! let outbound = Outbound::new(OutboundOptions::default())?;
//! let base: Target = "https://api.example.com/v1".parse()?;
//! let call = Call::new("model_provider", Method::POST, base.below("models")?).json(&["a"])?;
//! let answer = outbound.send(call).await?;
//! println!("{}", answer.status());
//! # Ok(())
//! # }
//! ```
//!
//! # How an attack is met
//!
//! | attack | answer |
//! | --- | --- |
//! | another spelling of an address (`0x7f.1`, `2130706433`, `%31…`, full-width digits) | the URL standard's parser makes it the address that it is ([`Destination`]) |
//! | an address inside of an address (mapped, NAT64, 6to4, Teredo, ISATAP) | judged as what it reaches, or refused as a whole ([`address`]) |
//! | a literal address, which resolvers never see | the guard is in the connector, which every connection passes, literal or not (`connector`) |
//! | a name that has an inner address | judged after the lookup; one bad address refuses the answer ([`Guard`]) |
//! | a name that has another address the next time (rebinding) | looked up once for a connection, and connected by address |
//! | a redirect, a proxy from the environment, a cookie | the client knows none of them |
//! | a user name that looks like a host, a fragment, tabs and backslashes | refused ([`Target`]) |
//! | a server that is slow, endless or huge | deadlines and limits for each part ([`Limits`], [`OutboundOptions`]) |
//! | secrets in errors and logs | an error is a value without texts of either side; addresses are shown as their origin |
//!
//! # For clients of other protocols
//!
//! Mail asks [`Guard::addresses`] or [`Guard::connect`] for each connection ([`Service::Smtp`]) and puts a deadline around all
//! that follows. A library with a client of its own gets [`Call::from_request`] and [`Answer::into_response`]: for
//! `object_store`, an `HttpService` collects the request's body into [`Body::Chunks`], calls [`Outbound::send`] with
//! [`Limits::of_transfer`], and hands the answer's body on as an [`http_body::Body`], errors mapped by
//! [`CallError::is_transient`].
//!
//! What does not pass here, and why: PostgreSQL and KurrentDB (the log itself: without them there is no process that a
//! policy could be read in; their addresses are the operator's alone), and what `ops` asks of Anneal's own server.
//!
//! # Sources
//!
//! RFC 6890 and IANA's registries of special-purpose addresses; RFC 6052, 8215 (NAT64); RFC 9110, 9.2.2 and 10.2.3
//! (idempotent methods, `Retry-After`); the URL and Fetch standards of the WHATWG (spellings of hosts, bad ports); OWASP's
//! cheat sheet on server-side request forgery; "Exponential backoff and jitter" (AWS Architecture Blog, 2015). What
//! cannot be known is which other prefixes a network translates to IPv4 (RFC 6052 allows any): an installation that has
//! one names it with [`Policy::forbid`], its own public addresses too.

pub mod address;
mod allowed;
mod answer;
mod attempt;
mod breaker;
mod call;
mod client;
mod connector;
mod destination;
mod destinations;
mod error;
mod guard;
mod limits;
mod lookup;
mod options;
mod outgoing;
mod policy;
mod prepared;
mod record;
mod retry;
pub mod target;
mod tls;

pub use allowed::{Allowed, AllowedError};
pub use answer::{Answer, AnswerBody};
pub use breaker::BreakerOptions;
pub use call::Call;
pub use client::Outbound;
pub use destination::{Destination, Service};
pub use destinations::Concurrency;
pub use error::{CallError, Refusal, Stage};
pub use guard::Guard;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
pub use limits::Limits;
pub use lookup::{Lookup, SystemLookup};
pub use options::OutboundOptions;
pub use outgoing::Body;
pub use policy::Policy;
pub use retry::Retry;
pub use target::{SecretUrl, Target};
pub use tls::CertificateError;
