//! What an import takes from a folder, and what it refuses by name.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

use domain::{
    authz::Visibility,
    id::SystemIds,
    jobs::{import::ImportedFile, job::Import},
};
use nix::sys::stat::Mode;
use objects::{Key, Objects};
use tempfile::TempDir;

use super::{
    copy::{CopyTask, Done},
    plan::Plan,
    *,
};
use crate::attempt::outcome::AttemptOutcome;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/ml/fixtures");
const SECRET: &str = "the personal key";

/// `<room>/models` is the import folder, `<room>/keys/personal.key` the secret, `<room>/objects` the store.
struct Fixture {
    room: TempDir,
    models: PathBuf,
    objects: Objects,
}

/// The order to import `folder`.
fn ordered(folder: &str) -> Import {
    Import {
        folder: folder.to_owned(),
        description: String::new(),
        visibility: Visibility::Private,
        bytes: u64::MAX,
        files: 3,
    }
}

impl Fixture {
    /// With the folder of models at `below` of the room.
    fn at(below: &str) -> Self {
        let room = tempfile::tempdir().expect("a folder");
        let models = room.path().join(below);
        fs::create_dir_all(&models).expect("a folder");
        fs::create_dir_all(room.path().join("keys")).expect("a folder");
        fs::write(room.path().join("keys/personal.key"), SECRET).expect("written");
        let address = format!("file://{}/objects", room.path().display());
        let objects = Objects::open(&address, Arc::new(SystemIds)).expect("a store");
        Self {
            models,
            objects,
            room,
        }
    }

    fn new() -> Self {
        Self::at("models")
    }

    /// A whole model at `place`; its path.
    fn model(&self, place: &str) -> PathBuf {
        let folder = self.room.path().join(place);
        fs::create_dir_all(&folder).expect("a folder");
        for entry in fs::read_dir(format!("{FIXTURES}/base"))
            .expect("a fixture")
            .flatten()
        {
            fs::copy(entry.path(), folder.join(entry.file_name())).expect("copied");
        }
        folder
    }

    /// A plan of what an attempt copies that knows what is `recorded`.
    fn plan(&self, folder: &str, recorded: &[ImportedFile]) -> Result<Plan, AttemptOutcome> {
        let view = tempfile::tempdir().expect("a folder");
        let links = view.path().join("model");
        Plan::make(&self.models, &links, &ordered(folder), recorded)
    }

    /// Copies what is planned to its end.
    async fn copy(&self, plan: Plan) -> Result<Vec<ImportedFile>, AttemptOutcome> {
        let mut task = CopyTask::start(self.objects.clone(), prefix(), plan);
        let mut files = Vec::new();
        while let Some(file) = task.next().await {
            files.push(file);
        }
        assert_eq!(task.ended().await?, Done::All);
        Ok(files)
    }

    /// Looks as the API does, and imports as a worker does.
    async fn import(&self, folder: &str) -> Result<Vec<ImportedFile>, LookError> {
        let importing = async {
            let found = look(&self.models, folder)?;
            let plan = self
                .plan(folder, &[])
                .expect("the worker takes what the API took");
            let files = self.copy(plan).await.expect("copied");
            let bytes: u64 = files.iter().map(|file| file.file.bytes).sum();
            assert_eq!((files.len(), bytes), (found.names.len(), found.bytes));
            Ok(files)
        };
        let within = tokio::time::timeout(Duration::from_secs(60), importing).await;
        within.expect("an import never hangs")
    }

    /// The refusal of `folder`, of which nothing was stored.
    async fn refused(&self, folder: &str) -> String {
        let error = self.import(folder).await.expect_err("refused");
        self.nothing_is_stored();
        let LookError::NotAModel(why) = error else {
            panic!("{error:?}");
        };
        assert!(!why.contains(SECRET) && !why.contains("personal"), "{why}");
        assert!(!why.contains("/proc/"), "{why}");
        // The worker does not go by what the API saw.
        match self.plan(folder, &[]).expect_err("refused") {
            AttemptOutcome::Failed { code, message } => {
                assert_eq!((code.as_str(), &message), ("NOT_A_MODEL", &why));
            }
            other => panic!("{other:?}"),
        }
        why
    }

