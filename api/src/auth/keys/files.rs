//! Key files: made once and whole, private to this account, PEM inside (RFC 7468, RFC 8410).
//!
//! One rule: a file appears under its name complete or not at all, whoever else makes it at the same moment.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::super::secret::fill_random;
use super::KeyError;

/// What a private key file should hold.
const PRIVATE_KEY: &str = "one Ed25519 private key (PKCS#8 in PEM)";
/// What a public key file should hold.
pub(super) const PUBLIC_KEY: &str = "one Ed25519 public key (SubjectPublicKeyInfo in PEM)";
/// DER of a SubjectPublicKeyInfo for Ed25519 up to the 32 bytes of the key (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// No key file is longer; what is longer is something else.
const MAX_FILE_BYTES: u64 = 4_096;

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> KeyError + '_ {
    move |source| KeyError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Makes the folder with mode 0700, or checks that an existing one is not writable by everybody.
pub(super) fn make_folder(folder: &Path) -> Result<(), KeyError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(io(folder))?;
    refuse_bits(folder, 0o002, 0o700)
}

/// Whether there is a file; one that cannot be looked at is an error, not an absence.
pub(super) fn is_there(path: &Path) -> Result<bool, KeyError> {
    match path.symlink_metadata() {
        // Be it a link to nothing: a key is never made through one.
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io(path)(error)),
    }
}

/// Refuses a path whose permissions include any of `bits`.
fn refuse_bits(path: &Path, bits: u32, wanted: u32) -> Result<(), KeyError> {
    refuse_bits_of(path, &fs::metadata(path).map_err(io(path))?, bits, wanted)
}

fn refuse_bits_of(path: &Path, about: &Metadata, bits: u32, wanted: u32) -> Result<(), KeyError> {
    let mode = about.permissions().mode() & 0o7777;
    if mode & bits == 0 {
        return Ok(());
    }
    Err(KeyError::OpenToOthers {
        path: path.to_owned(),
        mode,
        wanted,
    })
}

/// Writes `content` under `path` with mode 0600 unless the name is taken; then the present file stays.
///
/// The bytes are on the disk before the name exists: a hard link to a finished file cannot be half written
/// and fails where another process was faster.
pub(super) fn create_once(path: &Path, content: &[u8]) -> Result<(), KeyError> {
    let mut suffix = [0; 8];
    fill_random(&mut suffix).map_err(|_| KeyError::Generation)?;
    let draft = path.with_extension(format!("draft-{}", hex::encode(suffix)));
    let written = write_private(&draft, content).map_err(io(&draft));
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(io(path)),
    });
    fail::fail_point!("setup.key_linked");
    let cleared = fs::remove_file(&draft).map_err(io(&draft));
    linked?;
    cleared?;
    sync_folder_of(path)
}

fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes a rename or a new name durable.
fn sync_folder_of(path: &Path) -> Result<(), KeyError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io(folder))
}

/// Puts the file `from` in the place of `to`, in one step.
pub(super) fn replace(from: &Path, to: &Path) -> Result<(), KeyError> {
    fs::rename(from, to).map_err(io(from))?;
    sync_folder_of(to)
}

/// Removes a file.
pub(super) fn remove(path: &Path) -> Result<(), KeyError> {
    fs::remove_file(path).map_err(io(path))
}

/// When the file was written.
pub(super) fn written_at(path: &Path) -> Result<OffsetDateTime, KeyError> {
    let modified = fs::metadata(path)
        .and_then(|about| about.modified())
        .map_err(io(path))?;
    Ok(modified.into())
}

/// The `.pem` files of the folder whose names begin with `prefix`, sorted.
pub(super) fn with_prefix(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>, KeyError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        let path = entry.map_err(io(folder))?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with(prefix) && name.ends_with(".pem") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a secret file after checking that nobody else may: group may read (mounted secrets), others nothing.
pub(super) fn read_private(path: &Path, expected: &'static str) -> Result<Zeroizing<String>, KeyError> {
    // What it is comes before what may be done with it: a folder is not mended by other permissions.
    let (bytes, about) = small_files::read_about(path, MAX_FILE_BYTES)?;
    let bytes = Zeroizing::new(bytes);
    refuse_bits_of(path, &about, 0o027, 0o600)?;
    let unreadable = || KeyError::Unreadable {
        path: path.to_owned(),
        expected,
    };
    std::str::from_utf8(&bytes)
        .map(|text| Zeroizing::new(text.to_owned()))
        .map_err(|_| unreadable())
}

/// Reads a private key, refusing one that is open to others.
pub(super) fn read_private_key(path: &Path) -> Result<Ed25519KeyPair, KeyError> {
    let text = read_private(path, PRIVATE_KEY)?;
    let unreadable = || KeyError::Unreadable {
        path: path.to_owned(),
        expected: PRIVATE_KEY,
    };
    let der = from_pem(&text, "PRIVATE KEY").ok_or_else(unreadable)?;
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| unreadable())
}

/// Reads a public key. It is no secret, but whoever can replace it can mint tokens: same permissions.
pub(super) fn read_public_key(path: &Path) -> Result<[u8; 32], KeyError> {
    let text = read_private(path, PUBLIC_KEY)?;
    from_pem(&text, "PUBLIC KEY")
        .and_then(|der| der.strip_prefix(&SPKI_PREFIX)?.try_into().ok())
        .ok_or_else(|| KeyError::Unreadable {
            path: path.to_owned(),
            expected: PUBLIC_KEY,
        })
}

/// A PKCS#8 document as PEM.
pub(super) fn private_pem(der: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(to_pem(der, "PRIVATE KEY"))
}

/// A raw public key as PEM.
pub(super) fn public_pem(public: &[u8; 32]) -> String {
    to_pem(&[SPKI_PREFIX.as_slice(), public].concat(), "PUBLIC KEY")
}

fn to_pem(der: &[u8], label: &str) -> String {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut pem = String::with_capacity(body.len() + 128);
    pem.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

fn from_pem(text: &str, label: &str) -> Option<Zeroizing<Vec<u8>>> {
    let body = text.trim().strip_prefix(&format!("-----BEGIN {label}-----"))?;
    let body = body.strip_suffix(&format!("-----END {label}-----"))?;
    let joined: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    STANDARD.decode(joined.as_bytes()).ok().map(Zeroizing::new)
}
