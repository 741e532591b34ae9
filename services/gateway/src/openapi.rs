//! The OpenAPI 3.1 document, put together from the groups.

use std::sync::OnceLock;

use utoipa::{
    OpenApi,
    openapi::{
        self,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::route::GROUPS;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Parcours",
        description = "Marketing automation for many brands. Every refusal is a problem \
                       (RFC 9457) with a stable `code`. Every write of our own takes \
                       `Idempotency-Key`. Keys that reach several brands name one in the header \
                       `Parcours-Brand`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(parcours_wire::http::ProblemBody, parcours_wire::http::Fault))
)]
struct Base;

/// The document.
#[must_use]
pub fn document() -> openapi::OpenApi {
    let mut document = Base::openapi();
    for (_, group) in GROUPS {
        document.merge(group());
    }
    name_operations(&mut document);
    let components = document.components.get_or_insert_default();
    for (name, scheme, description) in [
        ("basic", HttpAuthScheme::Basic, "The key as user name, the password empty"),
        ("bearer", HttpAuthScheme::Bearer, "The key"),
    ] {
        let scheme =
            HttpBuilder::new().scheme(scheme).description(Some(description.to_owned())).build();
        components.add_security_scheme(name, SecurityScheme::Http(scheme));
    }
    document
}

/// Handlers are named within their group; over the whole document the group belongs to the name.
fn name_operations(document: &mut openapi::OpenApi) {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let tag = operation.tags.as_ref().and_then(|tags| tags.first());
            let tag = tag.and_then(|tag| tag.split(' ').next()).unwrap_or("").to_lowercase();
            operation.operation_id =
                operation.operation_id.take().map(|name| format!("{tag}_{name}"));
        }
    }
}

/// The document as JSON.
pub fn json() -> &'static str {
    static JSON: OnceLock<String> = OnceLock::new();
    JSON.get_or_init(|| document().to_json().unwrap_or_default())
}
