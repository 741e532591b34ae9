//! The stage: a store in a scratch folder, a brand with senders, topics and templates, contacts,
//! and delivery with a product clock that the scenario moves.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parcours_content::{TemplateSource, compile, template::FieldRule};
use parcours_delivery::{Delivery, DeliveryConfig, DeliveryHandle};
use parcours_domain::{
    ContactId, MessageClass, MessageId, Millis, Name, SendOutcome, TenantId, Timestamp, Value,
    consent::{FactKind, Scope},
    value::Properties,
};
use parcours_kit::{Clock as _, ProductClock};
use parcours_queue::MemoryTokens;
use parcours_store::{ApiMessage, Backend, Faults, MessageRow, Store, StoreConfig};
use parcours_testkit::{brand, store::TempPlace};

/// The beginning of product time.
pub fn start() -> Timestamp {
    "2026-03-02T09:00:00Z".parse().unwrap()
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// See the head of this file.
pub struct Stage {
    pub store: Store,
    pub clock: Arc<ProductClock>,
    pub tenant: TenantId,
    pub delivery: Option<DeliveryHandle>,
    place: TempPlace,
}

/// A message to enqueue; `to` and the rest as most scenarios want it.
#[derive(Clone)]
pub struct Wanted {
    pub contact: ContactId,
    pub template: &'static str,
    pub topic: &'static str,
    pub sender: &'static str,
    pub class: MessageClass,
    pub data: Properties,
}

impl Wanted {
    pub fn marketing(contact: ContactId) -> Self {
        Self {
            contact,
            template: "hello",
            topic: "news",
            sender: "main",
            class: MessageClass::Marketing,
            data: Properties::new(),
        }
    }
    pub fn transactional(contact: ContactId) -> Self {
        Self {
            topic: "orders",
            class: MessageClass::Transactional,
            template: "receipt",
            ..Self::marketing(contact)
        }
    }
    pub fn by(self, sender: &'static str) -> Self {
        Self { sender, ..self }
    }
    pub fn template(self, template: &'static str) -> Self {
        Self { template, ..self }
    }
}

/// Waits until so many messages of the list have been sent.
pub async fn sent(stage: &Stage, ids: &[MessageId], count: usize) -> usize {
    let begun = std::time::Instant::now();
    loop {
        assert!(begun.elapsed().as_secs() < 60, "they do not arrive");
        let mut sent = 0;
        for id in ids {
            sent += usize::from(stage.message(*id).await.status == SendOutcome::Sent.as_str());
        }
        if sent >= count && stage.delivery().in_flight() == 0 {
            return sent;
        }
        tokio::task::yield_now().await;
    }
}

impl Stage {
    /// A store with a brand whose sender `main` is the built-in mailbox.
    pub async fn new(on: Backend) -> Self {
        Self::with_faults(on, None).await
    }

    /// With planned faults in its store.
    pub async fn with_faults(on: Backend, faults: Option<Arc<dyn Faults>>) -> Self {
        let place = TempPlace::new(on).await.unwrap();
        let clock = Arc::new(ProductClock::standing(start()));
        let store = Store::open(StoreConfig { faults, ..place.config() }).await.unwrap();
        let tenant = store.admin().create_brand("agency", "shop", start()).await.unwrap();
        let stage = Self { store, clock, tenant, delivery: None, place };
        stage.publish_basics().await;
        stage
    }

    /// With delivery running.
    pub async fn running(on: Backend) -> Self {
        let mut stage = Self::new(on).await;
        stage.start();
        stage
    }

    pub fn start(&mut self) {
        self.start_with(DeliveryConfig::default());
    }

    pub fn start_with(&mut self, config: DeliveryConfig) {
        let tokens = Arc::new(MemoryTokens::new());
        let config = DeliveryConfig { sweep_every: Duration::from_millis(20), ..config };
        let clock = Arc::clone(&self.clock);
        self.delivery = Some(Delivery::start(config, &self.store, clock, tokens));
    }

    pub fn delivery(&self) -> &DeliveryHandle {
        self.delivery.as_ref().unwrap()
    }

    /// Lets delivery do everything that can be done now.
    pub async fn settle(&self) {
        self.delivery().settled().await;
    }

    pub fn advance(&self, span: Millis) {
        self.clock.advance_to(self.clock.now() + span);
    }

    /// Another process on the same store, after this one has ended.
    pub async fn restart(self) -> Self {
        let Self { store, clock, tenant, delivery, place } = self;
        drop(delivery);
        store.close().await;
        let store = Store::open(place.config()).await.unwrap();
        Self { store, clock, tenant, delivery: None, place }
    }

    /// Goes on as a brand of its own with the same documents, in the same store; which it was before.
    pub async fn as_another_brand(&mut self, brand: &str) -> TenantId {
        let admin = self.store.admin();
        let tenant = admin.create_brand("agency", brand, self.clock.now()).await.unwrap();
        let before = std::mem::replace(&mut self.tenant, tenant);
        self.publish_basics().await;
        before
    }

    async fn publish_basics(&self) {
        self.brand(serde_json::json!({})).await;
        self.sender("main", serde_json::json!({"kind": "mailbox"})).await;
        let topics = [("news", "marketing"), ("offers", "marketing"), ("orders", "transactional")];
        for (topic, class) in topics {
            let body = serde_json::json!({
                "name": topic, "title": topic.to_uppercase(), "purpose": format!("to send {topic}"),
                "channel": "email", "class": class,
            });
            self.publish("Topic", topic, body, None).await;
        }
        self.template(
            "hello",
            "Hello",
            "<p>Hello <a href=\"https://shop.example/new\">new</a></p>",
        )
        .await;
        self.template("receipt", "Your order", "<p>Thank you.</p>").await;
    }

    /// Publishes the brand's document with these fields changed.
    pub async fn brand(&self, changes: serde_json::Value) {
        let mut body = serde_json::json!({
            "name": "shop", "organisation": "agency", "display_name": "The Shop",
            "controller": {"name": "Shop Ltd", "contact": "privacy@shop.example"},
            "postal_address": "1 High Street", "public_url": "https://m.shop.example",
            "time_zone": "Europe/Paris", "locale": "en-GB",
        });
        for (key, value) in changes.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.publish("Brand", "shop", body, None).await;
    }

    pub async fn sender(&self, sender: &str, transport: serde_json::Value) {
        self.sender_with(sender, transport, serde_json::json!({})).await;
    }

    pub async fn sender_with(
        &self,
        sender: &str,
        transport: serde_json::Value,
        changes: serde_json::Value,
    ) {
        let mut body = serde_json::json!({
            "name": sender, "from": {"name": "The Shop", "address": "hello@shop.example"},
            "transport": transport,
        });
        for (key, value) in changes.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.publish("Sender", sender, body, None).await;
    }

    /// A sender `smtp` over this port of this machine.
    pub async fn smtp_sender(&self, port: u16, connections: u32) {
        let transport = serde_json::json!({
            "kind": "smtp", "host": "127.0.0.1", "port": port, "security": "none",
            "connections": connections,
        });
        self.sender("smtp", transport).await;
    }

    /// A template; fields in braces are merge fields, and `contact.first_name` is required.
    pub async fn template(&self, template: &str, subject: &str, html: &str) {
        let mut fields = BTreeMap::new();
        if format!("{subject}{html}").contains("contact.first_name") {
            fields.insert("contact.first_name".to_owned(), FieldRule::Required);
        }
        let html = format!("{html}<p><a href=\"{{{{ unsubscribe_url }}}}\">Unsubscribe</a></p>");
        let source =
            TemplateSource { subject: subject.to_owned(), html, mjml: None, text: None, fields };
        let compiled = compile(&source).unwrap().encode();
        let body = serde_json::json!({"name": template, "subject": subject, "html": source.html});
        self.publish("Template", template, body, Some(compiled)).await;
    }

    async fn publish(
        &self,
        kind: &str,
        document: &str,
        body: serde_json::Value,
        compiled: Option<Vec<u8>>,
    ) {
        let (place, now) = ((&self.store, self.tenant), self.clock.now());
        brand::publish(place, (kind, document), &body, compiled, now).await.unwrap();
    }

    /// A contact with an address and a first name.
    pub async fn contact(&self, user: &str) -> ContactId {
        self.contact_named(user, &[("first_name", "Anna")]).await
    }

    pub async fn contact_named(&self, user: &str, attributes: &[(&str, &str)]) -> ContactId {
        let attributes: Properties = attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
            .collect();
        let (place, now) = ((&self.store, self.tenant), self.clock.now());
        brand::addressed_contact(place, user, attributes, now).await.unwrap()
    }

    /// A contact who has agreed to the topic `news`.
    pub async fn subscriber(&self, user: &str) -> ContactId {
        let contact = self.contact(user).await;
        self.says(contact, FactKind::Given, Scope::Topic(name("news"))).await;
        contact
    }

    pub async fn says(&self, contact: ContactId, kind: FactKind, scope: Scope) {
        let now = self.clock.now();
        let fact = brand::fact(kind, scope, now);
        self.store.consent().record(self.tenant, contact, vec![fact], now).await.unwrap();
    }

    /// So many who have agreed to the topic `news`, with addresses under a domain.
    pub async fn subscribers(&self, domain: &str, count: usize) -> Vec<ContactId> {
        let mut contacts = Vec::with_capacity(count);
        for n in 0..count {
            contacts.push(self.subscriber(&format!("u{n}@{domain}")).await);
        }
        contacts
    }

    /// Another delivery on this store, as another process would have it.
    pub fn another_delivery(&self, tokens: Arc<MemoryTokens>) -> DeliveryHandle {
        let config =
            DeliveryConfig { sweep_every: Duration::from_millis(20), ..DeliveryConfig::default() };
        Delivery::start(config, &self.store, self.clock.clone(), tokens)
    }

    /// Puts a message into the queue, into the lane of its address.
    pub async fn enqueue(&self, wanted: &Wanted) -> MessageId {
        let contact = self.store.for_tenant(self.tenant).contact(wanted.contact).await.unwrap();
        let address =
            contact.iter().flat_map(|one| &one.addresses).find_map(|one| one.address.as_ref());
        let lane = address.map_or(0, |address| address.lane(wanted.class));
        self.enqueue_in(lane, wanted).await
    }

    /// Puts a message into this lane of the queue.
    pub async fn enqueue_in(&self, lane: i64, wanted: &Wanted) -> MessageId {
        let now = self.clock.now();
        let hours = match wanted.class {
            MessageClass::Marketing => 24,
            MessageClass::Transactional => 72,
            MessageClass::Test => 1,
        };
        let head = self.store.for_tenant(self.tenant);
        let template =
            head.document("Template", &name(wanted.template), None).await.unwrap().unwrap();
        let message = ApiMessage {
            template: name(wanted.template),
            template_version: i64::from(template.version),
            sender: name(wanted.sender),
            topic: name(wanted.topic),
            class: wanted.class,
            data: wanted.data.clone(),
            lane,
            expires_at: now + Millis::hours(hours),
            ..brand::marketing(wanted.contact, now).unwrap()
        };
        head.enqueue_api_message(&message, now).await.unwrap();
        if let Some(delivery) = &self.delivery {
            delivery.poke();
        }
        message.id
    }

    pub async fn message(&self, id: MessageId) -> MessageRow {
        self.store.for_tenant(self.tenant).message(id).await.unwrap().unwrap()
    }

    /// The message's status and reason.
    pub async fn ended(&self, id: MessageId) -> (String, Option<String>) {
        let row = self.message(id).await;
        (row.status, row.reason)
    }

    pub async fn assert_ended(&self, id: MessageId, outcome: SendOutcome, reason: Option<&str>) {
        let expected = (outcome.as_str().to_owned(), reason.map(str::to_owned));
        assert_eq!(self.ended(id).await, expected);
    }

    /// The message as the built-in mailbox got it.
    pub async fn mail(&self, id: MessageId) -> Option<String> {
        let raw = self.store.for_tenant(self.tenant).mail(id).await.unwrap();
        raw.map(|raw| String::from_utf8(raw).unwrap())
    }
}

/// The value of a header, unfolded.
pub fn header(mail: &str, wanted: &str) -> Option<String> {
    let head = mail.split("\r\n\r\n").next()?.replace("\r\n ", " ").replace("\r\n\t", " ");
    head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
    })
}
