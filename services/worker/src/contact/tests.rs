//! One contact against a store that does as told: what is folded, told, set aside, tried again.

use std::sync::Arc;

use parcours_kit::clock::ProductClock;
use parcours_queue::{MemoryTimers, TimerEntry, TimerIndex};
use parcours_wire::{AcceptedEvent, ItemOutcome};
use tokio::sync::{Notify, oneshot};

use super::{Contact, CycleEnd, Deps};
use crate::{
    brands::Brands,
    double::{Double, Hints, TENANT, Trick, at, contact, event, interpreter, waiting_run},
    durable::Durable,
    work::{Gauge, TimersInFlight, Work},
};

struct Bench {
    double: Arc<Double>,
    clock: Arc<ProductClock>,
    timers: Arc<MemoryTimers>,
    hints: Arc<Hints>,
    gauge: Arc<Gauge>,
    contact: Contact,
}

type Answer = oneshot::Receiver<Vec<ItemOutcome>>;

impl Bench {
    fn new() -> Self {
        let double = Double::new();
        let clock = Arc::new(ProductClock::standing(at(10_000)));
        let timers = Arc::new(MemoryTimers::new());
        let hints = Arc::new(Hints::default());
        let deps = Arc::new(Deps {
            durable: Arc::clone(&double) as Arc<dyn Durable>,
            brands: Brands::new(Arc::clone(&double) as Arc<dyn Durable>),
            clock: Arc::clone(&clock) as Arc<_>,
            delivery: Arc::clone(&hints) as Arc<_>,
            timers: Arc::clone(&timers) as Arc<_>,
            timers_changed: Notify::new(),
            step: interpreter(),
            held: double.held(),
        });
        let contact = Contact::new(deps, TENANT, contact(1));
        Self { double, clock, timers, hints, gauge: Gauge::new(100_000), contact }
    }

    /// The same contact, each of whose steps panics.
    fn panicking(&self) -> Contact {
        let deps = Deps {
            durable: Arc::clone(&self.double) as Arc<dyn Durable>,
            brands: Brands::new(Arc::clone(&self.double) as Arc<dyn Durable>),
            clock: Arc::clone(&self.clock) as Arc<_>,
            delivery: Arc::clone(&self.hints) as Arc<_>,
            timers: Arc::clone(&self.timers) as Arc<_>,
            timers_changed: Notify::new(),
            step: Arc::new(|_, _, _| panic!("planned")),
            held: self.double.held(),
        };
        Contact::new(Arc::new(deps), TENANT, contact(1))
    }

    fn events(&self, events: Vec<AcceptedEvent>) -> (Work, Answer) {
        let (reply, answer) = oneshot::channel();
        let permit = self.gauge.take(events.len()).unwrap();
        (Work::Events { events, reply, permit }, answer)
    }

    fn wake(&self) -> Work {
        Work::Wake { bulk: false, permits: [(); 2].map(|()| self.gauge.take(1).unwrap()) }
    }

    fn timer(&self, seq: u32, due: i64) -> Work {
        let (tenant, contact) = (TENANT, contact(1));
        let entry = TimerEntry { tenant, contact, run: waiting_run(), seq, due_at: at(due) };
        let timers = Arc::new(TimersInFlight::default());
        let guard = timers.enter(entry.run, self.gauge.take(1).unwrap()).unwrap();
        Work::Timer { entry, guard }
    }

    async fn apply(&mut self, events: Vec<AcceptedEvent>) -> Vec<ItemOutcome> {
        let (work, answer) = self.events(events);
        self.contact.cycle(vec![work]).await;
        answer.await.unwrap()
    }

    async fn run(&mut self, works: Vec<Work>) -> CycleEnd {
        self.contact.cycle(works).await
    }

    fn commits(&self) -> usize {
        self.double.inner().commits.len()
    }
    fn log(&self) -> Vec<String> {
        self.double.log(contact(1))
    }
    fn codes(&self) -> Vec<String> {
        self.double.inner().quarantine.iter().map(|row| row.code.clone()).collect()
    }
}

fn numbered(n: usize) -> Vec<AcceptedEvent> {
    (0..n).map(|i| event(&format!("m{i}"), &format!("e{i}"))).collect()
}

