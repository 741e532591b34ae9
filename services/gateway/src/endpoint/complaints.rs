//! Complaints, as feedback loops of mailbox providers report them: as JSON, or as the report itself
//! (ARF, RFC 5965).

use std::{future::Future, pin::Pin};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    dev::Payload,
    http::header::{CONTENT_TYPE, HeaderValue},
    web,
};
use bytes::Bytes;
use parcours_domain::{EmailAddress, MessageId};
use parcours_kit::Problem;
use parcours_wire::{
    ComplaintAbout,
    http::breaker::{ComplaintAnswer, ComplaintRequest},
};
use utoipa::OpenApi;

use super::{WriteRefusals, invalid, read, resource};
use crate::{
    arf,
    auth::{Access, Manage},
    body::{Admitted, media_type, parse, plain},
    failure, idempotent,
    reply::Reply,
    state::Gateway,
};

/// Where a complaint comes from when nobody says.
const SOURCE: &str = "feedback-loop";
/// The most characters of a source.
const SOURCE_CHARS_MAX: usize = 100;
/// The most bytes of a report: a message that was complained about comes with it.
const REPORT_BYTES_MAX: usize = 5 * 1024 * 1024;

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(complain), components(schemas(ComplaintRequest, ComplaintAnswer)))]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/complaints", "POST").route(web::post().to(complain)));
}

/// Report a complaint
///
/// For whoever receives the reports of mailbox providers' feedback loops. The address that the message
/// went to is suppressed, and the complaint counts for the brand's breaker; a message is complained
/// about once, however often that is reported. Takes JSON, or the report as it came by mail (ARF, RFC
/// 5965): `message/rfc822` with the whole mail, or `multipart/report` with its body.
#[utoipa::path(
    post,
    path = "/v1/complaints",
    tag = "Complaints",
    request_body(content(
        (ComplaintRequest = "application/json"),
        (String = "message/rfc822"),
        (String = "multipart/report")
    )),
    responses((status = 201, description = "Recorded", body = ComplaintAnswer), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn complain(
    request: HttpRequest,
    Admitted(access, body): Admitted<Access<Manage>, ReportBody>,
) -> Result<HttpResponse, Problem> {
    let (about, source) = body.about()?;
    let work = async {
        let complaint = access.gateway.state.consent.complain(access.tenant, about, source).await;
        let taken = complaint.map_err(|error| failure::of_consent(&error))?;
        Ok(Reply::created(&ComplaintAnswer {
            contact: taken.contact.0,
            message: taken.message.map(|message| message.0),
            suppression: taken.suppression.map(|fact| fact.0),
        }))
    };
    idempotent::once(&access.gateway, access.tenant.0, &request, &body.bytes, work).await
}

/// A body in one of the forms of a report.
struct ReportBody {
    /// As it came, unpacked.
    bytes: Bytes,
    form: Form,
}

enum Form {
    Json,
    Mail,
    /// The body of a mail, and the content type that says where its parts end.
    Parts(HeaderValue),
}

impl FromRequest for ReportBody {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let form = match (media_type(&request).as_str(), request.headers().get(CONTENT_TYPE)) {
                ("application/json", _) => Form::Json,
                ("message/rfc822", _) => Form::Mail,
                ("multipart/report", Some(content_type)) => Form::Parts(content_type.clone()),
                _ => return Err(unsupported()),
            };
            let own = request.app_data::<web::Data<Gateway>>();
            let limit = own.map_or(0, |own| own.state.limits.body_bytes_max);
            let limit = limit.min(REPORT_BYTES_MAX);
            let payload = web::Payload::from_request(&request, &mut { payload }).await;
            Ok(Self { bytes: plain(&request, payload, limit).await?, form })
        })
    }
}

impl ReportBody {
    fn about(&self) -> Result<(ComplaintAbout, String), Problem> {
        let report = match &self.form {
            Form::Json => return of_json(&parse::<ComplaintRequest>(&self.bytes)?),
            Form::Mail => arf::read(&self.bytes),
            Form::Parts(content_type) => {
                let head = [b"Content-Type: ", content_type.as_bytes(), b"\r\n\r\n"].concat();
                arf::read(&[&head, &self.bytes[..]].concat())
            }
        };
        let report = report.map_err(|error| {
            Problem::new(422, error.code(), "No complaint in the report", error.to_string())
        })?;
        let about = match (report.message, report.recipient) {
            (Some(message), _) => ComplaintAbout::Message(message),
            (None, Some(address)) => ComplaintAbout::Address(address),
            (None, None) => return Err(nothing_named()),
        };
        Ok((about, SOURCE.to_owned()))
    }
}

fn of_json(wanted: &ComplaintRequest) -> Result<(ComplaintAbout, String), Problem> {
    let source = wanted.source.as_deref().unwrap_or(SOURCE).trim();
    if source.is_empty() || source.chars().count() > SOURCE_CHARS_MAX {
        let detail = format!("`source` has 1 to {SOURCE_CHARS_MAX} characters");
        return Err(invalid("source", detail));
    }
    let about = match (wanted.message, &wanted.email) {
        (Some(message), None) => ComplaintAbout::Message(MessageId(message)),
        (None, Some(email)) => {
            ComplaintAbout::Address(read::<EmailAddress>(email, "email", "an e-mail address")?)
        }
        (None, None) => return Err(nothing_named()),
        (Some(_), Some(_)) => {
            return Err(invalid("email", "name the message or the address, not both"));
        }
    };
    Ok((about, source.to_owned()))
}

fn nothing_named() -> Problem {
    invalid("message", "name the `message`, or the `email` address that it went to")
}

fn unsupported() -> Problem {
    let detail = "send application/json, message/rfc822 or multipart/report";
    Problem::new(415, "unsupported_media_type", "Media type not supported", detail)
}
