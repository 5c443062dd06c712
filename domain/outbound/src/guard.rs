//! From a destination to addresses that may be connected to, and to a connection.
//!
//! One rule: what is connected to was judged as an address, in this very call. A name is looked up once for each
//! connection, every address of the answer is judged, one that is not allowed refuses them all, and the connection goes
//! to the judged addresses and nowhere else: a name that has others the next time is judged again then.
//!
//! All are refused, and not only the one: no honest name has an inner address beside a public one, and which of them a
//! try ends at is the attacker's choice.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use url::Host;

use crate::{
    destination::{Destination, Service},
    error::{CallError, Refusal, Stage},
    lookup::Lookup,
    policy::Policy,
};

/// How many addresses of one answer are tried. All are judged.
const TRIED: usize = 8;
/// More addresses than this are no honest answer (a name server's reply over TCP has room for thousands).
const MOST: usize = 256;

/// Judges, looks up, and connects. For clients that speak something else than HTTP; [`crate::Outbound`] has one inside.
#[derive(Clone)]
pub struct Guard {
    policy: Arc<Policy>,
    lookup: Arc<dyn Lookup>,
    deadline: Duration,
}

impl Guard {
    /// A guard of `policy` that finds addresses by `lookup`, which may take as long as `deadline` for a name.
    #[must_use]
    pub fn new(policy: Arc<Policy>, lookup: Arc<dyn Lookup>, deadline: Duration) -> Self {
        Self {
            policy,
            lookup,
            deadline,
        }
    }

    /// Whether `destination` could be called as far as it shows without a lookup: for whoever saves an address. Whether it
    /// may be called is decided at each connection.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check(&self, destination: &Destination) -> Result<(), Refusal> {
        self.policy.check(destination)
    }

    /// The addresses of `host` that a client may connect to, in the order to try them. They are judged now: use them at
    /// once, for one connection, and by no name.
    ///
    /// # Errors
    /// [`CallError::Refused`] when the destination or any of its addresses is not allowed, [`CallError::Lookup`] when it
    /// has none, [`CallError::TimedOut`] when nobody says in time.
    pub async fn addresses(
        &self,
        service: Service,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, CallError> {
        self.judged(&Destination::new(service, host, port)?).await
    }

    /// A connection to `host`, to the first of its judged addresses that takes one. Each has its share of `within`.
    ///
    /// # Errors
    /// Those of [`Guard::addresses`]; [`CallError::Connect`] when none takes a connection, [`CallError::TimedOut`].
    pub async fn connect(
        &self,
        service: Service,
        host: &str,
        port: u16,
        within: Duration,
    ) -> Result<TcpStream, CallError> {
        self.open(&Destination::new(service, host, port)?, within).await
    }

    pub(crate) async fn open(
        &self,
        destination: &Destination,
        within: Duration,
    ) -> Result<TcpStream, CallError> {
        let end = Instant::now() + within;
        let judged = timeout_at(end, self.judged(destination)).await;
        let addresses = judged.map_err(|_| CallError::TimedOut(Stage::Lookup))??;
        first_that_connects(&addresses, end).await
    }

    pub(crate) async fn judged(&self, destination: &Destination) -> Result<Vec<SocketAddr>, CallError> {
        self.policy.check(destination)?;
        let found = match &destination.host {
            Host::Domain(name) => self.resolve(name).await?,
            Host::Ipv4(address) => vec![IpAddr::from(*address)],
            Host::Ipv6(address) => vec![IpAddr::from(*address)],
        };
        let mut judged = Vec::with_capacity(found.len());
        for address in found {
            let address = self.policy.judge(destination, address);
            let address = address.inspect_err(|refusal| {
                tracing::warn!(%destination, ?refusal, "an outbound connection was refused");
            })?;
            judged.push(SocketAddr::new(address, destination.port));
        }
        judged.truncate(TRIED);
        Ok(judged)
    }

    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, CallError> {
        let asked = timeout(self.deadline, self.lookup.lookup(name)).await;
        let found = asked.map_err(|_| CallError::TimedOut(Stage::Lookup))?;
        let found = found.map_err(|_| CallError::Lookup)?;
        match found.len() {
            1..=MOST => Ok(found),
            _ => Err(CallError::Lookup),
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// Tries one address after the other; each has an equal share of the time that is left.
async fn first_that_connects(addresses: &[SocketAddr], end: Instant) -> Result<TcpStream, CallError> {
    let mut last = CallError::Connect;
    for (tried, address) in addresses.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are written whole; to wait for more would only cost time.
                stream.set_nodelay(true).map_err(|_| CallError::Connect)?;
                return Ok(stream);
            }
            Ok(Err(_)) => last = CallError::Connect,
            Err(_) => last = CallError::TimedOut(Stage::Connect),
        }
    }
    Err(last)
}
