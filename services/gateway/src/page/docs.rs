//! The browsable API at `/docs`. Its assets are in the binary: no outside network is needed.

use std::sync::Arc;

use actix_web::{HttpResponse, http::header, web};
use parcours_kit::Problem;
use utoipa_swagger_ui::Config;

use crate::{
    endpoint::{get, resource},
    failure,
};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/docs", "GET, HEAD").route(get().to(to_index)))
        .service(resource("/docs/{file:.*}", "GET, HEAD").route(get().to(file)));
}

async fn to_index() -> HttpResponse {
    // Relative links of the page need the slash.
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "/docs/")).finish()
}

async fn file(path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let config = Arc::new(Config::from("/openapi.json"));
    let served = utoipa_swagger_ui::serve(&path, config).map_err(|_| failure::internal())?;
    let file = served.ok_or_else(|| failure::not_found("there is no such page"))?;
    let mut response = HttpResponse::Ok();
    response
        .content_type(file.content_type)
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    Ok(response.body(file.bytes.to_vec()))
}
