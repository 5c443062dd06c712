//! The event log: one contract suite for every adapter, and what is PostgreSQL's own.
//!
//! The rule: `contract` knows the port alone; a further adapter adds one invocation of `contract!`.

mod contract;
mod failures;
mod guards;
mod kurrentdb;
pub(crate) mod make;
mod processes;

use std::sync::Arc;

use domain::{clock::SystemClock, event_store::EventStore};
use event_store::{
    memory::MemoryEventStore,
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

/// The store of the simulation, with nothing planned to go wrong.
async fn memory() -> Stores {
    let first = MemoryEventStore::new(Arc::new(SystemClock));
    Stores {
        second: first.another(),
        first,
        _log: Box::new(()),
    }
}

pub(crate) use kurrentdb::kurrentdb_peer;
#[cfg(feature = "kurrentdb-server")]
pub(crate) use kurrentdb::kurrentdb_server;

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
            appends_that_cross_over_the_same_streams_all_land_whole,
            malformed_appends_are_refused,
            appends_beyond_the_limits_are_refused_and_leave_no_trace,
            the_largest_appends_come_back_whole,
            the_bytes_of_the_payload_come_back_as_they_went_in,
            filters_pass_prefixes_only_and_take_no_wildcards,
            every_way_of_reading_shows_the_same_events,
            reading_resumes_at_any_position,
            filtered_reading_resumes_at_any_position,
            a_filtered_reader_moves_on_where_nothing_passes,
            a_place_that_the_log_has_not_reached_is_refused,
            a_subscription_at_the_head_gets_only_what_comes,
            many_streams_load_as_each_of_them_does_alone,
            subscribers_see_every_event_once_and_in_order_under_32_writers_in_2_stores,
            a_dropped_wait_loses_nothing,
            a_dropped_append_lands_once_or_not_at_all_and_can_be_asked_again,
            readers_that_give_up_disturb_nobody,
            an_append_behind_a_certain_event_lands_behind_no_other,
            a_chain_of_appends_lands_whole_or_up_to_where_it_breaks,
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
contract!(memory);
contract!(kurrentdb_peer);
// A real server, which `cargo xtask peers kurrentdb` asks for. Without one these tests do not exist: there is none that
// is listed and not run. No real server has been met yet (tests/PEERS.md).
#[cfg(feature = "kurrentdb-server")]
contract!(kurrentdb_server);
