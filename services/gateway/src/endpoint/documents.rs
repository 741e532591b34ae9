//! Documents: validate, compare, publish, read, export.

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use parcours_domain::Name;
use parcours_journey::Kind;
use parcours_kit::Problem;
use parcours_store::{DocumentRow, KeyScope};
use parcours_wire::http::{
    PageOf,
    document::{
        AppliedAnswer, AppliedDocument, DiffAnswer, DocumentView, DocumentsRequest, ExportAnswer,
        SourceFile, ValidAnswer,
    },
};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use super::{ReadRefusals, WriteRefusals, ask, found, get, invalid, read, resource};
use crate::{
    auth::{Access, Manage, Read, may},
    body::{media_type, parse, plain},
    failure, idempotent,
    publish::{self, DocumentSet, PublishError, Publisher},
    quota,
    reply::{Reply, show},
};

/// The most files of a set.
const FILES_MAX: usize = 500;

/// The group's part of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(list, apply, apply_put, validate, diff, export, one, versions),
    components(schemas(
        DocumentsRequest, AppliedAnswer, ValidAnswer, DiffAnswer, ExportAnswer, DocumentView,
        PageOf<DocumentView>
    ))
)]
pub struct Api;

/// The group's routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            resource("/v1/documents", "GET, HEAD, POST, PUT")
                .route(get().to(list))
                .route(web::post().to(apply))
                .route(web::put().to(apply_put)),
        )
        .service(resource("/v1/documents/validate", "POST").route(web::post().to(validate)))
        .service(resource("/v1/documents/diff", "POST").route(web::post().to(diff)))
        .service(resource("/v1/documents/export", "GET, HEAD").route(get().to(export)))
        .service(resource("/v1/documents/{kind}/{name}", "GET, HEAD").route(get().to(one)))
        .service(
            resource("/v1/documents/{kind}/{name}/versions", "GET, HEAD").route(get().to(versions)),
        );
}

