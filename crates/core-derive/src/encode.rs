//! `#[derive(Encode)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error, Result, Variant, parse_quote};

use crate::attributes::{Role, bind, roles};

pub(crate) fn expand(input: DeriveInput) -> Result<TokenStream> {
    let body = match &input.data {
        Data::Struct(data) => {
            let members = data.fields.members();
            quote!(#(::moneta_core::Encode::encode(&self.#members, out);)*)
        }
        Data::Enum(data) => {
            let arms = roles(data)?.into_iter().map(arm);
            quote!(match self { #(#arms)* })
        }
        Data::Union(data) => {
            return Err(Error::new(data.union_token.span, "a union has no encoding"));
        }
    };
    let name = &input.ident;
    let generics = bind(input.generics.clone(), &parse_quote!(::moneta_core::Encode));
    let (parameters, arguments, bounds) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #parameters ::moneta_core::Encode for #name #arguments #bounds {
            #[allow(unused_variables)]
            fn encode(&self, out: &mut ::std::vec::Vec<u8>) {
                #body
            }
        }
    })
}

fn arm(role: Role<'_>) -> TokenStream {
    match role {
        Role::Indexed(index, variant) => indexed_arm(index, variant),
        Role::Unknown(name) => quote! {
            Self::#name { variant, bytes } => {
                ::moneta_core::codec::write_bigsize(*variant, out);
                ::moneta_core::Encode::encode(bytes, out);
            }
        },
    }
}

fn indexed_arm(index: u64, variant: &Variant) -> TokenStream {
    let name = &variant.ident;
    let members: Vec<_> = variant.fields.members().collect();
    let fields: Vec<_> = (0..members.len()).map(|i| format_ident!("field_{i}")).collect();
    quote! {
        Self::#name { #(#members: #fields),* } => {
            ::moneta_core::codec::write_variant(#index, out, |payload| {
                #(::moneta_core::Encode::encode(#fields, payload);)*
            });
        }
    }
}
