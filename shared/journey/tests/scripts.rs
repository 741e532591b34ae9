//! Journey scripts: a document, a timeline of inputs, the expected trace, as data.
//!
//! A script has sections. `--- journeys` publishes the documents below it (a second such section
//! publishes the next version). `--- timeline` holds one input a line, `MOMENT WHAT …`, each
//! followed by the lines it must produce, one `=> …` for each. Between inputs, timers that come
//! due fire by themselves; what they do stands under a line `MOMENT tick`.

#![expect(clippy::unwrap_used, reason = "what surrounds a test may end it too")]

mod everything;

use std::{collections::BTreeMap, fmt::Write as _, path::Path, sync::Arc};

use everything::Everything;
use parcours_domain::{
    Handle, MessageId, Name, RunId, SendOutcome, TenantId, Timestamp, Value, value::Properties,
};
use parcours_journey::{
    Absorbed, ContactState, Document, Effect, EventInput, EventKind, Input, Plan, PlanBook,
    PlanStatus, RunStatus, Step, StepContext, compile, parse_documents, step,
};

/// One contact and its brand, as a script goes on.
struct Stage {
    state: ContactState,
    heads: BTreeMap<Name, (Arc<Plan>, PlanStatus)>,
    old: Vec<Arc<Plan>>,
    now: Timestamp,
    events: u128,
}

impl Stage {
    fn new() -> Self {
        Self {
            state: ContactState::new(Handle([7; 16])),
            heads: BTreeMap::new(),
            old: Vec::new(),
            now: Timestamp::EPOCH,
            events: 0,
        }
    }

    fn publish(&mut self, source: &str) {
        for document in parse_documents(source, "script").unwrap_or_else(|p| panic!("{p:#?}")) {
            let Document::Journey(journey) = document else { panic!("only journeys") };
            let before = self.heads.get(&journey.name).map(|(plan, _)| Arc::clone(plan));
            let version = before.as_ref().map_or(1, |plan| plan.version + 1);
            self.old.extend(before);
            let plan = compile(&journey, version, &Everything).unwrap_or_else(|p| panic!("{p:#?}"));
            let plan = Plan::decode(&plan.encode().unwrap()).unwrap();
            self.heads.insert(journey.name, (Arc::new(plan), PlanStatus::Live));
        }
    }

    fn apply(&mut self, input: &Input) -> Vec<String> {
        let plans = PlanBook::new(self.heads.values().cloned().collect(), self.old.clone());
        let ctx = StepContext {
            tenant: TenantId::from(uuid::Uuid::from_u128(1)),
            plans: &plans,
            brand_zone: "Europe/Paris",
            now: self.now,
        };
        let encoded = self.state.encode().unwrap();
        let done = step(ContactState::decode(&encoded).unwrap(), input, &ctx);
        assert_eq!(done, step(self.state.clone(), input, &ctx), "the same step twice differs");
        let lines = lines(&done);
        self.state = done.state;
        lines
    }

    /// Fires what is due up to a moment, each at its own time.
    fn tick(&mut self, until: Timestamp) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let due =
                self.state.runs.iter().filter(|run| {
                    matches!(run.status, RunStatus::Waiting(_)) && run.wakes_at <= until
                });
            let next = due.min_by_key(|run| (run.wakes_at, run.id)).map(|r| (r.wakes_at, r.id));
            let Some((at, run)) = next else { return lines };
            self.now = self.now.max(at);
            let seq = self.state.run(run).map_or(0, |run| run.timer_seq);
            lines.extend(self.apply(&Input::Timer { run, seq }));
        }
    }

    fn resume(&mut self, name: &Name) -> Vec<String> {
        self.heads.get_mut(name).unwrap().1 = PlanStatus::Live;
        let held: Vec<(RunId, u32)> = self
            .state
            .runs
            .iter()
            .filter(|run| run.journey == *name && matches!(run.status, RunStatus::Held(_)))
            .map(|run| (run.id, run.timer_seq))
            .collect();
        let timer = |(run, seq)| self.apply(&Input::Timer { run, seq });
        held.into_iter().flat_map(timer).collect()
    }

    fn event(&mut self, kind: EventKind, name: &str, json: &str) -> Vec<String> {
        self.events += 1;
        let read = |json: &str| -> Properties {
            if json.is_empty() {
                return Properties::new();
            }
            match Value::from_json(serde_json::from_str(json).unwrap()) {
                Value::Map(map) => map,
                other => panic!("not a map: {other:?}"),
            }
        };
        let identify = kind == EventKind::Identify;
        self.apply(&Input::Event(EventInput {
            id: uuid::Uuid::from_u128(self.events).into(),
            kind,
            name: name.to_owned(),
            properties: if identify { Properties::new() } else { read(json) },
            traits: if identify { read(json) } else { Properties::new() },
            occurred_at: None,
        }))
    }

    fn message(&self, step: &str) -> (MessageId, RunId) {
        let step: Name = step.parse().unwrap();
        let sent =
            self.state.runs.iter().find_map(|run| Some((run.sends.get(&step)?.message, run.id)));
        sent.unwrap_or_else(|| panic!("nothing was sent at {step}"))
    }

    /// What happened so far was anonymous; the person turns out to be known.
    fn absorb(&mut self, event: &str, traits: &str) -> Vec<String> {
        let from = std::mem::replace(&mut self.state, ContactState::new(Handle([9; 16])));
        self.event(EventKind::Identify, "", traits);
        if !event.is_empty() {
            self.event(EventKind::Track, event, "");
        }
        self.apply(&Input::Absorbed(Box::new(Absorbed {
            from: uuid::Uuid::from_u128(5).into(),
            attributes: from.attributes,
            runs: from.runs,
            entries: from.entries,
        })))
    }

    fn input(&mut self, what: &str) -> Vec<String> {
        let (word, rest) = what.split_once(' ').unwrap_or((what, ""));
        let (name, json) = match rest.find('{') {
            Some(at) => (rest[..at].trim(), rest[at..].trim()),
            None => (rest.trim(), ""),
        };
        match word {
            "tick" => Vec::new(),
            "track" => self.event(EventKind::Track, name, json),
            "page" => self.event(EventKind::Page, name, json),
            "screen" => self.event(EventKind::Screen, name, json),
            "group" => self.event(EventKind::Group, name, json),
            "identify" => self.event(EventKind::Identify, "", json),
            "outcome" => {
                let (step, word) = name.split_once(' ').unwrap();
                let (message, run) = self.message(step);
                let outcome = SendOutcome::parse(word).unwrap();
                let step = step.parse().unwrap();
                self.apply(&Input::Outcome { message, run, step, outcome, reason: None })
            }
            "click" => {
                let (message, run) = self.message(name);
                let url = "https://example.org".to_owned();
                self.apply(&Input::Click { message, run, step: name.parse().unwrap(), url })
            }
            "stale" => {
                let run = self.state.runs.first().unwrap();
                let (run, seq) = (run.id, run.timer_seq - 1);
                self.apply(&Input::Timer { run, seq })
            }
            "early" => {
                let run = self.state.runs.first().unwrap();
                let (run, seq) = (run.id, run.timer_seq);
                self.apply(&Input::Timer { run, seq })
            }
            "pause" | "archive" => {
                let status =
                    if word == "pause" { PlanStatus::Paused } else { PlanStatus::Archived };
                self.heads.get_mut(&name.parse::<Name>().unwrap()).unwrap().1 = status;
                Vec::new()
            }
            "resume" => self.resume(&name.parse().unwrap()),
            "forget" => {
                self.heads.clear();
                Vec::new()
            }
            "contact" => vec![format!("{}", Value::Map(self.state.attributes.clone()).to_json())],
            "anonymous" => self.absorb(name, json),
            other => panic!("unknown input {other}"),
        }
    }
}

