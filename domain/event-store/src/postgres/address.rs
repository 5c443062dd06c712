//! The URL of a PostgreSQL server, read strictly.
//!
//! The rule: what the driver would pass over in silence is refused here. With `sslmod` in the place of `sslmode` it would
//! check no certificate, and nobody would know. Errors name parameters and files, never a value that may be a password.

use std::{fs, io::Read as _, net::IpAddr, str::FromStr as _};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::connect_error::ConnectError;

/// What a parameter may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    SslMode,
    Authorities,
    Certificate,
    Key,
    Port,
    Ip,
    Count,
    Text,
}

/// The parameters that the driver reads, with its other names for them.
const PARAMETERS: [(Kind, &str, &[&str]); 13] = [
    (Kind::SslMode, "sslmode", &["ssl-mode"]),
    (Kind::Authorities, "sslrootcert", &["ssl-root-cert", "ssl-ca"]),
    (Kind::Certificate, "sslcert", &["ssl-cert"]),
    (Kind::Key, "sslkey", &["ssl-key"]),
    (Kind::Text, "host", &[]),
    (Kind::Ip, "hostaddr", &[]),
    (Kind::Port, "port", &[]),
    (Kind::Text, "dbname", &[]),
    (Kind::Text, "user", &[]),
    (Kind::Text, "password", &[]),
    (Kind::Text, "application_name", &[]),
    (Kind::Text, "options", &[]),
    (Kind::Count, "statement-cache-capacity", &[]),
];
/// The modes of TLS.
pub const SSL_MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];
/// Longest name of an unknown parameter that is repeated.
const NAME: usize = 40;
/// Longest file of certificates that is looked into.
const CERTIFICATES: u64 = 4 << 20;

/// Reads a database URL.
///
/// # Errors
/// [`ConnectError::Address`] or [`ConnectError::Parameters`] with everything that is wrong; neither repeats the URL.
pub fn address(url: &str) -> Result<PgConnectOptions, ConnectError> {
    let parsed = Url::parse(url).map_err(|_| ConnectError::Address)?;
    if !matches!(parsed.scheme(), "postgres" | "postgresql") {
        return Err(ConnectError::Address);
    }
    let mistakes = Parameters::of(&parsed).mistakes(&parsed);
    if !mistakes.is_empty() {
        return Err(ConnectError::Parameters(mistakes.join("; ")));
    }
    let options = PgConnectOptions::from_str(url).map_err(|_| ConnectError::Address)?;
    match unchecked_authorities(&parsed, &options) {
        Some(mistake) => Err(ConnectError::Parameters(mistake)),
        None => Ok(options),
    }
}

/// Whether a mode of TLS is one, in the driver's own reading.
#[must_use]
pub fn is_ssl_mode(text: &str) -> bool {
    SSL_MODES.contains(&text.to_ascii_lowercase().as_str())
}

/// The parameters of a URL: those that are known with their values, and the names of the others.
#[derive(Default)]
struct Parameters {
    known: Vec<(Kind, &'static str, String)>,
    unknown: Vec<String>,
}

impl Parameters {
    fn of(url: &Url) -> Self {
        let mut parameters = Self::default();
        for (name, value) in url.query_pairs() {
            let found = PARAMETERS
                .iter()
                .find(|(_, known, others)| *known == name || others.contains(&&*name));
            match found {
                Some((kind, known, _)) => parameters.known.push((*kind, known, value.into_owned())),
                // `options[statement_timeout]=5s` adds to the options.
                None if name.starts_with("options[") && name.ends_with(']') => {}
                None => parameters.unknown.push(name.into_owned()),
            }
        }
        parameters
    }

    fn given(&self, name: &str) -> bool {
        self.known.iter().any(|(_, known, _)| *known == name)
    }

    /// Everything that is wrong.
    fn mistakes(&self, url: &Url) -> Vec<String> {
        let mut mistakes = Vec::new();
        if url.fragment().is_some() {
            mistakes.push(
                "it has a #, and what follows that would be passed over; write %23 in a password".to_owned(),
            );
        }
        mistakes.extend(self.unknown(url));
        for (at, (kind, name, value)) in self.known.iter().enumerate() {
            let again = self.known[..at].iter().any(|(_, before, _)| before == name);
            if again && *name != "options" {
                mistakes.push(format!("{name} is given twice"));
            }
            mistakes.extend(value_mistake(*kind, value).map(|mistake| format!("{name}: {mistake}")));
        }
        if self.given("sslcert") != self.given("sslkey") {
            mistakes.push("sslcert and sslkey belong together, and one of them is missing".to_owned());
        }
        mistakes
    }