/// Publish a set of documents
///
/// All of it or nothing. A document that did not change keeps its version. Besides JSON, one
/// source may come as it is with Content-Type application/yaml.
#[utoipa::path(
    post,
    path = "/v1/documents",
    tag = "Documents",
    request_body = DocumentsRequest,
    responses((status = 200, description = "Published", body = AppliedAnswer), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn apply(
    request: HttpRequest,
    access: Access<Manage>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    publish_set(&request, &access, payload).await
}

/// Publish a set of documents (the same as POST)
#[utoipa::path(
    put,
    path = "/v1/documents",
    tag = "Documents",
    request_body = DocumentsRequest,
    responses((status = 200, description = "Published", body = AppliedAnswer), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn apply_put(
    request: HttpRequest,
    access: Access<Manage>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    publish_set(&request, &access, payload).await
}

async fn publish_set(
    request: &HttpRequest,
    access: &Access<Manage>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let limit = access.gateway.state.limits.documents_bytes_max;
    let (files, bytes) = sources(request, payload, limit).await?;
    let work = async {
        let set = read_set(files).await?;
        let publisher =
            Publisher::Key { id: access.key.id, admin: may(&access.key, KeyScope::Admin) };
        let (state, now) = (&access.gateway.state, access.now());
        let published = publish::apply(&state.store, access.tenant, set, publisher, now).await;
        let published = published.map_err(|error| of_publish(&error))?;
        access.gateway.settings.forget(access.tenant);
        state.worker.plans_changed(access.tenant);
        let documents = published.into_iter().map(|one| AppliedDocument {
            kind: one.kind,
            name: one.name.to_string(),
            version: one.version,
            changed: one.changed,
        });
        Ok(Reply::ok(&AppliedAnswer { documents: documents.collect() }))
    };
    idempotent::once(&access.gateway, access.tenant.0, request, &bytes, work).await
}

/// Find every problem of a set, over what is published
#[utoipa::path(
    post,
    path = "/v1/documents/validate",
    tag = "Documents",
    request_body = DocumentsRequest,
    responses((status = 200, description = "Without problems", body = ValidAnswer), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn validate(
    request: HttpRequest,
    access: Access<Read>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let checked = checked(&request, &access, payload).await?.0;
    let documents = u32::try_from(checked.documents.len()).unwrap_or(u32::MAX);
    show(&ValidAnswer { valid: true, documents, warnings: Vec::new() })
}

/// Say what publishing a set would change
#[utoipa::path(
    post,
    path = "/v1/documents/diff",
    tag = "Documents",
    request_body = DocumentsRequest,
    responses((status = 200, description = "What would change", body = DiffAnswer), WriteRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn diff(
    request: HttpRequest,
    access: Access<Read>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let (checked, existing) = checked(&request, &access, payload).await?;
    show(&DiffAnswer { documents: publish::diff(&checked, &existing) })
}

async fn checked(
    request: &HttpRequest,
    access: &Access<Read>,
    payload: web::Payload,
) -> Result<(publish::Checked, publish::Existing), Problem> {
    let limit = access.gateway.state.limits.documents_bytes_max;
    let (files, _) = sources(request, payload, limit).await?;
    let set = read_set(files).await?;
    let existing = publish::existing(&access.gateway.state.store, access.tenant).await;
    let existing = existing.map_err(|error| of_publish(&error))?;
    publish::check_apart(set, existing).await.map_err(|error| of_publish(&error))
}

/// Which documents.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct KindQuery {
    /// Only documents of this kind: Brand, Sender, Topic, Template or Journey.
    kind: Option<String>,
}

/// List the published documents, without their bodies
#[utoipa::path(
    get,
    path = "/v1/documents",
    tag = "Documents",
    params(KindQuery),
    responses((status = 200, description = "The documents", body = PageOf<DocumentView>), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn list(access: Access<Read>, query: web::Query<KindQuery>) -> Result<HttpResponse, Problem> {
    let kind = query.kind.as_deref().map(kind_of).transpose()?;
    let rows = ask(access.store().documents().await)?;
    let rows = rows.iter().filter(|row| kind.is_none_or(|kind| kind.as_str() == row.kind));
    show(&PageOf { items: rows.map(|row| view(row, false)).collect::<Vec<_>>(), next: None })
}

/// Everything that is published, as sources that can be applied again
#[utoipa::path(
    get,
    path = "/v1/documents/export",
    tag = "Documents",
    responses((status = 200, description = "One file for each document; never a secret", body = ExportAnswer), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn export(access: Access<Read>) -> Result<HttpResponse, Problem> {
    show(&ExportAnswer { files: ask(publish::export(&access.store()).await)? })
}

/// Which version.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct VersionQuery {
    /// The version; the newest unless asked otherwise.
    version: Option<u32>,
}

/// Read one document
#[utoipa::path(
    get,
    path = "/v1/documents/{kind}/{name}",
    tag = "Documents",
    params(
        ("kind" = String, Path, description = "Brand, Sender, Topic, Template or Journey"),
        ("name" = String, Path, description = "Its name"),
        VersionQuery
    ),
    responses((status = 200, description = "The document", body = DocumentView), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn one(
    access: Access<Read>,
    path: web::Path<(String, String)>,
    query: web::Query<VersionQuery>,
) -> Result<HttpResponse, Problem> {
    let (kind, name) = kind_and_name(&path)?;
    let row = access.store().document(kind.as_str(), &name, query.version).await;
    show(&view(&found(row, "document")?, true))
}

/// List the versions of a document, newest first
#[utoipa::path(
    get,
    path = "/v1/documents/{kind}/{name}/versions",
    tag = "Documents",
    params(
        ("kind" = String, Path, description = "Brand, Sender, Topic, Template or Journey"),
        ("name" = String, Path, description = "Its name")
    ),
    responses((status = 200, description = "The versions", body = PageOf<DocumentView>), ReadRefusals),
    security(("basic" = []), ("bearer" = []))
)]
async fn versions(
    access: Access<Read>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (kind, name) = kind_and_name(&path)?;
    let rows = ask(access.store().document_versions(kind.as_str(), &name).await)?;
    if rows.is_empty() {
        return Err(failure::not_found("there is no such document in this brand"));
    }
    show(&PageOf { items: rows.iter().map(|row| view(row, false)).collect::<Vec<_>>(), next: None })
}

/// The sources of a request, and its bytes.
async fn sources(
    request: &HttpRequest,
    payload: web::Payload,
    limit: usize,
) -> Result<(Vec<SourceFile>, Bytes), Problem> {
    let media = media_type(request);
    let bytes = match media.as_str() {
        "application/json" | "application/yaml" | "application/x-yaml" | "text/yaml" => {
            plain(request, Ok(payload), limit).await?
        }
        _ => {
            let detail = "send Content-Type: application/json (a list of files) or application/yaml (one source)";
            return Err(Problem::new(
                415,
                "unsupported_media_type",
                "Media type not supported",
                detail,
            ));
        }
    };
    let files = if media == "application/json" {
        parse::<DocumentsRequest>(&bytes)?.files
    } else {
        let source = String::from_utf8(bytes.to_vec()).map_err(|_| {
            Problem::new(
                400,
                "invalid_utf8",
                "Not UTF-8",
                "the body holds bytes that are not UTF-8",
            )
        })?;
        vec![SourceFile { name: "body".to_owned(), source }]
    };
    if files.is_empty() || files.len() > FILES_MAX {
        return Err(invalid("files", format!("`files` has 1 to {FILES_MAX} entries")));
    }
    Ok((files, bytes))
}

pub(super) async fn read_set(files: Vec<SourceFile>) -> Result<DocumentSet, Problem> {
    let read = tokio::task::spawn_blocking(move || publish::read(&files)).await;
    read.map_err(|_| failure::internal())
}

/// What a caller hears of documents that were not published.
pub(super) fn of_publish(error: &PublishError) -> Problem {
    match error {
        PublishError::Problems(problems) => {
            let detail =
                format!("nothing was published: {} problems, each in `errors`", problems.len());
            Problem::new(422, "invalid_documents", "Documents have problems", detail)
                .with_errors(problems.iter().map(publish::fault).collect())
        }
        PublishError::NeedsAdmin(_) => {
            Problem::new(403, "needs_admin_key", "Admin key required", error.to_string())
        }
        PublishError::TooManyJourneys(most) => quota::too_many_journeys(*most),
        PublishError::Store(error) => failure::of_store(error),
        PublishError::Stored(_) | PublishError::Interrupted => {
            tracing::error!(%error, "documents could not be checked");
            failure::internal()
        }
    }
}

fn kind_of(text: &str) -> Result<Kind, Problem> {
    let found = Kind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| invalid("kind", "`kind` is Brand, Sender, Topic, Template or Journey"))
}

fn kind_and_name(path: &(String, String)) -> Result<(Kind, Name), Problem> {
    Ok((kind_of(&path.0)?, read(&path.1, "name", "a document's name")?))
}

fn view(row: &DocumentRow, with_body: bool) -> DocumentView {
    DocumentView {
        kind: row.kind.clone(),
        name: row.name.to_string(),
        version: row.version,
        status: row.status.as_str().to_owned(),
        published_at: row.published_at,
        body: serde_json::from_str(&row.body).ok().filter(|_| with_body),
    }
}
