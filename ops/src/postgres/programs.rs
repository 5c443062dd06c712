//! Finding PostgreSQL's server programs on the machine.
//!
//! Distributions keep them out of `PATH` on purpose (several major versions live side by side), so the
//! folders of the packages are searched too.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process;

/// The oldest major version that Anneal runs on.
pub const OLDEST_MAJOR: u32 = 14;
/// The variable that names the folder of the programs, instead of a search.
pub const BIN_VARIABLE: &str = "ANNEAL_PG_BIN";
/// Folders of packages; `*` is the major version: Debian, Red Hat, SUSE, Alpine, Gentoo, Homebrew (Apple
/// and Intel), Postgres.app.
const PACKAGE_FOLDERS: [&str; 8] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/lib/postgresql*/bin",
    "/usr/libexec/postgresql*",
    "/usr/lib64/postgresql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// `initdb` and `postgres` of one installed PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    folder: PathBuf,
    major: u32,
}

impl Programs {
    /// The programs to use for a new cluster: those in `$ANNEAL_PG_BIN` when it is set, else the first
    /// usable ones (version 14 or later) in `PATH`, then the newest in the folders of packages.
    ///
    /// # Errors
    /// [`Missing`], which says what to type to install them.
    pub fn find() -> Result<Self, Missing> {
        let places = Places::of_this_machine();
        places.usable().into_iter().next().ok_or_else(|| places.missing())
    }

    /// All usable programs, in the order in which [`Programs::find`] prefers them.
    #[must_use]
    pub fn installed() -> Vec<Self> {
        Places::of_this_machine().usable()
    }

    /// The major version, for example 15.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The server.
    #[must_use]
    pub fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    /// The program that creates a cluster.
    #[must_use]
    pub fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    /// The programs in `folder`, if both are there and new enough. Symbolic links are followed, because
    /// each program looks for the others beside itself.
    fn in_folder(folder: &Path) -> Option<Self> {
        let server = folder.join("postgres").canonicalize().ok()?;
        let folder = server.parent()?.to_owned();
        if !folder.join("initdb").is_file() {
            return None;
        }
        let mut command = process::clean(&server);
        command.arg("--version");
        let said = process::output(command, Duration::from_secs(10)).ok()?;
        let major = parse_major(&String::from_utf8_lossy(&said.stdout))?;
        (major >= OLDEST_MAJOR).then_some(Self { folder, major })
    }
}

/// "postgres (PostgreSQL) 15.18 (Debian …)" and "… 17devel" to the major version.
fn parse_major(said: &str) -> Option<u32> {
    let version = said.split_whitespace().nth(2)?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Where to look.
struct Places {
    only: Option<PathBuf>,
    path: Option<OsString>,
    packages: Vec<String>,
}

impl Places {
    fn of_this_machine() -> Self {
        Self {
            only: std::env::var_os(BIN_VARIABLE)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
            path: std::env::var_os("PATH"),
            packages: PACKAGE_FOLDERS.map(String::from).to_vec(),
        }
    }

    fn usable(&self) -> Vec<Programs> {
        let folders = match &self.only {
            Some(folder) => vec![folder.clone()],
            None => self.folders(),
        };
        let mut seen = BTreeSet::new();
        folders
            .iter()
            .filter_map(|folder| Programs::in_folder(folder))
            .filter(|programs| seen.insert(programs.folder.clone()))
            .collect()
    }

    fn folders(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = self
            .path
            .as_deref()
            .map(|path| std::env::split_paths(path).collect())
            .unwrap_or_default();
        folders.retain(|folder| folder.is_absolute());
        folders.extend(self.asked_of_pg_config());
        let mut packages: Vec<PathBuf> = self.packages.iter().flat_map(|pattern| expand(pattern)).collect();
        packages.sort_by_key(|folder| std::cmp::Reverse(version_in(folder)));
        folders.extend(packages);
        folders
    }

    /// `pg_config` is often in `PATH` where the server programs are not.
    fn asked_of_pg_config(&self) -> Option<PathBuf> {
        let path = self.path.as_deref()?;
        let program = std::env::split_paths(path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join("pg_config"))
            .find(|program| program.is_file())?;
        let mut command = process::clean(program);
        command.arg("--bindir");
        let said = process::output(command, Duration::from_secs(10)).ok()?;
        Some(PathBuf::from(String::from_utf8(said.stdout).ok()?.trim()))
    }

    fn missing(&self) -> Missing {
        Missing {
            asked: self.only.clone(),
        }
    }
}

/// The existing folders that match a pattern with one `*` inside one path component.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![PathBuf::from(pattern)];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or((".", before));
    let (suffix, rest) = after.split_once('/').unwrap_or((after, ""));
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.strip_prefix(prefix)
                .is_some_and(|name| name.ends_with(suffix))
        })
        .map(|entry| {
            if rest.is_empty() {
                entry.path()
            } else {
                entry.path().join(rest)
            }
        })
        .filter(|folder| folder.is_dir())
        .collect()
}

