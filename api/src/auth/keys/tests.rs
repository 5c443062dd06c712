//! SE-9: keys, their files and their rotation.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use time::OffsetDateTime;

use super::{KeyError, KeyId, KeyState, Pepper, SigningKeys};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("present").permissions().mode() & 0o777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own file");
}

/// The example of RFC 8037, appendix A.3.
#[test]
fn the_key_id_is_the_thumbprint_of_rfc_7638() {
    let public =
        hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").expect("hex");
    assert_eq!(
        KeyId::of(&public).to_string(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
}

/// SE-9
#[test]
fn the_first_start_makes_a_private_folder_and_key_and_the_second_finds_them() {
    let data = folder();
    let keys = data.path().join("keys");
    let first = SigningKeys::open(&keys).expect("made").current();
    let second = SigningKeys::open(&keys).expect("found").current();
    assert_eq!(first.signing_kid(), second.signing_kid());
    assert_eq!((mode(&keys), mode(&keys.join("active.pem"))), (0o700, 0o600));
    let names: Vec<_> = fs::read_dir(&keys)
        .expect("listed")
        .map(|e| e.expect("entry").file_name())
        .collect();
    assert_eq!(names, ["active.pem"], "no draft is left behind");
}

#[test]
fn sixteen_processes_that_start_at_once_agree_on_one_key_and_one_pepper() {
    let data = folder();
    let start = std::sync::Barrier::new(16);
    let seen: HashSet<(String, String)> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let keys = SigningKeys::open(data.path()).expect("opened");
                    let pepper = Pepper::open(data.path()).expect("opened");
                    (
                        keys.current().signing_kid().to_owned(),
                        pepper.keyed_hash("email", "a@b.example"),
                    )
                })
            })
            .collect();
        starts
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    assert_eq!(seen.len(), 1, "{seen:?}");
}

/// SE-9: nobody is logged out, before, during and after the change of keys.
#[test]
fn a_rotation_keeps_the_old_key_verifying_until_it_has_expired() {
    let data = folder();
    let keys = SigningKeys::open(data.path()).expect("made");
    let before = keys.current();
    let signature = before.sign(b"old");
    assert!(matches!(keys.rotate(), Err(KeyError::NothingPending)));

    keys.prepare_rotation().expect("prepared");
    let prepared = keys.current();
    assert_eq!(
        prepared.signing_kid(),
        before.signing_kid(),
        "the pending key does not sign"
    );
    assert_eq!(prepared.verifying().len(), 2, "but is published");
    let pending = prepared
        .verifying()
        .iter()
        .find(|key| key.state() == KeyState::Pending)
        .expect("pending")
        .id();
    keys.prepare_rotation().expect("again is fine");
    assert!(
        keys.current().holds(pending),
        "a second preparation changes nothing"
    );

    keys.rotate().expect("rotated");
    let after = keys.current();
    assert_eq!(after.signing_kid(), pending.to_string());
    let old = after.by_kid(before.signing_kid()).expect("still verifies");
    assert_eq!(old.state(), KeyState::Retired);
    assert!(old.verifies(b"old", &signature) && !old.verifies(b"new", &signature));
    let retired = data.path().join(format!("retired-{}.pem", before.signing_kid()));
    assert!(
        fs::read_to_string(&retired).expect("present").contains("PUBLIC"),
        "the private half is gone"
    );

    let written: OffsetDateTime = fs::metadata(&retired)
        .and_then(|m| m.modified())
        .expect("dated")
        .into();
    let keep = Duration::from_secs(905);
    assert_eq!(
        keys.expire_retired(written + Duration::from_secs(904), keep)
            .expect("looked"),
        0
    );
    assert!(keys.current().by_kid(before.signing_kid()).is_some());
    assert_eq!(keys.expire_retired(written + keep, keep).expect("looked"), 1);
    assert!(keys.current().by_kid(before.signing_kid()).is_none());
}

#[test]
fn another_process_verifies_new_tokens_after_reading_the_folder_again() {
    let data = folder();
    let (here, there) = (
        SigningKeys::open(data.path()).expect("made"),
        SigningKeys::open(data.path()).expect("found"),
    );
    here.prepare_rotation().expect("prepared");
    there.reload().expect("reloaded");
    here.rotate().expect("rotated");
    assert!(
        there.current().by_kid(here.current().signing_kid()).is_some(),
        "without a second reload"
    );
}

