//! What a template would be for a contact, and whether it would be sent: computed, never recorded.
//!
//! The values, the rendering and the verdict are those of a real send; only the links are inert.

use std::{sync::Arc, time::Duration};

use parcours_content::{
    BrandRoot, CompiledTemplate, FieldSource, FieldValue, LinkUrls, MessageRoot, RenderData,
    RenderError, Rendered, explain, render,
};
use parcours_domain::{
    Channel, MessageClass, Name, TenantId,
    consent::{Ground, Question, Refusal, verdict},
    value::Properties,
};
use parcours_journey::document::{BrandDocument, TopicDocument};
use parcours_kit::{CpuMeter, Problem};
use parcours_store::{ContactView, Store};
use parcours_wire::http::template::{FieldView, OutlookView};

use tokio::sync::OwnedSemaphorePermit;

use crate::{endpoint::ask, failure};

/// A template that takes longer for one message fails there, too.
const RENDER_MOST: Duration = Duration::from_secs(2);
/// Gmail shows no more of a message (102 kB), and hides what comes after: often the unsubscribe
/// link.
const GMAIL_CLIPS_BYTES: usize = 102 * 1024;

/// What is shown, and with what.
pub struct Show {
    /// The template.
    pub name: Name,
    /// Compiled.
    pub template: CompiledTemplate,
    /// The contact's attributes.
    pub contact: Properties,
    /// `run.*`
    pub run: Properties,
    /// The brand's document.
    pub brand: Option<BrandDocument>,
    /// The topic's name, when one is known.
    pub topic: Option<Name>,
    /// When it would be sent, RFC 3339.
    pub now: String,
}

/// What became of it.
pub struct Shown {
    /// The message, or why there is none.
    pub rendered: Result<Rendered, String>,
    /// Each merge field.
    pub fields: Vec<FieldView>,
    /// What is worth a second look.
    pub warnings: Vec<String>,
    /// What the template has used of a processor.
    pub cpu: Duration,
}

/// Links that lead to their targets and act on nothing.
struct InertUrls {
    base: String,
}

impl LinkUrls for InertUrls {
    fn unsubscribe(&self) -> String {
        // No token: the same "not found" as for any other stranger.
        format!("{}/u/preview", self.base)
    }
    fn click(&self, _link: u16, target: &str) -> String {
        target.to_owned()
    }
}

/// Renders on a thread of its own: a template can take long, or panic.
/// `place` is given back when that thread ends, however long nobody waits for it any more.
pub async fn show(show: Show, place: OwnedSemaphorePermit) -> Shown {
    let show = Arc::new(show);
    let work = Arc::clone(&show);
    let fields = explained(&show);
    let cpu = Arc::new(CpuMeter::default());
    let meter = Arc::clone(&cpu);
    let task = tokio::task::spawn_blocking(move || {
        let _place = place;
        meter.measure(|| rendered(&work))
    });
    let rendered = match tokio::time::timeout(RENDER_MOST, task).await {
        Ok(Ok(Ok(rendered))) => Ok(rendered),
        Ok(Ok(Err(RenderError::Missing { path }))) => Err(format!("missing:{path}")),
        Ok(Ok(Err(error))) => Err(error.reason().to_owned()),
        Ok(Err(_)) => Err("template_panicked".to_owned()),
        Err(_) => Err("template_stalled".to_owned()),
    };
    let warnings = rendered.as_ref().map(warnings).unwrap_or_default();
    Shown { rendered, fields, warnings, cpu: cpu.used() }
}

