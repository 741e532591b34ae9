//! The worker over real databases: what is acknowledged is there, once, and stays.

#![expect(clippy::unwrap_used, reason = "what cannot happen here ends the test")]

use parcours_testkit::on_both_backends;

on_both_backends!(
    a_journey_goes_from_an_event_to_a_queued_message,
    a_publication_without_a_hint_is_noticed,
    after_a_restart_nothing_is_lost_and_nothing_happens_twice,
    what_the_database_refuses_costs_only_itself_and_comes_back_by_requeue,
    an_anonymous_visitor_becomes_a_customer_and_their_run_goes_on,
    a_paused_journey_holds_its_timers_and_resumes,
);

mod checks {
    use std::{collections::BTreeMap, sync::Arc, time::Duration};

    use parcours_domain::{
        ContactId, EventKey, EventKind, Millis, RunId, StepId, TenantId, Timestamp,
        value::Properties,
    };
    use parcours_journey::{
        Effect, EventInput, Input, RunRow,
        document::{Document, parse_documents},
        interpret,
        plan::{Catalogue, FieldUse, TopicInfo, compile},
    };
    use parcours_kit::clock::{Clock as _, ProductClock};
    use parcours_store::{
        Backend, DocumentStatus, IdentityQuery, MessageFilter, NewDocument, PageRequest, Requeued,
        Resolution, RunFilter, Store, TenantStore,
    };
    use parcours_testkit::store::{TempPlace, temp_brand, temp_contact};
    use parcours_wire::{
        AcceptedEvent, ContactEvents, DeliveryApi, EventDay, ItemOutcome, WorkerApi as _,
    };
    use parcours_worker::{Worker, WorkerConfig, WorkerHandle, WorkerParts};

    const DOCUMENTS: &str = "
apiVersion: parcours/v1
kind: Brand
name: shop
organisation: shop-sa
display_name: Shop
controller: {name: Shop SA, contact: privacy@shop.example}
postal_address: 1 rue de la Paix, Paris
public_url: http://localhost:8080
time_zone: Europe/Paris
locale: fr-FR
defaults: {sender: post}
---
apiVersion: parcours/v1
kind: Topic
name: news
title: News
purpose: News about records
---
apiVersion: parcours/v1
kind: Template
name: thanks
subject: Merci
html: <p>Merci</p>
---
apiVersion: parcours/v1
kind: Journey
name: welcome
entry: {event: purchase, reentry: always}
steps:
  - id: pause
    wait: {for: 3d}
  - id: thank
    send: {template: thanks, topic: news}
";

    struct Everything;

    impl Catalogue for Everything {
        fn topic(&self, _: &parcours_domain::Name) -> Option<TopicInfo> {
            Some(TopicInfo {
                class: parcours_domain::MessageClass::Marketing,
                channel: parcours_domain::Channel::Email,
            })
        }
        fn has_template(&self, _: &parcours_domain::Name) -> bool {
            true
        }
        fn template_fields(&self, _: &parcours_domain::Name) -> Option<Vec<FieldUse>> {
            None
        }
        fn has_sender(&self, _: &parcours_domain::Name) -> bool {
            true
        }
        fn default_sender(&self) -> Option<parcours_domain::Name> {
            "post".parse().ok()
        }
    }

    struct NoDelivery;

    impl DeliveryApi for NoDelivery {
        fn hint(&self, _: TenantId, _: i64) {}
    }

    struct Bench {
        place: TempPlace,
        store: Store,
        clock: Arc<ProductClock>,
        worker: WorkerHandle,
        tenant: TenantId,
    }

    fn start() -> Timestamp {
        "2026-01-01T10:00:00Z".parse().unwrap()
    }

    /// Periods so long that only events and pokes move anything.
    fn config() -> WorkerConfig {
        let long = Duration::from_secs(3_600);
        WorkerConfig {
            sweep_period: long,
            plans_period: long,
            repair_period: long,
            ..WorkerConfig::default()
        }
    }

    async fn worker_over(store: &Store, clock: &Arc<ProductClock>) -> WorkerHandle {
        let delivery = Arc::new(NoDelivery);
        Worker::start(config(), store.clone(), Arc::clone(clock) as _, delivery).await.unwrap()
    }

