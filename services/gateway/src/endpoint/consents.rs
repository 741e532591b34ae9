//! Consent of one contact: record facts, read where it stands.

use actix_web::{HttpRequest, HttpResponse, web};
use parcours_domain::{
    Channel, ContactId, EmailAddress, Name,
    consent::{FactKind, Latest, Scope},
};
use parcours_kit::Problem;
use parcours_store::StandingNow;
use parcours_wire::{
    FactRequest,
    http::consent::{
        ConsentAnswer, ConsentFactRequest, ConsentRequest, LatestWord, StandingView, TopicStanding,
    },
};
use utoipa::OpenApi;
use uuid::Uuid;

use super::{ReadRefusals, WriteRefusals, ask, found, get, invalid, read, resource};
use crate::{
    auth::{Access, Manage, Read},
    body::{Admitted, JsonBody},
    failure, idempotent,
    reply::{Reply, show},
};

/// The most facts of one request.
const FACTS_MAX: usize = 100;
/// The most characters of a source or a wording reference.
const TEXT_CHARS_MAX: usize = 255;

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(record, standing),
    components(schemas(ConsentRequest, ConsentAnswer, StandingView))
)]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(
        resource("/v1/contacts/{id}/consents", "GET, HEAD, POST")
            .route(web::post().to(record))
            .route(get().to(standing)),
    );
}

/// Record consent facts
///
/// All in one commit. Once this is answered, no message that was judged before leaves against it.
/// An opt-in names one topic; only withdrawals and objections may cover all marketing.
#[utoipa::path(
    post,
    path = "/v1/contacts/{id}/consents",
    tag = "Consent",
    params(("id" = Uuid, Path, description = "The contact")),
    request_body = ConsentRequest,
    responses((status = 201, description = "Recorded", body = ConsentAnswer), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn record(
    request: HttpRequest,
    Admitted(access, body): Admitted<Access<Manage>, JsonBody<ConsentRequest>>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, Problem> {
    if body.value.facts.is_empty() || body.value.facts.len() > FACTS_MAX {
        return Err(invalid("facts", format!("`facts` has 1 to {FACTS_MAX} entries")));
    }
    let facts = body.value.facts.iter().map(fact).collect::<Result<Vec<_>, _>>()?;
    let work = async {
        let consent = &access.gateway.state.consent;
        let recorded = consent.record(access.tenant, ContactId(*id), facts).await;
        let facts = recorded.map_err(|error| failure::of_consent(&error))?;
        access.gateway.state.worker.wake(access.tenant, ContactId(*id));
        Ok(Reply::created(&ConsentAnswer { facts: facts.into_iter().map(Uuid::from).collect() }))
    };
    idempotent::once(&access.gateway, access.tenant.0, &request, &body.bytes, work).await
}

/// Read where a contact stands
#[utoipa::path(
    get,
    path = "/v1/contacts/{id}/consents",
    tag = "Consent",
    params(("id" = Uuid, Path, description = "The contact")),
    responses((status = 200, description = "Where it stands on e-mail", body = StandingView), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn standing(access: Access<Read>, id: web::Path<Uuid>) -> Result<HttpResponse, Problem> {
    let contact = found(access.store().contact(ContactId(*id)).await, "contact")?;
    let door = access.gateway.state.store.consent();
    let standing = ask(door.standing(access.tenant, contact.id, Channel::Email).await)?;
    show(&view(&standing))
}

fn fact(fact: &ConsentFactRequest) -> Result<FactRequest, Problem> {
    let kind = FactKind::parse(&fact.kind).ok_or_else(|| {
        invalid("kind", "`kind` is one of given, confirmed, withdrawn, objected, suppressed")
    })?;
    let channel = match fact.channel.as_deref() {
        None => Channel::Email,
        Some(text) => {
            Channel::parse(text).ok_or_else(|| invalid("channel", "`channel` is email"))?
        }
    };
    let scope = match &fact.topic {
        None => Scope::AllMarketing,
        Some(text) => Scope::Topic(read::<Name>(text, "topic", "a topic's name")?),
    };
    let address = match &fact.email {
        None => None,
        Some(text) => Some(read::<EmailAddress>(text, "email", "an e-mail address")?),
    };
    if fact.source.trim().is_empty() || fact.source.chars().count() > TEXT_CHARS_MAX {
        return Err(invalid("source", format!("`source` has 1 to {TEXT_CHARS_MAX} characters")));
    }
    if fact.wording.as_ref().is_some_and(|text| text.chars().count() > TEXT_CHARS_MAX) {
        return Err(invalid(
            "wording",
            format!("`wording` has at most {TEXT_CHARS_MAX} characters"),
        ));
    }
    let (source, wording) = (fact.source.clone(), fact.wording.clone());
    Ok(FactRequest { kind, scope, channel, source, wording, address })
}

fn view(now: &StandingNow) -> StandingView {
    let address = now.address.as_ref().map(|(_, standing)| *standing).unwrap_or_default();
    let topics = now.standing.topics.iter();
    StandingView {
        channel: Channel::Email.to_string(),
        version: now.head_version.unwrap_or(0),
        topics: topics
            .map(|(topic, latest)| TopicStanding { topic: topic.to_string(), latest: word(latest) })
            .collect(),
        all_marketing: now.standing.all_marketing.as_ref().map(word),
        suppressed: now.standing.suppressed.as_ref().map(word),
        address_suppressed: address.suppressed_at.is_some(),
        address_objected: address.objected_at.is_some(),
    }
}

fn word(latest: &Latest) -> LatestWord {
    LatestWord { kind: latest.kind.as_str().to_owned(), at: latest.at, fact: latest.fact.0 }
}