fn with_data<T>(show: &Show, work: impl FnOnce(&RenderData<'_>) -> T) -> T {
    let brand = show.brand.as_ref();
    let brand = brand.map_or_else(Properties::new, |brand| {
        BrandRoot {
            name: &brand.display_name,
            postal_address: &brand.postal_address,
            public_url: brand.public_url.trim_end_matches('/'),
            locale: &brand.locale,
            controller: (&brand.controller.name, &brand.controller.contact),
        }
        .fields()
    });
    let message = MessageRoot {
        id: "00000000-0000-0000-0000-000000000000",
        topic: show.topic.as_ref().map_or("", Name::as_str),
        template: show.name.as_str(),
        sent_at: &show.now,
        journey: None,
    }
    .fields();
    work(&RenderData { contact: &show.contact, run: &show.run, brand: &brand, message: &message })
}

fn rendered(show: &Show) -> Result<Rendered, RenderError> {
    let base = show.brand.as_ref().map(|brand| brand.public_url.trim_end_matches('/').to_owned());
    let urls = InertUrls { base: base.unwrap_or_default() };
    with_data(show, |data| render(&show.template, data, &urls))
}

fn explained(show: &Show) -> Vec<FieldView> {
    let view = |field: FieldValue| FieldView {
        source: match field.source {
            FieldSource::Given => field.path.split('.').next().unwrap_or("").to_owned(),
            FieldSource::Default => "default".to_owned(),
            FieldSource::Missing => "missing".to_owned(),
            FieldSource::RequiredMissing => "required_missing".to_owned(),
        },
        value: field.value.map(|value| value.to_json()),
        path: field.path,
    };
    with_data(show, |data| explain(&show.template, data).into_iter().map(view).collect())
}

fn warnings(rendered: &Rendered) -> Vec<String> {
    let bytes = rendered.html.len();
    if bytes <= GMAIL_CLIPS_BYTES {
        return Vec::new();
    }
    vec![format!(
        "the HTML has {bytes} bytes; Gmail shows the first {GMAIL_CLIPS_BYTES} and hides the rest, \
         the unsubscribe link with it"
    )]
}

/// Whether the contact would get a message under the topic now, as far as the gate is concerned.
pub async fn outlook(
    store: &Store,
    tenant: TenantId,
    contact: &ContactView,
    topic: (Option<&Name>, Option<&TopicDocument>),
) -> Result<OutlookView, Problem> {
    let (name, document) = topic;
    let decision = match document {
        None => Err(Refusal::NoTopic),
        Some(document) => judged(store, tenant, contact, document).await?,
    };
    let mut why_not: Vec<String> =
        decision.as_ref().err().map(|refusal| refusal.as_str().to_owned()).into_iter().collect();
    let admin = store.admin();
    let brand = ask(admin.brand(tenant).await)?;
    if brand.is_none_or(|brand| brand.halted_at.is_some()) {
        why_not.push("brand_halted".to_owned());
    }
    let stopped = ask(store.for_tenant(tenant).breaker().await)?.stopped;
    let class = document.map_or(MessageClass::Marketing, |document| document.class);
    if stopped.is_some_and(|stopped| stopped.stops.holds(class)) {
        why_not.push("breaker".to_owned());
    }
    if ask(admin.install().await)?.halted_at.is_some() {
        why_not.push("install_halted".to_owned());
    }
    let (ground, fact) = match decision {
        Ok(Ground::Consent(fact)) => (Some("consent"), Some(fact)),
        Ok(Ground::Transactional) => (Some("transactional"), None),
        Ok(Ground::TestAddress) | Err(_) => (None, None),
    };
    Ok(OutlookView {
        would_be_sent: why_not.is_empty(),
        why_not,
        ground: ground.map(str::to_owned),
        fact: fact.map(|fact| fact.0),
        topic: name.map(ToString::to_string),
    })
}

/// The verdict that the gate would give now, from the same facts.
async fn judged(
    store: &Store,
    tenant: TenantId,
    contact: &ContactView,
    topic: &TopicDocument,
) -> Result<Result<Ground, Refusal>, Problem> {
    let standing = ask(store.consent().standing(tenant, contact.id, Channel::Email).await)?;
    let address = contact.addresses.iter().find(|one| one.channel == Channel::Email);
    let reachable = address.is_some_and(|one| one.address.is_some());
    let (Some((_, address)), Some(_), true) = (standing.address, standing.head_version, reachable)
    else {
        return Ok(Err(Refusal::NoAddress));
    };
    Ok(verdict(&Question {
        topic: &topic.name,
        class: topic.class,
        double_opt_in: topic.double_opt_in,
        standing: &standing.standing,
        address,
        test_address: false,
    }))
}

/// The attributes of a contact.
#[must_use]
pub fn attributes(contact: &ContactView) -> Properties {
    contact.state.as_ref().map(|state| state.attributes.clone()).unwrap_or_default()
}

/// The data of a live run of the contact.
///
/// # Errors
/// 404 when the contact has no such run.
pub fn run_data(contact: &ContactView, run: Option<uuid::Uuid>) -> Result<Properties, Problem> {
    let Some(run) = run else { return Ok(Properties::new()) };
    let runs = contact.state.as_ref().map(|state| state.runs.as_slice()).unwrap_or_default();
    let found = runs.iter().find(|one| one.id.0 == run);
    found
        .map(|run| run.data.clone())
        .ok_or_else(|| failure::not_found("the contact has no such live run"))
}
