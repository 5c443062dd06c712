//! FR6: a key file that is missing, damaged or another one stops the start and says what to do; nothing is renewed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anneal::{
    config::{Config, Sources},
    system::{Environment, System},
};
use domain::{clock::SystemClock, id::SystemIds};
use event_store::postgres::admin_pool;
use tests::harness::{Client, Database, app::program, database, people};

/// An installation: its database and its data folder.
struct Installation {
    database: Database,
    folder: tempfile::TempDir,
}

impl Installation {
    /// One that was set up, ran, and was stopped.
    async fn new() -> Self {
        let installation = Self {
            database: database().await,
            folder: tempfile::tempdir().expect("a folder"),
        };
        let system = installation.start().await.expect("a fresh one starts");
        people::administrator(&system.url(), &installation.data()).await;
        system.stop().await.expect("it stops");
        installation
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn start(&self) -> Result<System, String> {
        let flags = [
            ("data_dir", self.data().display().to_string()),
            ("http.address", "127.0.0.1:0".to_owned()),
            ("worker.count", "0".to_owned()),
            ("auth.argon2_memory_kib", "8192".to_owned()),
            ("auth.argon2_iterations", "1".to_owned()),
        ];
        let config = Config::load(&Sources {
            file: None,
            environment: vec![("DATABASE_URL".into(), self.database.url.clone().into())],
            flags: flags.map(|(key, text)| (key.to_owned(), text)).to_vec(),
            ..Sources::default()
        });
        let environment = Environment {
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            program: program(),
            attempts_per_minute: 10_000,
        };
        let started = System::start(&config.expect("good"), environment).await;
        started.map_err(|error| format!("{error:#}"))
    }

    /// Exit code and words of `anneal <verb>`.
    fn run(&self, verb: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(program())
            .args(verb)
            .arg("--data")
            .arg(self.data())
            .env("DATABASE_URL", &self.database.url)
            .output()
            .expect("it runs");
        let words = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&words).into_owned())
    }

    /// Every key file, by its path below `keys`.
    fn keys(&self) -> BTreeMap<String, Vec<u8>> {
        let (root, mut open) = (self.data().join("keys"), vec![self.data().join("keys")]);
        let mut found = BTreeMap::new();
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).expect("readable") {
                let path = entry.expect("one").path();
                match path.is_dir() {
                    true => open.push(path),
                    false => {
                        let name = path.strip_prefix(&root).expect("below").display().to_string();
                        found.insert(name, std::fs::read(path).expect("readable"));
                    }
                }
            }
        }
        found
    }

    /// Puts `bytes` at a key file, or takes it away.
    fn put(&self, name: &str, bytes: Option<&[u8]>) {
        let path = self.data().join("keys").join(name);
        match bytes {
            Some(bytes) => {
                std::fs::write(&path, bytes).expect("written");
                let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                std::fs::set_permissions(&path, private).expect("set");
            }
            None => std::fs::remove_file(&path).expect("removed"),
        }
    }

    /// That the administrator signs in with the password of before.
    async fn works(&self) {
        let system = self.start().await.unwrap_or_else(|error| panic!("{error}"));
        Client::new(system.url()).login("root").await;
        system.stop().await.expect("it stops");
    }
}

const PEPPER: &str = "pepper.key/pepper.key";
const FILES: [&str; 5] = ["active.pem", "log.key", "log.vkey", PEPPER, "personal.key"];

/// Each file: missing, empty, cut off, that of another installation, and another file's content.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_that_does_not_fit_stops_the_start_and_nothing_is_renewed() {
    let ours = Installation::new().await;
    let foreign = Installation::new().await.keys();
    let whole = ours.keys();
    assert_eq!(whole.keys().map(String::as_str).collect::<Vec<_>>(), FILES);
    for (index, name) in FILES.into_iter().enumerate() {
        let other = &whole[FILES[(index + 1) % FILES.len()]];
        let damages: [(&str, Option<&[u8]>); 5] = [
            ("missing", None),
            ("empty", Some(b"")),
            ("cut off", Some(&whole[name][..whole[name].len() / 2])),
            ("another installation's", Some(&foreign[name])),
            ("another file's", Some(other)),
        ];
        for (damage, bytes) in damages {
            // The public half holds no secret and is written from the private key.
            if (name, damage) == ("log.vkey", "missing") {
                continue;
            }
            ours.put(name, bytes);
            let before = ours.keys();
            let said = match ours.start().await {
                Err(said) => said,
                Ok(_) => panic!("{name} {damage}: it started"),
            };
            let file = Path::new(name).file_name().expect("a name").to_string_lossy();
            assert!(said.contains(&*file), "{name} {damage}: {said}");
            let advice = ["backup", "Remove it", "restore"];
            assert!(
                advice.iter().any(|word| said.contains(word)),
                "{name} {damage}: {said}"
            );
            assert_eq!(
                ours.keys(),
                before,
                "{name} {damage}: nothing was made or changed"
            );
            for verb in [&["verify"][..], &["doctor"]] {
                let (code, said) = ours.run(verb);
                assert!(
                    matches!(code, Some(1 | 3)),
                    "{name} {damage}: {verb:?}: {code:?} {said}"
                );
                assert!(said.contains(&*file), "{name} {damage}: {verb:?}: {said}");
            }
            ours.put(name, Some(&whole[name]));
        }
    }
    ours.put("log.vkey", None);
    ours.works().await;
    assert_eq!(ours.keys(), whole, "the public half is as it was");
    assert_eq!(ours.run(&["verify"]).0, Some(0));
}

/// A log of a build that recorded no fingerprints: the pepper is held against the names that were claimed under it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_without_fingerprints_finds_its_pepper_by_the_log() {
    let ours = Installation::new().await;
    let foreign = Installation::new().await.keys();
    let whole = ours.keys();
    let owner = admin_pool(&ours.database.url, 1).await.expect("a pool");
    let forget = async || {
        let done = sqlx::query("delete from installation_key").execute(&owner).await;
        assert_eq!(done.expect("deleted").rows_affected(), 2);
    };
    forget().await;
    for bytes in [None, Some(&*foreign[PEPPER])] {
        ours.put(PEPPER, bytes);
        let said = ours.start().await.err().expect("it does not start");
        assert!(said.contains("pepper.key") && said.contains("backup"), "{said}");
        let known: i64 = sqlx::query_scalar("select count(*) from installation_key")
            .fetch_one(&owner)
            .await
            .expect("a number");
        assert_eq!(known, 0, "what does not fit is not recorded");
    }
    ours.put(PEPPER, Some(&whole[PEPPER]));
    ours.works().await;
    forget().await;
    ours.works().await;
    ours.put(PEPPER, Some(&foreign[PEPPER]));
    assert!(ours.start().await.is_err(), "it was recorded again");
}

/// Of two machines that are started on one database, the second needs the keys of the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_machine_needs_the_keys_of_the_first() {
    let first = Installation::new().await;
    let second = Installation {
        database: first.database.clone(),
        folder: tempfile::tempdir().expect("a folder"),
    };
    let said = second.start().await.err().expect("it does not start");
    assert!(
        said.contains("Put the file back") || said.contains("restore this file"),
        "{said}"
    );
    for (name, bytes) in first.keys() {
        let path = second.data().join("keys").join(&name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        second.put(&name, Some(&bytes));
    }
    second.works().await;
    first.works().await;
}
