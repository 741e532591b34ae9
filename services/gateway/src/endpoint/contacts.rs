//! Contacts: list, one, timeline. Reads go to SQL, never to an actor.

use actix_web::{HttpResponse, web};
use parcours_domain::{Channel, ContactId, EmailAddress, Value};
use parcours_kit::Problem;
use parcours_store::{ContactView as Stored, TimelineEntry, TimelineItem as StoredItem};
use parcours_wire::http::{
    PageOf,
    contact::{ContactSummary, ContactView, TimelineItem},
};
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

use super::{
    PageQuery, ReadRefusals, ask, found, get, messages, page_of, page_request, read, resource, runs,
};
use crate::{
    auth::{Access, Read},
    reply::show,
};

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(list, one, timeline),
    components(schemas(PageOf<ContactSummary>, ContactView, PageOf<TimelineItem>))
)]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/contacts", "GET, HEAD").route(get().to(list)))
        .service(resource("/v1/contacts/{id}", "GET, HEAD").route(get().to(one)))
        .service(resource("/v1/contacts/{id}/timeline", "GET, HEAD").route(get().to(timeline)));
}

/// Which contacts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ContactQuery {
    /// How many items, at most 500; 50 unless asked otherwise.
    limit: Option<u32>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Only the contact with this id of the brand's own.
    user_id: Option<String>,
    /// Only the contact of this visitor.
    anonymous_id: Option<String>,
    /// Only contacts whose present address this is.
    email: Option<String>,
}

/// List contacts, oldest first
#[utoipa::path(
    get,
    path = "/v1/contacts",
    tag = "Contacts",
    params(ContactQuery),
    responses((status = 200, description = "A page of contacts", body = PageOf<ContactSummary>), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn list(
    access: Access<Read>,
    query: web::Query<ContactQuery>,
) -> Result<HttpResponse, Problem> {
    let store = access.store();
    let ids: Vec<ContactId> = if let Some(value) = &query.user_id {
        ask(store.contact_by_identity("user_id", value).await)?.into_iter().collect()
    } else if let Some(value) = &query.anonymous_id {
        ask(store.contact_by_identity("anonymous_id", value).await)?.into_iter().collect()
    } else if let Some(text) = &query.email {
        let address: EmailAddress = read(text, "email", "an e-mail address")?;
        ask(store.contacts_by_address(Channel::Email, &address).await)?
    } else {
        let page = page_request(query.limit, query.cursor.as_deref());
        return show(&page_of(ask(store.contacts(&page).await)?, |one| summary(&one)));
    };
    let mut items = Vec::with_capacity(ids.len());
    for id in ids {
        items.extend(ask(store.contact(id).await)?.as_ref().map(summary));
    }
    show(&PageOf { items, next: None })
}

/// Read one contact
///
/// Asking for a contact that became part of another gives the other.
#[utoipa::path(
    get,
    path = "/v1/contacts/{id}",
    tag = "Contacts",
    params(("id" = Uuid, Path, description = "The contact")),
    responses((status = 200, description = "The contact", body = ContactView), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn one(access: Access<Read>, id: web::Path<Uuid>) -> Result<HttpResponse, Problem> {
    let contact = found(access.store().contact(ContactId(*id)).await, "contact")?;
    show(&view(&contact))
}

/// Read a contact's timeline, oldest first
///
/// Events, runs, steps, messages and consent facts in order; those of contacts that became part
/// of this one are among them.
#[utoipa::path(
    get,
    path = "/v1/contacts/{id}/timeline",
    tag = "Contacts",
    params(("id" = Uuid, Path, description = "The contact"), PageQuery),
    responses((status = 200, description = "A page of the timeline", body = PageOf<TimelineItem>), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn timeline(
    access: Access<Read>,
    id: web::Path<Uuid>,
    query: web::Query<PageQuery>,
) -> Result<HttpResponse, Problem> {
    let store = access.store();
    let contact = found(store.contact(ContactId(*id)).await, "contact")?;
    let page = page_request(query.limit, query.cursor.as_deref());
    show(&page_of(ask(store.timeline(contact.id, &page).await)?, line))
}

fn summary(contact: &Stored) -> ContactSummary {
    ContactSummary {
        id: contact.id.0,
        handle: contact.handle.to_string(),
        created_at: contact.created_at,
    }
}

fn view(contact: &Stored) -> ContactView {
    let email = contact.addresses.iter().find(|one| one.channel == Channel::Email);
    let attributes = contact.state.as_ref().map(|state| state.attributes.clone());
    ContactView {
        id: contact.id.0,
        handle: contact.handle.to_string(),
        created_at: contact.created_at,
        email: email.and_then(|one| one.address.as_ref()).map(|one| one.expose().to_owned()),
        attributes: Value::Map(attributes.unwrap_or_default()).to_json(),
        erased_at: contact.erased_at,
        revision: contact.revision,
        seq: contact.seq,
        state_bytes: contact.state_bytes as u64,
    }
}

fn line(entry: TimelineEntry) -> TimelineItem {
    let json_of = |text: &str| serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
    let (kind, id, data) = match entry.item {
        StoredItem::Event { id, seq, kind, name, message_id, occurred_at, received_at, body } => {
            let data = json!({
                "type": kind, "name": name, "seq": seq, "message_id": message_id,
                "occurred_at": occurred_at, "received_at": received_at, "body": json_of(&body),
            });
            ("event", Some(id.0), data)
        }
        StoredItem::Trace { cause, body } => {
            ("step", None, json!({ "cause": cause, "trace": json_of(&body) }))
        }
        StoredItem::Run(run) => ("run", Some(run.id.0), json!(runs::view(run))),
        StoredItem::Message(message) => {
            ("message", Some(message.id.0), json!(messages::view(&message)))
        }
        StoredItem::Fact(fact) => {
            let data = json!({
                "kind": fact.kind, "scope": fact.scope, "purpose": fact.purpose,
                "channel": fact.channel, "source": fact.source, "wording": fact.wording,
            });
            ("consent", Some(fact.id.0), data)
        }
    };
    TimelineItem { at: entry.at, kind: kind.to_owned(), id, data }
}
