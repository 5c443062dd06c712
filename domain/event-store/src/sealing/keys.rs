//! The keys of persons: made when first needed, wrapped in the database, destroyed to erase.
//!
//! The rule: a key is durable before anything is sealed under it, and gone from the database before anybody
//! is told that it is destroyed. Plain keys live in memory only, for [`LIFE`] at most; whoever keeps what it
//! reads (projections, feeds) asks with [`Freshness::Now`], so that nothing is kept that was opened with a
//! destroyed key. Tables: `migrations/20261121000201_create_person_key.sql`.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{clock::Clock, event_store::StoreError, id::UserId};
use sqlx::{PgPool, Row as _};
use time::OffsetDateTime;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::postgres::read_failure;

use super::{
    Keys,
    error::{DEADLINE, KeysError},
    key_file,
    leaf::{Key, joined},
};

/// How long a key may be used from memory.
const LIFE: Duration = Duration::from_secs(30);
/// Keys in memory at most.
const MAX_CACHED: usize = 10_000;
/// What a wrapped key is bound to, besides its person and its wrapping key.
const PURPOSE: &[u8] = b"anneal wrapped person key 1";
/// Bytes of the nonce in front of a wrapped key.
const NONCE: usize = 12;

/// How old the knowledge may be that a key is not destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// As old as [`LIFE`].
    Cached,
    /// Not older than the call.
    Now,
}

/// The key of a person, as far as there is one.
#[derive(Clone)]
pub(super) enum PersonKey {
    /// It opens and seals.
    Live(Arc<Key>),
    /// The person was erased.
    Destroyed,
}

/// What is known of a destroyed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destroyed {
    /// Which key wrapped it; `None` when the person never had a key.
    pub key_id: Option<String>,
    /// When it was made; `None` as before.
    pub made_at: Option<OffsetDateTime>,
    /// When it was destroyed first.
    pub destroyed_at: OffsetDateTime,
}

struct Cached {
    key: PersonKey,
    until: Instant,
}

/// The keys of persons. Never printed; in memory for half a minute at most.
pub struct PersonKeys {
    pool: PgPool,
    clock: Arc<dyn Clock>,
    wrapping: Key,
    key_id: String,
    cache: Mutex<HashMap<UserId, Cached>>,
}

async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, KeysError> {
    let outcome = tokio::time::timeout(DEADLINE, work).await;
    Ok(outcome.map_err(|_| KeysError::TimedOut)??)
}

fn unavailable(error: KeysError) -> StoreError {
    match error {
        // What a server says never holds a parameter, and so no key.
        KeysError::Database(error) => read_failure(&error),
        other => StoreError::Unavailable(other.to_string()),
    }
}

impl PersonKeys {
    /// Opens the key file `path` and makes it if nothing in the database was wrapped by another one.
    ///
    /// # Errors
    /// [`KeysError`], which says what to restore.
    pub async fn open(pool: PgPool, path: &Path, clock: Arc<dyn Clock>) -> Result<Self, KeysError> {
        if key_file::read(path)?.is_none() && !Self::any(&pool).await? {
            key_file::create(path)?;
        }
        let wrapping = key_file::read(path)?.ok_or_else(|| KeysError::Missing {
            path: path.to_owned(),
        })?;
        let expected = Self::claim(&pool, &key_file::id(&wrapping)).await?;
        Self::with(pool, path, clock, wrapping, expected)
    }