    fn unknown(&self, url: &Url) -> Option<String> {
        if self.unknown.is_empty() {
            return None;
        }
        let known: Vec<&str> = PARAMETERS.iter().map(|(_, name, _)| *name).collect();
        let known = known.join(", ");
        // A password with a ? in it has its second half here, before the @.
        if url.query().is_some_and(|query| query.contains('@')) {
            return Some(format!(
                "what follows the ? is no list of parameters; write %3F for a ? in a password; known: {known}"
            ));
        }
        let fit = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
        let shown = self.unknown.iter().map(|name| match name.as_str() {
            name if name.len() <= NAME && !name.is_empty() && name.chars().all(fit) => format!("'{name}'"),
            _ => "one of them".to_owned(),
        });
        let shown = shown.collect::<Vec<_>>().join(", ");
        Some(format!("unknown parameter {shown}; known: {known}"))
    }
}

/// What is wrong with a value, without the value itself, unless it is the path of a file.
fn value_mistake(kind: Kind, value: &str) -> Option<String> {
    let wrong = |holds: bool, expected: &str| (!holds).then(|| format!("expected {expected}"));
    match kind {
        Kind::SslMode => wrong(is_ssl_mode(value), &SSL_MODES.join(", ")),
        Kind::Port => wrong(
            value.parse::<u16>().is_ok_and(|port| port > 0),
            "a port, 1 to 65535",
        ),
        Kind::Ip => wrong(value.parse::<IpAddr>().is_ok(), "an IP address"),
        Kind::Count => wrong(value.parse::<usize>().is_ok(), "a number"),
        Kind::Authorities | Kind::Certificate => file_mistake(value, "CERTIFICATE-----", "certificate"),
        Kind::Key => file_mistake(value, "PRIVATE KEY-----", "private key"),
        Kind::Text => None,
    }
}

/// What is wrong with the file at `path`, which is to hold a PEM block whose first line ends with `mark`.
fn file_mistake(path: &str, mark: &str, what: &str) -> Option<String> {
    // The driver takes the text itself too.
    if path.trim().starts_with("-----BEGIN") {
        return None;
    }
    let read = || {
        // Anything else, a pipe above all, might never end.
        if !fs::metadata(path)?.is_file() {
            return Err(std::io::Error::other("it is no file"));
        }
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(CERTIFICATES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Err(error) => Some(format!("{path} cannot be read: {error}")),
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let holds = text
                .lines()
                .any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(mark));
            (!holds).then(|| format!("{path} holds no {what} in PEM form"))
        }
    }
}

/// Authorities that are given, and that the mode (of the URL, or of `PGSSLMODE`) does not look at.
fn unchecked_authorities(url: &Url, options: &PgConnectOptions) -> Option<String> {
    let checks = matches!(
        options.get_ssl_mode(),
        PgSslMode::VerifyCa | PgSslMode::VerifyFull | PgSslMode::Disable
    );
    (!checks && Parameters::of(url).given("sslrootcert")).then(|| {
        "sslrootcert is looked at only with sslmode=verify-full or verify-ca: set one of them, or leave it out".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::address;

    const KNOWN: &str = "known: sslmode, sslrootcert, sslcert, sslkey, host,";

    fn refused(url: &str) -> String {
        let error = address(url).expect_err(url);
        let told = format!("{error}");
        assert!(!format!("{told} {error:?}").contains("s3cret"), "{told}");
        told
    }

    #[test]
    fn an_unreadable_address_is_not_repeated_in_the_error() {
        refused("postgres://user:s3cret@host:notaport/db");
        refused("mysql://user:s3cret@host/db");
    }

    #[test]
    fn a_misspelt_parameter_is_refused_with_the_known_ones() {
        let told = refused("postgres://user:s3cret@host/db?sslmod=verify-full&conect=1");
        assert!(told.contains("unknown parameter 'sslmod', 'conect'"), "{told}");
        assert!(told.contains(KNOWN), "{told}");
    }

    #[test]
    fn a_bad_value_is_refused_with_what_would_do() {
        let told =
            refused("postgres://user:s3cret@host/db?sslmode=s3cret&port=0&hostaddr=s3cret&sslcert=/none");
        for part in [
            "sslmode: expected disable, allow, prefer, require, verify-ca, verify-full",
            "port: expected a port, 1 to 65535",
            "hostaddr: expected an IP address",
            "sslcert: /none cannot be read: No such file",
            "sslcert and sslkey belong together",
        ] {
            assert!(told.contains(part), "'{part}' in {told}");
        }
        let told = refused("postgres://user@host/db?sslmode=disable&ssl-mode=require");
        assert!(told.contains("sslmode is given twice"), "{told}");
    }

    #[test]
    fn a_password_that_is_not_encoded_is_refused_and_not_repeated() {
        for url in [
            "postgres://user:1?s3cret@host/db",
            "postgres://user:1#s3cret@host/db",
        ] {
            assert!(refused(url).contains("in a password"), "{url}");
        }
        let told = refused("postgres://user@host/db?s3cret%20=1");
        assert!(told.contains("one of them"), "{told}");
    }

    #[test]
    fn files_are_looked_into_and_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "no certificate").expect("written");
        let url = |mode: &str, file: &std::path::Path| {
            format!(
                "postgres://user@host/db?sslmode={mode}&sslrootcert={}",
                file.display()
            )
        };
        let told = refused(&url("verify-full", &file));
        assert!(told.contains("ca.pem holds no certificate"), "{told}");
        let told = refused(&url("verify-full", folder.path()));
        assert!(told.contains("it is no file"), "{told}");
        std::fs::write(
            &file,
            "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
        )
        .expect("written");
        assert!(address(&url("verify-full", &file)).is_ok());
        let told = refused(&url("require", &file));
        assert!(told.contains("sslrootcert is looked at only with"), "{told}");
    }

    #[test]
    fn what_the_driver_knows_is_let_in() {
        for url in [
            "postgres://user:pass@host:5433/db?sslmode=Verify-Full&application_name=x&statement-cache-capacity=10",
            "postgres:///db?host=/var/run/postgresql&user=anneal&options[statement_timeout]=5s&options=-c%20x%3D1",
            "postgresql://%2Fvar%2Frun/db?port=5432&dbname=x&password=y&hostaddr=::1",
        ] {
            assert!(address(url).is_ok(), "{url}: {:?}", address(url).err());
        }
    }
}
