//! Mail. In development it lands in a folder, to be read there.

use std::path::PathBuf;

use async_trait::async_trait;
use domain::id::{Ids, UserId};

/// A mail to one person.
#[derive(Clone)]
pub struct Mail {
    /// Whom it is for: what is still here of it goes when the person is erased.
    pub person: UserId,
    /// Address.
    pub to: String,
    /// Subject.
    pub subject: String,
    /// Text. May hold a token, so it is never logged.
    pub body: String,
}

/// A mail that was not sent.
#[derive(Debug, thiserror::Error)]
#[error("the mail could not be handed over: {0}")]
pub struct MailError(pub String);

/// Sends mail.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Sends one mail; `Ok` means that it was handed over.
    ///
    /// # Errors
    /// When it was not.
    async fn send(&self, mail: Mail) -> Result<(), MailError>;

    /// Removes what is still here of mails to `person`, and says how many were. Repeating it is safe.
    ///
    /// # Errors
    /// When one could not be looked at or removed.
    async fn forget(&self, person: UserId) -> Result<u32, MailError>;
}

/// The development mailer: each mail becomes a file that only the operator can read, and is announced on
/// the terminal.
pub struct OutboxMailer {
    folder: PathBuf,
    ids: std::sync::Arc<dyn Ids>,
}

impl OutboxMailer {
    /// A mailer into `folder`, which is made when the first mail comes.
    #[must_use]
    pub fn new(folder: PathBuf, ids: std::sync::Arc<dyn Ids>) -> Self {
        Self { folder, ids }
    }
}

#[async_trait]
impl Mailer for OutboxMailer {
    async fn send(&self, mail: Mail) -> Result<(), MailError> {
        let path = self.folder.join(format!("{}.txt", self.ids.next()));
        let Mail {
            person,
            to,
            subject,
            body,
        } = mail;
        let text = format!("To: {to}\nSubject: {subject}\nPerson: {person}\n\n{body}\n");
        let (folder, file) = (self.folder.clone(), path.clone());
        let written = tokio::task::spawn_blocking(move || write_private(&folder, &file, &text)).await;
        match written {
            Ok(Ok(())) => {
                tracing::info!(file = %path.display(), "a mail was put into the outbox");
                Ok(())
            }
            Ok(Err(error)) => Err(MailError(error.to_string())),
            Err(error) => Err(MailError(error.to_string())),
        }
    }

    async fn forget(&self, person: UserId) -> Result<u32, MailError> {
        let folder = self.folder.clone();
        let removed = tokio::task::spawn_blocking(move || remove_mails(&folder, person)).await;
        let removed = removed.map_err(|error| MailError(error.to_string()))?;
        removed.map_err(|error| MailError(error.to_string()))
    }
}

/// No mail is longer, in bytes.
const LARGEST_MAIL: u64 = 1 << 20;

fn write_private(folder: &std::path::Path, file: &std::path::Path, text: &str) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    std::fs::create_dir_all(folder)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(text.as_bytes())
}

/// Removes every mail that names `person`; earlier builds named the person only in the token.
fn remove_mails(folder: &std::path::Path, person: UserId) -> std::io::Result<u32> {
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
