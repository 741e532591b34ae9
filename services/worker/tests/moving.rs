//! Shards that move between workers on one PostgreSQL: delays fire once and at the owner, events
//! are taken by the owner alone, and what one worker had in memory the next reads from the store.

#![expect(clippy::unwrap_used, reason = "what cannot happen here ends the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use parcours_domain::{
    ContactId, EventKey, EventKind, Millis, Name, RunId, TenantId, Timestamp, Value, shard_of,
    value::Properties,
};
use parcours_journey::{
    ContactState, Effect, Input, RunRow, RunState, RunStatus, Step, Waiting, interpret::StepContext,
};
use parcours_kit::clock::ProductClock;
use parcours_store::{Backend, LoadKey, LoadWhat, ShardTimes, Store, StoreConfig};
use parcours_testkit::store::{TempPlace, temp_brand, temp_contact};
use parcours_wire::{
    AcceptedEvent, ContactEvents, DeliveryApi, EventDay, ItemOutcome, WorkerApi as _,
};
use parcours_worker::{StepFn, Worker, WorkerConfig, WorkerHandle, WorkerParts};

/// How long something that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nobody is declared dead, however busy the machine is.
const CALM: ShardTimes = ShardTimes {
    beat: Duration::from_millis(100),
    dead_after: Duration::from_secs(120),
    deadline: Duration::from_secs(100),
    look: Duration::from_millis(20),
    calm: Duration::from_millis(100),
    drain: Duration::from_secs(10),
    moves: 3,
};

struct NoDelivery;

impl DeliveryApi for NoDelivery {
    fn hint(&self, _: TenantId, _: i64) {}
}

fn start() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Writes down what came and who took it; `wait` starts a run that waits for an hour.
fn interpreter(who: &'static str) -> StepFn {
    Arc::new(move |state: ContactState, input: &Input, ctx: &StepContext<'_>| {
        let mut step = Step { state, effects: Vec::new(), trace: Vec::new() };
        let what = match input {
            Input::Event(event) => {
                if event.name == "wait" {
                    wait(&mut step, ctx);
                }
                event.name.clone()
            }
            Input::Timer { run, .. } => {
                step.state.runs.retain(|state| state.id != *run);
                step.effects.push(Effect::CancelTimer { run: *run });
                step.effects.push(Effect::Run(row(*run, "finished", ctx.now)));
                "timer".to_owned()
            }
            _ => "other".to_owned(),
        };
        let log = step.state.attributes.entry("log".to_owned());
        if let Value::List(words) = log.or_insert_with(|| Value::List(Vec::new())) {
            words.push(format!("{what} at {who}").as_str().into());
        }
        step
    })
}

fn row(id: RunId, status: &'static str, now: Timestamp) -> RunRow {
    RunRow {
        id,
        journey: name("j"),
        version: 1,
        key: String::new(),
        status,
        step: name("w"),
        entered_at: now,
        wakes_at: (status == "waiting").then(|| now + Millis::hours(1)),
        ended_at: None,
        ended_by: None,
    }
}