    fn nothing_is_stored(&self) {
        let mut open = vec![self.room.path().join("objects")];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                assert!(entry.path().is_dir(), "{} is stored", entry.path().display());
                open.push(entry.path());
            }
        }
    }

    /// Makes of `models/base` a folder as the cache of the hub has it, below `repository`: links into `blobs`.
    fn snapshot(&self, repository: &str) -> PathBuf {
        let snapshot = self.model(&format!("{repository}/snapshots/5f1"));
        let blobs = self.room.path().join(repository).join("blobs");
        fs::create_dir_all(&blobs).expect("a folder");
        for (number, entry) in fs::read_dir(&snapshot).expect("there").flatten().enumerate() {
            let blob = format!("{number:040x}");
            fs::rename(entry.path(), blobs.join(&blob)).expect("moved");
            symlink(format!("../../blobs/{blob}"), entry.path()).expect("a link");
        }
        snapshot
    }
}

fn prefix() -> Key {
    Key::artifact("job/0").expect("a key")
}

/// The files by name and hash.
fn hashes(files: &[ImportedFile]) -> Vec<(&str, &str)> {
    files
        .iter()
        .map(|file| (file.file.name.as_str(), file.file.sha256.as_str()))
        .collect()
}

/// DS-3: what is known before is what is stored, with the hashes of the files, and what is no model is told so.
#[tokio::test]
async fn what_was_imported_has_the_size_that_was_told() {
    let fixture = Fixture::new();
    let folder = fixture.model("models/base");
    let files = fixture.import("base").await.expect("a model");
    for file in &files {
        let stored = fixture
            .objects
            .local_path(&prefix().join(&file.file.name).expect("a key"));
        let stored = fs::read(stored.expect("a folder")).expect("stored");
        assert_eq!(stored, fs::read(folder.join(&file.file.name)).expect("there"));
        assert_eq!(ml::files::sha256(&stored), file.file.sha256);
    }
    fs::create_dir(fixture.models.join("empty")).expect("a folder");
    let why = fixture.import("empty").await.expect_err("no model").to_string();
    for missing in [
        "config.json is missing",
        "tokenizer.json is missing",
        "neither model.safetensors",
    ] {
        assert!(why.contains(missing), "all at once: {why}");
    }
    let outside = look(&fixture.models, "../base");
    assert!(matches!(outside, Err(LookError::NoFolder)), "{outside:?}");
}

/// FD18: whoever takes an adapter for a model is told what to do.
#[test]
fn the_folder_of_an_adapter_is_told_to_be_one() {
    let fixture = Fixture::new();
    let folder = fixture.model("models/base");
    fs::rename(folder.join("config.json"), folder.join("adapter_config.json")).expect("renamed");
    let why = look(&fixture.models, "base").expect_err("no model").to_string();
    assert!(
        why.contains("import the base model that it was trained on"),
        "{why}"
    );
}

/// JB-4: an attempt goes on where the last one came to: what is stored and recorded is not written again.
#[tokio::test]
async fn a_second_attempt_copies_only_what_is_not_stored() {
    let fixture = Fixture::new();
    fixture.model("models/base");
    let first = fixture.import("base").await.expect("a model");
    let path = |name: &str| {
        let key = prefix().join(name).expect("a key");
        fixture.objects.local_path(&key).expect("a folder")
    };
    let inode = |name: &str| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(path(name)).expect("stored").ino()
    };
    let before: Vec<u64> = first.iter().map(|file| inode(&file.file.name)).collect();
    let again = fixture
        .copy(fixture.plan("base", &first).expect("a plan"))
        .await
        .expect("copied");
    assert_eq!(again, first);
    let after: Vec<u64> = first.iter().map(|file| inode(&file.file.name)).collect();
    assert_eq!(before, after, "nothing is written again");
    // The collector took one, another is half there, of a third nothing was recorded.
    fs::remove_file(path("config.json")).expect("removed");
    fs::write(path("tokenizer.json"), "half").expect("written");
    let known: Vec<ImportedFile> = first
        .iter()
        .filter(|file| file.file.name != "model.safetensors")
        .cloned()
        .collect();
    let again = fixture
        .copy(fixture.plan("base", &known).expect("a plan"))
        .await
        .expect("copied");
    assert_eq!(hashes(&again), hashes(&first));
    for file in &first {
        let stored = fs::read(path(&file.file.name)).expect("stored");
        assert_eq!(ml::files::sha256(&stored), file.file.sha256, "{}", file.file.name);
    }
}

