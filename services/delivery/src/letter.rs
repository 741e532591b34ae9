//! From a judged message to the bytes that would leave: merge, render, headers, signatures.
//!
//! Pure but for the CPU it takes: no store, no network, no clock. What cannot be made is said with
//! a stable reason: a missing merge field and a value that would break a header skip the message; a
//! template that fails or eats its fuel fails it. A panic in rendering costs its own message only.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use parcours_content::{LinkUrls as _, MessageRoot, RenderData, RenderError, Renderer};
use parcours_domain::{
    EmailAddress, Handle, MessageClass, MessageId, Name, SendOutcome, TenantId, Timestamp,
    hash::MacKey, value::Properties,
};
use parcours_kit::CpuMeter;

use crate::{
    mail::{
        dkim::{self, DkimKey},
        mime::{self, MailParts},
    },
    settings::{BrandSettings, SenderSettings, Switch},
    urls::MessageUrls,
};

/// What all messages of one batch and sender share.
#[derive(Clone)]
pub(crate) struct House {
    pub tenant: TenantId,
    pub brand: Arc<BrandSettings>,
    pub sender: Arc<SenderSettings>,
    pub dkim: Vec<Arc<DkimKey>>,
    /// Version and key under which links and envelope senders are signed.
    pub link_key: (u8, MacKey),
}

/// What one message needs besides.
pub(crate) struct Order {
    pub message: MessageId,
    pub handle: Handle,
    pub to: EmailAddress,
    pub class: MessageClass,
    /// Whether it carries the headers of a list that its reader can leave.
    pub listed: bool,
    pub topic: Name,
    pub template: Name,
    /// The journey that asked, if one did.
    pub journey: Option<Name>,
    pub renderer: Arc<Renderer>,
    pub contact: Properties,
    pub run: Properties,
    pub now: Timestamp,
}

/// Who says who it is to whom; what SMTP calls MAIL FROM and RCPT TO.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub from: String,
    pub to: EmailAddress,
}

/// A message as it would leave.
pub(crate) struct Letter {
    pub envelope: Envelope,
    /// Signed, CRLF, ready for DATA but for dot-stuffing.
    pub raw: Vec<u8>,
    /// Where counted links lead, for the store.
    pub links: Vec<(u16, String)>,
}

/// Why there is no letter: how the message ends, and the stable reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub outcome: SendOutcome,
    pub reason: String,
}

impl Unfit {
    pub(crate) fn failed(reason: &str) -> Self {
        Self { outcome: SendOutcome::Failed, reason: reason.to_owned() }
    }
    fn skipped(reason: String) -> Self {
        Self { outcome: SendOutcome::Skipped, reason }
    }
}

impl From<RenderError> for Unfit {
    fn from(error: RenderError) -> Self {
        match &error {
            RenderError::Missing { path } => Self::skipped(format!("missing:{path}")),
            RenderError::HeaderInjection => Self::skipped(error.reason().to_owned()),
            RenderError::Fuel
            | RenderError::TooLarge
            | RenderError::UnsafeLink { .. }
            | RenderError::Template { .. } => Self::failed(error.reason()),
        }
    }
}

/// Makes the letter; what its template uses is metered. Never panics: a panic inside is a failed message.
pub(crate) fn compose(house: &House, order: &Order, meter: &CpuMeter) -> Result<Letter, Unfit> {
    catch_unwind(AssertUnwindSafe(|| write(house, order, meter)))
        .unwrap_or_else(|_| Err(Unfit::failed("template_panicked")))
}

fn write(house: &House, order: &Order, meter: &CpuMeter) -> Result<Letter, Unfit> {
    let House { brand, sender, link_key: (version, key), tenant, .. } = house;
    let urls = MessageUrls {
        base_url: brand.base_url(),
        key: (*version, key),
        tenant: *tenant,
        message: order.message,
        handle: order.handle,
        clicks: brand.clicks == Switch::On,
    };
    let (brands, messages) = (brand.fields(), message_fields(order));
    let data =
        RenderData { contact: &order.contact, run: &order.run, brand: &brands, message: &messages };
    let rendered = meter.measure(|| order.renderer.render(&data, &urls))?;
    let is_test = order.class == MessageClass::Test;
    let domain = sender.envelope_domain();
    let message_id = format!("<{}@{domain}>", order.message);
    let unsubscribe = order.listed.then(|| urls.unsubscribe());
    let list_id = order.listed.then(|| list_id(house, order));
    let feedback_id = feedback_id(house, order);
    let subject = if is_test { format!("[Test] {}", rendered.subject) } else { rendered.subject };
    let parts = MailParts {
        from_name: &sender.from.name,
        from_address: &sender.from.address,
        reply_to: sender.reply_to.as_deref(),
        to: &order.to,
        subject: &subject,
        html: &rendered.html,
        text: &rendered.text,
        message_id: &message_id,
        date: order.now,
        list_unsubscribe_url: unsubscribe.as_deref(),
        list_id: list_id.as_deref(),
        feedback_id: Some(&feedback_id),
        is_test,
    };
    let plain = mime::build(&parts).map_err(|_| Unfit::skipped("header_injection".to_owned()))?;
    let raw = signed(plain, &house.dkim)?;
    let local = parcours_content::token::verp_local_part(order.message, key);
    let envelope = Envelope { from: format!("{local}@{domain}"), to: order.to.clone() };
    let links = if brand.clicks == Switch::On { rendered.links } else { Vec::new() };
    Ok(Letter { envelope, raw, links })
}

/// Each signature covers the message, not the other signatures.
fn signed(message: Vec<u8>, keys: &[Arc<DkimKey>]) -> Result<Vec<u8>, Unfit> {
    keys.iter()
        .try_fold(message, |message, key| dkim::sign(message, std::slice::from_ref(key)))
        .map_err(|_| Unfit::failed("signature_failed"))
}

/// `message.*` for templates.
fn message_fields(order: &Order) -> Properties {
    MessageRoot {
        id: &order.message.to_string(),
        topic: order.topic.as_str(),
        template: order.template.as_str(),
        sent_at: &order.now.to_string(),
        journey: order.journey.as_ref().map(Name::as_str),
    }
    .fields()
}

/// `<topic.brand-id.host>` (RFC 2919): one list a topic, stable as long as the brand's host is.
fn list_id(house: &House, order: &Order) -> String {
    format!("<{}.{}.{}>", order.topic, house.tenant.0.simple(), house.brand.host())
}

/// At most four fields, the last of which names who sends.
fn feedback_id(house: &House, order: &Order) -> String {
    let origin = order.journey.as_ref().map_or("api", Name::as_str);
    format!("{origin}:{}:{}:{}", order.template, order.topic, house.tenant.0.simple())
}
