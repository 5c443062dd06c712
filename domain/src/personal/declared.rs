//! What one kind of event declares, made of the form of its payload while the program is compiled.
//!
//! One rule: only what `#[event]` writes comes through here.

/// What is declared of one kind of event, from the form of its payload. What does not fit together does not compile:
///
/// ```compile_fail,E0080
/// #[domain::aggregate::event(context = "test", subject = nobody)]
/// #[derive(Clone)]
/// enum Noted {
///     Noted { #[personal] words: String },
/// }
/// # fn main() { <Noted as domain::aggregate::Event>::FIELDS; }
/// ```
///
/// ```compile_fail,E0080
/// #[domain::aggregate::event(context = "test", subject = author)]
/// #[derive(Clone)]
/// enum Noted {
///     Noted { #[personal] words: String },
/// }
/// # fn main() { <Noted as domain::aggregate::Event>::FIELDS; }
/// ```
///
/// ```
/// #[domain::aggregate::event(context = "test", subject = author)]
/// #[derive(Clone)]
/// enum Noted {
///     Noted { author: domain::id::UserId, #[personal] words: String },
/// }
/// let declared = <Noted as domain::aggregate::Event>::FIELDS[0];
/// assert_eq!((declared.kind, declared.personal, declared.plain), ("test.Noted", &["words"][..], &["author"][..]));
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! declared_kind {
    (
        kind: $kind:expr,
        subject: $subject:expr,
        shape: $shape:expr,
        version: $version:expr,
        earlier: [$($earlier:expr),*],
        failure: $failure:expr,
        masked: [$($masked:expr),*]
    ) => {{
        use $crate::{payload::{Flat, split}, personal::{Earlier, KindFields, Subject}};
        const FLAT: Flat = Flat::of($shape);
        const PERSONAL_TEXT: &[u8] = &FLAT.text::<{ FLAT.length(true) }>(true);
        const PLAIN_TEXT: &[u8] = &FLAT.text::<{ FLAT.length(false) }>(false);
        const PERSONAL: &[&str] = &split::<{ FLAT.count(true) }>(PERSONAL_TEXT);
        const PLAIN: &[&str] = &split::<{ FLAT.count(false) }>(PLAIN_TEXT);
        const EARLIER: &[Earlier] = &[$($earlier),*];
        const SUBJECT: Subject = $subject;
        const {
            match SUBJECT {
                Subject::Field(field) => assert!(FLAT.has_plain(field), "the subject is a plain leaf of the payload"),
                Subject::Nobody => assert!(PERSONAL.is_empty(), "what is personal is somebody's: say whose"),
                Subject::Actor | Subject::StreamKey => {}
            }
        }
        KindFields {
            kind: $kind,
            version: $version,
            subject: SUBJECT,
            personal: PERSONAL,
            plain: PLAIN,
            earlier: EARLIER,
            failure: $failure,
            masked: &[$($masked),*],
        }
    }};
}