/// JB-4: an attempt that died before it could record a file may have stored another of the same size.
#[tokio::test]
async fn what_an_unrecorded_attempt_left_is_replaced_where_it_differs() {
    let fixture = Fixture::new();
    let folder = fixture.model("models/base");
    let config = fs::read(folder.join("config.json")).expect("there");
    let left = fixture
        .objects
        .local_path(&prefix().join("config.json").expect("a key"));
    let left = left.expect("a folder");
    fs::create_dir_all(left.parent().expect("a folder")).expect("made");
    fs::write(&left, vec![b' '; config.len()]).expect("written");
    fixture.import("base").await.expect("a model");
    assert_eq!(fs::read(&left).expect("stored"), config);
}

/// A file that is another than the recorded one ends the import by its name; one that was only touched does not.
#[tokio::test]
async fn a_folder_that_changed_between_two_attempts_is_told() {
    let fixture = Fixture::new();
    let folder = fixture.model("models/base");
    let first = fixture.import("base").await.expect("a model");
    let weights = folder.join("model.safetensors");
    let mut bytes = fs::read(&weights).expect("there");
    fs::write(&weights, &bytes).expect("touched");
    let again = fixture
        .copy(fixture.plan("base", &first).expect("a plan"))
        .await
        .expect("copied");
    assert_eq!(hashes(&again), hashes(&first));
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&weights, &bytes).expect("changed");
    let end = fixture
        .copy(fixture.plan("base", &first).expect("a plan"))
        .await
        .expect_err("changed");
    let AttemptOutcome::Failed { code, message } = end else {
        panic!("{end:?}")
    };
    assert_eq!(code, "FOLDER_CHANGED");
    assert!(message.starts_with("model.safetensors was changed"), "{message}");
}

/// A file that is written, replaced or grows while it is imported ends the import by its name, and nothing of it stays.
#[tokio::test]
async fn a_file_that_changes_under_the_import_is_told() {
    let changes: [fn(&Path); 3] = [
        |path| fs::write(path, "{}").expect("written"),
        |path| {
            let mut file = fs::File::options().append(true).open(path).expect("opened");
            std::io::Write::write_all(&mut file, b" ").expect("grown");
        },
        |path| {
            let bytes = fs::read(path).expect("read");
            fs::write(path, bytes).expect("written again");
        },
    ];
    for change in changes {
        let fixture = Fixture::new();
        let folder = fixture.model("models/base");
        let plan = fixture.plan("base", &[]).expect("a plan");
        change(&folder.join("config.json"));
        let end = fixture.copy(plan).await.expect_err("changed");
        assert!(
            matches!(&end, AttemptOutcome::Failed { code, message }
                if code == "FOLDER_CHANGED" && message.starts_with("config.json")),
            "{end:?}"
        );
        fixture.nothing_is_stored();
    }
    // What is copied already, and exchanged before the end.
    let fixture = Fixture::new();
    let folder = fixture.model("models/base");
    let plan = fixture.plan("base", &[]).expect("a plan");
    plan.look_again(&fixture.models, &ordered("base"))
        .expect("unchanged");
    let other = folder.join("other");
    fs::copy(folder.join("config.json"), &other).expect("copied");
    fs::rename(&other, folder.join("config.json")).expect("exchanged");
    let end = plan
        .look_again(&fixture.models, &ordered("base"))
        .expect_err("exchanged");
    assert!(
        matches!(&end, AttemptOutcome::Failed { message, .. } if message.starts_with("config.json")),
        "{end:?}"
    );
}

/// DS-3: more than there was room reserved for is not copied.
#[test]
fn a_folder_that_has_grown_since_the_order_is_refused() {
    let fixture = Fixture::new();
    fixture.model("models/base");
    let found = look(&fixture.models, "base").expect("a model");
    let view = fixture.room.path().join("view");
    let less = Import {
        bytes: found.bytes - 1,
        ..ordered("base")
    };
    let end = Plan::make(&fixture.models, &view, &less, &[]).expect_err("no room");
    assert!(
        matches!(&end, AttemptOutcome::Failed { code, .. } if code == "FOLDER_CHANGED"),
        "{end:?}"
    );
    assert!(!view.exists());
}

