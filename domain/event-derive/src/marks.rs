//! Whether a field is personal: what is written at it.
//!
//! One rule: free text says it, everything else has no say.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens as _, quote};
use syn::{Attribute, Error, Field, Meta, Result};

use crate::serde_attributes::OfPart;

/// Attributes of ours, which the compiler is not to see on an attribute macro's item.
const OURS: [&str; 5] = ["personal", "plain", "leaves", "event", "earlier"];

/// Whether an attribute is one of ours.
pub(crate) fn is_ours(attribute: &Attribute) -> bool {
    OURS.iter().any(|name| attribute.path().is_ident(name))
}

fn has(field: &Field, name: &str) -> bool {
    field.attrs.iter().any(|one| one.path().is_ident(name))
}

/// Whether a mark says that auditors see of the field only that it is there.
pub(crate) fn is_masked(field: &Field) -> Result<bool> {
    let marks = ["personal", "plain"].map(|name| field.attrs.iter().find(|one| one.path().is_ident(name)));
    let mut masked = false;
    for mark in marks.into_iter().flatten() {
        if !matches!(mark.meta, Meta::Path(_)) {
            mark.parse_nested_meta(|meta| match meta.path.is_ident("masked") {
                true => {
                    masked = true;
                    Ok(())
                }
                false => Err(meta.error("a mark says `masked` or nothing")),
            })?;
        }
    }
    Ok(masked)
}

/// The form of what a field holds: an expression of type `&'static Shape`.
pub(crate) fn shape(field: &Field, part: &OfPart) -> Result<TokenStream> {
    let held = &field.ty;
    let shape = match (has(field, "personal"), has(field, "plain")) {
        (true, true) => return Err(Error::new_spanned(field, "personal or plain, not both")),
        (true, false) => quote!(<#held as ::payload::Text>::PERSONAL),
        (false, true) => quote!(<#held as ::payload::Text>::PLAIN),
        (false, false) if is_text(held.to_token_stream()) => {
            return Err(Error::new_spanned(
                held,
                "free text may name a person: mark it `#[personal]`, so that it is sealed under the key of its person, or \
                 `#[plain]` when it stays in the log for ever",
            ));
        }
        (false, false) => quote!(<#held as ::payload::Leaves>::SHAPE),
    };
    Ok(match part.absent {
        true => quote!(#shape.present()),
        false => shape,
    })
}

/// Whether a type is spelt as text. One that hides behind another name fails to be `Leaves`.
fn is_text(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(name) => name == "String" || name == "str",
        TokenTree::Group(group) => is_text(group.stream()),
        _ => false,
    })
}

/// Whether a field is listed after its siblings.
fn is_last(field: &Field) -> Result<bool> {
    let mut last = false;
    for attribute in field.attrs.iter().filter(|one| one.path().is_ident("leaves")) {
        attribute.parse_nested_meta(|meta| match meta.path.is_ident("last") {
            true => {
                last = true;
                Ok(())
            }
            false => Err(meta.error("only `last`")),
        })?;
    }
    Ok(last)
}

/// A named field: an expression of type `Field`.
pub(crate) fn named(field: &Field) -> Result<TokenStream> {
    let part = OfPart::of(&field.attrs)?;
    let ident = field
        .ident
        .as_ref()
        .ok_or_else(|| Error::new_spanned(field, "a named field"))?;
    // What is flattened adds no step to the path.
    let name = match part.flatten {
        true => String::new(),
        false => part.field(ident),
    };
    let (shape, last) = (shape(field, &part)?, is_last(field)?);
    Ok(quote!(::payload::Field { name: #name, shape: #shape, last: #last }))
}
