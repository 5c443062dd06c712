//! What lies in the folder of models (MO-1). What a model is, only the training engine knows; so the composition root
//! hands in who looks.

use async_trait::async_trait;

/// Why a folder cannot be imported, as far as a look tells.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Switched off.
    #[error("importing is switched off; an administrator sets models.folder in the configuration")]
    Off,
    /// Not a plain name, or no such folder.
    #[error("there is no folder of this name in the import folder")]
    NoFolder,
    /// Its files are no model that can be trained on.
    #[error("{0}")]
    NotAModel(String),
    /// This machine failed.
    #[error("the files cannot be read at present; try again, or ask the operator")]
    Unreadable,
}

/// The files of a model in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundModel {
    /// How many.
    pub files: u32,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// Looks into the folder of models.
#[async_trait]
pub trait ModelFolders: Send + Sync {
    /// Looks at the model in the subfolder `folder`: that its files are there and may be read, and that its configuration
    /// is of a model that can be trained on. Small files are read, weights are not.
    ///
    /// # Errors
    /// See [`ImportError`]; everything that is wrong with the files at once.
    async fn look(&self, folder: &str) -> Result<FoundModel, ImportError>;
}