/// JB-3: told to stop, it stops, and nothing of the file under way is left.
#[tokio::test]
async fn a_copy_that_is_stopped_leaves_no_half_file() {
    let fixture = Fixture::new();
    fixture.model("models/base");
    let plan = fixture.plan("base", &[]).expect("a plan");
    let task = CopyTask::start(fixture.objects.clone(), prefix(), plan);
    task.stop();
    assert_eq!(task.ended().await.expect("in order"), Done::Stopped);
    fixture.nothing_is_stored();
}

/// FR5: a link to a secret, relative, absolute or by another link, is refused by its name and nothing is stored.
/// A store that is away for a moment costs no attempt; a stop is heard while it is waited for.
#[tokio::test]
async fn a_store_that_is_away_for_a_moment_is_waited_for() {
    let fixture = Fixture::new();
    fixture.model("models/base");
    let plan = || fixture.plan("base", &[]).expect("a plan");
    let artifacts = fixture.room.path().join("objects/artifacts");
    fs::create_dir_all(artifacts.parent().expect("a parent")).expect("a folder");
    if artifacts.exists() {
        fs::remove_dir_all(&artifacts).expect("removed");
    }
    fs::write(&artifacts, "no folder").expect("written");

    let mut task = CopyTask::start(fixture.objects.clone(), prefix(), plan());
    tokio::time::sleep(Duration::from_millis(200)).await;
    task.stop();
    let stopped = tokio::time::timeout(Duration::from_secs(1), async {
        assert!(task.next().await.is_none(), "nothing is stored");
        task.ended().await
    });
    assert_eq!(stopped.await.expect("within a second"), Ok(Done::Stopped));

    let copied = fixture.copy(plan());
    let repaired = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        fs::remove_file(&artifacts).expect("removed");
    };
    let (files, ()) = tokio::join!(copied, repaired);
    assert_eq!(files.expect("copied").len(), plan().files.len());
}

#[tokio::test]
async fn a_link_to_a_secret_outside_of_the_folder_is_refused_by_name() {
    let fixture = Fixture::new();
    let secret = fixture.room.path().join("keys/personal.key");
    for (number, target) in [PathBuf::from("../../keys/personal.key"), secret]
        .into_iter()
        .enumerate()
    {
        let name = format!("base-{number}");
        let folder = fixture.model(&format!("models/{name}"));
        symlink(&target, folder.join("chat_template.jinja")).expect("a link");
        let why = fixture.refused(&name).await;
        assert!(
            why.contains("chat_template.jinja leads out of the folder"),
            "{why}"
        );
    }
    let folder = fixture.model("models/by-two");
    symlink("../../keys", folder.join("elsewhere")).expect("a link");
    symlink("elsewhere/personal.key", folder.join("vocab.json")).expect("a link");
    let why = fixture.refused("by-two").await;
    assert!(why.contains("vocab.json leads out of the folder"), "{why}");
}

/// FR5: the files of another model are none of this folder either, nor what lies loosely in the import folder.
#[tokio::test]
async fn a_link_to_a_neighbour_is_refused() {
    let fixture = Fixture::new();
    fixture.model("models/other");
    let folder = fixture.model("models/base");
    symlink("../other/config.json", folder.join("generation_config.json.json")).expect("a link");
    fs::write(fixture.room.path().join("models/notes.txt"), "x").expect("written");
    symlink("../notes.txt", folder.join("merges.txt")).expect("a link");
    let why = fixture.refused("base").await;
    assert!(why.contains("generation_config.json.json leads out"), "{why}");
    assert!(why.contains("merges.txt leads out"), "{why}");
}