    /// Opens the key file `path` for reading a log, and changes nothing; `None` when there is neither a file
    /// nor anything that it would open.
    ///
    /// # Errors
    /// As [`PersonKeys::open`].
    pub async fn open_existing(
        pool: PgPool,
        path: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, KeysError> {
        let Some(wrapping) = key_file::read(path)? else {
            let path = path.to_owned();
            return match Self::any(&pool).await? {
                true => Err(KeysError::Missing { path }),
                false => Ok(None),
            };
        };
        let claimed = sqlx::query_scalar("select key_id from person_key_wrapping");
        let claimed: Option<String> = within(claimed.fetch_optional(&pool)).await?;
        let expected = claimed.unwrap_or_else(|| key_file::id(&wrapping));
        Self::with(pool, path, clock, wrapping, expected).map(Some)
    }

    fn with(
        pool: PgPool,
        path: &Path,
        clock: Arc<dyn Clock>,
        wrapping: Key,
        expected: String,
    ) -> Result<Self, KeysError> {
        let key_id = key_file::id(&wrapping);
        if expected != key_id {
            return Err(KeysError::Another {
                path: path.to_owned(),
                found: key_id,
                expected,
            });
        }
        Ok(Self {
            pool,
            clock,
            wrapping,
            key_id,
            cache: Mutex::default(),
        })
    }

    /// Whether anything is wrapped here.
    async fn any(pool: &PgPool) -> Result<bool, KeysError> {
        let live = sqlx::query_scalar("select exists (select from person_key where wrapped is not null)");
        within(live.fetch_one(pool)).await
    }

    /// Says that `key_id` wraps the keys here, as long as no other one does; answers with the one that does.
    async fn claim(pool: &PgPool, key_id: &str) -> Result<String, KeysError> {
        let claimed = sqlx::query(
            "insert into person_key_wrapping (key_id) values ($1) on conflict (one) do update \
             set key_id = excluded.key_id \
             where not exists (select from person_key where wrapped is not null)",
        );
        within(claimed.bind(key_id).execute(pool)).await?;
        within(sqlx::query_scalar("select key_id from person_key_wrapping").fetch_one(pool)).await
    }

    /// Destroys the key of `person`, here and in the database. Repeating it answers the same.
    ///
    /// Other processes may still open what they load, for half a minute; nothing that they keep is opened.
    ///
    /// # Errors
    /// When the database does not answer: unknown whether it is destroyed, ask again.
    pub async fn destroy(&self, person: UserId) -> Result<Destroyed, StoreError> {
        let destroyed = sqlx::query(
            "insert into person_key (person, destroyed_at) values ($1, $2) on conflict (person) do update \
             set wrapped = null, destroyed_at = coalesce(person_key.destroyed_at, excluded.destroyed_at) \
             returning key_id, created_at, destroyed_at",
        )
        .bind(person.to_string())
        .bind(self.clock.now());
        let row = within(destroyed.fetch_one(&self.pool)).await;
        // Forgotten in any case: an answer that was lost may have been a yes.
        self.cached().remove(&person);
        let read = |row: sqlx::postgres::PgRow| -> Result<Destroyed, sqlx::Error> {
            Ok(Destroyed {
                key_id: row.try_get(0)?,
                made_at: row.try_get(1)?,
                destroyed_at: row.try_get(2)?,
            })
        };
        row.and_then(|row| Ok(read(row)?)).map_err(unavailable)
    }

    /// The keys of `persons`; who has none gets one.
    pub(super) async fn for_sealing(&self, persons: &BTreeSet<UserId>) -> Result<Keys, StoreError> {
        let mut keys = self.for_opening(persons, Freshness::Cached).await?;
        let new: Vec<UserId> = persons
            .iter()
            .copied()
            .filter(|person| !keys.contains_key(person))
            .collect();
        if !new.is_empty() {
            self.make(&new).await.map_err(unavailable)?;
            // Another process may have been faster: what is in the table counts.
            keys.extend(self.fetch(&new).await?);
        }
        Ok(keys)
    }

    /// The keys of `persons`, as far as they have any.
    pub(super) async fn for_opening(
        &self,
        persons: &BTreeSet<UserId>,
        freshness: Freshness,
    ) -> Result<Keys, StoreError> {
        let mut keys = Keys::new();
        if freshness == Freshness::Cached {
            let now = Instant::now();
            let cache = self.cached();
            for person in persons {
                if let Some(cached) = cache.get(person).filter(|cached| cached.until > now) {
                    keys.insert(*person, cached.key.clone());
                }
            }
        }
        let missing: Vec<UserId> = persons
            .iter()
            .copied()
            .filter(|person| !keys.contains_key(person))
            .collect();
        if !missing.is_empty() {
            keys.extend(self.fetch(&missing).await?);
        }
        Ok(keys)
    }

    async fn make(&self, persons: &[UserId]) -> Result<(), KeysError> {
        let mut wrapped = Vec::with_capacity(persons.len());
        for person in persons {
            wrapped.push(self.wrap(*person, &Zeroizing::new(key_file::random::<32>()?))?);
        }
        let names: Vec<String> = persons.iter().map(ToString::to_string).collect();
        // Only while our key file is the one in use here: what it wraps, others must be able to open.
        let insert = sqlx::query(
            "insert into person_key (person, wrapped, key_id, created_at) \
             select person, wrapped, $3, $4 from unnest($1::text[], $2::bytea[]) as new(person, wrapped) \
             where exists (select from person_key_wrapping where key_id = $3) on conflict do nothing",
        )
        .bind(names)
        .bind(wrapped)
        .bind(&self.key_id)
        .bind(self.clock.now());
        within(insert.execute(&self.pool)).await?;
        Ok(())
    }

    async fn fetch(&self, persons: &[UserId]) -> Result<Keys, StoreError> {
        let names: Vec<String> = persons.iter().map(ToString::to_string).collect();
        let query = sqlx::query("select person, wrapped, key_id from person_key where person = any($1)");
        let rows = within(query.bind(names).fetch_all(&self.pool))
            .await
            .map_err(unavailable)?;
        let mut keys = Keys::new();
        for row in rows {
            let column = |error: sqlx::Error| unavailable(error.into());
            let name: String = row.try_get(0).map_err(column)?;
            let wrapped: Option<Vec<u8>> = row.try_get(1).map_err(column)?;
            let key_id: Option<String> = row.try_get(2).map_err(column)?;
            let person: UserId = name
                .parse()
                .map_err(|_| StoreError::Corrupt("person_key names somebody who is no user".to_owned()))?;
            let key = match wrapped {
                None => PersonKey::Destroyed,
                Some(wrapped) => {
                    PersonKey::Live(Arc::new(self.unwrap(person, key_id.as_deref(), &wrapped)?))
                }
            };
            keys.insert(person, key);
        }
        self.remember(&keys);
        Ok(keys)
    }

    fn bound(&self, person: UserId) -> Vec<u8> {
        joined(&[PURPOSE, person.0.as_bytes(), self.key_id.as_bytes()])
    }

    fn wrap(&self, person: UserId, key: &[u8; 32]) -> Result<Vec<u8>, KeysError> {
        let nonce = key_file::random::<NONCE>()?;
        let sealed = self.wrapping.encrypt(nonce, &self.bound(person), key);
        let sealed = sealed.ok_or(KeysError::NoRandomness)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn unwrap(&self, person: UserId, key_id: Option<&str>, wrapped: &[u8]) -> Result<Key, StoreError> {
        if key_id != Some(self.key_id.as_str()) {
            return Err(StoreError::Unavailable(format!(
                "the key of {person} is wrapped by another key file than this process has; start it again with \
                 the keys/personal.key that belongs to this database"
            )));
        }
        let damaged = || {
            StoreError::Corrupt(format!(
                "the key of {person} does not open: restore table person_key"
            ))
        };
        let (nonce, sealed) = wrapped.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
        let bytes = self
            .wrapping
            .decrypt(*nonce, &self.bound(person), sealed)
            .ok_or_else(damaged)?;
        let mut key = Zeroizing::new([0; 32]);
        if bytes.len() != key.len() {
            return Err(damaged());
        }
        key.copy_from_slice(&bytes);
        Ok(Key(key))
    }

    fn cached(&self) -> std::sync::MutexGuard<'_, HashMap<UserId, Cached>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, keys: &Keys) {
        let now = Instant::now();
        let mut cache = self.cached();
        if cache.len() + keys.len() > MAX_CACHED {
            cache.retain(|_, cached| cached.until > now);
        }
        if cache.len() + keys.len() > MAX_CACHED {
            cache.clear();
        }
        for (person, key) in keys.iter().take(MAX_CACHED) {
            let cached = Cached {
                key: key.clone(),
                until: now + LIFE,
            };
            cache.insert(*person, cached);
        }
    }
}
