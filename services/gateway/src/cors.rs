//! Cross-origin calls (CORS), for the routes that web pages call with a public key.
//!
//! What always holds: any origin may send, none may send with cookies; every answer of such a
//! route says so, refusals too. A route that is not made here says nothing of origins.

use actix_web::{
    Error, HttpResponse, Route,
    body::MessageBody,
    dev::{HttpServiceFactory, ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, HeaderValue,
        },
    },
    middleware::{Next, from_fn},
    web,
};

use crate::endpoint::resource;

/// A resource that pages of any origin may POST to.
pub fn open(path: &str, post: Route) -> impl HttpServiceFactory + use<> {
    resource(path, "OPTIONS, POST")
        .route(post)
        .route(web::method(Method::OPTIONS).to(preflight))
        .wrap(from_fn(to_any_origin))
}

/// What a browser asks before it sends a key; it asks without one.
async fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "POST"))
        .insert_header((
            ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, content-encoding",
        ))
        .insert_header((ACCESS_CONTROL_MAX_AGE, "86400"))
        .finish()
}

async fn to_any_origin<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let mut response = next.call(request).await?;
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Ok(response)
}
