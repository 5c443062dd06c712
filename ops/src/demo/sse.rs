//! Server-sent events, as the HTML standard ("Server-sent events", 9.2.6) has them parsed: bytes in, events out.

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Its type; empty for a plain message.
    pub(super) kind: String,
    /// Its data, lines joined by a line feed.
    pub(super) data: String,
    /// The id that a client resumes from, if the event carried one.
    pub(super) id: Option<String>,
}

/// The longest event taken.
const LONGEST: usize = 4 << 20;

/// An event longer than any that the server sends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {LONGEST} bytes")]
pub(super) struct TooLong;

/// Collects bytes until events are whole.
#[derive(Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    after_return: bool,
}

impl Parser {
    /// Takes the next bytes and returns the events that they complete. Comments are signs of life only.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for byte in bytes {
            let second_of_pair = std::mem::take(&mut self.after_return) && *byte == b'\n';
            match byte {
                _ if second_of_pair => {}
                b'\n' | b'\r' => {
                    self.after_return = *byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.end_of_line(&String::from_utf8_lossy(&line)));
                }
                byte => self.line.push(*byte),
            }
            if self.line.len() + self.event.data.len() > LONGEST {
                return Err(TooLong);
            }
        }
        Ok(events)
    }

    fn end_of_line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.kind),
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, LONGEST, Parser, TooLong};

    const STREAM: &str =
        ":\n\nevent: next\nid: 7\ndata: {\"a\":\ndata: 1}\n\nevent: complete\r\ndata: \r\n\r\n";

    fn expected() -> Vec<Event> {
        vec![
            Event {
                kind: "next".to_owned(),
                data: "{\"a\":\n1}".to_owned(),
                id: Some("7".to_owned()),
            },
            Event {
                kind: "complete".to_owned(),
                data: String::new(),
                id: None,
            },
        ]
    }

    /// GQ-4: wherever the network cuts the stream, the same events come out.
    #[test]
    fn events_do_not_depend_on_how_bytes_arrive() {
        for size in 1..=STREAM.len() {
            let mut parser = Parser::default();
            let chunks = STREAM.as_bytes().chunks(size);
            let events: Vec<Event> = chunks
                .flat_map(|chunk| parser.push(chunk).expect("short"))
                .collect();
            assert_eq!(events, expected(), "in chunks of {size}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::default();
        assert_eq!(parser.push(&vec![b'x'; LONGEST + 1]), Err(TooLong));
    }
}
