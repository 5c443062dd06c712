//! The streaming check of a dataset.
//!
//! One rule: memory is bounded by one line. How the stream is cut into chunks changes nothing.

use super::{Format, Limits, Problem, ProblemCode, Report, Summary, UTF8_MARK, chat, keyed};

/// Checks a dataset as it streams by: [`feed`](Self::feed) chunks, or hand over whole lines one by one with
/// [`line`](Self::line), then [`finish`](Self::finish).
#[derive(Debug)]
pub struct Validator {
    format: Format,
    limits: Limits,
    /// The line that has begun but not ended, at most `line_bytes + 1` bytes of it.
    pending: Vec<u8>,
    /// Length of that line, with what was not kept.
    pending_bytes: u64,
    /// Whether the file turned out to be something of which no line can be read.
    refused: bool,
    summary: Summary,
    report: Report,
    text_bytes: u64,
    paragraphs: Paragraphs,
}

/// Samples of a plain text, counted as paragraphs and as lines until the end tells which they are.
#[derive(Debug, Default)]
struct Paragraphs {
    inside: bool,
    count: u64,
    lines: u64,
    preview: Vec<String>,
    line_preview: Vec<String>,
}

impl Validator {
    /// Begins a check.
    #[must_use]
    pub fn new(format: Format, limits: Limits) -> Self {
        Self {
            format,
            limits,
            pending: Vec::new(),
            pending_bytes: 0,
            refused: false,
            summary: Summary::default(),
            report: Report {
                problems: Vec::new(),
                total: 0,
                lines: 0,
            },
            text_bytes: 0,
            paragraphs: Paragraphs::default(),
        }
    }

    /// Whether a problem was found already; the result can then only be a report.
    #[must_use]
    pub fn has_problems(&self) -> bool {
        self.report.total > 0
    }

