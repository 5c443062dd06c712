//! How an event type is declared: once, where it stands (`ops/adr/0027-events-are-declared-once.md`).
//!
//! One rule: this crate turns declarations into tokens and knows no event. What the tokens name is in
//! `payload`, `domain::personal` and `domain::aggregate`.

mod event;
mod leaves;
mod marks;
mod serde_attributes;

use proc_macro::TokenStream;

/// Declares an event type: how it is recorded, and of every leaf of its payloads whether it is personal.
///
/// On the enum: `#[event(context = "projects", subject = owner)]`. Each variant is recorded under
/// `<context>.<Variant>`, or under the name that it gives. `subject` says whose its personal leaves are, for the whole
/// type or for a variant: `actor`, `stream` (the user whose id is the stream's key), `nobody`, or a field of the payload.
///
/// On a variant: `#[event(name = "ProjectCreated", subject = actor, failure)]`. `failure`: it is the trace of something that
/// was refused or failed. Kinds are never renamed, and no name is used twice.
///
/// On a field: `#[personal]` (it is sealed under the key of its person) or `#[plain]`, for free text; every other type says of
/// itself what it holds (`payload::Leaves`). `#[plain(masked)]` or `#[personal(masked)]`: it verifies a secret, so an
/// auditor sees that it is there, not what it is.
///
/// A changed payload gets a version: `#[event(version = 2)]`, and of each one before how it is read,
/// `#[earlier(version = 1, personal = ["name"], lift = from_1)]`.
///
/// It adds serde's derives and writes `impl Event`; the crate that uses it depends on `domain`, `payload` and `serde`.
#[proc_macro_attribute]
pub fn event(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = event::expand(arguments.into(), item.into());
    expanded.unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Declares of every leaf of a payload's part whether it is personal: `payload::Leaves`, in the form in which
/// serde's derive writes it. Free text is marked `#[personal]` or `#[plain]`; `#[leaves(last)]` lists a field after its
/// siblings in the catalogue.
#[proc_macro_derive(Leaves, attributes(personal, plain, leaves))]
pub fn leaves(item: TokenStream) -> TokenStream {
    let expanded = leaves::expand(item.into());
    expanded.unwrap_or_else(syn::Error::into_compile_error).into()
}
