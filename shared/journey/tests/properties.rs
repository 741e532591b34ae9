//! Properties of the interpreter over generated plans and timelines.
//!
//! Plans are made as documents and published by the real compiler, so that whatever it lets
//! through must be walked without harm.

#![expect(clippy::unwrap_used, reason = "what surrounds a test may end it too")]

mod everything;

use std::{collections::BTreeMap, sync::Arc};

use everything::Everything;
use parcours_domain::{
    Handle, MessageId, Millis, Name, RunId, SendOutcome, TenantId, Timestamp, Value,
    value::Properties,
};
use parcours_journey::{
    Absorbed, ContactState, Document, Effect, EventInput, EventKind, Input, Plan, PlanBook,
    PlanStatus, RunStatus, StepContext, compile,
    document::journey::{ActionDocument, WaitDocument},
    parse_documents, step,
};
use proptest::prelude::*;

/// A value of events and attributes.
const SECRET: &str = "s3cr3t";

/// Words from which steps are made; numbers choose.
type Dice = Vec<(u8, u8, u8)>;

fn target(n: u8, steps: usize) -> String {
    match usize::from(n) % (steps + 1) {
        0 => "end".to_owned(),
        step => format!("s{}", step - 1),
    }
}

fn step_text(index: usize, (kind, a, b): (u8, u8, u8), steps: usize) -> String {
    let (to, other) = (target(a, steps), target(b, steps));
    let body = match kind % 12 {
        0 => format!("wait: {{for: {}h}}, next: {to}", a % 50 + 1),
        1 => format!(
            "wait: {{until: {{time: \"0{}:30\", weekday: [mon, sat]}}}}, next: {to}",
            b % 10
        ),
        2 => format!(
            "wait: {{date: contact.day, offset: -{}h, if_past: next_year, if_missing: exit}}, next: {to}",
            b % 60
        ),
        3 => format!("wait: {{date: contact.day, if_past: {other}, if_missing: exit}}, next: {to}"),
        4 => format!("wait: {{date: run.day, if_past: exit, if_missing: {other}}}, next: {to}"),
        5 => format!(
            "wait_for: {{events: [{{id: x, event: e1, next: {to}}}, {{id: y, page: \"*\", when: contact.n > 2}}], limit: {}h, timeout: {other}}}",
            b % 70 + 1
        ),
        6 => format!(
            "branch: {{cases: [{{when: contact.n >= {}, next: {to}}}], default: {other}}}",
            a % 5
        ),
        7 => format!(
            "split: {{arms: [{{id: l, weight: {}, next: {to}}}, {{id: r, weight: 1, next: {other}}}]}}",
            a % 3
        ),
        8 => format!("send: {{template: t, topic: news}}, next: {to}"),
        9 => format!("send: {{template: t, topic: news, on: {{refused: {other}, unknown: {to}}}}}"),
        10 => format!(
            "set: {{n: {}, day: {{from: event.day}}, kept: {{from: run.secret}}, timezone: Asia/Tokyo}}, next: {to}",
            b % 5
        ),
        _ => "exit: {}".to_owned(),
    };
    format!("  - {{id: s{index}, {body}}}\n")
}

fn journey_text(name: &str, dice: &Dice) -> String {
    let mut text = format!(
        "apiVersion: parcours/v1\nkind: Journey\nname: {name}\nentry: {{event: e0, reentry: always}}\n\
         exits: [{{id: out, event: e2, when: contact.n == 1}}]\ngoals: [{{id: won, event: e3}}]\nsteps:\n"
    );
    for (index, one) in dice.iter().enumerate() {
        text.push_str(&step_text(index, *one, dice.len()));
    }
    text
}

