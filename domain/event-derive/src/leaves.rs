//! The form of a payload or of a part of it, as serde's derive writes it.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataEnum, DeriveInput, Error, Field, Fields, Result, Variant};

use crate::{
    marks,
    serde_attributes::{OfPart, OfType},
};

/// `#[derive(Leaves)]`.
pub(crate) fn expand(item: TokenStream) -> Result<TokenStream> {
    let item: DeriveInput = syn::parse2(item)?;
    refuse_masks(&item.data)?;
    let whole = OfType::of(&item.attrs)?;
    let shape = match &item.data {
        Data::Struct(data) => fields(&data.fields, whole.transparent)?,
        Data::Enum(data) => variants(data, &whole)?,
        Data::Union(_) => return Err(Error::new_spanned(&item, "a union is no payload")),
    };
    let (name, (generics, arguments, bounds)) = (&item.ident, item.generics.split_for_impl());
    Ok(quote! {
        impl #generics ::payload::Leaves for #name #arguments #bounds {
            const SHAPE: &'static ::payload::Shape = #shape;
        }
    })
}

/// What auditors do not see is a field of the event itself.
fn refuse_masks(data: &Data) -> Result<()> {
    let fields: Vec<&Field> = match data {
        Data::Struct(data) => data.fields.iter().collect(),
        Data::Enum(data) => data.variants.iter().flat_map(|one| &one.fields).collect(),
        Data::Union(_) => Vec::new(),
    };
    for field in fields {
        if marks::is_masked(field)? {
            return Err(Error::new_spanned(
                field,
                "only a field of an event itself is masked",
            ));
        }
    }
    Ok(())
}

/// The form of fields: an expression of type `&'static Shape`.
pub(crate) fn fields(fields: &Fields, transparent: bool) -> Result<TokenStream> {
    match fields {
        Fields::Named(fields) if !transparent => {
            let named = fields
                .named
                .iter()
                .map(marks::named)
                .collect::<Result<Vec<_>>>()?;
            Ok(quote!(&::payload::Shape::Object(&[#(#named),*])))
        }
        Fields::Unit => Ok(quote!(&::payload::Shape::Object(&[]))),
        Fields::Named(_) | Fields::Unnamed(_) => {
            let mut all = fields.iter();
            match (all.next(), all.next()) {
                (Some(one), None) => marks::shape(one, &OfPart::of(&one.attrs)?),
                _ => Err(Error::new_spanned(fields, "one field, or fields with names")),
            }
        }
    }
}

/// The form of an enum, which depends on where serde puts the name of the variant.
fn variants(data: &DataEnum, whole: &OfType) -> Result<TokenStream> {
    let leaf = quote!(&::payload::Shape::PLAIN);
    let field = |name: &str, shape: &TokenStream| quote!(::payload::Field { name: #name, shape: #shape, last: false });
    let mut forms = Vec::new();
    if let Some(tag) = &whole.tag {
        let tag = field(tag, &leaf);
        forms.push(quote!(&::payload::Shape::Object(&[#tag])));
    }
    for variant in &data.variants {
        let unit = matches!(variant.fields, Fields::Unit);
        let inside = fields(&variant.fields, false)?;
        forms.push(match (&whole.tag, &whole.content) {
            (Some(_), None) => inside,
            (Some(_), Some(_)) if unit => continue,
            (Some(_), Some(content)) => object(&field(content, &inside)),
            (None, Some(_)) => return Err(Error::new_spanned(variant, "content without a tag")),
            (None, None) if unit => leaf.clone(),
            (None, None) => object(&field(&name(variant, whole)?, &inside)),
        });
    }
    Ok(quote!(&::payload::Shape::OneOf(&[#(#forms),*])))
}

fn object(field: &TokenStream) -> TokenStream {
    quote!(&::payload::Shape::Object(&[#field]))
}

fn name(variant: &Variant, whole: &OfType) -> Result<String> {
    Ok(whole.variant(&variant.ident, &OfPart::of(&variant.attrs)?))
}
