//! What `#[event(…)]` and `#[earlier(…)]` can say.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{
    Attribute, Error, Expr, Ident, LitInt, LitStr, Result, Token, Variant, bracketed, meta::ParseNestedMeta,
    parse::Parser as _, punctuated::Punctuated,
};

/// Of the whole type.
pub(super) struct OfType {
    pub(super) context: String,
    pub(super) subject: Option<Subject>,
}

/// Of one variant.
pub(super) struct OfEvent {
    name: Option<String>,
    pub(super) subject: Option<Subject>,
    pub(super) version: u16,
    pub(super) earlier: Vec<Earlier>,
    pub(super) failure: bool,
}

/// Whose its personal leaves are.
pub(super) struct Subject(String);

/// An earlier version of a payload.
pub(super) struct Earlier {
    version: u16,
    personal: Vec<LitStr>,
    lift: Expr,
}

fn text(meta: &ParseNestedMeta<'_>) -> Result<String> {
    meta.value()?.parse::<LitStr>().map(|text| text.value())
}

fn number(meta: &ParseNestedMeta<'_>) -> Result<u16> {
    meta.value()?.parse::<LitInt>()?.base10_parse()
}

fn subject(meta: &ParseNestedMeta<'_>) -> Result<Subject> {
    let name: Ident = meta.value()?.parse()?;
    Ok(Subject(name.to_string()))
}

impl ToTokens for Subject {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(match self.0.as_str() {
            "actor" => quote!(::domain::personal::Subject::Actor),
            "stream" => quote!(::domain::personal::Subject::StreamKey),
            "nobody" => quote!(::domain::personal::Subject::Nobody),
            field => quote!(::domain::personal::Subject::Field(#field)),
        });
    }
}

impl OfType {
    pub(super) fn parse(arguments: TokenStream) -> Result<Self> {
        let (mut context, mut whose) = (None, None);
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("context") {
                context = Some(text(&meta)?);
            } else if meta.path.is_ident("subject") {
                whose = Some(subject(&meta)?);
            } else {
                return Err(meta.error("of an event type: context, subject"));
            }
            Ok(())
        });
        parser.parse2(arguments)?;
        let missing = || Error::new(Span::call_site(), "which context? `context = \"projects\"`");
        let context = context.ok_or_else(missing)?;
        let subject = whose;
        Ok(Self { context, subject })
    }
}

impl OfEvent {
    pub(super) fn of(variant: &Variant) -> Result<Self> {
        let mut found = Self {
            name: None,
            subject: None,
            version: 1,
            earlier: Vec::new(),
            failure: false,
        };
        for attribute in &variant.attrs {
            if attribute.path().is_ident("event") {
                attribute.parse_nested_meta(|meta| found.take(&meta))?;
            } else if attribute.path().is_ident("earlier") {
                found.earlier.push(Earlier::parse(attribute)?);
            }
        }
        let given = found.earlier.iter().map(|one| one.version);
        match given.eq(1..found.version) {
            true => Ok(found),
            false => Err(Error::new_spanned(
                &variant.ident,
                "each version before the current one is said, in order: `#[earlier(version = 1, lift = …)]`",
            )),
        }
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("name") {
            self.name = Some(text(meta)?);
        } else if meta.path.is_ident("subject") {
            self.subject = Some(subject(meta)?);
        } else if meta.path.is_ident("version") {
            self.version = number(meta)?;
        } else if meta.path.is_ident("failure") {
            self.failure = true;
        } else {
            return Err(meta.error("of an event: name, subject, version, failure"));
        }
        Ok(())
    }

    pub(super) fn name(&self, variant: &Variant) -> String {
        self.name.clone().unwrap_or_else(|| variant.ident.to_string())
    }
}

impl Earlier {
    fn parse(attribute: &Attribute) -> Result<Self> {
        let (mut version, mut personal, mut lift) = (None, Vec::new(), None);
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("version") {
                version = Some(number(&meta)?);
            } else if meta.path.is_ident("personal") {
                let value = meta.value()?;
                let inside;
                bracketed!(inside in value);
                personal = Punctuated::<LitStr, Token![,]>::parse_terminated(&inside)?
                    .into_iter()
                    .collect();
            } else if meta.path.is_ident("lift") {
                lift = Some(meta.value()?.parse()?);
            } else {
                return Err(meta.error("of an earlier version: version, personal, lift"));
            }
            Ok(())
        })?;
        match (version, lift) {
            (Some(version), Some(lift)) => Ok(Self {
                version,
                personal,
                lift,
            }),
            _ => Err(Error::new_spanned(
                attribute,
                "which version, and how is it read? `version`, `lift`",
            )),
        }
    }

    /// An expression of type `personal::Earlier`.
    pub(super) fn declaration(&self) -> TokenStream {
        let (version, personal) = (self.version, &self.personal);
        quote!(::domain::personal::Earlier { version: #version, personal: &[#(#personal),*] })
    }

    /// An expression of type `Upcaster`.
    pub(super) fn upcaster(&self, kind: &str) -> TokenStream {
        let (from, lift) = (self.version, &self.lift);
        quote!(::domain::upcast::Upcaster { kind: #kind, from: #from, lift: #lift })
    }
}
