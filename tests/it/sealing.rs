//! Personal data in the log are sealed, and the seal holds.

use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use domain::{
    aggregate::{Aggregate as _, decode, encode},
    clock::SystemClock,
    event_store::{
        Append, AppendError, Appended, EventStore, Expected, Filter, Metadata, Position, StoreError,
        StreamWrite,
    },
    id::{Ids as _, SystemIds, UserId},
    identity::user::{Profile, User, UserEvent, UserKind},
};
use event_store::{
    postgres::{PostgresEventStore, Settings, address, app_pool},
    sealing::{KeysError, PersonKeys, SealedEventStore},
};
use sqlx::PgPool;
use tests::harness::{Database, database};

/// A log with a sealed store in front, and what is behind.
struct Fixture {
    store: SealedEventStore,
    inner: Arc<PostgresEventStore>,
    keys: Arc<PersonKeys>,
    pool: PgPool,
    folder: tempfile::TempDir,
    _database: Database,
}

async fn keys(pool: &PgPool, folder: &Path) -> Result<PersonKeys, KeysError> {
    let path = folder.join("keys").join("personal.key");
    PersonKeys::open(pool.clone(), &path, Arc::new(SystemClock)).await
}

async fn fixture() -> Fixture {
    let database = database().await;
    let options = address(&database.url).expect("a URL");
    let inner = PostgresEventStore::start(options, Settings::default(), Arc::new(SystemClock))
        .await
        .expect("the store starts");
    let pool = app_pool(&database.url, 4).await.expect("a pool");
    let folder = tempfile::tempdir().expect("a folder");
    let keys = Arc::new(keys(&pool, folder.path()).await.expect("keys"));
    Fixture {
        store: SealedEventStore::new(inner.clone(), keys.clone()),
        inner,
        keys,
        pool,
        folder,
        _database: database,
    }
}

fn registered(user: UserId, name: &str) -> UserEvent {
    UserEvent::Registered {
        user,
        account: UserKind::Local,
        profile: Profile {
            username: name.to_owned(),
            email: format!("{name}@example.org"),
            first_name: Some(name.to_owned()),
            last_name: None,
            organization: None,
            department: None,
        },
    }
}

fn append(user: UserId, events: &[UserEvent], meta: Metadata) -> Append {
    let events = events
        .iter()
        .map(|event| encode(SystemIds.next(), event).expect("encoded"));
    let write = StreamWrite {
        stream: User::stream(user),
        expected: Expected::Any,
        events: events.collect(),
    };
    Append {
        writes: vec![write],
        meta,
    }
}

fn from(actor: &str, agent: &str) -> Metadata {
    Metadata {
        actor: actor.to_owned(),
        address: Some("192.0.2.77".to_owned()),
        user_agent: Some(agent.to_owned()),
        ..Metadata::default()
    }
}

fn person() -> UserId {
    UserId(SystemIds.next())
}

impl Fixture {
    async fn append(&self, append: Append) -> Appended {
        self.store.append(append).await.expect("appended")
    }

    /// What lies in the log, as text.
    async fn raw(&self) -> String {
        let rows: Vec<String> = sqlx::query_scalar("select data::text || meta::text from event order by pos")
            .fetch_all(&self.pool)
            .await
            .expect("rows");
        rows.join("\n")
    }

    async fn all(&self) -> Result<Vec<domain::event_store::RecordedEvent>, StoreError> {
        let page = self.store.read_all(Position::START, &Filter::all(), 100).await?;
        Ok(page.events)
    }

    async fn names(&self, user: UserId) -> Vec<String> {
        let events = self.store.load(&User::stream(user), 0).await.expect("loaded");
        let profiles = events.iter().filter_map(|event| match decode(event) {
            Ok(UserEvent::Registered { profile, .. }) => Some(profile.username),
            _ => None,
        });
        profiles.collect()
    }
}

/// AU-7: nothing personal reaches the log in clear, and everything reads as it was written.
#[tokio::test]
async fn what_is_personal_is_sealed_in_the_log_and_open_above_the_port() {
    let fixture = fixture().await;
    let ada = person();
    let agent = "Firefox \"canary\" sealed:1:usr_1:AAAA";
    fixture
        .append(append(
            ada,
            &[registered(ada, "canary")],
            from("anonymous", agent),
        ))
        .await;
    let raw = fixture.raw().await;
    assert!(!raw.contains("canary") && !raw.contains("192.0.2.77"), "{raw}");
    assert!(raw.contains(&format!("sealed:1:{ada}:")), "{raw}");
    assert_eq!(fixture.names(ada).await, ["canary"]);
    let events = fixture.all().await.expect("readable");
    assert_eq!(events[0].meta.user_agent.as_deref(), Some(agent));
    assert_eq!(events[0].meta.address.as_deref(), Some("192.0.2.77"));
    let live = fixture
        .store
        .subscribe(Position::START, Filter::all())
        .next()
        .await
        .expect("a page");
    assert_eq!(live.events[0].meta.address.as_deref(), Some("192.0.2.77"));
    fixture
        .inner
        .verify()
        .await
        .expect("the chain covers the ciphertext");
}

