//! Compiling one step of each kind.

use parcours_domain::{Name, StepId};

use super::{
    Arm, Awaited, AwaitedOn, Branch, Case, DateWait, Exit, Fallback, Next, PastRule, PlanStep,
    Send, SetStep, Source, Split, Wait, WaitFor, WaitUntil,
    compile::{Compiler, IN_RUN},
};
use crate::{
    condition::Root,
    document::journey::{
        ActionDocument, AwaitedMatch, BranchDocument, DateRule, DateWaitDocument, SendDocument,
        SetValue, SplitDocument, StepDocument, WaitDocument, WaitForDocument,
    },
};

/// The roots that a template can read, beside a few names of the renderer.
const TEMPLATE_ROOTS: [&str; 5] = ["contact", "run", "brand", "message", "unsubscribe_url"];

/// Compiles a step that stands at `at` and goes on to `next`.
pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    step: &StepDocument,
    at: &str,
    next: &Next,
) -> Option<PlanStep> {
    match &step.action {
        ActionDocument::Wait(doc) => wait(compiler, doc, at, next).map(PlanStep::Wait),
        ActionDocument::WaitFor(doc) => Some(PlanStep::WaitFor(wait_for(compiler, doc, at, next))),
        ActionDocument::Branch(doc) => Some(PlanStep::Branch(branch(compiler, doc, at, next))),
        ActionDocument::Split(doc) => {
            let salt = format!("{}/{}", compiler.doc.name, step.id);
            let salt = doc.salt.clone().unwrap_or(salt);
            Some(PlanStep::Split(split(compiler, doc, (at, salt), next)))
        }
        ActionDocument::Send(doc) => send(compiler, doc, at, next).map(PlanStep::Send),
        ActionDocument::Set(values) => {
            let mut sources = std::collections::BTreeMap::new();
            for (attribute, value) in values {
                let source = match value {
                    SetValue::Value(value) => Some(Source::Value(value.clone())),
                    SetValue::From(path) => {
                        let place = format!("{at}.set.{attribute}.from");
                        let path = compiler.path(Some(path), &place, &IN_RUN);
                        path.ok().flatten().map(Source::Path)
                    }
                };
                sources.extend(source.map(|source| (attribute.clone(), source)));
            }
            Some(PlanStep::Set(SetStep { values: sources, next: next.clone() }))
        }
        ActionDocument::Exit(doc) => Some(PlanStep::Exit(Exit { reason: doc.reason.clone() })),
    }
}

fn wait(compiler: &mut Compiler<'_>, doc: &WaitDocument, at: &str, next: &Next) -> Option<Wait> {
    let until = match doc {
        WaitDocument::For { span } => WaitUntil::Span(*span),
        WaitDocument::Until { until } => {
            WaitUntil::TimeOfDay { time: until.time, weekdays: until.weekday.clone() }
        }
        WaitDocument::Date(doc) => WaitUntil::Date(date(compiler, doc, at, next)?),
    };
    Some(Wait { until, next: next.clone() })
}

fn date(
    compiler: &mut Compiler<'_>,
    doc: &DateWaitDocument,
    at: &str,
    next: &Next,
) -> Option<DateWait> {
    let roots = [Root::Contact, Root::Run];
    let path = compiler.path(Some(&doc.date), &format!("{at}.wait.date"), &roots);
    let mut rule = |rule: &DateRule, field: &str| match rule {
        DateRule::Continue => PastRule::Fallback(Fallback::Go(next.clone())),
        DateRule::Exit => PastRule::Fallback(Fallback::Exit),
        DateRule::NextYear => PastRule::NextYear,
        DateRule::Go(step) => {
            let to = compiler.next(Some(step), &format!("{at}.wait.{field}"), next);
            PastRule::Fallback(Fallback::Go(to))
        }
    };
    let if_missing = match rule(&doc.if_missing, "if_missing") {
        PastRule::Fallback(fallback) => fallback,
        PastRule::NextYear => Fallback::Go(next.clone()),
    };
    let if_past = rule(&doc.if_past, "if_past");
    Some(DateWait {
        path: path.ok().flatten()?,
        offset: doc.offset.unwrap_or_default(),
        time: doc.time,
        if_missing,
        if_past,
    })
}

fn wait_for(compiler: &mut Compiler<'_>, doc: &WaitForDocument, at: &str, next: &Next) -> WaitFor {
    let list = format!("{at}.wait_for.events");
    compiler.check_unique(&list, &doc.events.iter().map(|awaited| &awaited.id).collect::<Vec<_>>());
    let mut events = Vec::with_capacity(doc.events.len());
    for (index, awaited) in doc.events.iter().enumerate() {
        let at = format!("{list}[{index}]");
        let when = compiler.condition(awaited.when.as_deref(), &format!("{at}.when"), &IN_RUN);
        let on = match &awaited.on {
            AwaitedMatch::On(on) => AwaitedOn::Event(on.clone()),
            AwaitedMatch::Clicked { clicked } => {
                check_is_send(compiler, clicked, &format!("{at}.clicked"));
                AwaitedOn::Clicked(clicked.clone())
            }
        };
        let next = compiler.next(awaited.next.as_ref(), &format!("{at}.next"), next);
        if let Ok(when) = when {
            events.push(Awaited { id: awaited.id.clone(), on, when, next });
        }
    }
    let timeout = compiler.next(doc.timeout.as_ref(), &format!("{at}.wait_for.timeout"), next);
    WaitFor { events, limit: doc.limit, timeout }
}

