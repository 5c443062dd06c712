//! A log with accounts, runners on it, and a post office that fails as it is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use domain::{
    aggregate::{Aggregate, encode},
    clock::{Clock as _, SystemClock},
    event_store::{Append, BoxFuture, EventStore, Expected, Metadata, StreamWrite},
    execute::Ports,
    id::{Ids as _, SystemIds, UserId},
    identity::{
        keys::IdentityKeys,
        reservation::ReservationKey,
        user::{Profile, User, UserEvent, UserKind},
    },
    notifications::mail::{Mail, MailError, Mailer},
    rights::LogRights,
};
use event_store::postgres::{PostgresEventStore, Settings as StoreSettings, address, app_pool};
use sqlx::PgPool;
use tests::harness::{Database, database};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::reactors::{
    self, AnyReactor, Call, EffectError,
    runner::{self, Called, Calls, Parts, Settings},
};

/// How long anything may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// What the post office does with mail to an address.
#[derive(Clone, Debug)]
pub(super) enum SendFailure {
    /// It refuses it, each time.
    Refuses,
    /// It refuses it for good.
    RefusesForGood,
    /// It takes it and does not say so, once.
    LosesItsAnswer,
    /// It never answers.
    Silent,
    /// It waits at this gate before it takes it.
    Waits(Arc<Semaphore>),
}

/// Takes mails, and counts.
#[derive(Default)]
pub(super) struct PostOffice {
    pub(super) taken: Mutex<Vec<Mail>>,
    pub(super) asked: Mutex<u32>,
    failures: Mutex<BTreeMap<String, SendFailure>>,
}

impl PostOffice {
    pub(super) fn fail(&self, name: &str, failure: Option<SendFailure>) {
        let mut failures = self.failures.lock().expect("unpoisoned");
        match failure {
            Some(failure) => drop(failures.insert(email(name), failure)),
            None => drop(failures.remove(&email(name))),
        }
    }

    pub(super) fn to(&self, name: &str) -> Vec<Mail> {
        let taken = self.taken.lock().expect("unpoisoned");
        taken
            .iter()
            .filter(|mail| mail.to == email(name))
            .cloned()
            .collect()
    }

    fn take(&self, mail: &Mail) {
        self.taken.lock().expect("unpoisoned").push(mail.clone());
    }
}

impl Mailer for PostOffice {
    fn send<'a>(&'a self, mail: &'a Mail) -> BoxFuture<'a, Result<(), MailError>> {
        *self.asked.lock().expect("unpoisoned") += 1;
        let failure = self.failures.lock().expect("unpoisoned").get(&mail.to).cloned();
        let refused = |permanent| MailError {
            reason: "the post office is closed",
            permanent,
        };
        Box::pin(async move {
            match failure {
                None => self.take(mail),
                Some(SendFailure::Refuses) => return Err(refused(false)),
                Some(SendFailure::RefusesForGood) => return Err(refused(true)),
                Some(SendFailure::LosesItsAnswer) => {
                    self.failures.lock().expect("unpoisoned").remove(&mail.to);
                    self.take(mail);
                    return Err(refused(false));
                }
                Some(SendFailure::Silent) => std::future::pending().await,
                Some(SendFailure::Waits(gate)) => {
                    gate.acquire().await.expect("never closed").forget();
                    self.take(mail);
                }
            }
            Ok(())
        })
    }

    fn forget(&self, person: UserId) -> BoxFuture<'_, Result<u32, MailError>> {
        self.taken
            .lock()
            .expect("unpoisoned")
            .retain(|mail| mail.person != person);
        Box::pin(async { Ok(1) })
    }
}

/// Erasures that were called for.
#[derive(Default)]
pub(super) struct CalledFor(pub(super) Mutex<Vec<UserId>>);

impl Calls for CalledFor {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Called, EffectError>> {
        let Call::CompleteErasure(person) = call;
        self.0.lock().expect("unpoisoned").push(person);
        Box::pin(async { Ok(Called::Done) })
    }
}

/// Keys that anybody can tell; `lost`: the tokens of the log were made with others.
#[derive(Default)]
pub(super) struct PlainKeys {
    pub(super) lost: Mutex<bool>,
}

impl IdentityKeys for PlainKeys {
    fn reservation(&self, scope: &str, normalised: &str) -> ReservationKey {
        ReservationKey(format!("{scope}:{normalised}"))
    }

    fn verification_token(&self, user: UserId, id: Uuid, _: &str) -> Option<String> {
        let lost = *self.lost.lock().expect("unpoisoned");
        (!lost).then(|| format!("secret-of-{user}-{}", id.simple()))
    }
}

pub(super) fn email(name: &str) -> String {
    format!("{name}@example.org")
}

/// Fast ones.
pub(super) fn settings() -> Settings {
    Settings {
        lease: Duration::from_secs(2),
        first_try: Duration::from_millis(500),
        further_try: Duration::from_millis(500),
        first_wait: Duration::from_millis(20),
        longest_wait: Duration::from_millis(100),
        attempts: 3,
        under_way: Duration::from_millis(20),
    }
}

