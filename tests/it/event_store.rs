//! The event log: one contract suite for every adapter, and what is PostgreSQL's own.
//!
//! The rule: `contract` knows the port alone; a further adapter adds one invocation of `contract!`.

mod contract;
mod failures;
mod guards;
mod make;

use std::sync::Arc;

use domain::{clock::SystemClock, event_store::EventStore};
use event_store::{
    postgres::{PostgresEventStore, Settings, address},
    sealing::{PersonKeys, SealedEventStore},
};
use tests::harness::{Database, database};

/// Two stores on one log, as two processes would have them.
pub(crate) struct Stores {
    pub(crate) first: Arc<dyn EventStore>,
    pub(crate) second: Arc<dyn EventStore>,
    /// Keeps the log in being.
    _log: Box<dyn std::any::Any + Send + Sync>,
}

async fn postgres() -> Stores {
    let database = database().await;
    let first = open(&database, Settings::default()).await;
    let second = open(&database, Settings::default()).await;
    Stores {
        first,
        second,
        _log: Box::new(database),
    }
}

/// Sealing is a decorator of the port: it promises what the port promises.
async fn sealed() -> Stores {
    let plain = postgres().await;
    let database = database().await;
    let pool = event_store::postgres::app_pool(&database.url, 4)
        .await
        .expect("a pool");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("personal.key");
    let keys = PersonKeys::open(pool, &path, Arc::new(SystemClock))
        .await
        .expect("keys");
    let keys = Arc::new(keys);
    Stores {
        first: Arc::new(SealedEventStore::new(plain.first.clone(), keys.clone())),
        second: Arc::new(SealedEventStore::new(plain.second.clone(), keys)),
        _log: Box::new((plain._log, database, folder)),
    }
}

async fn open(database: &Database, settings: Settings) -> Arc<PostgresEventStore> {
    let options = address(&database.url).expect("the harness gives a URL");
    PostgresEventStore::start(options, settings, Arc::new(SystemClock))
        .await
        .expect("the store starts")
}

/// The suite, once for the adapter whose stores the function of that name opens.
macro_rules! contract {
    ($adapter:ident) => {
        promises!($adapter:
            revisions_start_at_zero_and_positions_ascend,
            a_wrong_expectation_is_a_conflict_that_records_nothing,
            one_of_many_racing_reservations_wins,
            the_same_append_again_answers_with_the_first_result,
            the_same_append_at_the_same_time_is_recorded_once,
            an_id_with_other_content_is_refused,
            an_append_lands_on_all_its_streams_or_on_none,
            malformed_appends_are_refused,
            the_bytes_of_the_payload_come_back_as_they_went_in,
            filters_pass_prefixes_only_and_take_no_wildcards,
            reading_resumes_at_any_position,
            subscribers_see_every_event_once_and_in_order_under_32_writers_in_2_stores,
            a_dropped_wait_loses_nothing,
            the_known_head_is_never_behind_own_appends,
        );
    };
}

macro_rules! promises {
    ($adapter:ident: $($promise:ident),+ $(,)?) => {
        mod $adapter {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    super::contract::$promise(&super::$adapter().await).await;
                }
            )+
        }
    };
}

contract!(postgres);
contract!(sealed);