#[test]
fn a_rotation_that_broke_off_is_finished_by_the_next_one() {
    let data = folder();
    let keys = SigningKeys::open(data.path()).expect("made");
    let old = keys.current();
    keys.prepare_rotation().expect("prepared");
    // As if the process had ended between the two steps of `rotate`.
    let pem = super::files::public_pem(&old.by_kid(old.signing_kid()).expect("active").public);
    super::files::create_once(
        &data.path().join(format!("retired-{}.pem", old.signing_kid())),
        pem.as_bytes(),
    )
    .expect("written");
    let reopened = SigningKeys::open(data.path()).expect("opened");
    let states: Vec<_> = reopened
        .current()
        .verifying()
        .iter()
        .map(super::VerifyingKey::state)
        .collect();
    assert_eq!(states, [KeyState::Active, KeyState::Pending]);
    reopened.rotate().expect("finished");
    assert_eq!(
        reopened
            .current()
            .by_kid(old.signing_kid())
            .expect("kept")
            .state(),
        KeyState::Retired
    );
}

#[test]
fn the_jwks_holds_public_halves_only_and_libraries_read_it() {
    let data = folder();
    let keys = SigningKeys::open(data.path()).expect("made");
    keys.prepare_rotation().expect("prepared");
    let jwks = keys.current().jwks();
    let text = jwks.to_string();
    assert!(!text.contains("\"d\""), "{text}");
    let read: jsonwebtoken::jwk::JwkSet = serde_json::from_value(jwks).expect("a JWKS");
    assert_eq!(read.keys.len(), 2);
    let active = read.find(keys.current().signing_kid()).expect("listed");
    let key = jsonwebtoken::DecodingKey::from_jwk(active).expect("a key");
    assert_eq!(key.family(), jsonwebtoken::AlgorithmFamily::Ed);
}

#[test]
fn a_file_open_to_others_is_refused_with_the_command_that_mends_it() {
    let data = folder();
    SigningKeys::open(data.path()).expect("made");
    Pepper::open(data.path()).expect("made");
    for bad in [0o644, 0o604, 0o620, 0o777, 0o602] {
        chmod(&data.path().join("active.pem"), bad);
        let error = SigningKeys::open(data.path()).err().expect("refused").to_string();
        assert!(
            error.contains(&format!("mode {bad:04o}")) && error.contains("chmod 600"),
            "{error}"
        );
        chmod(&data.path().join("pepper.key"), bad);
        assert!(
            matches!(Pepper::open(data.path()), Err(KeyError::OpenToOthers { .. })),
            "{bad:o}"
        );
    }
    chmod(&data.path().join("active.pem"), 0o440);
    assert!(
        SigningKeys::open(data.path()).is_ok(),
        "a mounted secret is read-only and readable by its group"
    );
    chmod(data.path(), 0o777);
    let error = SigningKeys::open(data.path()).err().expect("refused").to_string();
    assert!(error.contains("chmod 700"), "{error}");
}

#[test]
fn a_damaged_file_is_named_and_the_keys_in_use_stay() {
    let data = folder();
    let keys = SigningKeys::open(data.path()).expect("made");
    let kid = keys.current().signing_kid().to_owned();
    let whole = fs::read(data.path().join("active.pem")).expect("read");
    let cut = &whole[..whole.len() / 2];
    for damaged in [
        b"".as_slice(),
        b"\xff\xfe",
        cut,
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----",
        &[b'A'; 5_000],
    ] {
        fs::write(data.path().join("active.pem"), damaged).expect("written");
        let error = keys.reload().expect_err("refused");
        // What is too long is not read at all.
        match damaged.len() {
            5_000 => assert!(error.to_string().contains("larger than 4096 bytes"), "{error}"),
            _ => assert!(matches!(error, KeyError::Unreadable { .. }), "{error}"),
        }
        assert!(error.to_string().contains("active.pem"), "{error}");
        assert_eq!(keys.current().signing_kid(), kid);
    }
}

