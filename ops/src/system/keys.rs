//! The key files of the doors: the pepper, and the key that signs access tokens.
//!
//! The rule: each is made once, while nothing was recorded under it. From then on table `installation_key` says which
//! it is; a missing file and that of another installation are refused, and nothing is renewed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use api::auth::keys::{KeyError, Pepper, SigningKeys};
use domain::{
    access::administrators::{ADMINISTRATORS, Administrators},
    aggregate::{LoadError, load},
    event_store::EventStore,
    id::UserId,
    identity::{reservation::Reservation, user::User},
};
use sqlx::PgPool;

/// The name of the pepper in the table.
const PEPPER: &str = "pepper";
/// The name of the key that signs access tokens.
const SIGNING: &str = "access_token_signing";

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InstallationKeysError {
    /// A file is missing, unreadable or another one.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The log does not answer.
    #[error("the keys cannot be compared with the log: {0}")]
    Load(#[from] LoadError),
    /// The database does not answer.
    #[error("the fingerprints of the keys cannot be read: {0}")]
    Database(#[from] sqlx::Error),
}

impl InstallationKeysError {
    /// Whether it is about a file, and not about the means to look.
    #[must_use]
    pub fn is_of_a_file(&self) -> bool {
        matches!(self, Self::Key(_))
    }
}

/// The folder of signing keys, which holds the other key files too.
#[must_use]
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("keys")
}

/// The folder of the pepper. Its name is that of the file in it: so it was in the first build.
#[must_use]
pub fn pepper_folder(data_dir: &Path) -> PathBuf {
    folder(data_dir).join("pepper.key")
}

/// The keys that fit the data.
pub struct InstallationKeys {
    /// See [`Pepper`].
    pub pepper: Pepper,
    /// See [`SigningKeys`].
    pub signing: SigningKeys,
}

impl InstallationKeys {
    /// Opens the keys in `data_dir`, makes those that nothing was recorded under yet, and records which they are.
    ///
    /// # Errors
    /// [`InstallationKeysError`]; no file was made or changed then.
    pub async fn open(
        pool: &PgPool,
        log: &dyn EventStore,
        data_dir: &Path,
    ) -> Result<Self, InstallationKeysError> {
        let recorded = fingerprints(pool).await?;
        check(pool, log, data_dir).await?;
        let pepper = Pepper::open(&pepper_folder(data_dir))?;
        let signing = SigningKeys::open(folder(data_dir))?;
        record(pool, PEPPER, &pepper.fingerprint()).await?;
        let signs = signing.current().signing_kid().to_owned();
        match recorded.get(SIGNING) {
            Some(before) => replace(pool, SIGNING, before, &signs).await?,
            None => record(pool, SIGNING, &signs).await?,
        }
        // Of two machines that start at once, each with a file of its own, one is told here.
        check(pool, log, data_dir).await?;
        Ok(Self { pepper, signing })
    }
}

/// Checks that the files in `data_dir` are those of this database, and changes nothing. Where nothing was recorded
/// under a key yet, its file may be missing.
///
/// # Errors
/// [`InstallationKeysError`]: the first file that does not fit.
pub async fn check(
    pool: &PgPool,
    log: &dyn EventStore,
    data_dir: &Path,
) -> Result<(), InstallationKeysError> {
    let recorded = fingerprints(pool).await?;
    let administrators: Administrators = load(log, ADMINISTRATORS).await?.state;
    let set_up = !administrators.members.is_empty();
    match (Pepper::read(&pepper_folder(data_dir))?, recorded.get(PEPPER)) {
        (None, None) if !set_up => {}
        (pepper, recorded) => {
            let path = Pepper::file(&pepper_folder(data_dir));
            let pepper = pepper.ok_or_else(|| missing_pepper(&path))?;
            match recorded {
                Some(expected) => same(path, pepper.fingerprint(), expected)?,
                // The log is of a build that did not record it, or nothing is recorded yet.
                None => fits_a_claim(&pepper, path, log, administrators.members).await?,
            }
        }
    }
    match (SigningKeys::read(&folder(data_dir))?, recorded.get(SIGNING)) {
        (None, None) if !set_up => Ok(()),
        (None, _) => Err(missing_signing_key(data_dir).into()),
        // After a rotation the recorded one still verifies.
        (Some(keys), Some(expected)) if keys.current().by_kid(expected).is_none() => Ok(same(
            SigningKeys::file(&folder(data_dir)),
            keys.current().signing_kid().to_owned(),
            expected,
        )?),
        (Some(_), _) => Ok(()),
    }
}

fn same(path: PathBuf, found: String, expected: &str) -> Result<(), KeyError> {
    if found == expected {
        return Ok(());
    }
    let expected = format!("key {expected}");
    Err(KeyError::Another {
        path,
        found,
        expected,
    })
}

fn missing_pepper(path: &Path) -> KeyError {
    KeyError::Missing {
        path: path.to_owned(),
        bound: "names, addresses and passwords are recorded",
        harm: "with a new one nobody could sign in, and every name would be free again",
    }
}

fn missing_signing_key(data_dir: &Path) -> KeyError {
    KeyError::Missing {
        path: SigningKeys::file(&folder(data_dir)),
        bound: "access tokens are signed",
        harm: "everybody would be signed out, and the loss would go unnoticed",
    }
}

/// That the username of one of `users` was claimed under this pepper.
async fn fits_a_claim(
    pepper: &Pepper,
    path: PathBuf,
    log: &dyn EventStore,
    users: impl IntoIterator<Item = UserId>,
) -> Result<(), InstallationKeysError> {
    for user in users {
        let account: User = load(log, user).await?.state;
        // Of an erased person there is no name to compare.
        let Some(profile) = account.profile.filter(|_| !account.erased) else {
            continue;
        };
        let claim: Reservation = load(log, pepper.keyed_hash("username", &profile.username))
            .await?
            .state;
        return match claim.holder == Some(user) {
            true => Ok(()),
            false => Err(KeyError::Another {
                path,
                found: pepper.fingerprint(),
                expected: "the one under which the names in this log were claimed".to_owned(),
            }
            .into()),
        };
    }
    Ok(())
}

async fn fingerprints(pool: &PgPool) -> Result<BTreeMap<String, String>, sqlx::Error> {
    // A verb may look at a database that this build has not started on yet.
    let there: bool = sqlx::query_scalar("select to_regclass('installation_key') is not null")
        .fetch_one(pool)
        .await?;
    if !there {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<(String, String)> = sqlx::query_as("select name, fingerprint from installation_key")
        .fetch_all(pool)
        .await?;
    Ok(rows.into_iter().collect())
}

/// Says which key is in use, the first time.
async fn record(pool: &PgPool, name: &str, fingerprint: &str) -> Result<(), sqlx::Error> {
    let statement = "insert into installation_key (name, fingerprint) values ($1, $2) on conflict do nothing";
    let done = sqlx::query(statement).bind(name).bind(fingerprint);
    done.execute(pool).await.map(|_| ())
}

/// Says that `fingerprint` is in use instead of `before`: after a rotation, which [`check`] has allowed.
async fn replace(pool: &PgPool, name: &str, before: &str, fingerprint: &str) -> Result<(), sqlx::Error> {
    let statement = "update installation_key set fingerprint = $3 where name = $1 and fingerprint = $2";
    let done = sqlx::query(statement).bind(name).bind(before).bind(fingerprint);
    done.execute(pool).await.map(|_| ())
}