    impl Bench {
        async fn new(backend: Backend) -> Self {
            let place = TempPlace::new(backend).await.unwrap();
            let store = Store::open(place.config()).await.unwrap();
            let tenant = temp_brand(&store, "shop").await.unwrap();
            publish(&store.for_tenant(tenant)).await;
            let clock = Arc::new(ProductClock::standing(start()));
            let worker = worker_over(&store, &clock).await;
            Self { place, store, clock, worker, tenant }
        }

        fn brand(&self) -> TenantStore {
            self.store.for_tenant(self.tenant)
        }

        async fn accept(&self, contact: ContactId, events: Vec<AcceptedEvent>) -> Vec<ItemOutcome> {
            let one = ContactEvents { tenant: self.tenant, contact, events };
            self.worker.accept(vec![one]).await.pop().unwrap()
        }

        async fn messages(&self) -> Vec<parcours_store::MessageRow> {
            let page = PageRequest::default();
            self.brand().messages(&MessageFilter::default(), &page).await.unwrap().items
        }

        async fn runs(&self) -> BTreeMap<String, usize> {
            let page = PageRequest::default();
            let runs = self.brand().runs(&RunFilter::default(), &page).await.unwrap().items;
            let mut count = BTreeMap::new();
            for run in runs {
                *count.entry(run.status).or_default() += 1;
            }
            count
        }

        async fn advance(&self, days: i64) {
            self.clock.advance_to(start() + Millis::days(days));
            self.worker.tick_timers();
            self.worker.settled().await;
        }
    }

    async fn publish(brand: &TenantStore) {
        publish_all(brand, DOCUMENTS).await;
    }

    async fn publish_all(brand: &TenantStore, documents: &str) {
        let documents = parse_documents(documents, "shop.yaml").unwrap();
        let new = documents.iter().map(|document| NewDocument {
            kind: document.kind().as_str().to_owned(),
            name: document.name().clone(),
            body_json: document.to_json().to_string(),
            compiled: match document {
                Document::Journey(journey) => {
                    Some(compile(journey, 1, &Everything).unwrap().encode().unwrap())
                }
                _ => None,
            },
            version: None,
        });
        brand.publish(new.collect(), None, start()).await.unwrap();
    }

    fn event(message_id: &str, name: &str) -> AcceptedEvent {
        AcceptedEvent {
            message_id: message_id.to_owned(),
            key: EventKey::of(message_id),
            day: EventDay::Day(20_000),
            body_hash: [7; 32],
            kind: EventKind::Track,
            name: name.to_owned(),
            properties: Properties::new(),
            traits: Properties::new(),
            email: None,
            occurred_at: None,
            received_at: start(),
            body: "{}".to_owned(),
        }
    }

    fn identify(message_id: &str, email: &str) -> AcceptedEvent {
        let mut event = event(message_id, "");
        event.kind = EventKind::Identify;
        event.traits.insert("email".into(), email.into());
        event.email = email.parse().ok();
        event
    }

    fn all_applied(outcomes: &[ItemOutcome]) -> bool {
        outcomes.iter().all(|outcome| matches!(outcome, ItemOutcome::Applied(_)))
    }

    pub async fn a_journey_goes_from_an_event_to_a_queued_message(backend: Backend) {
        let bench = Bench::new(backend).await;
        let contact = temp_contact(&bench.brand(), "ada").await.unwrap();
        let events = vec![identify("i", "ada@example.org"), event("p", "purchase")];
        assert!(all_applied(&bench.accept(contact, events).await));
        assert_eq!(bench.runs().await, BTreeMap::from([("waiting".to_owned(), 1)]));
        bench.advance(2).await;
        assert!(bench.messages().await.is_empty(), "not early");
        bench.advance(3).await;
        let messages = bench.messages().await;
        assert_eq!(messages.len(), 1);
        let message = &messages[0];
        assert_eq!(message.template.as_str(), "thanks");
        assert_eq!((message.template_version, message.sender.as_str()), (1, "post"));
        assert!(message.address.is_some(), "the address of the identify");
        assert_eq!(message.expires_at - message.not_before, Millis::hours(24));
        assert_eq!(bench.runs().await, BTreeMap::from([("finished".to_owned(), 1)]));
        let counts = bench.store.sweep().counts(bench.clock.now()).await.unwrap();
        assert_eq!((counts.timers_due, counts.queue_ready), (0, 1));
        bench.worker.stop().await;
    }

