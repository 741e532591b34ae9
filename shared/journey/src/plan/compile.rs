//! Publishing: a journey document and what else is published, to a plan or to all its problems.
//!
//! Found here: jumps to nowhere, loops without a wait, unreachable steps, sends without a topic,
//! names that are not published, template variables that nothing provides.

use std::collections::{BTreeMap, BTreeSet};

use parcours_domain::{Name, StepId};

use super::{
    Catalogue, Ending, Entry, Next, Plan, PlanStep, Reads, SEMANTICS, STEPS_MAX, graph, steps,
};
use crate::{
    condition::{self, Condition, ConditionError, Path, Root},
    document::{
        JourneyDocument, Problem,
        journey::{END, EndingDocument, EntryDocument, RESERVED_STEP_IDS},
    },
};

/// What conditions inside a run see.
pub(super) const IN_RUN: [Root; 3] = [Root::Contact, Root::Event, Root::Run];

/// The state of one compilation.
pub(super) struct Compiler<'a> {
    pub doc: &'a JourneyDocument,
    pub catalogue: &'a dyn Catalogue,
    pub ids: BTreeSet<&'a StepId>,
    pub problems: Vec<Problem>,
    pub reads: Reads,
}

/// Compiles a document to the plan of `version`.
///
/// # Errors
/// All problems of the document.
pub fn compile(
    doc: &JourneyDocument,
    version: u32,
    catalogue: &dyn Catalogue,
) -> Result<Plan, Vec<Problem>> {
    let mut compiler = Compiler {
        doc,
        catalogue,
        ids: doc.steps.iter().map(|step| &step.id).collect(),
        problems: Vec::new(),
        reads: Reads::default(),
    };
    compiler.check_ids();
    let entry = compiler.entry(&doc.entry);
    let exits = compiler.endings("exits", &doc.exits);
    let goals = compiler.endings("goals", &doc.goals);
    let start = compiler.start();
    let steps = compiler.steps();
    let (Some(entry), Some(start)) = (entry, start) else { return Err(compiler.problems) };
    let plan = Plan {
        semantics: SEMANTICS,
        journey: doc.name.clone(),
        version,
        entry,
        exits,
        goals,
        start,
        order: doc.steps.iter().map(|step| step.id.clone()).collect(),
        steps,
        reads: compiler.reads,
    };
    let mut problems = compiler.problems;
    if problems.is_empty() {
        check_shape(&plan, &mut problems);
    }
    if problems.is_empty() { Ok(plan) } else { Err(problems) }
}

fn check_shape(plan: &Plan, problems: &mut Vec<Problem>) {
    let path = |id: &StepId| {
        let index = plan.order.iter().position(|other| other == id).unwrap_or(0);
        format!("steps[{index}]")
    };
    for id in graph::unreachable(plan) {
        let message = format!("no run can reach step `{id}`");
        let help = "lead a `next` to it, or remove it";
        problems.push(Problem::at("unreachable_step", path(&id), message, help));
    }
    for (id, group) in graph::loops_without_wait(plan) {
        let names: Vec<_> = group.iter().map(StepId::as_str).collect();
        let message = format!("a run could go round without waiting: {}", names.join(", "));
        let help = "put a wait into the loop (a date wait only counts with if_past: next_year \
                    and an if_missing that leads out)";
        problems.push(Problem::at("loop_without_wait", path(&id), message, help));
    }
}

