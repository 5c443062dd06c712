//! The form of a payload, part by part, as serde writes it: what an event declares is made of it at compile time.
//!
//! One rule: a type says of itself what it holds, once; free text cannot, so who holds it says whether it is personal.

mod flatten;

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;
use uuid::Uuid;

pub use event_derive::Leaves;
pub use flatten::{Flat, split};

/// The form of a payload, or of a part of it.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A value without parts.
    Leaf {
        /// Whether it is sealed under the key of its person.
        personal: bool,
    },
    /// Fields by name.
    Object(&'static [Field]),
    /// The same any number of times.
    List(&'static Self),
    /// The same for each key.
    Map(&'static Self),
    /// That, or null.
    Optional(&'static Self),
    /// One of these; or all of them, where they are fields of one object.
    OneOf(&'static [&'static Self]),
}

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name; empty when its own fields stand in its place.
    pub name: &'static str,
    /// What it holds.
    pub shape: &'static Shape,
    /// Whether it is listed after its siblings. The log does not depend on that.
    pub last: bool,
}

impl Shape {
    /// A value that is not personal.
    pub const PLAIN: Self = Self::Leaf { personal: false };
    /// A value that is.
    pub const PERSONAL: Self = Self::Leaf { personal: true };

    /// The form of what is absent instead of null.
    #[must_use]
    pub const fn present(&'static self) -> &'static Self {
        match self {
            Self::Optional(held) => held,
            held => held,
        }
    }
}

/// What payloads are made of. `#[derive(Leaves)]` writes it for structs and enums, in the form in which serde writes them.
///
/// Free text without a mark does not compile, under whatever name:
///
/// ```compile_fail,E0277
/// type Words = String;
/// #[derive(payload::Leaves)]
/// struct Note {
///     words: Words,
/// }
/// ```
///
/// With one it does, and a mark on what is not free text does not:
///
/// ```
/// type Words = String;
/// #[derive(payload::Leaves)]
/// struct Note {
///     #[personal]
///     words: Words,
///     pages: u64,
/// }
/// ```
///
/// ```compile_fail,E0277
/// #[derive(payload::Leaves)]
/// struct Note {
///     #[plain]
///     pages: u64,
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which of its leaves are personal",
    label = "free text is marked `#[personal]` or `#[plain]`; other types derive `Leaves`"
)]
pub trait Leaves {
    /// The form of a value.
    const SHAPE: &'static Shape;
}

/// Free text, which is personal or not as the field says that holds it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not free text, so a mark has no say over it",
    label = "take `#[personal]` or `#[plain]` away"
)]
pub trait Text {
    /// Where it is sealed.
    const PERSONAL: &'static Shape;
    /// Where it is not.
    const PLAIN: &'static Shape;
}

macro_rules! plain_by_nature {
    ($($plain:ty),+ $(,)?) => {
        $(impl Leaves for $plain {
            const SHAPE: &'static Shape = &Shape::PLAIN;
        })+
    };
}

plain_by_nature!(bool, i8, u16, u32, u64, usize, f64, Uuid, OffsetDateTime);

macro_rules! around {
    ($($around:ty => $form:expr),+ $(,)?) => {
        $(impl<T: Leaves> Leaves for $around {
            const SHAPE: &'static Shape = &$form(T::SHAPE);
        }
        impl<T: Text> Text for $around {
            const PERSONAL: &'static Shape = &$form(T::PERSONAL);
            const PLAIN: &'static Shape = &$form(T::PLAIN);
        })+
    };
}

around! {
    Option<T> => Shape::Optional,
    Vec<T> => Shape::List,
    BTreeSet<T> => Shape::List,
    BTreeMap<String, T> => Shape::Map,
}

impl<T: Leaves> Leaves for Box<T> {
    const SHAPE: &'static Shape = T::SHAPE;
}

impl Text for String {
    const PERSONAL: &'static Shape = &Shape::PERSONAL;
    const PLAIN: &'static Shape = &Shape::PLAIN;
}