fn check_is_send(compiler: &mut Compiler<'_>, id: &StepId, path: &str) {
    let is_send =
        |step: &StepDocument| step.id == *id && matches!(step.action, ActionDocument::Send(_));
    if !compiler.doc.steps.iter().any(is_send) {
        let message = format!("`{id}` is not a send step of this journey");
        compiler.add("not_a_send_step", path, message, "name the send step whose link is meant");
    }
}

fn branch(compiler: &mut Compiler<'_>, doc: &BranchDocument, at: &str, next: &Next) -> Branch {
    let mut cases = Vec::with_capacity(doc.cases.len());
    if doc.cases.is_empty() {
        let path = format!("{at}.branch.cases");
        compiler.add("no_cases", &path, "the branch has no cases", "add one, or remove the step");
    }
    for (index, case) in doc.cases.iter().enumerate() {
        let at = format!("{at}.branch.cases[{index}]");
        let when = compiler.condition(Some(&case.when), &format!("{at}.when"), &IN_RUN);
        let to = compiler.next(Some(&case.next), &format!("{at}.next"), next);
        if let Ok(Some(when)) = when {
            cases.push(Case { when, next: to });
        }
    }
    let default = compiler.next(doc.default.as_ref(), &format!("{at}.branch.default"), next);
    Branch { cases, default }
}

fn split(
    compiler: &mut Compiler<'_>,
    doc: &SplitDocument,
    (at, salt): (&str, String),
    next: &Next,
) -> Split {
    let list = format!("{at}.split.arms");
    compiler.check_unique(&list, &doc.arms.iter().map(|arm| &arm.id).collect::<Vec<_>>());
    if doc.arms.iter().all(|arm| arm.weight == 0) {
        let message = "no arm has any weight";
        compiler.add("no_weight", &list, message, "give at least one arm a weight above 0");
    }
    let mut arms = Vec::with_capacity(doc.arms.len());
    for (index, arm) in doc.arms.iter().enumerate() {
        let next = compiler.next(arm.next.as_ref(), &format!("{list}[{index}].next"), next);
        arms.push(Arm { id: arm.id.clone(), weight: arm.weight, next });
    }
    Split { salt, arms }
}

fn send(compiler: &mut Compiler<'_>, doc: &SendDocument, at: &str, next: &Next) -> Option<Send> {
    let at = format!("{at}.send");
    check_template(compiler, &doc.template, &format!("{at}.template"));
    check_sender(compiler, doc.sender.as_ref(), &at);
    let topic = check_topic(compiler, doc.topic.as_ref(), &format!("{at}.topic"));
    let mut on = std::collections::BTreeMap::new();
    for (outcome, step) in &doc.on {
        let to = compiler.next(Some(step), &format!("{at}.on.{outcome}"), next);
        on.insert(*outcome, to);
    }
    compiler.reads.templates.insert(doc.template.clone());
    compiler.reads.topics.extend(topic.clone());
    compiler.reads.senders.extend(doc.sender.clone());
    Some(Send {
        template: doc.template.clone(),
        topic: topic?,
        sender: doc.sender.clone(),
        on,
        next: next.clone(),
    })
}

fn check_topic(compiler: &mut Compiler<'_>, topic: Option<&Name>, path: &str) -> Option<Name> {
    let Some(topic) = topic else {
        let message = "the send has no topic, so nobody could have agreed to it";
        compiler.add("send_without_topic", path, message, "add `topic:`");
        return None;
    };
    if compiler.catalogue.topic(topic).is_none() {
        let message = format!("there is no topic `{topic}`");
        compiler.add("unknown_topic", path, message, "publish a Topic document of that name");
    }
    Some(topic.clone())
}

fn check_sender(compiler: &mut Compiler<'_>, sender: Option<&Name>, at: &str) {
    let catalogue = compiler.catalogue;
    match (sender, catalogue.default_sender()) {
        (Some(sender), _) if !catalogue.has_sender(sender) => {
            let message = format!("there is no sender `{sender}`");
            let help = "publish a Sender document of that name";
            compiler.add("unknown_sender", &format!("{at}.sender"), message, help);
        }
        (Some(_), _) => {}
        (None, Some(sender)) if catalogue.has_sender(&sender) => {}
        (None, _) => {
            let message = "the send names no sender and the brand has no default sender";
            let help = "add `sender:`, or defaults.sender to the Brand document";
            compiler.add("no_sender", at, message, help);
        }
    }
}

/// A template reads `contact.*` and `run.*` under its own rules, and what the renderer provides;
/// anything else is provided by nobody.
fn check_template(compiler: &mut Compiler<'_>, template: &Name, path: &str) {
    if !compiler.catalogue.has_template(template) {
        let message = format!("there is no template `{template}`");
        compiler.add("unknown_template", path, message, "publish a Template document of that name");
        return;
    }
    for field in compiler.catalogue.template_fields(template).unwrap_or_default() {
        let root = field.path.split('.').next().unwrap_or("");
        if TEMPLATE_ROOTS.contains(&root) {
            continue;
        }
        let message =
            format!("nothing provides `{}`, which template `{template}` reads", field.path);
        let help = match root {
            "event" => "templates see what the run entered with as run.*".to_owned(),
            _ => format!("templates read: {}", TEMPLATE_ROOTS.join(", ")),
        };
        compiler.add("unknown_variable", path, message, help);
    }
}