/// A retried append is the same append, byte for byte; with other content it is refused.
#[tokio::test]
async fn a_retry_is_recognised_under_the_seal() {
    let fixture = fixture().await;
    let ada = person();
    let first = append(ada, &[registered(ada, "ada")], from("anonymous", "curl"));
    let landed = fixture.append(first.clone()).await;
    // Another process: nothing cached.
    let keys = keys(&fixture.pool, fixture.folder.path()).await.expect("keys");
    let other = SealedEventStore::new(fixture.inner.clone(), Arc::new(keys));
    assert_eq!(other.append(first.clone()).await.expect("known"), landed);
    let mut changed = append(ada, &[registered(ada, "eve")], from("anonymous", "curl"));
    changed.writes[0].events[0].id = first.writes[0].events[0].id;
    assert!(matches!(
        other.append(changed).await,
        Err(AppendError::IdReused { .. })
    ));
}

/// AU-7: without its key, everything of one person reads as erased; others are untouched; the chain holds.
#[tokio::test]
async fn a_destroyed_key_erases_one_person_for_every_process() {
    let fixture = fixture().await;
    let (ada, eve) = (person(), person());
    for (user, name) in [(ada, "ada"), (eve, "eve")] {
        fixture
            .append(append(
                user,
                &[registered(user, name)],
                from(&format!("user:{user}"), name),
            ))
            .await;
    }
    let elsewhere = keys(&fixture.pool, fixture.folder.path()).await.expect("keys");
    let elsewhere = SealedEventStore::new(fixture.inner.clone(), Arc::new(elsewhere));
    let warm = elsewhere.load(&User::stream(ada), 0).await.expect("loaded");
    assert_eq!(warm[0].meta.user_agent.as_deref(), Some("ada"));

    let destroyed = fixture.keys.destroy(ada).await.expect("destroyed");
    assert!(destroyed.key_id.is_some() && destroyed.made_at.is_some());
    assert_eq!(fixture.keys.destroy(ada).await.expect("again"), destroyed);
    assert_eq!(fixture.names(ada).await, ["[erased]"]);
    assert_eq!(fixture.names(eve).await, ["eve"]);
    // What another process keeps is not opened, although it has the key in memory.
    let page = elsewhere
        .read_all(Position::START, &Filter::all(), 10)
        .await
        .expect("a page");
    let agents: Vec<_> = page
        .events
        .iter()
        .filter_map(|event| event.meta.user_agent.as_deref())
        .collect();
    assert_eq!(agents, ["[erased]", "eve"]);
    let late = append(
        ada,
        &[UserEvent::Deactivated {
            reason: "canary".into(),
        }],
        from("anonymous", "canary"),
    );
    fixture.append(late).await;
    assert!(!fixture.raw().await.contains("canary"));
    fixture.inner.verify().await.expect("whole");
    let left: Option<Vec<u8>> = sqlx::query_scalar("select wrapped from person_key where person = $1")
        .bind(ada.to_string())
        .fetch_one(&fixture.pool)
        .await
        .expect("a tombstone");
    assert_eq!(left, None);
}

/// A person of whom nothing was sealed can be erased too.
#[tokio::test]
async fn a_person_without_a_key_gets_a_tombstone() {
    let fixture = fixture().await;
    let nobody = person();
    let destroyed = fixture.keys.destroy(nobody).await.expect("destroyed");
    assert_eq!((destroyed.key_id, destroyed.made_at), (None, None));
    fixture
        .append(append(nobody, &[registered(nobody, "late")], Metadata::default()))
        .await;
    assert_eq!(fixture.names(nobody).await, ["[erased]"]);
}

/// B2: a ciphertext that is moved elsewhere never opens, and the log counts as damaged.
#[tokio::test]
async fn a_moved_ciphertext_is_damage() {
    let fixture = fixture().await;
    let ada = person();
    fixture
        .append(append(ada, &[registered(ada, "ada")], Metadata::default()))
        .await;
    let sealed: String = sqlx::query_scalar("select data->'profile'->>'username' from event")
        .fetch_one(&fixture.pool)
        .await
        .expect("a leaf");
    // Past the sealing store: the same text in another event of the same person.
    let mut forged = append(ada, &[registered(ada, "x")], Metadata::default());
    let data = forged.writes[0].events[0]
        .data
        .get()
        .replace("\"x\"", &format!("\"{sealed}\""));
    forged.writes[0].events[0].data = serde_json::value::RawValue::from_string(data).expect("JSON");
    fixture.inner.append(forged).await.expect("recorded");
    let error = fixture.all().await.expect_err("damaged");
    assert!(
        matches!(&error, StoreError::Corrupt(what) if what.contains("at position 2")),
        "{error}"
    );
}