fn lines(done: &Step) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in &done.trace {
        let mut line = entry.what.clone();
        if let Some(step) = &entry.step {
            write!(line, " {step}").unwrap();
        } else {
            write!(line, " {}", entry.journey).unwrap();
        }
        if !entry.detail.is_empty() {
            write!(line, ": {}", entry.detail).unwrap();
        }
        lines.push(line);
    }
    for effect in &done.effects {
        match effect {
            Effect::Run(row) => {
                let live = done.state.run(row.id).is_some();
                assert_eq!(live, row.ended_at.is_none(), "{row:?}");
                assert_eq!(live, matches!(row.status, "waiting" | "held"), "{row:?}");
            }
            Effect::Send(request) => {
                assert!(done.trace.iter().any(|t| t.what == "sent" && t.run == Some(request.run)));
            }
            Effect::SetTimer { due_at, .. } => lines.push(format!("timer {due_at}")),
            Effect::HoldTimer { .. } => lines.push("timer held".to_owned()),
            Effect::CancelTimer { .. } => lines.push("timer cancelled".to_owned()),
        }
    }
    lines
}

/// A moment as scripts write it: `2026-01-01T10:00Z`, seconds optional.
fn moment(text: &str) -> Timestamp {
    let full = text.strip_suffix('Z').filter(|t| t.len() == 16).map(|t| format!("{t}:00Z"));
    full.as_deref().unwrap_or(text).parse().unwrap_or_else(|_| panic!("{text}"))
}

/// Runs a script; answers it as it should read.
fn run(script: &str) -> String {
    let mut stage = Stage::new();
    let mut played = String::new();
    let mut section = String::new();
    let mut in_timeline = false;
    for line in script.lines().chain(["--- end"]) {
        if let Some(title) = line.strip_prefix("--- ") {
            if !in_timeline && !section.trim().is_empty() && played.contains("--- journeys") {
                stage.publish(&section);
            }
            section.clear();
            in_timeline = title == "timeline";
        } else if in_timeline {
            if line.starts_with("  => ") {
                continue;
            }
            if let Some((at, what)) = line.split_once(' ').filter(|(at, _)| at.ends_with('Z')) {
                let at = moment(at);
                let ticked = stage.tick(at);
                stage.now = at;
                writeln!(played, "{line}").unwrap();
                for line in ticked.into_iter().chain(stage.input(what)) {
                    writeln!(played, "  => {}", line.replace(":00.000Z", "Z")).unwrap();
                }
                continue;
            }
        } else {
            writeln!(section, "{line}").unwrap();
        }
        if line != "--- end" {
            writeln!(played, "{line}").unwrap();
        }
    }
    played
}

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(name);
    let script = std::fs::read_to_string(&path).unwrap();
    let played = run(&script);
    assert!(played == script, "{name} plays differently:\n{played}");
    assert!(script.contains("  => "), "{name} expects nothing");
}

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            check(concat!(stringify!($name), ".journey"));
        }
    )*
        #[test]
        fn every_script_is_run() {
            let known = [$(concat!(stringify!($name), ".journey")),*];
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
            for file in std::fs::read_dir(folder).unwrap() {
                let file = file.unwrap().file_name();
                assert!(known.iter().any(|name| file == **name), "{file:?} is not listed");
            }
        }
    };
}

scripts! {
    absorb,
    branch_and_conditions,
    date_dst,
    date_february_29,
    date_follows_attribute,
    date_missing_and_past,
    entry_rules,
    exits_and_goals,
    pause,
    run_keys,
    send_outcomes,
    set_and_exit,
    split,
    timers,
    versions,
    wait_for_duration,
    wait_for_events,
    wait_until,
}