#[test]
fn the_pepper_separates_scopes_and_is_not_printed() {
    let data = folder();
    let pepper = Pepper::open(data.path()).expect("made");
    let again = Pepper::open(data.path()).expect("found");
    assert_eq!(
        pepper.keyed_hash("email", "a@b.example"),
        again.keyed_hash("email", "a@b.example")
    );
    assert_eq!(pepper.keyed_hash("email", "x").len(), 64);
    assert_ne!(
        pepper.keyed_hash("email", "x"),
        pepper.keyed_hash("username", "x")
    );
    assert_ne!(pepper.keyed_hash("ab", "c"), pepper.keyed_hash("a", "bc"));
    let other = folder();
    let other = Pepper::open(other.path()).expect("made");
    assert_ne!(pepper.keyed_hash("email", "x"), other.keyed_hash("email", "x"));
    assert_eq!(format!("{pepper:?}"), "Pepper(***)");
    assert_eq!(mode(&data.path().join("pepper.key")), 0o600);
}

/// FR6: looking makes nothing, and a fingerprint tells peppers apart.
#[test]
fn reading_makes_nothing() {
    let data = folder();
    assert!(Pepper::read(data.path()).expect("looked").is_none());
    assert!(SigningKeys::read(data.path()).expect("looked").is_none());
    assert_eq!(std::fs::read_dir(data.path()).expect("there").count(), 0);
    let (pepper, keys) = (
        Pepper::open(data.path()).expect("made"),
        SigningKeys::open(data.path()).expect("made"),
    );
    let again = Pepper::read(data.path()).expect("looked").expect("there");
    assert_eq!(pepper.fingerprint(), again.fingerprint());
    assert_eq!(pepper.fingerprint().len(), 16);
    let other = folder();
    assert_ne!(
        pepper.fingerprint(),
        Pepper::open(other.path()).expect("made").fingerprint()
    );
    let again = SigningKeys::read(data.path()).expect("looked").expect("there");
    assert_eq!(keys.current().signing_kid(), again.current().signing_kid());
}

/// A public key under another's name would have the tokens of another installation accepted.
#[test]
fn a_retired_key_under_another_name_is_refused() {
    let data = folder();
    let keys = SigningKeys::open(data.path()).expect("made");
    keys.prepare_rotation().expect("prepared");
    let old = keys.current().signing_kid().to_owned();
    keys.rotate().expect("rotated");
    let (right, wrong) = (format!("retired-{old}.pem"), "retired-somebody.pem");
    std::fs::rename(data.path().join(right), data.path().join(wrong)).expect("renamed");
    let error = keys.reload().expect_err("refused");
    assert!(matches!(error, KeyError::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains(wrong), "{error}");
}

#[test]
fn a_clock_before_the_file_was_written_expires_nothing() {
    let data = folder();
    let keys = SigningKeys::open(data.path()).expect("made");
    keys.prepare_rotation().expect("prepared");
    keys.rotate().expect("rotated");
    assert_eq!(
        keys.expire_retired(UNIX_EPOCH.into(), Duration::from_secs(1))
            .expect("looked"),
        0
    );
}

/// A named pipe was waited for; a folder was advised `chmod 600`.
#[test]
fn what_is_no_key_file_is_named_for_what_it_is_and_never_waited_for() {
    let data = tempfile::tempdir().expect("a folder");
    SigningKeys::open(data.path()).expect("made");
    Pepper::open(data.path()).expect("made");
    let aside = data.path().join("aside");
    for name in ["active.pem", "pending.pem", "pepper.key"] {
        let path = data.path().join(name);
        let was = fs::rename(&path, &aside).is_ok();
        let refused = |kind: &str| {
            let found = SigningKeys::read(data.path())
                .map(drop)
                .and_then(|()| Pepper::read(data.path()).map(drop));
            let said = found.expect_err("refused").to_string();
            assert!(said.contains(kind) && said.contains(name), "{said}");
            assert!(!said.contains("chmod 600"), "{said}");
        };
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo runs").success());
        refused("a named pipe");
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("a folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        refused("a folder");
        fs::remove_dir(&path).expect("removed");
        std::os::unix::fs::symlink("nowhere", &path).expect("a link");
        refused("a link to nothing");
        fs::remove_file(&path).expect("removed");
        if was {
            fs::rename(&aside, &path).expect("put back");
        }
    }
}