fn all_applied(outcomes: &[ItemOutcome]) -> bool {
    outcomes.iter().all(|outcome| matches!(outcome, ItemOutcome::Applied(_)))
}

#[tokio::test]
async fn what_waits_folds_into_commits_of_at_most_256_inputs_in_order() {
    let mut bench = Bench::new();
    let (first, first_answer) = bench.events(numbered(300));
    let (second, second_answer) = bench.events(vec![event("last", "last")]);
    bench.run(vec![first, second]).await;
    assert!(all_applied(&first_answer.await.unwrap()));
    assert!(all_applied(&second_answer.await.unwrap()));
    let sizes: Vec<_> =
        bench.double.inner().commits.iter().map(|commit| commit.events.len()).collect();
    assert_eq!(sizes, [256, 45]);
    let expected: Vec<String> =
        (0..300).map(|i| format!("e{i}")).chain(["last".to_owned()]).collect();
    assert_eq!(bench.log(), expected);
    let seqs: Vec<i64> =
        bench.double.inner().commits.iter().flat_map(|c| c.events.iter().map(|e| e.seq)).collect();
    assert_eq!(seqs, (1..=301).collect::<Vec<_>>());
    assert_eq!(bench.double.row(contact(1)).revision, 2);
    assert_eq!(bench.double.inner().loads, 1, "memory serves the second batch");
}

#[tokio::test]
async fn a_repeat_changes_nothing_and_names_the_first() {
    let mut bench = Bench::new();
    let first = bench.apply(vec![event("a", "x")]).await;
    let ItemOutcome::Applied(id) = first[0] else { panic!("{first:?}") };
    assert_eq!(bench.apply(vec![event("a", "x")]).await, [ItemOutcome::Duplicate(id)]);
    let within = bench.apply(vec![event("b", "y"), event("b", "y")]).await;
    let ItemOutcome::Applied(id) = within[0] else { panic!("{within:?}") };
    assert_eq!(within[1], ItemOutcome::Duplicate(id));
    assert_eq!(bench.log(), ["x", "y"]);
    assert_eq!(bench.commits(), 2);
}

#[tokio::test]
async fn a_key_with_another_body_is_set_aside_and_told() {
    let mut bench = Bench::new();
    let outcomes = bench.apply(vec![event("a", "x"), event("a", "z")]).await;
    assert!(matches!(outcomes[..], [ItemOutcome::Applied(_), ItemOutcome::Conflict]));
    assert_eq!(bench.apply(vec![event("a", "w")]).await, [ItemOutcome::Conflict]);
    assert_eq!(bench.codes(), ["duplicate_id_other_body", "duplicate_id_other_body"]);
    assert_eq!(bench.log(), ["x"]);
}

#[tokio::test]
async fn a_refused_input_goes_alone_and_the_others_apply_in_order() {
    let mut bench = Bench::new();
    bench.double.inner().refused_names.insert("e2".into());
    let outcomes = bench.apply(numbered(5)).await;
    assert!(all_applied(&[&outcomes[..2], &outcomes[3..]].concat()));
    assert!(matches!(outcomes[2], ItemOutcome::SetAside { code: "refused", .. }));
    assert_eq!(bench.log(), ["e0", "e1", "e3", "e4"]);
    assert_eq!(bench.codes(), ["refused"]);
    let lonely = bench.double.inner().commits.iter().find(|c| !c.quarantine.is_empty()).cloned();
    let lonely = lonely.unwrap();
    assert!(lonely.events.is_empty() && lonely.quarantine.len() == 1);
}

#[tokio::test]
async fn an_input_that_panics_the_step_is_quarantined_and_the_contact_goes_on() {
    let mut bench = Bench::new();
    let outcomes = bench.apply(vec![event("a", "x"), event("b", "panic"), event("c", "y")]).await;
    assert!(matches!(
        outcomes[..],
        [
            ItemOutcome::Applied(_),
            ItemOutcome::SetAside { code: "panic", .. },
            ItemOutcome::Applied(_)
        ]
    ));
    assert_eq!(bench.log(), ["x", "y"]);
    assert_eq!(bench.codes(), ["panic"]);
    // A retry is recognised as what it is.
    let again = bench.apply(vec![event("b", "panic")]).await;
    assert!(matches!(again[..], [ItemOutcome::SetAside { code: "set_aside_earlier", .. }]));
    assert_eq!(bench.codes(), ["panic"]);
}

