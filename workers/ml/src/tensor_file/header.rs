//! A `safetensors` file on the disk that is read tensor by tensor.
//!
//! Rule: nothing is read before the header, the length of the file and the positions of all tensors have been
//! checked; since tensors are read one by one, a model is in memory only once.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
};

use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::error::{invalid_file, join_problems};
use crate::failure::{Failure, FailureCode};

/// Maximum size of the header in bytes, as in the format's own library.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// What to do about a damaged file.
const ADVICE: &str = "the file is damaged or incomplete; copy or download it again";

/// An open file with a valid header.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    /// Offset of the contents.
    start: u64,
    tensors: BTreeMap<String, TensorInfo>,
    code: FailureCode,
}

impl TensorFile {
    /// Opens and checks the file at `path`; all errors have the code `code`.
    ///
    /// # Errors
    /// `code` when it cannot be read or is inconsistent: truncated or with extra bytes, tensors that overlap, leave
    /// gaps or exceed the file, shapes that do not match their bytes or overflow, unknown types, duplicate names, or
    /// invalid JSON.
    pub fn open(path: &Path, code: FailureCode) -> Result<Self, Failure> {
        let io = |error: std::io::Error| Failure::io(code, "read", path, &error);
        let corrupt = |reason: &dyn fmt::Display| invalid_file(path, code, &format!("{reason}; {ADVICE}"));
        let mut file =
            small_files::open_regular(path).map_err(|error| crate::files::unreadable(code, &error))?;
        let length = file.metadata().map_err(io)?.len();
        let mut size = [0; 8];
        if length < 8 {
            return Err(corrupt(&"it is too short for a header"));
        }
        file.read_exact(&mut size).map_err(io)?;
        let size = u64::from_le_bytes(size);
        if size > length - 8 || size > MAX_HEADER_BYTES {
            return Err(corrupt(&format!(
                "its header claims {size} bytes, but the file has {length}"
            )));
        }
        let mut header = vec![0; size as usize];
        file.read_exact(&mut header).map_err(io)?;
        let mut json = serde_json::Deserializer::from_slice(&header);
        let listed = json
            .deserialize_map(HeaderVisitor)
            .and_then(|listed| json.end().map(|()| listed))
            .map_err(|error| corrupt(&error))?;
        let checked = Metadata::new(None, listed.clone()).map_err(|error| corrupt(&error))?;
        let start = 8 + size;
        if start + checked.data_len() as u64 != length {
            return Err(corrupt(&format!(
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

    /// A failure of this file with `problems`.
    pub(super) fn refuse(&self, problems: &[String]) -> Failure {
        invalid_file(&self.path, self.code, &join_problems(problems))
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
    /// The code given to [`TensorFile::open`] when it cannot be read; an internal failure when it does not exist.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let (from, to) = self.offsets(name)?;
        self.part(name, 0..to - from)
    }

    fn offsets(&self, name: &str) -> Result<(usize, usize), Failure> {
        let info = self.tensors.get(name);
        let info = info.ok_or_else(|| Failure::internal("find a tensor", name))?;
        Ok(info.data_offsets)
    }

    /// Some of the bytes of the tensor `name`.
    ///
    /// # Errors
    /// As [`TensorFile::bytes`]; an internal failure when the tensor has fewer.
    pub(super) fn part(&self, name: &str, range: Range<usize>) -> Result<Vec<u8>, Failure> {
        let (from, to) = self.offsets(name)?;
        if range.end > to - from {
            return Err(Failure::internal("read a part of a tensor", name));
        }
        let from = from + range.start;
        let mut bytes = vec![0; range.len()];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.start + from as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| Failure::io(self.code, "read", &self.path, &error))?;
        Ok(bytes)
    }
}

/// The tensors of a header in order of their positions; duplicate names are errors.
struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
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
