//! Taking an address to listen on, with errors that say what to do.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there already.
    #[error(
        "port {} of {} is taken by another process; stop it (find it with 'ss -ltnp'), or choose another port",
        .0.port(), .0.ip()
    )]
    PortTaken(SocketAddr),
    /// The operating system keeps the port for privileged processes.
    #[error(
        "port {} needs a privilege that this process lacks; choose a port above 1023, or put a proxy in front",
        .0.port()
    )]
    NotPermitted(SocketAddr),
    /// The machine has no such address.
    #[error("{} is no address of this machine; use 127.0.0.1, 0.0.0.0 or one that 'ip address' lists", .0.ip())]
    NoSuchAddress(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// The address that was asked for.
        address: SocketAddr,
        /// The operating system's error.
        source: io::Error,
    },
}

/// Listens on an address; port 0 takes any free one.
///
/// # Errors
/// A [`BindError`] that names the address and a way out.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::PortTaken(address),
            io::ErrorKind::PermissionDenied => BindError::NotPermitted(address),
            io::ErrorKind::AddrNotAvailable => BindError::NoSuchAddress(address),
            _ => BindError::Other { address, source },
        })
}

#[cfg(test)]
mod tests {
    use super::{BindError, bind};

    #[tokio::test]
    async fn a_port_in_use_is_named_with_a_way_out() {
        let first = bind(([127, 0, 0, 1], 0).into()).await.expect("any free port");
        let address = first.local_addr().expect("bound");
        let error = bind(address).await.expect_err("taken");
        assert!(matches!(error, BindError::PortTaken(taken) if taken == address));
        assert!(error.to_string().contains("choose another port"), "{error}");
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_named() {
        let error = bind(([192, 0, 2, 1], 0).into())
            .await
            .expect_err("documentation address");
        assert!(matches!(error, BindError::NoSuchAddress(_)), "{error}");
    }
}