/// FR5: whatever is no regular file is refused by its name, all at once, without waiting for a pipe.
#[tokio::test]
async fn everything_that_is_no_file_is_named_at_once() {
    let fixture = Fixture::new();
    let folder = fixture.model("models/base");
    let at = |name: &str| folder.join(name);
    nix::unistd::mkfifo(&at("added_tokens.json"), Mode::S_IRWXU).expect("a pipe");
    fs::create_dir(at("merges.txt")).expect("a folder");
    let _socket = UnixListener::bind(at("special_tokens_map.json")).expect("a socket");
    symlink("/dev/zero", at("chat_template.jinja")).expect("a link");
    symlink("nothing", at("vocab.json")).expect("a link");
    symlink("config.json/nothing", at("deep.json")).expect("a link");
    symlink("two.json", at("one.json")).expect("a link");
    symlink("one.json", at("two.json")).expect("a link");
    symlink("tokenizer.model", at("tokenizer.model")).expect("a link");
    let why = fixture.refused("base").await;
    for expected in [
        "added_tokens.json is a pipe, not a file",
        "chat_template.jinja leads out of the folder",
        "deep.json is a link to nothing",
        "merges.txt is a folder, not a file",
        "one.json is a link that leads in a circle",
        "special_tokens_map.json is a socket, not a file",
        "tokenizer.model is a link that leads in a circle",
        "two.json is a link that leads in a circle",
        "vocab.json is a link to nothing",
    ] {
        assert!(why.contains(expected), "{expected}: {why}");
    }
}

/// FR5: a device inside of the folder is not opened. Making one needs root; elsewhere only the link to one is tried.
#[tokio::test]
async fn a_device_in_the_folder_is_refused() {
    use nix::sys::stat::{SFlag, makedev, mknod};
    let fixture = Fixture::new();
    let folder = fixture.model("models/base");
    let device = folder.join("vocab.json");
    match mknod(&device, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 5)) {
        Ok(()) => {
            let why = fixture.refused("base").await;
            assert!(why.contains("vocab.json is a device, not a file"), "{why}");
        }
        Err(nix::errno::Errno::EPERM | nix::errno::Errno::EACCES) => {
            symlink("/dev/zero", &device).expect("a link");
            let why = fixture.refused("base").await;
            assert!(why.contains("vocab.json leads out of the folder"), "{why}");
        }
        Err(error) => panic!("{error}"),
    }
}

/// The pipe that stands for the weights, or the configuration, does not stop the import for ever either.
#[tokio::test]
async fn a_pipe_in_the_place_of_a_needed_file_does_not_hang() {
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let fixture = Fixture::new();
        let folder = fixture.model("models/base");
        fs::remove_file(folder.join(name)).expect("removed");
        nix::unistd::mkfifo(&folder.join(name), Mode::S_IRWXU).expect("a pipe");
        let why = fixture.refused("base").await;
        assert!(why.contains(&format!("{name} is a pipe")), "{why}");
    }
}

/// Links inside of the folder, folders that are no part of a model, and other files are no reason to refuse it.
#[tokio::test]
async fn links_inside_of_the_folder_and_other_things_beside_a_model_are_harmless() {
    let fixture = Fixture::new();
    let folder = fixture.model("models/base");
    fs::create_dir(folder.join("files")).expect("a folder");
    fs::rename(folder.join("config.json"), folder.join("files/kept")).expect("moved");
    symlink("files/kept", folder.join("config.json")).expect("a link");
    symlink("../../keys/personal.key", folder.join("README.md")).expect("a link");
    symlink("../../keys/personal.key", folder.join(".hidden.json")).expect("a link");
    fs::create_dir(folder.join("onnx")).expect("a folder");
    let version = fixture.import("base").await.expect("a model");
    let names: Vec<_> = version.iter().map(|file| file.file.name.as_str()).collect();
    assert!(names.contains(&"config.json"), "{names:?}");
    assert!(
        !names.contains(&"README.md") && !names.contains(&".hidden.json"),
        "{names:?}"
    );
}

