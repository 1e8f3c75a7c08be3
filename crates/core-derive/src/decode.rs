//! `#[derive(Decode)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Result, parse_quote};

use crate::attributes::{Role, bind, roles};

pub(crate) fn expand(input: DeriveInput) -> Result<TokenStream> {
    let body = match &input.data {
        Data::Struct(data) => {
            let members = data.fields.members();
            quote!(::core::result::Result::Ok(Self { #(#members: ::moneta_core::Decode::decode(input)?),* }))
        }
        Data::Enum(data) => enum_body(&roles(data)?),
        Data::Union(data) => {
            return Err(Error::new(data.union_token.span, "a union has no encoding"));
        }
    };
    let name = &input.ident;
    let generics = bind(input.generics.clone(), &parse_quote!(::moneta_core::Decode));
    let (parameters, arguments, bounds) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #parameters ::moneta_core::Decode for #name #arguments #bounds {
            #[allow(unused_variables, unused_mut)]
            fn decode(
                input: &mut ::moneta_core::codec::Reader<'_>,
            ) -> ::core::result::Result<Self, ::moneta_core::codec::DecodeError> {
                #body
            }
        }
    })
}

fn enum_body(roles: &[Role<'_>]) -> TokenStream {
    let arms = roles.iter().filter_map(|role| match role {
        Role::Indexed(index, variant) => {
            let (name, members) = (&variant.ident, variant.fields.members());
            Some(quote! {
                #index => Self::#name {
                    #(#members: ::moneta_core::Decode::decode(&mut payload)?),*
                },
            })
        }
        Role::Unknown(_) => None,
    });
    let otherwise = roles
        .iter()
        .find_map(|role| match role {
            Role::Unknown(name) => Some(
                quote!(variant => Self::#name { variant, bytes: payload.take_rest().to_vec() }),
            ),
            Role::Indexed(..) => None,
        })
        .unwrap_or_else(|| {
            quote! {
                variant => return ::core::result::Result::Err(
                    ::moneta_core::codec::DecodeError::UnknownVariant(variant),
                )
            }
        });
    quote! {
        let index = input.take_bigsize()?;
        let mut payload = input.take_nested()?;
        let value = match index {
            #(#arms)*
            #otherwise
        };
        payload.finish()?;
        ::core::result::Result::Ok(value)
    }
}