#[tokio::test]
async fn an_event_too_large_for_the_state_costs_only_itself() {
    let mut bench = Bench::new();
    let outcomes = bench.apply(vec![event("a", "x"), event("b", "huge"), event("c", "y")]).await;
    assert!(matches!(
        outcomes[..],
        [
            ItemOutcome::Applied(_),
            ItemOutcome::SetAside { code: "state_too_large", .. },
            ItemOutcome::Applied(_)
        ]
    ));
    assert_eq!(bench.log(), ["x", "y"]);
}

#[tokio::test]
async fn after_a_lost_connection_the_retry_finds_its_answer() {
    for (trick, found) in [(Trick::LostAfter, true), (Trick::LostBefore, false)] {
        let mut bench = Bench::new();
        bench.double.trick(trick);
        assert_eq!(bench.apply(vec![event("a", "x")]).await, [ItemOutcome::Unavailable]);
        let retry = bench.apply(vec![event("a", "x")]).await;
        assert_eq!(matches!(retry[..], [ItemOutcome::Duplicate(_)]), found);
        assert_eq!(bench.log(), ["x"]);
        assert_eq!(bench.double.inner().loads, 2, "memory was dropped");
    }
}

#[tokio::test]
async fn a_stale_contact_is_read_again_and_stepped_again() {
    let mut bench = Bench::new();
    bench.apply(vec![event("a", "x")]).await;
    for _ in 0..5 {
        bench.double.trick(Trick::Stale);
    }
    assert!(all_applied(&bench.apply(vec![event("b", "y")]).await));
    assert_eq!(bench.log(), ["x", "y"]);
    assert_eq!(bench.double.inner().loads, 6);
    for _ in 0..6 {
        bench.double.trick(Trick::Stale);
    }
    assert_eq!(bench.apply(vec![event("c", "z")]).await, [ItemOutcome::Unavailable]);
}

#[tokio::test]
async fn a_key_taken_by_another_contact_meanwhile_is_a_repeat() {
    let mut bench = Bench::new();
    bench.apply(vec![event("a", "x")]).await;
    let theirs = Contact::new(Arc::clone(&bench.contact.deps), TENANT, contact(2));
    let mut others = std::mem::replace(&mut bench.contact, theirs);
    // Looked up as unknown by both; the second commit conflicts and looks again.
    bench.double.inner().commits.clear();
    let (work, answer) = bench.events(vec![event("k", "v")]);
    let (their_work, their_answer) = bench.events(vec![event("k", "v")]);
    tokio::join!(others.cycle(vec![work]), bench.contact.cycle(vec![their_work]));
    let both = [answer.await.unwrap(), their_answer.await.unwrap()].concat();
    assert!(matches!(
        both[..],
        [ItemOutcome::Applied(a), ItemOutcome::Duplicate(b)] | [ItemOutcome::Duplicate(a), ItemOutcome::Applied(b)]
            if a == b
    ));
}

#[tokio::test]
async fn when_the_store_cannot_be_read_nothing_is_done_and_so_told() {
    let mut bench = Bench::new();
    bench.double.inner().refuse_loads = true;
    assert_eq!(
        bench.apply(numbered(2)).await,
        [ItemOutcome::Unavailable, ItemOutcome::Unavailable]
    );
    bench.double.inner().refuse_loads = false;
    assert!(all_applied(&bench.apply(numbered(2)).await));
    bench.double.trick(Trick::Moved);
    assert_eq!(bench.apply(vec![event("q", "q")]).await, [ItemOutcome::Moved]);
    assert!(all_applied(&bench.apply(vec![event("q", "q")]).await), "should it come back");
}

#[tokio::test]
async fn timers_and_hints_are_published_after_the_commit() {
    let mut bench = Bench::new();
    bench.apply(vec![event("a", "wait"), event("b", "send")]).await;
    assert_eq!(bench.timers.next_due().await.unwrap(), Some(at(11_000)));
    assert_eq!(*bench.hints.0.lock().unwrap(), [0]);
    let commits = bench.double.inner().commits.clone();
    assert_eq!(commits[0].sends[0].template_version, 0);
    let (cause, trace) = commits[0].trace.clone().unwrap();
    assert!(cause.starts_with("event:") && trace.contains("\"what\":\"wait\""));
}