/// FR5: a cache of the Hugging Face hub goes on to work, by its own path below the import folder, by a link to it, and
/// where the import folder is the folder of its snapshots.
#[tokio::test]
async fn a_snapshot_of_the_hub_with_links_to_its_blobs_is_imported() {
    let repository = "models/models--org--name";
    let fixture = Fixture::new();
    fixture.snapshot(repository);
    symlink(
        "models--org--name/snapshots/5f1",
        fixture.room.path().join("models/short"),
    )
    .expect("a link");
    let whole = fixture
        .import("models--org--name/snapshots/5f1")
        .await
        .expect("a model");
    let short = fixture.import("short").await.expect("a model");
    assert_eq!(hashes(&whole), hashes(&short));
    for name in [
        "models--org--name",
        "models--org--name/snapshots",
        "models--org--name/blobs/5f1",
        "models--org--name/snapshots/..",
        "models--org--name/snapshots/5f1/x",
        "models--org--name/snapshots/../snapshots/5f1",
    ] {
        let found = fixture.import(name).await.expect_err(name);
        let nothing = matches!(found, LookError::NoFolder | LookError::NotAModel(_));
        assert!(nothing, "{name}: {found:?}");
    }

    let within = Fixture::at("models/models--org--name/snapshots");
    within.snapshot(repository);
    let version = within.import("5f1").await.expect("a model");
    assert_eq!(hashes(&version), hashes(&whole));
}

/// FR5: the blobs of a cache are no way out: neither those of another model, nor what their links lead to.
#[tokio::test]
async fn blobs_of_another_model_and_links_in_blobs_are_refused() {
    let fixture = Fixture::new();
    let snapshot = fixture.snapshot("models/models--org--name");
    fixture.snapshot("models/models--org--other");
    let blobs = fixture.room.path().join("models/models--org--name/blobs");
    symlink("../../../keys/personal.key", blobs.join("0f")).expect("a link");
    symlink("../../blobs/0f", snapshot.join("chat_template.jinja")).expect("a link");
    let foreign = format!("../../../models--org--other/blobs/{:040x}", 0);
    symlink(foreign, snapshot.join("vocab.json")).expect("a link");
    let error = fixture
        .import("models--org--name/snapshots/5f1")
        .await
        .expect_err("refused");
    let why = error.to_string();
    assert!(why.contains("chat_template.jinja leads out"), "{why}");
    assert!(why.contains("vocab.json leads out"), "{why}");
    fixture.nothing_is_stored();
}

/// FR5: between the look and the reading a file is exchanged for a link to the secret; what was looked at is read.
#[test]
fn a_file_that_is_exchanged_after_the_look_is_still_the_one_that_was_looked_at() {
    let fixture = Fixture::new();
    let folder = fixture.model("models/base");
    let before = fs::read(folder.join("config.json")).expect("there");
    let pinned = Pinned::open(&folder).expect("pinned");
    let view = fixture.room.path().join("view");
    pinned.view(&view).expect("links");
    fs::remove_file(folder.join("config.json")).expect("removed");
    symlink("../../keys/personal.key", folder.join("config.json")).expect("a link");
    assert_eq!(
        fs::read(folder.join("config.json")).expect("there"),
        SECRET.as_bytes()
    );
    assert_eq!(fs::read(view.join("config.json")).expect("held"), before);
    drop(pinned);
    assert!(
        fs::read(view.join("config.json")).is_err(),
        "the links end with what is pinned"
    );
}

/// Somebody exchanges a file for a link and back all the time: an import takes the file or refuses the link, and never
/// brings the secret in.
#[tokio::test]
async fn no_race_brings_the_secret_in() {
    let fixture = Fixture::new();
    let folder = fixture.model("models/base");
    let template = folder.join("chat_template.jinja");
    let (plain, link) = (folder.join("plain"), folder.join("link"));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let exchanging = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                fs::write(&plain, "{{ messages }}").expect("written");
                fs::rename(&plain, &template).expect("exchanged");
                symlink("../../keys/personal.key", &link).expect("a link");
                fs::rename(&link, &template).expect("exchanged");
            }
        }
    });
    let secret = SECRET.len() as u64;
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..2_000 {
        let Ok(pinned) = Pinned::open(&folder) else {
            refused += 1;
            continue;
        };
        // Not there at this moment, or the file.
        if let Some(path) = pinned.paths().get("chat_template.jinja") {
            let read = fs::read(path).expect("held");
            assert_ne!(read.len() as u64, secret);
            assert_eq!(read, b"{{ messages }}");
            taken += 1;
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    exchanging.join().expect("ended");
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
}
