//! The development mailer: each mail becomes a file that only the operator can read.
//!
//! One rule: a file is named by the mail's time and id, so that a mail that is handed over again replaces itself, and it is
//! whole or not there.

use std::{
    fmt::Write as _,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use domain::{
    event_store::BoxFuture,
    id::UserId,
    notifications::mail::{Mail, MailError, Mailer},
};

/// No mail is longer, in bytes.
const LARGEST_MAIL: u64 = 1 << 20;
/// What a file is called until it is whole; `forget` removes such files too.
const UNFINISHED: &str = "part";

/// See the module.
pub struct OutboxMailer {
    folder: PathBuf,
}

impl OutboxMailer {
    /// A mailer into `folder`, which is made when the first mail comes.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }
}

impl Mailer for OutboxMailer {
    fn send<'a>(&'a self, mail: &'a Mail) -> BoxFuture<'a, Result<(), MailError>> {
        let name = format!(
            "{:020}-{}.txt",
            mail.at.unix_timestamp_nanos() / 1_000,
            mail.id.simple()
        );
        let (folder, file) = (self.folder.clone(), self.folder.join(name));
        let mut text = String::new();
        // Writing into a text does not fail.
        let written = write!(
            text,
            "To: {}\nSubject: {}\nMessage-ID: <{}@anneal>\nPerson: {}\n\n{}\n",
            mail.to, mail.subject, mail.id, mail.person, mail.body
        );
        Box::pin(async move {
            written.map_err(|_| failed("the mail cannot be put into words"))?;
            let writing = file.clone();
            let written = tokio::task::spawn_blocking(move || write_private(&folder, &writing, &text)).await;
            match written {
                Ok(Ok(())) => {
                    tracing::info!(file = %file.display(), "a mail was put into the outbox");
                    Ok(())
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, file = %file.display(), "a mail was not written");
                    Err(failed("the outbox cannot be written to"))
                }
                Err(_) => Err(failed("writing into the outbox was broken off")),
            }
        })
    }

    fn forget(&self, person: UserId) -> BoxFuture<'_, Result<u32, MailError>> {
        let folder = self.folder.clone();
        Box::pin(async move {
            let removed = tokio::task::spawn_blocking(move || remove_mails(&folder, person)).await;
            match removed {
                Ok(Ok(removed)) => Ok(removed),
                Ok(Err(error)) => {
                    tracing::debug!(%error, %person, "mails of a person were not removed");
                    Err(failed("mails in the outbox cannot be looked at or removed"))
                }
                Err(_) => Err(failed("looking through the outbox was broken off")),
            }
        })
    }
}

fn failed(reason: &'static str) -> MailError {
    MailError {
        reason,
        permanent: false,
    }
}

/// Puts `text` at `file`, readable by this account alone: the whole of it, or nothing.
fn write_private(folder: &Path, file: &Path, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let part = file.with_extension(UNFINISHED);
    let mut writing = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)?;
    writing.write_all(text.as_bytes())?;
    writing.sync_all()?;
    std::fs::rename(&part, file)
}

/// Removes every mail that names `person`; earlier builds named the person only in the token.
fn remove_mails(folder: &Path, person: UserId) -> std::io::Result<u32> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let named = person.to_string();
    let mut removed = 0;
    for entry in entries {
        let path = entry?.path();
        let text = match small_files::read_bounded(&path, LARGEST_MAIL) {
            Ok(text) => text,
            // Somebody was faster.
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(std::io::Error::other(error)),
        };
        if text.windows(named.len()).any(|part| part == named.as_bytes()) {
            std::fs::remove_file(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use domain::{
        id::UserId,
        notifications::mail::{Mail, Mailer as _},
    };
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::OutboxMailer;

    fn mail(id: u128, person: u128, body: &str) -> Mail {
        Mail {
            id: Uuid::from_u128(id),
            at: OffsetDateTime::UNIX_EPOCH,
            person: UserId(Uuid::from_u128(person)),
            to: "ada@example.org".to_owned(),
            subject: "Subject".to_owned(),
            body: body.to_owned(),
        }
    }

    fn texts(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let text = |entry: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(entry.expect("an entry").path()).expect("a text")
        };
        entries.map(text).collect()
    }

    #[tokio::test]
    async fn a_mail_that_is_handed_over_again_replaces_itself_and_goes_with_its_person() {
        let folder = tempfile::tempdir().expect("a folder");
        let outbox = folder.path().join("outbox");
        let mailer = OutboxMailer::new(outbox.clone());
        for body in ["first", "again"] {
            mailer.send(&mail(1, 1, body)).await.expect("sent");
        }
        mailer.send(&mail(2, 2, "other")).await.expect("sent");
        let found = texts(&outbox);
        assert_eq!(found.len(), 2, "{found:?}");
        let id = format!("Message-ID: <{}@anneal>", Uuid::from_u128(1));
        assert!(
            found
                .iter()
                .any(|text| text.contains(&id) && text.contains("again")),
            "{found:?}"
        );
        let removed = mailer.forget(UserId(Uuid::from_u128(1))).await;
        assert_eq!(removed, Ok(1));
        assert_eq!(texts(&outbox).len(), 1);
    }
}