/// The plan of some dice. What the compiler refuses is mended as an author would: unreachable
/// steps are dropped, loops without a wait and splits without a weight get one.
fn publish(name: &str, dice: &Dice) -> Plan {
    let source = journey_text(name, dice);
    let documents = parse_documents(&source, "").unwrap_or_else(|p| panic!("{p:?}\n{source}"));
    let Some(Document::Journey(mut journey)) = documents.into_iter().next() else {
        panic!("a journey");
    };
    loop {
        let problems = match compile(&journey, 1, &Everything) {
            Ok(plan) => return plan,
            Err(problems) => problems,
        };
        let mut gone = Vec::new();
        for problem in problems {
            let index = problem.path.split(['[', ']']).nth(1).and_then(|n| n.parse().ok());
            let index: usize = index.unwrap_or_else(|| panic!("{problem}\n{source}"));
            match problem.code {
                "unreachable_step" => gone.push(index),
                "loop_without_wait" => {
                    let span = "1h".parse().unwrap();
                    journey.steps[index].action = ActionDocument::Wait(WaitDocument::For { span });
                }
                other => panic!("{other}: {problem}\n{source}"),
            }
        }
        gone.into_iter().rev().for_each(|index| drop(journey.steps.remove(index)));
    }
}

/// The outside: what a store would hold for this contact.
struct Outside {
    state: ContactState,
    timers: BTreeMap<RunId, (u32, Timestamp)>,
    messages: Vec<(MessageId, RunId, Name)>,
    keys: Vec<[u8; 16]>,
    book: PlanBook,
    plans: [Arc<Plan>; 2],
    now: Timestamp,
    events: u128,
}

impl Outside {
    fn set_status(&mut self, status: PlanStatus) {
        let [first, second] = self.plans.clone();
        self.book = PlanBook::new(vec![(first, status), (second, PlanStatus::Live)], Vec::new());
    }

    fn apply(&mut self, input: &Input) {
        let ctx = StepContext {
            tenant: TenantId::from(uuid::Uuid::from_u128(1)),
            plans: &self.book,
            brand_zone: "Europe/Paris",
            now: self.now,
        };
        let bytes = self.state.encode().unwrap();
        let done = step(ContactState::decode(&bytes).unwrap(), input, &ctx);
        assert_eq!(done, step(self.state.clone(), input, &ctx), "deterministic");
        for effect in &done.effects {
            match effect {
                Effect::Run(row) => {
                    let live = done.state.run(row.id);
                    assert_eq!(live.is_some(), row.ended_at.is_none(), "{row:?}");
                    assert_eq!(live.map(|run| run.wakes_at), row.wakes_at);
                }
                Effect::SetTimer { run, seq, due_at } => {
                    self.timers.insert(*run, (*seq, *due_at));
                }
                Effect::HoldTimer { run } => assert!(self.timers.contains_key(run)),
                Effect::CancelTimer { run } => {
                    assert!(self.timers.remove(run).is_some(), "a timer to cancel");
                }
                Effect::Send(request) => {
                    assert!(!self.keys.contains(&request.send_key), "one key, one message");
                    self.keys.push(request.send_key);
                    self.messages.push((request.message, request.run, request.step.clone()));
                }
            }
        }
        let told = format!("{:?}", done.trace);
        assert!(!told.contains(SECRET), "a trace holds names, never values: {told}");
        // Only the paused journey's runs may be held, and nothing ever fails.
        assert!(done.trace.iter().all(|t| t.what != "failed"), "{:?}", done.trace);
        self.state = done.state;
        let waiting: BTreeMap<RunId, (u32, Timestamp)> =
            self.state.runs.iter().map(|run| (run.id, (run.timer_seq, run.wakes_at))).collect();
        assert_eq!(waiting, self.timers, "waiting means exactly one live timer");
        let mut journeys: Vec<_> = self.state.runs.iter().map(|r| (&r.journey, &r.key)).collect();
        journeys.sort();
        assert!(journeys.windows(2).all(|w| w[0] != w[1]), "one live run per journey and key");
        assert!(self.state.runs.windows(2).all(|w| w[0].id < w[1].id), "runs are ordered");
    }

    fn fire(&mut self, run: RunId, again: bool) {
        let Some((seq, due_at)) = self.timers.get(&run).copied() else { return };
        self.now = self.now.max(due_at);
        let input = Input::Timer { run, seq };
        self.apply(&input);
        if again && self.timers.get(&run) != Some(&(seq, due_at)) {
            let before = (self.state.clone(), self.messages.len());
            self.apply(&input);
            assert_eq!(before, (self.state.clone(), self.messages.len()), "fired twice, done once");
        }
    }