fn wait(step: &mut Step, ctx: &StepContext<'_>) {
    // Contacts' handles are random: each run has an id of its own.
    let id = RunId::v7(ctx.now, *step.state.handle.0.first_chunk().unwrap());
    let wakes_at = ctx.now + Millis::hours(1);
    step.state.runs.push(RunState {
        id,
        journey: name("j"),
        version: 1,
        key: String::new(),
        entered_at: ctx.now,
        step: name("w"),
        status: RunStatus::Waiting(Waiting::Time),
        timer_seq: 1,
        wakes_at,
        data: Properties::new(),
        occurrences: BTreeMap::new(),
        sends: BTreeMap::new(),
        arms: BTreeMap::new(),
    });
    step.effects.push(Effect::Run(row(id, "waiting", ctx.now)));
    step.effects.push(Effect::SetTimer { run: id, seq: 1, due_at: wakes_at });
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

/// One worker process.
struct Node {
    store: Store,
    clock: Arc<ProductClock>,
    worker: WorkerHandle,
}

impl Node {
    async fn start(place: &TempPlace, who: &'static str) -> Self {
        let config = StoreConfig { shard_times: CALM, ..place.config() };
        let store = Store::open(config).await.unwrap();
        let clock = Arc::new(ProductClock::standing(start()));
        let parts = WorkerParts::over(store.clone(), Arc::clone(&clock) as _, Arc::new(NoDelivery));
        let parts = WorkerParts { step: interpreter(who), ..parts };
        let worker = Worker::start_with(WorkerConfig::default(), parts).await.unwrap();
        Self { store, clock, worker }
    }

    fn holds(&self, contact: ContactId) -> bool {
        self.store.held().borrow().contains(shard_of(contact, self.store.shards()))
    }

    async fn until_it_holds(&self, shards: usize) {
        let mut held = self.store.held();
        let wait = held.wait_for(|held| held.len() == shards);
        tokio::time::timeout(PATIENCE, wait).await.expect("in time").unwrap();
    }

    async fn accept(
        &self,
        tenant: TenantId,
        contact: ContactId,
        one: AcceptedEvent,
    ) -> ItemOutcome {
        let batch = vec![ContactEvents { tenant, contact, events: vec![one] }];
        self.worker.accept(batch).await.remove(0).remove(0)
    }

    /// Until this worker takes the event.
    async fn accepted(&self, tenant: TenantId, contact: ContactId, one: &AcceptedEvent) {
        let begun = Instant::now();
        while !matches!(self.accept(tenant, contact, one.clone()).await, ItemOutcome::Applied(_)) {
            assert!(begun.elapsed() < PATIENCE, "it is taken");
        }
    }

    async fn log(&self, tenant: TenantId, contact: ContactId) -> Vec<String> {
        let key = vec![LoadKey { tenant, contact }];
        let loaded = self.store.loader().load(key, LoadWhat::State).await.unwrap().remove(0);
        let state = loaded.state.map(|bytes| ContactState::decode(&bytes).unwrap());
        match state.as_ref().and_then(|state| state.attributes.get("log")) {
            Some(Value::List(words)) => {
                words.iter().filter_map(Value::as_text).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Moves the clock on and waits until no timer is due in any shard.
    async fn advance(nodes: &[&Self], hours: i64) {
        let at = start() + Millis::hours(hours);
        for node in nodes {
            node.clock.advance_to(at);
            node.worker.poke();
        }
        let begun = Instant::now();
        while nodes[0].store.sweep().counts(at).await.unwrap().timers_due > 0 {
            assert!(begun.elapsed() < PATIENCE, "every timer fires");
            tokio::task::yield_now().await;
        }
        for node in nodes {
            node.worker.settled().await;
        }
    }

    async fn stop(self) {
        self.worker.stop().await;
        self.store.close().await;
    }
}

async fn contacts(store: &Store, tenant: TenantId, count: usize) -> Vec<ContactId> {
    let mut found = Vec::new();
    for number in 0..count {
        let user = format!("user {number}");
        found.push(temp_contact(&store.for_tenant(tenant), &user).await.unwrap());
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn delays_of_a_shard_that_moved_fire_once_and_at_its_new_owner() {
    let place = TempPlace::new(Backend::Postgres).await.unwrap();
    let a = Node::start(&place, "a").await;
    let tenant = temp_brand(&a.store, "one").await.unwrap();
    let contacts = contacts(&a.store, tenant, 60).await;
    for contact in &contacts {
        a.accepted(tenant, *contact, &event(&format!("w {contact}"), "wait")).await;
    }
    let b = Node::start(&place, "b").await;
    a.until_it_holds(8).await;
    b.until_it_holds(8).await;

    // Each event is taken by the owner alone; the other's memory of the contact is gone.
    for contact in &contacts {
        let (owner, other) = if a.holds(*contact) { (&a, &b) } else { (&b, &a) };
        let visit = event(&format!("v {contact}"), "visit");
        assert_eq!(other.accept(tenant, *contact, visit.clone()).await, ItemOutcome::Moved);
        owner.accepted(tenant, *contact, &visit).await;
        other.worker.wake(tenant, *contact);
    }
    a.worker.settled().await;
    let of_a = contacts.iter().filter(|contact| a.holds(**contact)).count();
    assert!(of_a > 0 && of_a < contacts.len(), "{of_a} of {} stayed", contacts.len());
    assert!(a.worker.counts().actors <= of_a, "the others are let go of");
    assert_eq!(a.worker.counts().actors_died, 0);

    Node::advance(&[&a, &b], 2).await;
    for contact in &contacts {
        let owner = if a.holds(*contact) { "a" } else { "b" };
        let log = a.log(tenant, *contact).await;
        assert_eq!(
            log,
            ["wait at a".to_owned(), format!("visit at {owner}"), format!("timer at {owner}")]
        );
    }

    // One leaves with delays that are to come: they fire at the other.
    for contact in &contacts {
        let owner = if a.holds(*contact) { &a } else { &b };
        owner.accepted(tenant, *contact, &event(&format!("again {contact}"), "wait")).await;
    }
    let left: BTreeSet<ContactId> =
        contacts.iter().filter(|contact| b.holds(**contact)).copied().collect();
    let begun = Instant::now();
    b.stop().await;
    a.until_it_holds(16).await;
    println!("graceful: {:?} from the wish to stop to the successor", begun.elapsed());
    Node::advance(&[&a], 4).await;
    for contact in &contacts {
        let log = a.log(tenant, *contact).await;
        let wait = if left.contains(contact) { "wait at b" } else { "wait at a" };
        assert_eq!(log[3..], [wait, "timer at a"], "{log:?}");
    }
    assert_eq!(a.worker.counts().actors_died, 0);
    a.stop().await;
}

/// Events go on being sent while shards move: each is applied once, wherever it was taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_during_a_move_are_applied_once() {
    let place = TempPlace::new(Backend::Postgres).await.unwrap();
    let a = Arc::new(Node::start(&place, "a").await);
    let tenant = temp_brand(&a.store, "one").await.unwrap();
    let contacts = contacts(&a.store, tenant, 24).await;
    let b = Arc::new(Node::start(&place, "b").await);
    let sending: Vec<_> = contacts
        .iter()
        .map(|contact| {
            let (nodes, contact) = ([Arc::clone(&a), Arc::clone(&b)], *contact);
            tokio::spawn(async move {
                let begun = Instant::now();
                for number in 0..30 {
                    let one = event(&format!("{contact} {number}"), &number.to_string());
                    // As a router does: whoever says that it moved, the other is asked.
                    for node in nodes.iter().cycle() {
                        match node.accept(tenant, contact, one.clone()).await {
                            ItemOutcome::Moved | ItemOutcome::Unavailable => {}
                            outcome => {
                                assert!(matches!(outcome, ItemOutcome::Applied(_)), "{outcome:?}");
                                break;
                            }
                        }
                        assert!(begun.elapsed() < PATIENCE, "somebody takes it");
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    a.until_it_holds(8).await;
    b.until_it_holds(8).await;
    for one in sending {
        one.await.unwrap();
    }
    for contact in contacts {
        let log = a.log(tenant, contact).await;
        let words = log.iter().map(|line| line.split(" at ").next().unwrap().to_owned());
        let wanted: Vec<String> = (0..30).map(|number| number.to_string()).collect();
        assert_eq!(words.collect::<Vec<_>>(), wanted, "{log:?}");
    }
    assert_eq!(a.worker.counts().actors_died + b.worker.counts().actors_died, 0);
}
