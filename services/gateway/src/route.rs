//! All routes, one line for each group; and what answers when none does.

use std::sync::Arc;

use actix_web::{HttpResponse, error::QueryPayloadError, web};
use parcours_kit::Problem;
use utoipa::{OpenApi as _, openapi::OpenApi};

use crate::{
    endpoint::{
        brands, breaker, complaints, consents, contacts, copies, documents, events, halt, journeys,
        keys, mailbox, messages, quarantine, quotas, rollup, runs, secrets, segment, sending,
        status, system, templates,
    },
    failure, page,
    state::{Gateway, GatewayState},
};

/// A group: its routes and its part of the OpenAPI document.
type Group = (fn(&mut web::ServiceConfig), fn() -> OpenApi);

/// Every group of the API.
pub const GROUPS: &[Group] = &[
    (segment::routes, segment::Api::openapi),
    (events::routes, events::Api::openapi),
    (contacts::routes, contacts::Api::openapi),
    (consents::routes, consents::Api::openapi),
    (complaints::routes, complaints::Api::openapi),
    (messages::routes, messages::Api::openapi),
    (templates::routes, templates::Api::openapi),
    (runs::routes, runs::Api::openapi),
    (documents::routes, documents::Api::openapi),
    (journeys::routes, journeys::Api::openapi),
    (copies::routes, copies::Api::openapi),
    (secrets::routes, secrets::Api::openapi),
    (quarantine::routes, quarantine::Api::openapi),
    (keys::routes, keys::Api::openapi),
    (brands::routes, brands::Api::openapi),
    (quotas::routes, quotas::Api::openapi),
    (breaker::routes, breaker::Api::openapi),
    (rollup::routes, rollup::Api::openapi),
    (halt::routes, halt::Api::openapi),
    (sending::routes, sending::Api::openapi),
    (mailbox::routes, mailbox::Api::openapi),
    (status::routes, status::Api::openapi),
    (system::routes, system::Api::openapi),
];

/// Everything that the gateway serves, for `App::configure`. Made once, cloned for each thread of
/// the server: what is remembered between requests is shared.
pub fn configure(state: GatewayState) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static {
    let with_pages = state.mailbox_page;
    let probed =
        system::Probed { store: state.store.clone(), readiness: Arc::clone(&state.readiness) };
    let probed = web::Data::new(probed);
    let gateway = web::Data::new(Gateway::new(state));
    move |config: &mut web::ServiceConfig| {
        config
            .app_data(gateway.clone())
            .app_data(probed.clone())
            .app_data(web::QueryConfig::default().error_handler(|error, _| of_query(&error).into()))
            .app_data(web::PathConfig::default().error_handler(|_, _| {
                failure::not_found("the address holds an id that cannot be one").into()
            }));
        for (routes, _) in GROUPS {
            routes(config);
        }
        page::docs::routes(config);
        if with_pages {
            page::mailbox::routes(config);
        }
        config.default_service(web::to(unknown));
    }
}

async fn unknown() -> HttpResponse {
    let detail = "there is nothing at this address; /docs lists what there is";
    Problem::new(404, "unknown_route", "No such address", detail).response()
}

fn of_query(error: &QueryPayloadError) -> Problem {
    let detail = format!("the query cannot be read: {error}");
    Problem::new(400, "bad_query", "Query not valid", detail)
}