#[tokio::test]
async fn a_timer_is_never_applied_early_and_an_old_one_not_at_all() {
    let mut bench = Bench::new();
    bench.apply(vec![event("a", "wait")]).await;
    bench.timers.remove(TENANT, contact(1), &[waiting_run()]).await.unwrap();
    bench.run(vec![bench.timer(1, 11_000)]).await;
    assert_eq!(bench.log(), ["wait"]);
    assert_eq!(bench.timers.next_due().await.unwrap(), Some(at(11_000)), "indexed again");
    bench.clock.advance_to(at(11_000));
    bench.run(vec![bench.timer(0, 10_500)]).await;
    assert_eq!(bench.log(), ["wait"], "an older number does nothing");
    bench.run(vec![bench.timer(1, 11_000)]).await;
    assert_eq!(bench.log(), ["wait", "timer"]);
    assert!(bench.double.inner().timers.is_empty());
    bench.run(vec![bench.timer(1, 11_000)]).await;
    assert_eq!(bench.log(), ["wait", "timer"], "a run that is gone takes no timer");
}

#[tokio::test]
async fn inbox_rows_apply_once_and_before_what_came_later() {
    let mut bench = Bench::new();
    let run = waiting_run();
    let reference = serde_json::json!({
        "message": run, "run": run, "step": "s", "outcome": "sent", "reason": null
    });
    bench.double.post(contact(1), 1, ("outcome", reference, None));
    let (work, _answer) = bench.events(vec![event("a", "x")]);
    bench.run(vec![work, bench.wake(), bench.wake()]).await;
    assert_eq!(bench.log(), ["sent", "x"]);
    assert!(bench.double.row(contact(1)).inbox.is_empty());
    bench.run(vec![bench.wake()]).await;
    assert_eq!(bench.log(), ["sent", "x"]);
}

#[tokio::test]
async fn an_unreadable_inbox_row_is_set_aside_and_does_not_come_again() {
    let mut bench = Bench::new();
    bench.double.post(contact(1), 1, ("riddle", serde_json::json!({}), None));
    bench.double.post(contact(1), 2, ("outcome", serde_json::json!({"what": 1}), None));
    bench.run(vec![bench.wake()]).await;
    assert_eq!(bench.codes(), ["unreadable", "unreadable"]);
    assert!(bench.double.row(contact(1)).inbox.is_empty());
}

#[tokio::test]
async fn what_was_set_aside_comes_back_by_requeue() {
    let mut bench = Bench::new();
    bench.double.inner().refused_names.insert("late".into());
    bench.apply(vec![event("a", "late")]).await;
    let row = bench.double.inner().quarantine[0].clone();
    bench.double.inner().refused_names.clear();
    let reference = serde_json::json!({"quarantine": row.id, "origin": row.origin});
    bench.double.post(contact(1), 1, ("requeue", reference, Some(row.payload)));
    bench.run(vec![bench.wake()]).await;
    assert_eq!(bench.log(), ["late"]);
    assert!(matches!(bench.apply(vec![event("a", "late")]).await[..], [ItemOutcome::Duplicate(_)]));
}

#[tokio::test]
async fn a_repeat_is_told_as_one_even_where_it_could_not_be_applied_any_more() {
    let mut bench = Bench::new();
    let first = bench.apply(vec![event("a", "x")]).await;
    let ItemOutcome::Applied(id) = first[0] else { panic!("{first:?}") };
    bench.double.inner().refused_names.insert("x".into());
    assert_eq!(bench.apply(vec![event("a", "x")]).await, [ItemOutcome::Duplicate(id)]);
    bench.contact = bench.panicking();
    assert_eq!(bench.apply(vec![event("a", "x")]).await, [ItemOutcome::Duplicate(id)]);
    assert!(bench.codes().is_empty());
}