/// The number in a package folder's path: newest first is by this.
fn version_in(folder: &Path) -> u32 {
    let text = folder.to_string_lossy();
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .max()
        .unwrap_or(0)
}

/// PostgreSQL's server programs are not on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    asked: Option<PathBuf>,
}

impl std::error::Error for Missing {}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(folder) = &self.asked {
            return write!(
                f,
                "{BIN_VARIABLE} names {}, which does not hold `initdb` and `postgres` of version \
                 {OLDEST_MAJOR} or later; correct it, or unset it to search the machine",
                folder.display()
            );
        }
        write!(
            f,
            "PostgreSQL's server programs (initdb, postgres; version {OLDEST_MAJOR} or later) are not on \
             this machine. Install them:\n\
             \x20 Debian, Ubuntu     apt-get install postgresql\n\
             \x20 Fedora, Red Hat    dnf install postgresql-server\n\
             \x20 Alpine             apk add postgresql\n\
             \x20 Arch               pacman -S postgresql\n\
             \x20 openSUSE           zypper install postgresql-server\n\
             \x20 macOS              brew install postgresql@17\n\
             or name their folder in {BIN_VARIABLE}, or use a running server: \
             DATABASE_URL=postgres://user:password@host/database"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Places, Programs, parse_major, version_in};
    use std::path::{Path, PathBuf};

    #[test]
    fn version_lines_of_all_kinds_are_understood() {
        assert_eq!(
            parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(parse_major("postgres (PostgreSQL) 18devel\n"), Some(18));
        assert_eq!(parse_major("postgres (PostgreSQL)\n"), None);
        assert_eq!(parse_major(""), None);
    }

    #[test]
    fn newest_is_by_number_not_by_letter() {
        assert!(
            version_in(Path::new("/usr/lib/postgresql/9/bin")) < version_in(Path::new("/usr/pgsql-15/bin"))
        );
        assert_eq!(version_in(Path::new("/usr/lib/postgresql/bin")), 0);
    }

    #[test]
    fn a_machine_without_them_is_told_what_to_type() {
        let places = Places {
            only: None,
            path: None,
            packages: Vec::new(),
        };
        assert_eq!(places.usable(), Vec::new());
        let said = places.missing().to_string();
        for part in ["apt-get install postgresql", "DATABASE_URL", "ANNEAL_PG_BIN"] {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn a_named_folder_is_the_only_one_searched() {
        let places = Places {
            only: Some(PathBuf::from("/nowhere")),
            path: std::env::var_os("PATH"),
            packages: vec!["/usr/lib/postgresql/*/bin".into()],
        };
        assert_eq!(places.usable(), Vec::new());
        assert!(places.missing().to_string().contains("/nowhere"));
    }

    #[test]
    fn the_programs_of_this_machine_are_found() {
        let programs = Programs::find().expect("tests need PostgreSQL; ./ops/test installs it");
        assert!(programs.postgres().is_file() && programs.initdb().is_file());
        assert!(Programs::installed().contains(&programs));
    }
}
