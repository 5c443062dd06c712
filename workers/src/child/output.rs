//! What a child says besides its messages: in a file of bounded size, and the last words in memory.
//!
//! One rule: however much it says, neither disk nor memory fills.

use std::{
    collections::VecDeque,
    fs::File,
    io::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of the file at most.
const KEPT: usize = 1 << 20;
/// Bytes of the last words at most.
const LAST: usize = 600;

/// See the module. Clones share it.
#[derive(Clone)]
pub(crate) struct Output(Arc<Mutex<State>>);

struct State {
    file: Option<File>,
    room: usize,
    last: VecDeque<u8>,
}

impl Output {
    pub(crate) fn create(path: &Path) -> std::io::Result<Self> {
        let file = Some(File::create(path)?);
        Ok(Self(Arc::new(Mutex::new(State {
            file,
            room: KEPT,
            last: VecDeque::new(),
        }))))
    }

    /// Takes a piece.
    pub(crate) fn add(&self, bytes: &[u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.last.extend(&bytes[bytes.len().saturating_sub(LAST)..]);
        let surplus = state.last.len().saturating_sub(LAST);
        state.last.drain(..surplus);
        let kept = &bytes[..bytes.len().min(state.room)];
        state.room -= kept.len();
        let written = state.file.as_mut().map_or(Ok(()), |file| file.write_all(kept));
        if let Err(error) = written {
            tracing::warn!(%error, "what a training process says is no longer kept");
            state.file = None;
        }
    }

    /// Takes all that `source` says, until its end.
    pub(crate) async fn drink(self, mut source: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 8 * 1024];
        // A source that breaks has nothing more to say.
        while let Ok(read @ 1..) = source.read(&mut buffer).await {
            self.add(&buffer[..read]);
        }
    }

    /// What was said last, on one line, without control characters.
    pub(crate) fn last_words(&self) -> String {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = state.last.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        text.split_whitespace()
            .map(printable)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

fn printable(word: &str) -> String {
    word.chars().filter(|character| !character.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::{KEPT, LAST, Output};

    #[tokio::test]
    async fn the_file_is_bounded_and_the_last_words_are_the_last() {
        let room = tempfile::tempdir().expect("a folder");
        let path = room.path().join("output.log");
        let output = Output::create(&path).expect("created");
        let noise = vec![b'x'; KEPT + 5];
        output.clone().drink(noise.as_slice()).await;
        output.add(b"\nout of\x1b memory\n");
        assert_eq!(std::fs::metadata(&path).expect("there").len(), KEPT as u64);
        let words = output.last_words();
        assert!(words.ends_with("x out of memory"), "{words}");
        assert!(words.len() <= LAST);
    }
}