/// See the module.
pub(super) struct Fixture {
    pub(super) database: Database,
    pub(super) store: Arc<PostgresEventStore>,
    pub(super) pool: PgPool,
    pub(super) post: Arc<PostOffice>,
    pub(super) erasures: Arc<CalledFor>,
    pub(super) keys: Arc<PlainKeys>,
}

/// A runner that can be stopped.
pub(super) struct Running {
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

impl Running {
    /// Stops it in order.
    pub(super) async fn stopped(self) {
        self.stop.cancel();
        self.task.await.expect("it ends");
    }

    /// As if its process were killed.
    pub(super) async fn killed(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let database = database().await;
        let (store, pool) = Self::process(&database.url).await;
        Self {
            database,
            store,
            pool,
            post: Arc::default(),
            erasures: Arc::default(),
            keys: Arc::default(),
        }
    }

    async fn process(url: &str) -> (Arc<PostgresEventStore>, PgPool) {
        let options = address(url).expect("a URL");
        let store = PostgresEventStore::start(options, StoreSettings::default(), Arc::new(SystemClock));
        let pool = app_pool(url, 6).await.expect("a pool");
        (store.await.expect("the store starts"), pool)
    }

    pub(super) fn ports(&self, store: Arc<PostgresEventStore>) -> Ports {
        Ports::new(
            store,
            Arc::new(SystemClock),
            Arc::new(SystemIds),
            Arc::new(LogRights),
        )
    }

    /// Runs every reactor of the system, in a process of its own.
    pub(super) async fn run(&self) -> Running {
        self.run_with(reactors::all(), settings()).await
    }

    pub(super) async fn run_with(&self, reactors: Vec<Arc<dyn AnyReactor>>, settings: Settings) -> Running {
        let (store, pool) = Self::process(&self.database.url).await;
        runner::prepare(&pool, store.as_ref(), &reactors)
            .await
            .expect("prepared");
        let parts = Parts {
            ports: self.ports(store),
            pool,
            keys: self.keys.clone(),
            mailer: self.post.clone(),
            calls: self.erasures.clone(),
            reactors,
            settings,
        };
        let stop = CancellationToken::new();
        let task = runner::start(parts, stop.clone());
        Running { stop, task }
    }

    pub(super) async fn record<A: Aggregate>(&self, key: impl std::fmt::Display, events: &[A::Event]) {
        let events = events
            .iter()
            .map(|event| encode(SystemIds.next(), event).expect("an event"));
        let append = Append {
            writes: vec![StreamWrite {
                stream: A::stream(key),
                expected: Expected::Any,
                events: events.collect(),
            }],
            meta: Metadata {
                actor: "system:test".to_owned(),
                ..Metadata::default()
            },
        };
        self.store.append(append).await.expect("recorded");
    }

    /// An account that is to prove its address.
    pub(super) async fn register(&self, name: &str) -> UserId {
        let user = UserId(SystemIds.next());
        let profile = Profile {
            username: name.to_owned(),
            email: email(name),
            first_name: None,
            last_name: None,
            organization: None,
            department: None,
        };
        let account = UserKind::Local;
        let requested = UserEvent::VerificationRequested {
            token_hash: format!("hash of {name}"),
            expires_at: SystemClock.now() + time::Duration::hours(24),
            token: Some(SystemIds.next()),
        };
        let registered = UserEvent::Registered {
            user,
            account,
            profile,
        };
        self.record::<User>(user, &[registered, requested]).await;
        user
    }

    /// What is to be tried again, and what was given up: kind, recipient, attempts, reason, whether it is given up.
    pub(super) async fn deliveries(&self) -> Vec<(String, Option<String>, i32, String, bool)> {
        sqlx::query_as(
            "select kind, recipient, attempts, failure, dead_at is not null from reactor_delivery order by number",
        )
        .fetch_all(&self.pool)
        .await
        .expect("deliveries")
    }

    /// Waits until `so`.
    pub(super) async fn until(&self, what: &str, so: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !so().await {
            assert!(begun.elapsed() < TIMEOUT, "{what}: {:?}", self.deliveries().await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until so many mails to `name` were taken.
    pub(super) async fn mailed(&self, name: &str, count: usize) -> Vec<Mail> {
        let what = format!("{count} mails to {name}");
        self.until(&what, async || self.post.to(name).len() >= count)
            .await;
        self.post.to(name)
    }

    /// Waits until all reactors have written down that they are at the end of the log, and nothing is to be tried again.
    pub(super) async fn settled(&self) {
        let head = i64::try_from(self.store.head().await.expect("a head").0).expect("a position");
        self.until("settled", async || {
            let behind: i64 = sqlx::query_scalar(
                "select count(*) from reactor_checkpoint c join event e
                 on e.pos > c.position and e.pos <= $1
                 and e.kind in ('identity.VerificationRequested', 'identity.PersonErased')",
            )
            .bind(head)
            .fetch_one(&self.pool)
            .await
            .expect("a count");
            behind == 0 && self.deliveries().await.iter().all(|(.., dead)| *dead)
        })
        .await;
    }
}