impl Compiler<'_> {
    /// Reports a problem.
    pub fn add(
        &mut self,
        code: &'static str,
        path: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.push(Problem::at(code, path, message, help));
    }

    fn check_ids(&mut self) {
        let doc = self.doc;
        if doc.steps.is_empty() {
            self.add("no_steps", "steps", "the journey has no steps", "add at least one");
        }
        if doc.steps.len() > STEPS_MAX {
            let message = format!("{} steps; at most {STEPS_MAX} are run", doc.steps.len());
            self.add("too_many_steps", "steps", message, "split it into several journeys");
        }
        let ids: Vec<_> = doc.steps.iter().map(|step| &step.id).collect();
        self.check_unique("steps", &ids);
        for (index, id) in ids.iter().enumerate() {
            if RESERVED_STEP_IDS.contains(&id.as_str()) {
                let message = format!("`{id}` has a meaning of its own in jumps");
                let path = format!("steps[{index}].id");
                self.add("reserved_step_id", &path, message, "choose another id");
            }
        }
    }

    /// Reports every id that stands a second time in a list.
    pub fn check_unique(&mut self, list: &str, ids: &[&Name]) {
        let mut seen = BTreeSet::new();
        for (index, id) in ids.iter().enumerate() {
            if !seen.insert(*id) {
                let path = format!("{list}[{index}].id");
                let message = format!("the id `{id}` is used twice");
                self.add("duplicate_id", &path, message, "choose another id");
            }
        }
    }

    fn entry(&mut self, doc: &EntryDocument) -> Option<Entry> {
        let at_entry = [Root::Contact, Root::Event];
        let when = self.condition(doc.when.as_deref(), "entry.when", &at_entry);
        let audience = self.condition(doc.audience.as_deref(), "entry.audience", &[Root::Contact]);
        let key = self.path(doc.key.as_deref(), "entry.key", &[Root::Event]);
        Some(Entry {
            on: doc.on.clone(),
            when: when.ok()?,
            audience: audience.ok()?,
            key: key.ok()?,
            reentry: doc.reentry,
        })
    }

    fn endings(&mut self, list: &str, docs: &[EndingDocument]) -> Vec<Ending> {
        let ids: Vec<_> = docs.iter().map(|doc| &doc.id).collect();
        self.check_unique(list, &ids);
        let mut endings = Vec::with_capacity(docs.len());
        for (index, doc) in docs.iter().enumerate() {
            let at = format!("{list}[{index}]");
            let when = self.condition(doc.when.as_deref(), &format!("{at}.when"), &IN_RUN);
            let key_path = format!("{at}.key");
            let key = self.path(doc.key.as_deref(), &key_path, &[Root::Event]);
            if doc.key.is_some() && self.doc.entry.key.is_none() {
                let message = "the journey's entry has no key to compare with";
                self.add("no_run_key", &key_path, message, "add entry.key, or leave this out");
            }
            if let (Ok(when), Ok(key)) = (when, key) {
                endings.push(Ending { id: doc.id.clone(), on: doc.on.clone(), when, key });
            }
        }
        endings
    }

    fn start(&mut self) -> Option<StepId> {
        match &self.doc.start {
            Some(start) if self.ids.contains(start) => Some(start.clone()),
            Some(start) => {
                self.unknown_step("start", start);
                None
            }
            None => self.doc.steps.first().map(|step| step.id.clone()),
        }
    }

    fn steps(&mut self) -> BTreeMap<StepId, PlanStep> {
        let doc = self.doc;
        let mut compiled = BTreeMap::new();
        for (index, step) in doc.steps.iter().enumerate() {
            let at = format!("steps[{index}]");
            let below = doc.steps.get(index + 1);
            let below = below.map_or(Next::End, |below| Next::Step(below.id.clone()));
            let next = self.next(step.next.as_ref(), &format!("{at}.next"), &below);
            if let Some(action) = steps::compile(self, step, &at, &next) {
                compiled.insert(step.id.clone(), action);
            }
        }
        compiled
    }

    /// The jump target that is written, or `otherwise`.
    pub fn next(&mut self, written: Option<&StepId>, path: &str, otherwise: &Next) -> Next {
        match written {
            None => otherwise.clone(),
            Some(word) if word.as_str() == END => Next::End,
            Some(id) => {
                if !self.ids.contains(id) {
                    self.unknown_step(path, id);
                }
                Next::Step(id.clone())
            }
        }
    }

    fn unknown_step(&mut self, path: &str, id: &StepId) {
        let known: Vec<_> = self.ids.iter().map(|id| id.as_str()).take(20).collect();
        let help = format!("write `end` or one of: {}", known.join(", "));
        self.add("unknown_step", path, format!("there is no step `{id}`"), help);
    }

    /// Compiles an optional condition; its faults are reported here.
    pub fn condition(
        &mut self,
        source: Option<&str>,
        path: &str,
        roots: &[Root],
    ) -> Result<Option<Condition>, Reported> {
        self.reported(path, source.map(|source| condition::parse(source, roots)).transpose())
    }

    /// Compiles an optional path; its faults are reported here.
    pub fn path(
        &mut self,
        source: Option<&str>,
        path: &str,
        roots: &[Root],
    ) -> Result<Option<Path>, Reported> {
        self.reported(path, source.map(|source| condition::parse_path(source, roots)).transpose())
    }

    fn reported<T>(
        &mut self,
        path: &str,
        result: Result<T, ConditionError>,
    ) -> Result<T, Reported> {
        result.map_err(|error| {
            self.add(error.code(), path, error.to_string(), error.help());
            Reported
        })
    }
}

/// The fault has been reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported;
