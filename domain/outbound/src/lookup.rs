//! From a name to addresses.
//!
//! One rule: a lookup only tells what a name has; whether it may be used is decided by [`crate::Guard`].

use std::{
    io,
    net::{IpAddr, ToSocketAddrs as _},
    sync::Arc,
};

use async_trait::async_trait;
use tokio::sync::Semaphore;

/// How many lookups of the system run at the same time. The C library cannot be interrupted: one that nobody waits for
/// any more still holds its thread.
const CONCURRENT: usize = 32;

/// Who finds the addresses of a name. Asked once for each new connection; never for an address written as such.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// All addresses of `host`, in the order in which they should be tried.
    ///
    /// # Errors
    /// When the name has none, or nobody answers. The caller has a deadline of its own.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's own: `getaddrinfo`, with its `hosts` file and search domains.
#[derive(Clone)]
pub struct SystemLookup(Arc<Semaphore>);

impl Default for SystemLookup {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CONCURRENT)))
    }
}

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let permit = Arc::clone(&self.0).acquire_owned().await;
        let permit = permit.map_err(io::Error::other)?;
        let host = host.to_owned();
        let asking = tokio::task::spawn_blocking(move || {
            let found = (host.as_str(), 0).to_socket_addrs();
            // Given back when the thread is free, not when the caller goes.
            drop(permit);
            found.map(|found| found.map(|address| address.ip()).collect())
        });
        asking.await.map_err(io::Error::other)?
    }
}