    /// Another process published, and nobody told this one.
    pub async fn a_publication_without_a_hint_is_noticed(backend: Backend) {
        let bench = Bench::new(backend).await;
        bench.worker.stop().await;
        let (delivery, clock) = (Arc::new(NoDelivery), Arc::clone(&bench.clock));
        let config = WorkerConfig { plans_period: Duration::from_millis(20), ..config() };
        let worker = Worker::start(config, bench.store.clone(), clock, delivery).await.unwrap();
        let bench = Bench { worker, ..bench };
        let contact = temp_contact(&bench.brand(), "ada").await.unwrap();
        let before = bench.accept(contact, vec![event("p", "visit")]).await;
        assert!(all_applied(&before) && bench.runs().await.is_empty());
        let second = "apiVersion: parcours/v1\nkind: Journey\nname: second\n\
                      entry: {event: visit}\nsteps:\n  - {id: pause, wait: {for: 3d}}\n";
        publish_all(&bench.brand(), second).await;
        let begun = std::time::Instant::now();
        for visit in 0.. {
            let visits = vec![event(&format!("v{visit}"), "visit")];
            assert!(all_applied(&bench.accept(contact, visits).await));
            if bench.runs().await == BTreeMap::from([("waiting".to_owned(), 1)]) {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "never noticed");
        }
        bench.worker.stop().await;
    }

    pub async fn after_a_restart_nothing_is_lost_and_nothing_happens_twice(backend: Backend) {
        let mut bench = Bench::new(backend).await;
        let contact = temp_contact(&bench.brand(), "ada").await.unwrap();
        let first = bench.accept(contact, vec![event("p", "purchase")]).await;
        let ItemOutcome::Applied(id) = first[0] else { panic!("{first:?}") };
        bench.worker.stop().await;
        bench.store.clone().close().await;
        bench.store = Store::open(bench.place.config()).await.unwrap();
        bench.worker = worker_over(&bench.store, &bench.clock).await;
        let again = bench.accept(contact, vec![event("p", "purchase")]).await;
        assert_eq!(again, [ItemOutcome::Duplicate(id)]);
        bench.advance(3).await;
        assert_eq!(bench.messages().await.len(), 1);
        bench.advance(30).await;
        assert_eq!(bench.messages().await.len(), 1);
        bench.worker.stop().await;
    }

    pub async fn what_the_database_refuses_costs_only_itself_and_comes_back_by_requeue(
        backend: Backend,
    ) {
        let bench = Bench::new(backend).await;
        bench.worker.stop().await;
        let parts = WorkerParts::over(
            bench.store.clone(),
            Arc::clone(&bench.clock) as _,
            Arc::new(NoDelivery),
        );
        let poisoning = WorkerParts { step: Arc::new(poisoned), ..parts };
        let worker = Worker::start_with(config(), poisoning).await.unwrap();
        let contact = temp_contact(&bench.brand(), "ada").await.unwrap();
        let events = vec![event("a", "visit"), event("b", "poison"), event("c", "purchase")];
        let one = ContactEvents { tenant: bench.tenant, contact, events };
        let outcomes = worker.accept(vec![one]).await.pop().unwrap();
        assert!(matches!(
            outcomes[..],
            [
                ItemOutcome::Applied(_),
                ItemOutcome::SetAside { code: "refused", .. },
                ItemOutcome::Applied(_)
            ]
        ));
        worker.stop().await;

        let aside = bench.brand().quarantine(&PageRequest::default()).await.unwrap().items;
        assert_eq!(aside.len(), 1);
        assert_eq!(aside[0].origin, "event");
        let sound = worker_over(&bench.store, &bench.clock).await;
        let back = bench.brand().requeue(aside[0].id, start()).await.unwrap();
        assert!(matches!(back, Requeued::ToContact(to) if to == contact));
        sound.wake(bench.tenant, contact);
        sound.settled().await;
        let table = bench.brand().table().await.unwrap();
        assert!(table.events.iter().any(|(_, name, n)| name == "poison" && *n == 1));
        assert_eq!(table.quarantined, 0);
        sound.stop().await;
    }