/// Whoever is nobody cannot stop the readers of the log with a text that looks sealed.
#[tokio::test]
async fn a_stranger_cannot_forge_a_seal() {
    let fixture = fixture().await;
    let event = domain::identity::login::LoginEvent::Failed {
        user: None,
        cause: "wrong_credentials".into(),
    };
    for agent in ["sealed:1:usr_1:AAAA", "plain:1:sealed:1:", "curl"] {
        let write = StreamWrite {
            stream: domain::event_store::StreamId::new("identity.login", "x"),
            expected: Expected::Any,
            events: vec![encode(SystemIds.next(), &event).expect("encoded")],
        };
        let forged = Append {
            writes: vec![write],
            meta: from("anonymous", agent),
        };
        fixture.append(forged).await;
        let last = fixture.all().await.expect("readable").pop().expect("an event");
        assert_eq!(last.meta.user_agent.as_deref(), Some(agent));
    }
}

/// What earlier builds recorded in clear reads as it is.
#[tokio::test]
async fn plain_leaves_of_earlier_builds_are_read() {
    let fixture = fixture().await;
    let ada = person();
    let plain = append(
        ada,
        &[registered(ada, "ada")],
        from(&format!("user:{ada}"), "old"),
    );
    fixture.inner.append(plain).await.expect("recorded");
    assert_eq!(fixture.names(ada).await, ["ada"]);
    assert_eq!(
        fixture.all().await.expect("readable")[0]
            .meta
            .user_agent
            .as_deref(),
        Some("old")
    );
}

/// A lost row of a key is damage, not an erasure.
#[tokio::test]
async fn a_lost_key_is_no_erasure() {
    let fixture = fixture().await;
    let ada = person();
    fixture
        .append(append(ada, &[registered(ada, "ada")], Metadata::default()))
        .await;
    let owner = event_store::postgres::admin_pool(&fixture._database.url, 1)
        .await
        .expect("a pool");
    sqlx::query("delete from person_key")
        .execute(&owner)
        .await
        .expect("deleted");
    let error = fixture.all().await.expect_err("damaged");
    assert!(
        error.to_string().contains("restore the table person_key"),
        "{error}"
    );
    let refused = sqlx::query("delete from person_key").execute(&fixture.pool).await;
    assert!(refused.is_err(), "the running system cannot lose a tombstone");
}

/// The key file: made once, private, and the start refuses what would not fit.
#[tokio::test]
async fn a_missing_or_foreign_key_file_stops_the_start_and_says_what_to_restore() {
    let fixture = fixture().await;
    let path = fixture.folder.path().join("keys").join("personal.key");
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // While nothing is wrapped, a new file is as good as the first.
    std::fs::remove_file(&path).expect("removed");
    let fresh = keys(&fixture.pool, fixture.folder.path())
        .await
        .expect("nothing is lost");
    let store = SealedEventStore::new(fixture.inner.clone(), Arc::new(fresh));
    let ada = person();
    store
        .append(append(ada, &[registered(ada, "ada")], Metadata::default()))
        .await
        .expect("recorded");

    let kept = std::fs::read(&path).expect("readable");
    std::fs::remove_file(&path).expect("removed");
    let missing = keys(&fixture.pool, fixture.folder.path())
        .await
        .err()
        .expect("refused");
    assert!(matches!(missing, KeysError::Missing { .. }));
    assert!(missing.to_string().contains("restore this file"), "{missing}");
    assert!(!path.exists(), "it was not made anew");

    std::fs::write(&path, format!("{}\n", "ab".repeat(32))).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
    let foreign = keys(&fixture.pool, fixture.folder.path())
        .await
        .err()
        .expect("refused");
    assert!(matches!(foreign, KeysError::Another { .. }));
    assert!(!foreign.to_string().contains("abab"), "{foreign}");

    std::fs::write(&path, kept).expect("restored");
    keys(&fixture.pool, fixture.folder.path())
        .await
        .expect("opens again");
    // The process that started with the file that was replaced cannot wrap anything more.
    let late = append(
        person(),
        &[registered(person(), "x")],
        from(&format!("user:{}", person()), "x"),
    );
    assert!(matches!(
        fixture.store.append(late).await,
        Err(AppendError::Store(StoreError::Unavailable(_)))
    ));
}
