//! The folder of models: which of its subfolders are meant, and what lies in them.
//!
//! One rule: what is read of such a folder is read of pinned files, see [`pinned`].

pub(crate) mod copy;
pub(crate) mod pinned;
pub(crate) mod plan;
#[cfg(test)]
mod tests;

use std::path::{Component, Path, PathBuf};

use self::pinned::{Pinned, Unfit};

/// The files of a model in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Their names.
    pub names: Vec<String>,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// Why there is nothing to import.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// Not a plain name, or no such folder.
    #[error("there is no folder of this name in the import folder")]
    NoFolder,
    /// Its files are no model that can be trained on.
    #[error("{0}")]
    NotAModel(String),
    /// This machine failed.
    #[error("the files of the model could not be opened: {0}")]
    Unreadable(std::io::Error),
}

impl From<Unfit> for LookError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Files(why) => Self::NotAModel(why),
            Unfit::Io(error) => Self::Unreadable(error),
        }
    }
}

/// The folder called `name`: a subfolder of `root`, or `models--…/snapshots/…` as the Hugging Face hub keeps them in its
/// cache. No way out by a link.
///
/// # Errors
/// [`LookError::NoFolder`].
pub fn subfolder(root: &Path, name: &str) -> Result<PathBuf, LookError> {
    let root = root.canonicalize().map_err(|_| LookError::NoFolder)?;
    if !is_place(Path::new(name)) {
        return Err(LookError::NoFolder);
    }
    let folder = root.join(name).canonicalize().map_err(|_| LookError::NoFolder)?;
    let inside = folder.strip_prefix(&root).is_ok_and(is_place);
    match inside && folder.is_dir() {
        true => Ok(folder),
        false => Err(LookError::NoFolder),
    }
}

/// Whether a path below the root may be that of a model's folder.
fn is_place(path: &Path) -> bool {
    let parts: Option<Vec<&str>> = path
        .components()
        .map(|part| match part {
            Component::Normal(part) => part.to_str(),
            _ => None,
        })
        .collect();
    match parts.as_deref() {
        Some([_]) => true,
        Some([repository, "snapshots", _]) => repository.starts_with("models--"),
        _ => false,
    }
}

/// Looks at the model in the subfolder `name` of `root`: small files are read, weights are not. Blocks.
///
/// # Errors
/// [`LookError`], with everything that is wrong with the files.
pub fn look(root: &Path, name: &str) -> Result<Found, LookError> {
    let folder = subfolder(root, name)?;
    found(&Pinned::open(&folder)?)
}

/// The files of the model among the pinned ones.
pub(crate) fn found(pinned: &Pinned) -> Result<Found, LookError> {
    let names = ml::model::folder::look(&pinned.paths());
    let names = names.map_err(|failure| LookError::NotAModel(failure.message))?;
    let sizes = names.iter().filter_map(|name| pinned.identity(name));
    let bytes = sizes.fold(0_u64, |sum, identity| sum.saturating_add(identity.bytes));
    Ok(Found { names, bytes })
}
