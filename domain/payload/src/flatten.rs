//! From the form of a payload to the paths of its leaves, while the program is compiled.
//!
//! One rule: a path is personal or plain, and listed once; what is listed as both does not compile.

use super::{Field, Shape};

/// The longest path, in bytes.
const PATH: usize = 256;
/// All paths of one payload together, in bytes.
const PATHS: usize = 8_192;
/// Leaves of one payload.
const LEAVES: usize = 256;
/// What stands after each path of a list; no name of a field holds it.
const END: u8 = b'\n';

/// A path that grows step by step.
#[derive(Clone, Copy)]
struct Path {
    bytes: [u8; PATH],
    length: usize,
}

impl Path {
    const ROOT: Self = Self {
        bytes: [0; PATH],
        length: 0,
    };

    const fn with(mut self, text: &str) -> Self {
        let (text, mut at) = (text.as_bytes(), 0);
        while at < text.len() {
            self.bytes[self.length] = text[at];
            self.length += 1;
            at += 1;
        }
        self
    }

    const fn step(self, name: &str) -> Self {
        match (name.is_empty(), self.length) {
            (true, _) => self,
            (false, 0) => self.with(name),
            (false, _) => self.with(".").with(name),
        }
    }
}

/// Paths one after the other, each with [`END`].
struct List {
    bytes: [u8; PATHS],
    length: usize,
    /// Where each path ends.
    ends: [usize; LEAVES],
    count: usize,
}

impl List {
    const EMPTY: Self = Self {
        bytes: [0; PATHS],
        length: 0,
        ends: [0; LEAVES],
        count: 0,
    };

    const fn holds(&self, path: &[u8]) -> bool {
        let (mut start, mut at) = (0, 0);
        while at < self.count {
            if self.ends[at] - start == path.len() && self.is_at(path, start) {
                return true;
            }
            start = self.ends[at] + 1;
            at += 1;
        }
        false
    }

    const fn is_at(&self, path: &[u8], start: usize) -> bool {
        let mut at = 0;
        while at < path.len() {
            if self.bytes[start + at] != path[at] {
                return false;
            }
            at += 1;
        }
        true
    }

    const fn add(&mut self, path: &Path) {
        let mut at = 0;
        while at < path.length {
            self.bytes[self.length + at] = path.bytes[at];
            at += 1;
        }
        self.bytes[self.length + at] = END;
        self.ends[self.count] = self.length + at;
        self.length += at + 1;
        self.count += 1;
    }
}

/// The leaves of a payload.
pub struct Flat {
    personal: List,
    plain: List,
}

impl Flat {
    /// Of a payload of this form.
    #[must_use]
    pub const fn of(shape: &Shape) -> Self {
        let mut found = Self {
            personal: List::EMPTY,
            plain: List::EMPTY,
        };
        found.walk(shape, Path::ROOT);
        found
    }

    const fn walk(&mut self, shape: &Shape, path: Path) {
        match shape {
            Shape::Leaf { personal } => self.leaf(&path, *personal),
            Shape::Object(fields) => {
                self.fields(fields, path, false);
                self.fields(fields, path, true);
            }
            Shape::List(held) => self.walk(held, path.with("[]")),
            Shape::Map(held) => self.walk(held, path.step("*")),
            Shape::Optional(held) => {
                // Null is a leaf itself where otherwise there would be parts.
                if !matches!(held, Shape::Leaf { .. }) {
                    self.leaf(&path, false);
                }
                self.walk(held, path);
            }
            Shape::OneOf(forms) => {
                let mut at = 0;
                while at < forms.len() {
                    self.walk(forms[at], path);
                    at += 1;
                }
            }
        }
    }

    const fn fields(&mut self, fields: &[Field], path: Path, last: bool) {
        let mut at = 0;
        while at < fields.len() {
            if fields[at].last == last {
                self.walk(fields[at].shape, path.step(fields[at].name));
            }
            at += 1;
        }
    }

    const fn leaf(&mut self, path: &Path, personal: bool) {
        let (own, other) = match personal {
            true => (&mut self.personal, &self.plain),
            false => (&mut self.plain, &self.personal),
        };
        let (path_bytes, _) = path.bytes.split_at(path.length);
        assert!(!other.holds(path_bytes), "a leaf is both personal and plain");
        if !own.holds(path_bytes) {
            own.add(path);
        }
    }

    const fn list(&self, personal: bool) -> &List {
        match personal {
            true => &self.personal,
            false => &self.plain,
        }
    }

    /// Whether there is such a plain leaf.
    #[must_use]
    pub const fn has_plain(&self, path: &str) -> bool {
        self.plain.holds(path.as_bytes())
    }

    /// How many leaves are personal, or plain.
    #[must_use]
    pub const fn count(&self, personal: bool) -> usize {
        self.list(personal).count
    }

    /// The bytes of [`Flat::text`].
    #[must_use]
    pub const fn length(&self, personal: bool) -> usize {
        self.list(personal).length
    }

    /// Their paths as one text, for [`split`].
    #[must_use]
    pub const fn text<const LENGTH: usize>(&self, personal: bool) -> [u8; LENGTH] {
        let (list, mut text, mut at) = (self.list(personal), [0; LENGTH], 0);
        while at < LENGTH {
            text[at] = list.bytes[at];
            at += 1;
        }
        text
    }
}

/// The paths of a text that [`Flat::text`] wrote.
#[must_use]
pub const fn split<const COUNT: usize>(text: &'static [u8]) -> [&'static str; COUNT] {
    let (mut paths, mut found, mut rest) = ([""; COUNT], 0, text);
    while found < COUNT {
        let mut end = 0;
        while rest[end] != END {
            end += 1;
        }
        let (path, after) = rest.split_at(end);
        paths[found] = match std::str::from_utf8(path) {
            Ok(path) => path,
            Err(_) => panic!("a path is text"),
        };
        (_, rest) = after.split_at(1);
        found += 1;
    }
    paths
}
