//! What must hold before the store starts.
//!
//! The rule: a server that could not keep the port's promises is refused, with what to do about it.

use domain::event_store::Position;

use super::{KurrentEventStore, address::AddressError, failure::Failure, wire::SupportedMethods};

/// The first servers with `AppendRecords`: it checks streams that it does not write, and keeps the order.
const OLDEST_SERVER: (u32, u32) = (26, 1);
const SERVICE: &str = "kurrentdb.protocol.v2.streams.streamsservice";
const METHOD: &str = "appendrecords";

/// Why the event store does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The address is of no use.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Nobody answers.
    #[error(
        "no KurrentDB answers: {0}; check that it runs, that host, port and certificate are right, and that tls=false \
         stands in the address if and only if the server runs without TLS"
    )]
    Unreachable(String),
    /// The server is too old.
    #[error(
        "KurrentDB {0} is too old: it lacks StreamsService/AppendRecords, the atomic append to several streams \
         with checks; install version 26.1 or newer, or keep the event log in PostgreSQL"
    )]
    OldServer(String),
    /// We are not let in, or may not write.
    #[error(
        "KurrentDB refuses us: {0}; check name and password, and that this user may read $all and write all streams"
    )]
    Denied(String),
    /// It takes no writes.
    #[error(
        "KurrentDB is read-only: {0}; end its maintenance, free its disk, or connect to a cluster that has a leader"
    )]
    ReadOnly(String),
    /// It would forget events.
    #[error(
        "KurrentDB is set to forget events: {setting} is set on $all; remove it from the metadata of $all, the log \
         is kept for ever"
    )]
    Forgets {
        /// The name of the setting.
        setting: String,
    },
    /// It fails otherwise.
    #[error("the event store could not be checked: {0}")]
    Failed(String),
}

impl From<Failure> for StartError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Passing(why) => Self::Unreachable(why),
            Failure::Denied(why) => Self::Denied(why),
            Failure::ReadOnly(why) => Self::ReadOnly(why),
            Failure::Unknown(_) => Self::OldServer("of this address".to_owned()),
            Failure::NotLeader(_) => Self::ReadOnly("no node of the cluster leads now".to_owned()),
            failure => Self::Failed(failure.into_store().to_string()),
        }
    }
}

impl KurrentEventStore {
    /// Checks everything and returns the head's position.
    pub(super) async fn check(&self) -> Result<Position, StartError> {
        let features = self.features().await?;
        let version = features.event_store_server_version.clone();
        if !is_able(&features) {
            return Err(StartError::OldServer(version));
        }
        self.probe().await.map_err(|failure| match failure {
            Failure::Unknown(_) => StartError::OldServer(version.clone()),
            failure => failure.into(),
        })?;
        match self.reading.forgets().await {
            Ok(None) => {}
            Ok(Some(setting)) => return Err(StartError::Forgets { setting }),
            Err(Failure::Denied(_)) => tracing::warn!(
                "this user may not see the settings of $all; see to it that they have no $maxAge, $maxCount or $tb"
            ),
            Err(failure) => return Err(failure.into()),
        }
        let head = self.reading.head().await?;
        tracing::info!(server = %version, %head, "the event log lies in KurrentDB");
        Ok(head)
    }
}

fn is_able(features: &SupportedMethods) -> bool {
    let listed = features
        .methods
        .iter()
        .any(|method| method.service_name == SERVICE && method.method_name == METHOD);
    let mut parts = features.event_store_server_version.split('.');
    let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    listed || (number(), number()) >= OLDEST_SERVER
}

#[cfg(test)]
mod tests {
    use super::{METHOD, SERVICE, SupportedMethods, is_able};
    use crate::kurrentdb::wire::SupportedMethod;

    #[test]
    fn servers_with_the_append_are_able_whatever_they_are_called() {
        let features = |version: &str, methods: Vec<SupportedMethod>| SupportedMethods {
            methods,
            event_store_server_version: version.to_owned(),
        };
        let append = SupportedMethod {
            method_name: METHOD.to_owned(),
            service_name: SERVICE.to_owned(),
        };
        assert!(is_able(&features("26.1.0", vec![])));
        assert!(is_able(&features("27.0.0", vec![])));
        assert!(is_able(&features("of-our-own", vec![append])));
        for old in ["24.10.9", "25.1.4", "26.0.1", "", "unknown"] {
            assert!(!is_able(&features(old, vec![])), "{old}");
        }
    }
}
