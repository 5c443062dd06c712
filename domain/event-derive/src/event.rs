//! `#[event(…)]` on an enum.

mod arguments;

use arguments::{Earlier, OfEvent, OfType, Subject};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Result, Variant, parse_quote};

use crate::{leaves, marks, serde_attributes::OfPart};

/// The enum with serde's derives, and its `impl Event`.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let whole = OfType::parse(arguments)?;
    let mut item: DeriveInput = syn::parse2(item)?;
    let name = item.ident.clone();
    let (mut kinds, mut upcasters) = (Vec::new(), Vec::new());
    let Data::Enum(data) = &mut item.data else {
        return Err(Error::new_spanned(&item, "an event type is an enum of events"));
    };
    for variant in &mut data.variants {
        let own = OfEvent::of(variant)?;
        let kind = format!("{}.{}", whole.context, own.name(variant));
        kinds.push(declaration(variant, &kind, &own, whole.subject.as_ref())?);
        upcasters.extend(own.earlier.iter().map(|one| one.upcaster(&kind)));
        record_as(variant, &kind);
    }
    item.attrs
        .push(parse_quote!(#[derive(::serde::Serialize, ::serde::Deserialize)]));
    item.attrs
        .push(parse_quote!(#[serde(tag = "kind", content = "data")]));
    Ok(quote! {
        #item

        impl ::domain::aggregate::Event for #name {
            const FIELDS: &'static [::domain::personal::KindFields] = &[#(#kinds),*];
            const UPCASTERS: &'static [::domain::upcast::Upcaster] = &[#(#upcasters),*];
        }
    })
}

/// What is declared of one kind: an expression of type `KindFields`.
fn declaration(variant: &Variant, kind: &str, own: &OfEvent, whole: Option<&Subject>) -> Result<TokenStream> {
    let shape = leaves::fields(&variant.fields, false)?;
    let Some(subject) = own.subject.as_ref().or(whole) else {
        return Err(Error::new_spanned(
            &variant.ident,
            "whose are its personal leaves? `#[event(subject = …)]`: actor, stream, nobody, or a field",
        ));
    };
    let (version, failure, masked) = (own.version, own.failure, masked(variant)?);
    let earlier = own.earlier.iter().map(Earlier::declaration);
    Ok(quote! {
        ::domain::declared_kind! {
            kind: #kind,
            subject: #subject,
            shape: #shape,
            version: #version,
            earlier: [#(#earlier),*],
            failure: #failure,
            masked: [#(#masked),*]
        }
    })
}

/// The fields that auditors do not see.
fn masked(variant: &Variant) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for field in &variant.fields {
        if marks::is_masked(field)? {
            let missing = || Error::new_spanned(field, "what is masked has a name");
            let ident = field.ident.as_ref().ok_or_else(missing)?;
            names.push(OfPart::of(&field.attrs)?.field(ident));
        }
    }
    Ok(names)
}

/// Gives a variant its name in the log, and takes away what only this macro reads.
fn record_as(variant: &mut Variant, kind: &str) {
    variant.attrs.retain(|attribute| !marks::is_ours(attribute));
    variant.attrs.push(parse_quote!(#[serde(rename = #kind)]));
    for field in variant.fields.iter_mut() {
        field.attrs.retain(|attribute| !marks::is_ours(attribute));
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    fn expanded(item: proc_macro2::TokenStream) -> String {
        let arguments = quote!(context = "test", subject = nobody);
        let tokens = super::expand(arguments, item).expect("expanded");
        tokens.to_string().split_whitespace().collect()
    }

    fn refused(item: proc_macro2::TokenStream) -> String {
        let arguments = quote!(context = "test", subject = nobody);
        super::expand(arguments, item).expect_err("refused").to_string()
    }

    #[test]
    fn free_text_without_a_mark_is_refused_and_the_marks_are_named() {
        for text in [
            quote!(String),
            quote!(Option<String>),
            quote!(Vec<String>),
            quote!(std::collections::BTreeMap<UserId, std::string::String>),
            quote!(Option<(u8, Box<str>)>),
        ] {
            let named = refused(quote!(enum E { Happened { id: UserId, words: #text } }));
            assert!(
                named.contains("#[personal]") && named.contains("#[plain]"),
                "{text}: {named}"
            );
            let tuple = refused(quote!(enum E { Happened(#text) }));
            assert_eq!(tuple, named, "{text}");
        }
        let both = refused(quote!(
            enum E {
                Happened {
                    #[personal]
                    #[plain]
                    words: String,
                },
            }
        ));
        assert_eq!(both, "personal or plain, not both");
    }

    #[test]
    fn a_mark_decides_and_does_not_reach_the_compiler() {
        let code = expanded(quote!(
            enum E {
                Happened {
                    #[personal]
                    who: String,
                    #[plain]
                    what: Option<String>,
                    at: u64,
                },
            }
        ));
        assert!(
            code.contains("who\",shape:<Stringas::payload::Text>::PERSONAL"),
            "{code}"
        );
        assert!(
            code.contains("what\",shape:<Option<String>as::payload::Text>::PLAIN"),
            "{code}"
        );
        assert!(
            code.contains("at\",shape:<u64as::payload::Leaves>::SHAPE"),
            "{code}"
        );
        assert!(
            !code.contains("#[personal]") && !code.contains("#[plain]"),
            "{code}"
        );
    }

    #[test]
    fn a_masked_field_is_one_of_the_event_itself() {
        let code = expanded(quote!(
            enum E {
                Happened {
                    #[plain(masked)]
                    token_hash: String,
                    #[plain]
                    name: String,
                },
            }
        ));
        assert!(code.contains("masked:[\"token_hash\"]"), "{code}");
        assert!(
            refused(quote!(
                enum E {
                    Happened {
                        #[plain(hidden)]
                        name: String,
                    },
                }
            ))
            .contains("masked")
        );
        assert!(
            refused(quote!(
                enum E {
                    Happened(#[plain(masked)] String),
                }
            ))
            .contains("has a name")
        );
        let part = crate::leaves::expand(quote!(
            struct Part {
                #[plain(masked)]
                token_hash: String,
            }
        ));
        assert!(
            part.expect_err("a part")
                .to_string()
                .contains("of an event itself")
        );
    }

    #[test]
    fn the_kind_is_said_once_and_recorded_as_such() {
        let code = expanded(quote!(
            enum E {
                Happened {},
                #[event(name = "ThingMade", subject = owner)]
                Made {
                    owner: UserId,
                },
            }
        ));
        for kind in ["test.Happened", "test.ThingMade"] {
            assert!(code.contains(&format!("#[serde(rename=\"{kind}\")]")), "{code}");
            assert!(code.contains(&format!("kind:\"{kind}\"")), "{code}");
        }
        assert!(
            code.contains("Subject::Nobody") && code.contains("Subject::Field(\"owner\")"),
            "{code}"
        );
        assert!(code.contains("#[serde(tag=\"kind\",content=\"data\")]"), "{code}");
    }

    #[test]
    fn a_version_takes_a_step_from_each_one_before() {
        let code = expanded(quote! {
            enum E {
                #[event(version = 2)]
                #[earlier(version = 1, personal = ["who"], lift = from_1)]
                Happened {}
            }
        });
        assert!(
            code.contains("version:2u16") && code.contains("personal:&[\"who\"]"),
            "{code}"
        );
        assert!(code.contains("from:1u16,lift:from_1"), "{code}");
        for versions in [
            quote!(#[event(version = 2)]),
            quote!(#[event(version = 3)] #[earlier(version = 2, lift = up)]),
            quote!(#[earlier(version = 1, lift = up)]),
        ] {
            let error = refused(quote!(enum E { #versions Happened {} }));
            assert!(error.contains("each version before"), "{error}");
        }
    }

    #[test]
    fn what_would_be_guessed_is_refused() {
        assert!(
            refused(quote!(
                struct E;
            ))
            .contains("an enum")
        );
        assert!(
            refused(quote!(
                enum E {
                    Happened(u8, u8),
                }
            ))
            .contains("one field")
        );
        assert!(
            refused(quote!(
                enum E {
                    #[event(shade = 3)]
                    Happened {},
                }
            ))
            .contains("name, subject")
        );
        assert!(
            refused(quote!(
                enum E {
                    Happened {
                        #[serde(with = "mine")]
                        at: u8,
                    },
                }
            ))
            .contains("form of a payload")
        );
        let nobody_asked = super::expand(
            quote!(context = "test"),
            quote!(
                enum E {
                    Happened {},
                }
            ),
        );
        assert!(nobody_asked.expect_err("whose?").to_string().contains("whose"));
        let homeless = super::expand(
            quote!(subject = actor),
            quote!(
                enum E {
                    Happened {},
                }
            ),
        );
        assert!(homeless.expect_err("where?").to_string().contains("context"));
    }
}
