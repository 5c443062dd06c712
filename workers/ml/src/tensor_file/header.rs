//! A `safetensors` file on the disk, of which only what is asked for is read.
//!
//! Rule: nothing of the file is believed before header, length and all places of tensors agree; the contents
//! are read tensor by tensor, so that a model is in memory once.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{listed, refused};
use crate::failure::{Failure, FailureCode};

/// Longest header in bytes, as in the format's own library.
const LONGEST: u64 = 100_000_000;
/// What a person can do about a damaged file.
const ADVICE: &str = "the file is damaged or incomplete; copy or download it again";

/// An open file whose header has been checked.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    /// Where the contents begin.
    start: u64,
    tensors: BTreeMap<String, TensorInfo>,
    code: FailureCode,
}

impl TensorFile {
    /// Opens and checks the file at `path`; all refusals have the kind `code`.
    ///
    /// # Errors
    /// `code` when it cannot be read or lies: truncated or with surplus bytes, tensors that overlap, leave gaps or
    /// lie outside, shapes that do not fit their bytes or overflow, unknown types, a name twice, no JSON.
    pub fn open(path: &Path, code: FailureCode) -> Result<Self, Failure> {
        let io = |error: std::io::Error| Failure::io(code, "read", path, &error);
        let lies = |reason: &dyn fmt::Display| refused(path, code, &format!("{reason}; {ADVICE}"));
        // Asked before it is opened: opening a pipe would wait for a writer.
        let found = std::fs::metadata(path).map_err(io)?;
        if !found.is_file() {
            return Err(refused(path, code, "it is no file"));
        }
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut size = [0; 8];
        if length < 8 {
            return Err(lies(&"it is too short for a header"));
        }
        file.read_exact(&mut size).map_err(io)?;
        let size = u64::from_le_bytes(size);
        if size > length - 8 || size > LONGEST {
            return Err(lies(&format!(
                "its header claims {size} bytes, but the file has {length}"
            )));
        }
        let mut header = vec![0; size as usize];
        file.read_exact(&mut header).map_err(io)?;
        let mut json = serde_json::Deserializer::from_slice(&header);
        let listed = json
            .deserialize_map(Listed)
            .and_then(|listed| json.end().map(|()| listed))
            .map_err(|error| lies(&error))?;
        let checked = Metadata::new(None, listed.clone()).map_err(|error| lies(&error))?;
        let start = 8 + size;
        if start + checked.data_len() as u64 != length {
            return Err(lies(&format!(
                "its tensors have {} bytes, but {} follow the header",
                checked.data_len(),
                length - start
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            start,
            tensors: listed.into_iter().collect(),
            code,
        })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A refusal of this file for `problems`.
    pub(super) fn refuse(&self, problems: &[String]) -> Failure {
        refused(&self.path, self.code, &listed(problems))
    }

    /// Its tensors in order of name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Type and shape of the tensor `name`, where there is one.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.tensors
            .get(name)
            .map(|info| (info.dtype, info.shape.as_slice()))
    }

    /// The bytes of the tensor `name`, little-endian.
    ///
    /// # Errors
    /// The kind given to [`TensorFile::open`] when it cannot be read; an internal failure when there is none.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let info = self
            .tensors
            .get(name)
            .ok_or_else(|| Failure::internal("find a tensor", name))?;
        let (from, to) = info.data_offsets;
        let mut bytes = vec![0; to - from];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.start + from as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| Failure::io(self.code, "read", &self.path, &error))?;
        Ok(bytes)
    }
}

/// The tensors of a header in order of their places, each name once.
struct Listed;

impl<'de> Visitor<'de> for Listed {
    type Value = Vec<(String, TensorInfo)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut listed, mut seen) = (Vec::new(), std::collections::BTreeSet::new());
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format!("the header names {name} twice")));
            }
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
            } else {
                let info = map
                    .next_value::<TensorInfo>()
                    .map_err(|error| A::Error::custom(format!("{name}: {error}")))?;
                listed.push((name, info));
            }
        }
        listed.sort_by_key(|(_, info): &(String, TensorInfo)| info.data_offsets);
        Ok(listed)
    }
}
