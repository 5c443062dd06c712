//! Lines from a program that may misbehave.
//!
//! One rule: no more than one line of bounded length is ever held.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Longest line that is taken. A second of the fastest training takes a few hundred KiB.
const LONGEST: usize = 4 << 20;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line without its end.
    Text(Vec<u8>),
    /// A line that is too long. Nothing more can be made of this reader.
    TooLong,
    /// There is no more.
    End,
}

/// Reads lines.
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    longest: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader: BufReader::new(reader),
            line: Vec::new(),
            longest: LONGEST,
        }
    }

    /// The next line. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> io::Result<Line> {
        loop {
            let available = self.reader.fill_buf().await?;
            if available.is_empty() {
                return Ok(match self.line.is_empty() {
                    true => Line::End,
                    false => Line::Text(std::mem::take(&mut self.line)),
                });
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let used = end.unwrap_or(available.len());
            self.line.extend_from_slice(&available[..used]);
            self.reader.consume(end.map_or(used, |end| end + 1));
            if self.line.len() > self.longest {
                return Ok(Line::TooLong);
            }
            if end.is_some() {
                return Ok(Line::Text(std::mem::take(&mut self.line)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Lines};

    #[tokio::test]
    async fn lines_come_whole_and_an_endless_one_is_refused() {
        let text: &[u8] = b"one\n\ntwo\nendless and endless";
        let mut lines = Lines {
            longest: 10,
            ..Lines::new(text)
        };
        assert_eq!(lines.next().await.expect("read"), Line::Text(b"one".to_vec()));
        assert_eq!(lines.next().await.expect("read"), Line::Text(Vec::new()));
        assert_eq!(lines.next().await.expect("read"), Line::Text(b"two".to_vec()));
        assert_eq!(lines.next().await.expect("read"), Line::TooLong);
    }

    #[tokio::test]
    async fn a_last_line_without_end_counts() {
        let mut lines = Lines::new(b"last".as_slice());
        assert_eq!(lines.next().await.expect("read"), Line::Text(b"last".to_vec()));
        assert_eq!(lines.next().await.expect("read"), Line::End);
    }
}
