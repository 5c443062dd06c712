//! What a fold hands out to be written.
//!
//! One rule: each write carries its whole statement, so that whoever runs it needs to know no table.

use sqlx::PgConnection;

use super::{ProjectError, Statement};

/// Something to be written into the tables of a read model.
pub enum Write {
    /// Rows whose keys are not in the table.
    Copy {
        /// The statement.
        statement: String,
        /// The rows, in the binary form of `COPY`, as they are sent.
        rows: Vec<Vec<u8>>,
    },
    /// Rows that are put, or versions that end or begin.
    Statement(Statement),
}

impl Write {
    /// The table that must have its key before.
    #[must_use]
    pub fn needs_key(&self) -> Option<&str> {
        match self {
            Self::Copy { .. } => None,
            Self::Statement(statement) => statement.needs_key.as_deref(),
        }
    }

    /// About how many bytes it holds.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Copy { rows, .. } => rows.iter().map(Vec::capacity).sum(),
            Self::Statement(statement) => statement.size(),
        }
    }

    /// The statement, if it is one.
    #[must_use]
    pub(crate) fn into_statement(self) -> Option<Statement> {
        match self {
            Self::Copy { .. } => None,
            Self::Statement(statement) => Some(statement),
        }
    }

    /// Writes it, inside the transaction of `connection`.
    ///
    /// # Errors
    /// When the database fails, or the stored past is not that of the stored rows.
    pub async fn run(self, connection: &mut PgConnection) -> Result<(), ProjectError> {
        match self {
            Self::Copy { statement, rows } => {
                let mut copy = connection.copy_in_raw(&statement).await?;
                for chunk in rows {
                    copy.send(chunk).await?;
                }
                copy.finish().await?;
                Ok(())
            }
            Self::Statement(statement) => {
                let written = statement.execute(connection).await?;
                statement.check(written)
            }
        }
    }
}