    /// Takes the next bytes, cut anywhere. Lines end with LF or CR LF; the last one need not.
    pub fn feed(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.hold(&rest[..end]);
            self.end_line(1);
            rest = &rest[end + 1..];
        }
        self.hold(rest);
    }

    /// Keeps a piece of a line, as far as it is needed.
    fn hold(&mut self, piece: &[u8]) {
        self.pending_bytes += piece.len() as u64;
        // One byte over for a CR, and one more to see that a line is too long. UTF-8's mark is the first line's.
        let room = (self.limits.line_bytes + 2 + UTF8_MARK.len()).saturating_sub(self.pending.len());
        self.pending.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn end_line(&mut self, line_end: u64) {
        let line = std::mem::take(&mut self.pending);
        self.line(self.report.lines + 1, &line);
        self.summary.bytes += self.pending_bytes - line.len() as u64 + line_end;
        self.pending = line;
        self.pending.clear();
        self.pending_bytes = 0;
    }

    /// Takes one line without its LF; a CR at its end is no part of it. `number` counts from 1. Bytes count
    /// without the LF here: who feeds lines and wants the file's size adds the line ends.
    pub fn line(&mut self, number: u64, bytes: &[u8]) {
        self.report.lines = number;
        self.summary.lines = number;
        let offset = self.summary.bytes;
        self.summary.bytes += bytes.len() as u64;
        if self.refused {
            return;
        }
        if number == 1 && (bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff")) {
            self.refused = true;
            let message = "the file is UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)";
            return self.problem(Some(number), ProblemCode::Utf16, message.to_owned());
        }
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let (mark, bytes) = match bytes.strip_prefix(UTF8_MARK) {
            Some(rest) if number == 1 => (UTF8_MARK.len() as u64, rest),
            _ => (0, bytes),
        };
        match self.text(offset + mark, bytes) {
            Ok(text) => self.sample(number, text),
            Err((code, message)) => self.problem(Some(number), code, message),
        }
    }

    /// What holds for a line of every format.
    fn text<'a>(&self, offset: u64, bytes: &'a [u8]) -> Result<&'a str, (ProblemCode, String)> {
        let limit = self.limits.line_bytes;
        if bytes.len() > limit {
            return Err((
                ProblemCode::LineTooLong,
                format!("longer than {limit} bytes; is a line end missing?"),
            ));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let at = error.valid_up_to();
            let byte = bytes.get(at).copied().unwrap_or_default();
            let message = format!(
                "not UTF-8: byte 0x{byte:02x} at byte {} of the line (byte {} of the file); convert the file to UTF-8",
                at + 1,
                offset + at as u64 + 1,
            );
            (ProblemCode::InvalidUtf8, message)
        })?;
        match text.find('\0') {
            Some(at) => {
                let message = format!(
                    "a NUL at byte {} of the line; is the file binary or UTF-16?",
                    at + 1
                );
                Err((ProblemCode::Nul, message))
            }
            None => Ok(text),
        }
    }

    fn sample(&mut self, number: u64, text: &str) {
        let blank = text.trim().is_empty();
        match self.format {
            Format::PlainText => {
                if !blank {
                    self.count_text(text);
                }
                self.paragraphs.line(text, blank, &self.limits);
            }
            _ if blank => {}
            format => match keyed::parse(format, text) {
                Ok(chat) => self.conversation(&chat),
                Err((code, message)) => self.problem(Some(number), code, message),
            },
        }
    }

    fn conversation(&mut self, chat: &chat::Chat) {
        for (_, content) in &chat.messages {
            self.count_text(content);
        }
        self.summary.samples += 1;
        self.summary.samples_with_other_keys += u64::from(chat.other_keys);
        if self.summary.preview.len() < self.limits.preview_samples {
            let mut shown = String::new();
            for (role, content) in &chat.messages {
                let turn = format!("{role}: {content}");
                append_cut(&mut shown, &turn, self.limits.preview_characters);
            }
            self.summary.preview.push(shown);
        }
    }

    fn count_text(&mut self, text: &str) {
        self.summary.characters += text.chars().count() as u64;
        self.text_bytes += text.len() as u64;
    }

    fn problem(&mut self, line: Option<u64>, code: ProblemCode, message: String) {
        self.report.total += 1;
        if self.report.problems.len() < self.limits.problems {
            self.report.problems.push(Problem { line, code, message });
        }
    }

    /// Ends the check.
    ///
    /// # Errors
    /// The report, when any line cannot be used or there is no sample at all.
    pub fn finish(mut self) -> Result<Summary, Report> {
        if self.pending_bytes > 0 {
            self.end_line(0);
        }
        if self.format == Format::PlainText {
            self.paragraphs.settle(&mut self.summary);
        }
        if self.report.total == 0 && self.summary.samples == 0 {
            let message = match self.format {
                Format::PlainText => "there is no text in it",
                Format::Chat => "there are no samples in it; each line is one JSON object with 'messages'",
                _ => "there are no samples in it; each line is one JSON object",
            };
            self.problem(None, ProblemCode::NoSamples, message.to_owned());
        }
        if self.report.total > 0 {
            return Err(self.report);
        }
        self.summary.token_estimate = (self.text_bytes + 2) / 4;
        Ok(self.summary)
    }
}

impl Paragraphs {
    fn line(&mut self, text: &str, blank: bool, limits: &Limits) {
        if blank {
            self.inside = false;
            return;
        }
        self.lines += 1;
        if self.line_preview.len() < limits.preview_samples {
            let mut shown = String::new();
            append_cut(&mut shown, text, limits.preview_characters);
            self.line_preview.push(shown);
        }
        if !self.inside {
            self.inside = true;
            self.count += 1;
            if self.preview.len() < limits.preview_samples {
                self.preview.push(String::new());
            }
        }
        if self.count <= limits.preview_samples as u64
            && let Some(shown) = self.preview.last_mut()
        {
            append_cut(shown, text, limits.preview_characters);
        }
    }

    /// Paragraphs where there are several, else lines.
    fn settle(&mut self, summary: &mut Summary) {
        let several = self.count > 1;
        summary.samples = if several { self.count } else { self.lines };
        summary.preview = std::mem::take(if several {
            &mut self.preview
        } else {
            &mut self.line_preview
        });
    }
}

/// Appends `text` on a line of its own, as far as `limit` characters in all go.
fn append_cut(shown: &mut String, text: &str, limit: usize) {
    let taken = shown.chars().count();
    let separator = if shown.is_empty() { "" } else { "\n" };
    shown.extend(
        separator
            .chars()
            .chain(text.chars())
            .take(limit.saturating_sub(taken)),
    );
}
