//! What happens to the decompressed bytes of an upload.
//!
//! One rule: each byte is seen once, and is hashed, checked and staged in that moment.

use domain::datasets::format::{Format, Summary, Validator};
use sha2::{Digest, Sha256};

use super::{Declared, IngestError, IngestLimits, give_up};
use objects::Staged;

/// How many bytes the format is guessed from.
const HEAD: usize = 64 << 10;

/// Everything that is done with the decompressed bytes, once, as they pass.
pub(super) struct Pass {
    pub(super) hash: Sha256,
    pub(super) bytes: u64,
    pub(super) stage: Stage,
    /// `None` once a problem is found: what cannot be used is not written any further.
    pub(super) staged: Option<Staged>,
}

/// Before and after the format is known.
pub(super) enum Stage {
    /// The first bytes, until there are enough to tell the format.
    Head(Vec<u8>),
    /// The check of that format.
    Checking(Format, Box<Validator>),
}

impl Pass {
    pub(super) fn new(staged: Staged) -> Self {
        Self {
            hash: Sha256::new(),
            bytes: 0,
            stage: Stage::Head(Vec::new()),
            staged: Some(staged),
        }
    }

    pub(super) async fn take(
        &mut self,
        bytes: &[u8],
        declared: &Declared,
        limits: &IngestLimits,
    ) -> Result<(), IngestError> {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
        let enough = match &mut self.stage {
            Stage::Checking(_, validator) => {
                validator.feed(bytes);
                false
            }
            Stage::Head(head) => {
                head.extend_from_slice(bytes);
                head.len() >= HEAD
            }
        };
        if enough {
            self.begin_checking(declared, limits)?;
        }
        if matches!(&self.stage, Stage::Checking(_, validator) if validator.has_problems()) {
            give_up(self.staged.take()).await;
        }
        if let Some(staged) = &mut self.staged {
            staged.write(bytes).await?;
        }
        Ok(())
    }

    /// Settles the format, and checks what has come so far.
    pub(super) fn begin_checking(
        &mut self,
        declared: &Declared,
        limits: &IngestLimits,
    ) -> Result<(), IngestError> {
        let Stage::Head(head) = &self.stage else {
            return Ok(());
        };
        let format = match declared.format {
            Some(format) => format,
            None => Format::detect(&declared.file_name, head)?,
        };
        let mut validator = Box::new(Validator::new(format, limits.lines));
        validator.feed(head);
        self.stage = Stage::Checking(format, validator);
        Ok(())
    }
    /// What the bytes are, after all of them.
    ///
    /// # Errors
    /// With the lines that cannot be used.
    pub(super) fn checked(self) -> Result<(Format, Summary), IngestError> {
        let Stage::Checking(format, validator) = self.stage else {
            return Err(IngestError::Incomplete);
        };
        let summary = validator.finish().map_err(IngestError::BadLines)?;
        Ok((format, summary))
    }
}