    fn event(&mut self, kind: EventKind, name: &str, properties: Properties, traits: Properties) {
        self.events += 1;
        let id = uuid::Uuid::from_u128(self.events).into();
        let name = name.to_owned();
        self.apply(&Input::Event(EventInput {
            id,
            kind,
            name,
            properties,
            traits,
            occurred_at: None,
        }));
    }

    fn say(&mut self, which: u8, how: u8) {
        if self.messages.is_empty() {
            return;
        }
        let at = usize::from(which) % self.messages.len();
        let (message, run, step) = self.messages[at].clone();
        let outcome = SendOutcome::ALL[usize::from(how) % SendOutcome::ALL.len()];
        let input = if how.is_multiple_of(2) {
            Input::Outcome { message, run, step, outcome, reason: None }
        } else {
            Input::Click { message, run, step, url: String::new() }
        };
        self.apply(&input);
        let before = self.state.clone();
        self.apply(&input);
        assert_eq!(before, self.state, "said twice, heard once");
    }

    fn absorb(&mut self) {
        let from = std::mem::replace(&mut self.state, ContactState::new(Handle([3; 16])));
        self.timers.clear();
        let input = Input::Absorbed(Box::new(Absorbed {
            from: uuid::Uuid::from_u128(9).into(),
            attributes: from.attributes,
            runs: from.runs,
            entries: from.entries,
        }));
        self.apply(&input);
    }

    fn play(&mut self, (what, a, b): (u8, u8, u8)) {
        self.now = self.now + Millis::minutes(i64::from(b) * 7);
        let days = ["2026-02-01", "2000-02-29", "soon", "2026-03-29T02:30:00"];
        let day = Value::from(days[usize::from(b) % days.len()]);
        let with_day = || {
            let secret = ("secret".to_owned(), Value::from(SECRET));
            Properties::from([("day".to_owned(), day.clone()), secret])
        };
        match what % 12 {
            0..=2 => {
                self.event(EventKind::Track, &format!("e{}", a % 4), with_day(), Properties::new())
            }
            3 => self.event(EventKind::Page, "home", Properties::new(), Properties::new()),
            4 => self.event(EventKind::Identify, "", Properties::new(), with_day()),
            5 => {
                let n = Properties::from([("n".to_owned(), Value::Int(i64::from(a % 5)))]);
                self.event(EventKind::Identify, "", Properties::new(), n);
            }
            6 => self.say(a, b),
            7 => self.set_status(PlanStatus::Paused),
            8 => {
                self.set_status(PlanStatus::Live);
                let held =
                    |run: &&parcours_journey::RunState| matches!(run.status, RunStatus::Held(_));
                let held: Vec<_> = self.state.runs.iter().filter(held).map(|run| run.id).collect();
                held.into_iter().for_each(|run| self.fire(run, false));
            }
            9 if a % 16 == 0 => self.absorb(),
            _ => {
                let due: Option<RunId> =
                    self.timers.iter().min_by_key(|(_, (_, at))| *at).map(|(run, _)| *run);
                due.into_iter().for_each(|run| self.fire(run, b.is_multiple_of(3)));
            }
        }
    }
}

fn dice(len: std::ops::Range<usize>) -> impl Strategy<Value = Dice> {
    proptest::collection::vec(any::<(u8, u8, u8)>(), len)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// Total, deterministic, nothing done twice, and waiting means exactly one live timer.
    #[test]
    fn the_interpreter_keeps_its_promises(
        first in dice(1..8),
        second in dice(1..8),
        timeline in dice(1..40),
    ) {
        let plans = [Arc::new(publish("one", &first)), Arc::new(publish("two", &second))];
        let mut outside = Outside {
            state: ContactState::new(Handle([1; 16])),
            timers: BTreeMap::new(),
            messages: Vec::new(),
            keys: Vec::new(),
            book: PlanBook::default(),
            plans,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            events: 0,
        };
        outside.set_status(PlanStatus::Live);
        for dice in timeline {
            outside.play(dice);
        }
    }
}