#[tokio::test]
async fn a_timer_that_panics_is_held_and_comes_back_by_requeue() {
    let mut bench = Bench::new();
    bench.apply(vec![event("a", "wait")]).await;
    bench.clock.advance_to(at(11_000));
    let panicking = bench.panicking();
    let sound = std::mem::replace(&mut bench.contact, panicking);
    bench.run(vec![bench.timer(1, 11_000)]).await;
    let row = bench.double.inner().quarantine[0].clone();
    assert_eq!((row.origin, row.code.as_str()), ("timer", "panic"));
    assert!(bench.double.inner().timers[&waiting_run()].1, "held");
    assert_eq!(bench.timers.next_due().await.unwrap(), None);
    bench.contact = Contact::new(Arc::clone(&sound.deps), TENANT, contact(1));
    bench.double.post(contact(1), 1, ("requeue", serde_json::json!({}), Some(row.payload)));
    bench.run(vec![bench.wake()]).await;
    assert_eq!(bench.log(), ["wait", "timer"]);
}

#[tokio::test]
async fn absorbing_moves_what_the_contact_has_and_tells_where_it_went() {
    let mut bench = Bench::new();
    bench.apply(vec![event("a", "wait")]).await;
    bench.double.post(contact(1), 1, ("absorb", serde_json::json!({"into": contact(2)}), None));
    let (work, answer) = bench.events(vec![event("b", "x")]);
    let end = bench.run(vec![work, bench.wake()]).await;
    assert_eq!(answer.await.unwrap(), [ItemOutcome::Merged(contact(2))]);
    assert!(end.gone);
    assert_eq!(end.wakes, [contact(2)]);
    assert_eq!(bench.timers.next_due().await.unwrap(), None);
    assert!(bench.double.state(contact(1)).attributes.is_empty());
    bench.contact = Contact::new(Arc::clone(&bench.contact.deps), TENANT, contact(2));
    bench.run(vec![bench.wake()]).await;
    assert_eq!(bench.double.log(contact(2)), ["absorbed"]);
    assert_eq!(bench.double.state(contact(2)).runs[0].id, waiting_run());
    assert_eq!(bench.timers.next_due().await.unwrap(), Some(at(11_000)));
    assert_eq!(bench.double.inner().timers[&waiting_run()].0.contact, contact(2));
}

#[tokio::test]
async fn an_address_is_sealed_when_it_is_new_and_only_then() {
    let mut bench = Bench::new();
    let mut identify = event("a", "x");
    identify.traits.insert("email".into(), "Ada@Example.org".into());
    identify.email = "Ada@Example.org".parse().ok();
    bench.apply(vec![identify.clone()]).await;
    identify.message_id = "b".into();
    identify.key = parcours_domain::EventKey::of("b");
    bench.apply(vec![identify]).await;
    let sealed: Vec<bool> =
        bench.double.inner().commits.iter().map(|commit| commit.address.is_some()).collect();
    assert_eq!(sealed, [true, false]);
    assert_eq!(
        bench.double.state(contact(1)).attributes.get("email").and_then(|v| v.as_text()),
        Some("Ada@Example.org")
    );
}

/// An identify; its messageId and the `email` trait.
fn identify(message_id: &str, email: parcours_domain::Value) -> AcceptedEvent {
    let mut identify = event(message_id, "x");
    identify.email = email.as_text().and_then(|text| text.parse().ok());
    identify.traits.insert("email".into(), email);
    identify
}

#[tokio::test]
async fn an_identify_that_does_not_apply_sets_no_address() {
    let mut bench = Bench::new();
    bench.apply(vec![event("a", "x")]).await;
    let mut other = identify("a", "eve@example.org".into());
    other.body_hash = [9; 32];
    assert_eq!(bench.apply(vec![other]).await, [ItemOutcome::Conflict]);
    let commits = bench.double.inner().commits.clone();
    assert_eq!(commits.len(), 2, "the conflict is kept for people");
    assert!(commits.iter().all(|commit| commit.address.is_none()));
}

#[tokio::test]
async fn an_address_that_is_taken_away_is_told_to_the_store_once() {
    let mut bench = Bench::new();
    bench.apply(vec![identify("a", "ada@example.org".into())]).await;
    bench.apply(vec![identify("b", parcours_domain::Value::Null)]).await;
    bench.apply(vec![event("c", "send")]).await;
    let commits = bench.double.inner().commits.clone();
    let told: Vec<_> =
        commits.iter().map(|commit| (commit.address.is_some(), commit.address_gone)).collect();
    assert_eq!(told, [(true, false), (false, true), (false, false)]);
    assert_eq!(commits[2].sends[0].lane, 0);
}
