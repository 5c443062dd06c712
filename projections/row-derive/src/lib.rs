//! How a row of a read model is declared: once, as a struct (`ops/adr/0029-rows-are-typed.md`).
//!
//! One rule: this crate turns a struct into tokens and knows no read model. What the tokens name is in
//! `projections::read_model`.

mod attributes;

use proc_macro::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Field, Fields, Result};

use self::attributes::{Attributes, Form};

/// Implements `projections::read_model::Row`: one column for each field, of the field's name.
///
/// A field is stored as its type says (`projections::read_model::ColumnValue`), or as its attribute does:
/// `#[column(text)]`: an enum, by the names that serde gives its variants; `#[column(json)]`: as `jsonb`, the way serde
/// writes it. Of an `Option` in these forms, `None` is NULL. `#[column(name = "terms")]`: the column has another name
/// than the field.
#[proc_macro_derive(Row, attributes(column))]
pub fn row(item: TokenStream) -> TokenStream {
    let expanded = syn::parse(item).and_then(|item| expand(&item));
    expanded.unwrap_or_else(Error::into_compile_error).into()
}

fn expand(item: &DeriveInput) -> Result<proc_macro2::TokenStream> {
    let Data::Struct(data) = &item.data else {
        return Err(Error::new_spanned(item, "a row is a struct"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(item, "the fields of a row have names"));
    };
    let columns = fields.named.iter().map(column).collect::<Result<Vec<_>>>()?;
    let (declared, encoded, decoded) = (
        columns.iter().map(|column| &column.declared),
        columns.iter().map(|column| &column.encoded),
        columns.iter().map(|column| &column.decoded),
    );
    let name = &item.ident;
    Ok(quote! {
        impl ::projections::read_model::Row for #name {
            const COLUMNS: &'static [::projections::read_model::RowColumn] = &[#(#declared),*];

            fn encode(
                &self,
                tuple: &mut ::projections::read_model::Tuple,
            ) -> ::core::result::Result<(), ::projections::read_model::RowError> {
                #(#encoded)*
                Ok(())
            }

            fn decode(
                values: &mut ::projections::read_model::Values<'_>,
            ) -> ::core::result::Result<Self, ::projections::read_model::RowError> {
                Ok(Self { #(#decoded),* })
            }
        }
    })
}

/// What one field becomes.
struct Column {
    declared: proc_macro2::TokenStream,
    encoded: proc_macro2::TokenStream,
    decoded: proc_macro2::TokenStream,
}

fn column(field: &Field) -> Result<Column> {
    let attributes = Attributes::of(&field.attrs)?;
    let Some(ident) = &field.ident else {
        return Err(Error::new_spanned(field, "the fields of a row have names"));
    };
    let name = attributes.name.unwrap_or_else(|| ident.to_string());
    let kind = |kind| quote!(::projections::read_model::Kind::#kind);
    let optional = is_option(&field.ty);
    let (kind, encode, decode) = match (attributes.form, optional) {
        (Form::Value, _) => {
            let ty = &field.ty;
            let kind = quote!(<#ty as ::projections::read_model::ColumnValue>::KIND);
            (kind, quote!(tuple.value(&self.#ident);), quote!(value))
        }
        (Form::Text, false) => (
            kind(quote!(Text)),
            quote!(tuple.text(#name, &self.#ident)?;),
            quote!(text),
        ),
        (Form::Text, true) => (
            kind(quote!(Text)),
            quote!(tuple.optional(self.#ident.as_ref(), |tuple, value| tuple.text(#name, value))?;),
            quote!(optional_text),
        ),
        (Form::Json, false) => (
            kind(quote!(Jsonb)),
            quote!(tuple.json(#name, &self.#ident)?;),
            quote!(json),
        ),
        (Form::Json, true) => (
            kind(quote!(Jsonb)),
            quote!(tuple.optional(self.#ident.as_ref(), |tuple, value| tuple.json(#name, value))?;),
            quote!(optional_json),
        ),
    };
    Ok(Column {
        declared: quote!(::projections::read_model::RowColumn::new(#name, #kind)),
        encoded: encode,
        decoded: quote!(#ident: values.#decode(#name)?),
    })
}

fn is_option(ty: &syn::Type) -> bool {
    match ty {
        syn::Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|last| last.ident == "Option"),
        _ => false,
    }
}
