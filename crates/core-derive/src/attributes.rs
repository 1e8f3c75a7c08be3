//! What the `codec` attributes of an enum say: which variant has which index.

use std::collections::BTreeSet;

use syn::spanned::Spanned as _;
use syn::{DataEnum, Error, Fields, Generics, Ident, LitInt, Result, Variant, parse_quote};

/// An enum variant as the encoding sees it.
pub(crate) enum Role<'a> {
    /// A variant with an index of its own.
    Indexed(u64, &'a Variant),
    /// The catch-all.
    Unknown(&'a Ident),
}

/// The attributes of one variant.
#[derive(Default)]
struct Attributes {
    index: Option<u64>,
    unknown: bool,
}

impl Attributes {
    fn parse(variant: &Variant) -> Result<Self> {
        let mut found = Self::default();
        for attribute in variant.attrs.iter().filter(|a| a.path().is_ident("codec")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("index") {
                    found.index = Some(meta.value()?.parse::<LitInt>()?.base10_parse()?);
                } else if meta.path.is_ident("unknown") {
                    found.unknown = true;
                } else {
                    return Err(meta.error("expected `index = N` or `unknown`"));
                }
                Ok(())
            })?;
        }
        Ok(found)
    }
}

/// Assigns every variant its role.
///
/// Errors: indices given for some variants only, an index used twice, two catch-alls, a catch-all
/// of another shape, an enum without variants.
pub(crate) fn roles(data: &DataEnum) -> Result<Vec<Role<'_>>> {
    let mut roles = Vec::new();
    let mut used = BTreeSet::new();
    let mut explicit = None;
    let mut has_unknown = false;
    let mut next = 0;
    for variant in &data.variants {
        let attributes = Attributes::parse(variant)?;
        if attributes.unknown {
            if attributes.index.is_some() || std::mem::replace(&mut has_unknown, true) {
                return Err(Error::new(variant.span(), "one catch-all, without an index"));
            }
            check_unknown_shape(variant)?;
            roles.push(Role::Unknown(&variant.ident));
            continue;
        }
        if *explicit.get_or_insert(attributes.index.is_some()) != attributes.index.is_some() {
            return Err(Error::new(variant.span(), "give every variant an index, or none"));
        }
        let index = attributes.index.unwrap_or(next);
        next += 1;
        if !used.insert(index) {
            return Err(Error::new(variant.span(), "this index is taken"));
        }
        roles.push(Role::Indexed(index, variant));
    }
    if roles.is_empty() {
        return Err(Error::new(data.enum_token.span, "an enum without variants has no encoding"));
    }
    Ok(roles)
}

fn check_unknown_shape(variant: &Variant) -> Result<()> {
    let names: Vec<String> =
        variant.fields.iter().filter_map(|f| f.ident.as_ref().map(Ident::to_string)).collect();
    if matches!(variant.fields, Fields::Named(_)) && names == ["variant", "bytes"] {
        return Ok(());
    }
    Err(Error::new(variant.span(), "the catch-all is `{ variant: u64, bytes: Vec<u8> }`"))
}

/// Adds `bound` to every type parameter.
pub(crate) fn bind(mut generics: Generics, bound: &syn::Path) -> Generics {
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(#bound));
    }
    generics
}