    /// The interpreter, but `poison` asks for two live runs under one key, which the unique index
    /// of either database refuses.
    fn poisoned(
        state: parcours_journey::ContactState,
        input: &Input,
        ctx: &interpret::StepContext<'_>,
    ) -> parcours_journey::Step {
        let mut step = interpret::step(state, input, ctx);
        if let Input::Event(EventInput { name, .. }) = input
            && name == "poison"
        {
            let run = |n: u8| {
                Effect::Run(RunRow {
                    id: RunId::v7(ctx.now, [n; 10]),
                    journey: "twice".parse().unwrap(),
                    version: 1,
                    key: String::new(),
                    status: "waiting",
                    step: "pause".parse::<StepId>().unwrap(),
                    entered_at: ctx.now,
                    wakes_at: Some(ctx.now),
                    ended_at: None,
                    ended_by: None,
                })
            };
            step.effects.extend([run(1), run(2)]);
        }
        step
    }

    pub async fn an_anonymous_visitor_becomes_a_customer_and_their_run_goes_on(backend: Backend) {
        let bench = Bench::new(backend).await;
        let brand = bench.brand();
        let resolve = async |user: Option<&str>, anonymous: Option<&str>| {
            let query = IdentityQuery {
                user_id: user.map(str::to_owned),
                anonymous_id: anonymous.map(str::to_owned),
                ..IdentityQuery::default()
            };
            let found = brand.resolve(&[query], &parcours_testkit::store::derived, start()).await;
            let resolved = found.unwrap().remove(0);
            match resolved.contact {
                Resolution::Contact(contact) => (contact, resolved.absorb),
                Resolution::Refused { code, .. } => panic!("{code}"),
            }
        };
        let (customer, _) = resolve(Some("ada"), None).await;
        assert!(all_applied(&bench.accept(customer, vec![event("a", "visit")]).await));
        let (visitor, _) = resolve(None, Some("cookie")).await;
        assert!(all_applied(&bench.accept(visitor, vec![event("p", "purchase")]).await));
        let (both, absorbed) = resolve(Some("ada"), Some("cookie")).await;
        assert_eq!((both, absorbed), (customer, Some(visitor)));
        bench.worker.wake(bench.tenant, visitor);
        bench.worker.settled().await;
        let late = bench.accept(visitor, vec![event("q", "visit")]).await;
        assert_eq!(late, [ItemOutcome::Merged(customer)]);
        assert_eq!(bench.runs().await, BTreeMap::from([("waiting".to_owned(), 1)]));
        bench.advance(3).await;
        let messages = bench.messages().await;
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].contact, customer);
        bench.worker.stop().await;
    }

    pub async fn a_paused_journey_holds_its_timers_and_resumes(backend: Backend) {
        let bench = Bench::new(backend).await;
        let brand = bench.brand();
        let contact = temp_contact(&brand, "ada").await.unwrap();
        bench.accept(contact, vec![event("p", "purchase")]).await;
        let welcome = "welcome".parse().unwrap();
        let status = DocumentStatus::Paused;
        brand.set_document_status("Journey", &welcome, status, start()).await.unwrap();
        bench.worker.plans_changed(bench.tenant);
        bench.advance(3).await;
        assert!(bench.messages().await.is_empty());
        assert_eq!(bench.runs().await, BTreeMap::from([("held".to_owned(), 1)]));
        let status = DocumentStatus::Live;
        brand.set_document_status("Journey", &welcome, status, bench.clock.now()).await.unwrap();
        bench.worker.plans_changed(bench.tenant);
        // Held timers come back spread over a while.
        bench.advance(4).await;
        while bench.messages().await.is_empty() {
            bench.worker.poke();
            bench.worker.settled().await;
        }
        assert_eq!(bench.runs().await, BTreeMap::from([("finished".to_owned(), 1)]));
        bench.worker.stop().await;
    }
}
