//! The key of the log: made once, never a second time, and what stands in its place.

use super::{KeyFileError, examine, open_existing, open_or_create, public_file, read_verifier};
use crate::integrity::sign;
use std::{fs, os::unix::fs::PermissionsExt as _};

const ORIGIN: &str = "log.example/a";

#[test]
fn a_key_is_made_once_private_and_found_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys/log.key");
    let first = open_or_create(&path, ORIGIN, None).expect("made");
    let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let note = sign("text\n", &first).expect("signed");
    let again = open_or_create(&path, ORIGIN, Some(&note)).expect("found");
    assert_eq!(again.verifier(), first.verifier());
    for path in [&path, &public_file(&path)] {
        assert_eq!(&read_verifier(path).expect("readable"), first.verifier());
    }
    assert_eq!(
        fs::read_dir(folder.path().join("keys")).expect("there").count(),
        2
    );
}

#[test]
fn no_second_history_is_begun() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log.key");
    let first = open_or_create(&path, ORIGIN, None).expect("made");
    let note = sign("text\n", &first).expect("signed");
    fs::remove_file(&path).expect("removed");
    let error = open_or_create(&path, ORIGIN, Some(&note)).expect_err("missing");
    assert!(matches!(error, KeyFileError::Missing { .. }), "{error}");
    assert!(!path.exists());
    open_or_create(&path, ORIGIN, None).expect("another key");
    let error = open_or_create(&path, ORIGIN, Some(&note)).expect_err("not the signer");
    assert!(matches!(error, KeyFileError::NotTheSigner { .. }), "{error}");
    let error = open_or_create(&path, "log.example/b", None).expect_err("another log");
    assert!(matches!(error, KeyFileError::Other { .. }), "{error}");
}

/// FR6: the public half is written from the private one, and never believed against it.
#[test]
fn a_public_half_that_does_not_fit_is_refused_and_a_missing_one_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log.key");
    let first = open_or_create(&path, ORIGIN, None).expect("made");
    let public = public_file(&path);
    let kept = fs::read(&public).expect("there");
    let other = folder.path().join("other.key");
    open_or_create(&other, ORIGIN, None).expect("made");
    for text in [
        fs::read(public_file(&other)).expect("there"),
        Vec::new(),
        kept[..20].to_vec(),
    ] {
        fs::write(&public, text).expect("written");
        let error = open_or_create(&path, ORIGIN, None).expect_err("it does not fit");
        assert!(matches!(error, KeyFileError::NotTheHalf { .. }), "{error}");
        assert!(error.to_string().contains("Remove it"), "{error}");
    }
    fs::remove_file(&public).expect("removed");
    open_existing(&path, ORIGIN, None).expect("it is not needed");
    assert!(!public.exists(), "looking writes nothing");
    open_or_create(&path, ORIGIN, None).expect("opened");
    assert_eq!(fs::read(&public).expect("there"), kept);
    assert_eq!(&read_verifier(&public).expect("readable"), first.verifier());
}

#[test]
fn a_key_that_others_can_read_or_that_is_none_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log.key");
    open_or_create(&path, ORIGIN, None).expect("made");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
    let error = open_or_create(&path, ORIGIN, None).expect_err("open");
    assert!(matches!(error, KeyFileError::OpenToOthers { .. }), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
    fs::write(&path, "s3cret rubbish").expect("written");
    let error = open_or_create(&path, ORIGIN, None).expect_err("rubbish");
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
}

/// A named pipe was waited for; a folder was advised `chmod 600`, or called "not the public half".
#[test]
fn what_is_no_file_is_named_for_what_it_is_and_never_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log.key");
    open_or_create(&path, ORIGIN, None).expect("made");
    let aside = folder.path().join("aside");
    for file in [path.clone(), public_file(&path)] {
        fs::rename(&file, &aside).expect("moved");
        let refused = |kind: &str| {
            for error in [
                open_or_create(&path, ORIGIN, None).expect_err("refused"),
                examine(&path).expect_err("refused"),
            ] {
                let said = error.to_string();
                assert!(
                    said.contains(kind) && said.contains(&*file.to_string_lossy()),
                    "{said}"
                );
                assert!(!said.contains("chmod") && !said.contains("public half"), "{said}");
            }
        };
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        refused("a named pipe");
        fs::remove_file(&file).expect("removed");
        fs::create_dir(&file).expect("a folder");
        refused("a folder");
        fs::remove_dir(&file).expect("removed");
        std::os::unix::fs::symlink("/dev/zero", &file).expect("a link");
        refused("a device");
        fs::remove_file(&file).expect("removed");
        std::os::unix::fs::symlink("nowhere", &file).expect("a link");
        refused("a link to nothing");
        fs::remove_file(&file).expect("removed");
        fs::File::create(&file)
            .and_then(|file| file.set_len(3 << 30))
            .expect("sparse");
        refused("larger than 4096 bytes");
        fs::rename(&aside, &file).expect("put back");
    }
    assert!(examine(&path).expect("whole"));
}
