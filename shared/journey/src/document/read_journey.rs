//! Reading Journey documents: the list form of the language, and each step's body.

use std::collections::BTreeMap;

use parcours_domain::{Name, SendOutcome, StepId, Value};

use super::{
    calendar::Weekday,
    fields::{At, Fields, Report},
    journey::{
        ActionDocument, ArmDocument, AwaitedDocument, AwaitedMatch, BranchDocument, CaseDocument,
        DateRule, DateWaitDocument, EndingDocument, EntryDocument, EventMatch, ExitDocument,
        JourneyDocument, RESERVED_STEP_IDS, Reentry, SendDocument, SetValue, SplitDocument,
        StepDocument, UntilDocument, WaitDocument, WaitForDocument,
    },
    node::NodeKind,
};
use crate::condition::Root;

/// What conditions inside a run see.
const IN_RUN: [Root; 3] = [Root::Contact, Root::Event, Root::Run];

pub(super) fn journey(
    fields: &mut Fields<'_>,
    name: Option<Name>,
    report: &mut Report,
) -> Option<JourneyDocument> {
    let title = fields.optional("title", report, At::line);
    let entry = fields.required("entry", report, entry);
    let exits = fields.optional("exits", report, |at, report| at.list(report, ending));
    let goals = fields.optional("goals", report, |at, report| at.list(report, ending));
    let start = fields.optional("start", report, At::name);
    let steps = fields.required("steps", report, |at, report| at.list(report, step));
    Some(JourneyDocument {
        name: name?,
        title,
        entry: entry?,
        exits: exits.unwrap_or_default(),
        goals: goals.unwrap_or_default(),
        start,
        steps: steps?,
    })
}

/// The one key of `event`, `page`, `screen`, `identify`, `group` that is written.
fn event_match(fields: &mut Fields<'_>, report: &mut Report) -> Option<EventMatch> {
    let found = fields.present(&["event", "page", "screen", "identify", "group"]);
    let [(key, at)] = found.as_slice() else {
        let help = "write one of event, page, screen, identify, group";
        let message = match found.as_slice() {
            [] => "it is not said which event is meant",
            _ => "more than one event is named",
        };
        report.add("event_not_named", &fields.path_of("event"), message, help);
        return None;
    };
    let name = at.line(report)?;
    Some(match *key {
        "page" => EventMatch::Page(name),
        "screen" => EventMatch::Screen(name),
        "identify" | "group" => {
            if name != "*" && name != "any" {
                let message = format!("`{key}` has no name to match");
                report.add("invalid_value", &at.path, message, format!("write {key}: \"*\""));
                return None;
            }
            let any = "*".to_owned();
            if *key == "group" { EventMatch::Group(any) } else { EventMatch::Identify(any) }
        }
        _ => EventMatch::Event(name),
    })
}

fn entry(at: &At<'_>, report: &mut Report) -> Option<EntryDocument> {
    let mut fields = at.fields(report)?;
    let on = event_match(&mut fields, report);
    let at_entry = [Root::Contact, Root::Event];
    let when = fields.optional("when", report, |at, r| at.condition(&at_entry, r));
    let audience = fields.optional("audience", report, |at, r| at.condition(&[Root::Contact], r));
    let key = fields.optional("key", report, |at, r| at.value_path(&[Root::Event], r));
    let reentry = fields.optional("reentry", report, reentry);
    fields.done(report);
    Some(EntryDocument { on: on?, when, audience, key, reentry: reentry.unwrap_or_default() })
}

fn reentry(at: &At<'_>, report: &mut Report) -> Option<Reentry> {
    let text = at.line(report)?;
    let rule = Reentry::parse(&text);
    if rule.is_none() {
        let message = format!("`{text}` is not a re-entry rule");
        report.add("invalid_value", &at.path, message, "write never, always or a duration: 30d");
    }
    rule
}

fn ending(at: &At<'_>, report: &mut Report) -> Option<EndingDocument> {
    let mut fields = at.fields(report)?;
    let id = fields.required("id", report, At::name);
    let on = event_match(&mut fields, report);
    let when = fields.optional("when", report, |at, r| at.condition(&IN_RUN, r));
    let key = fields.optional("key", report, |at, r| at.value_path(&[Root::Event], r));
    fields.done(report);
    Some(EndingDocument { id: id?, on: on?, when, key })
}

fn step(at: &At<'_>, report: &mut Report) -> Option<StepDocument> {
    const ACTIONS: [&str; 6] = ["wait", "wait_for", "branch", "split", "send", "set"];
    let mut fields = at.fields(report)?;
    let id = fields.required("id", report, At::name);
    if let Some(word) = id.as_ref().filter(|id| RESERVED_STEP_IDS.contains(&id.as_str())) {
        let message = format!("`{word}` has a meaning of its own in jumps");
        report.add("reserved_step_id", &fields.path_of("id"), message, "choose another id");
    }
    let mut found = fields.present(&ACTIONS);
    found.extend(fields.named("exit").map(|at| ("exit", at)));
    let action = match found.as_slice() {
        [(key, at)] => action(key, at, report),
        [] => {
            let help = format!("add one of: {}, exit", ACTIONS.join(", "));
            report.add("no_action", &at.path, "the step does nothing", help);
            None
        }
        [_, (second, _), ..] => {
            let path = fields.path_of(second);
            report.add("several_actions", &path, "a step does one thing", "make it two steps");
            None
        }
    };
    let next = fields.optional("next", report, At::name);
    let own_jumps = matches!(
        action,
        Some(ActionDocument::Branch(_) | ActionDocument::Split(_) | ActionDocument::Exit(_))
    );
    if own_jumps && next.is_some() {
        let message = "this kind of step has no single `next`";
        report.add("unused_field", &fields.path_of("next"), message, "say `next` where it chooses");
    }
    fields.done(report);
    Some(StepDocument { id: id?, action: action?, next })
}

fn action(key: &str, at: &At<'_>, report: &mut Report) -> Option<ActionDocument> {
    match key {
        "wait" => wait(at, report).map(ActionDocument::Wait),
        "wait_for" => wait_for(at, report).map(ActionDocument::WaitFor),
        "branch" => branch(at, report).map(ActionDocument::Branch),
        "split" => split(at, report).map(ActionDocument::Split),
        "send" => send(at, report).map(ActionDocument::Send),
        "set" => set(at, report).map(ActionDocument::Set),
        _ => exit(at, report).map(ActionDocument::Exit),
    }
}

fn wait(at: &At<'_>, report: &mut Report) -> Option<WaitDocument> {
    let mut fields = at.fields(report)?;
    let found = fields.present(&["for", "until", "date"]);
    let wait = match found.as_slice() {
        [("for", at)] => at.parsed(report).map(|span| WaitDocument::For { span }),
        [("until", at)] => until(at, report).map(|until| WaitDocument::Until { until }),
        [(_, at)] => date(at, &mut fields, report).map(WaitDocument::Date),
        [] | [_, _, ..] => {
            let help = "write one of for: 3d, until: {time: \"09:00\"}, date: contact.birthday";
            report.add("wait_not_clear", &at.path, "a wait says one thing to wait for", help);
            None
        }
    };
    fields.done(report);
    wait
}

fn until(at: &At<'_>, report: &mut Report) -> Option<UntilDocument> {
    let mut fields = at.fields(report)?;
    let time = fields.required("time", report, At::parsed);
    let weekday = fields.optional("weekday", report, |at, report| {
        if matches!(at.node.kind, NodeKind::List(_)) {
            at.list(report, |at, report| at.word(&Weekday::ALL, report))
        } else {
            at.word(&Weekday::ALL, report).map(|day| vec![day])
        }
    });
    fields.done(report);
    let mut weekday = weekday.unwrap_or_default();
    weekday.sort_unstable();
    weekday.dedup();
    Some(UntilDocument { time: time?, weekday })
}

fn date(at: &At<'_>, fields: &mut Fields<'_>, report: &mut Report) -> Option<DateWaitDocument> {
    let date = at.value_path(&[Root::Contact, Root::Run], report);
    let offset = fields.optional("offset", report, At::parsed);
    let time = fields.optional("time", report, At::parsed);
    let if_missing = fields.optional("if_missing", report, date_rule);
    let if_past = fields.optional("if_past", report, date_rule);
    if if_missing == Some(DateRule::NextYear) {
        let message = "a missing date has no next year";
        let help = "write continue, exit, end or a step";
        report.add("invalid_value", &fields.path_of("if_missing"), message, help);
    }
    Some(DateWaitDocument {
        date: date?,
        offset,
        time,
        if_missing: if_missing.unwrap_or_default(),
        if_past: if_past.unwrap_or_default(),
    })
}

fn date_rule(at: &At<'_>, report: &mut Report) -> Option<DateRule> {
    let text = at.line(report)?;
    let rule = DateRule::parse(&text);
    if rule.is_none() {
        let help = "write continue, exit, end, next_year or a step";
        report.add("invalid_value", &at.path, format!("`{text}` is not known here"), help);
    }
    rule
}

fn wait_for(at: &At<'_>, report: &mut Report) -> Option<WaitForDocument> {
    let mut fields = at.fields(report)?;
    let events = fields.required("events", report, |at, report| at.list(report, awaited));
    let limit = fields.required("limit", report, At::parsed);
    let timeout = fields.optional("timeout", report, At::name);
    if events.as_ref().is_some_and(Vec::is_empty) && report.problems.is_empty() {
        let help = "name at least one event, or use wait";
        report.add("empty", &fields.path_of("events"), "nothing is waited for", help);
    }
    fields.done(report);
    Some(WaitForDocument { events: events?, limit: limit?, timeout })
}

fn awaited(at: &At<'_>, report: &mut Report) -> Option<AwaitedDocument> {
    let mut fields = at.fields(report)?;
    let id = fields.required("id", report, At::name);
    let when = fields.optional("when", report, |at, r| at.condition(&IN_RUN, r));
    let next = fields.optional("next", report, At::name);
    let later = !fields.present(&["opened", "bounced"]).is_empty();
    let on = if later {
        let message = "waiting for \"opened\" or \"bounced\" is not yet available";
        report.add("not_yet_available", &at.path, message, "wait for clicked or for an event");
        None
    } else if let Some(at) = fields.get("clicked") {
        if when.is_some() {
            let message = "a condition on a click is not yet available";
            report.add(
                "not_yet_available",
                &fields.path_of("when"),
                message,
                "leave it out for now",
            );
        }
        at.name(report).map(|clicked| AwaitedMatch::Clicked { clicked })
    } else {
        event_match(&mut fields, report).map(AwaitedMatch::On)
    };
    fields.done(report);
    Some(AwaitedDocument { id: id?, on: on?, when, next })
}

fn branch(at: &At<'_>, report: &mut Report) -> Option<BranchDocument> {
    let mut fields = at.fields(report)?;
    let cases = fields.required("cases", report, |at, report| {
        at.list(report, |at, report| {
            let mut fields = at.fields(report)?;
            let when = fields.required("when", report, |at, r| at.condition(&IN_RUN, r));
            let next = fields.required("next", report, At::name);
            fields.done(report);
            Some(CaseDocument { when: when?, next: next? })
        })
    });
    let default = fields.optional("default", report, At::name);
    fields.done(report);
    Some(BranchDocument { cases: cases?, default })
}

fn split(at: &At<'_>, report: &mut Report) -> Option<SplitDocument> {
    let mut fields = at.fields(report)?;
    let salt = fields.optional("salt", report, At::line);
    let arms = fields.required("arms", report, |at, report| {
        at.list(report, |at, report| {
            let mut fields = at.fields(report)?;
            let id = fields.required("id", report, At::name);
            let weight = fields.required("weight", report, |at, r| at.whole(0, 1_000_000, r));
            let next = fields.optional("next", report, At::name);
            fields.done(report);
            Some(ArmDocument { id: id?, weight: weight?, next })
        })
    });
    fields.done(report);
    Some(SplitDocument { salt, arms: arms? })
}

fn send(at: &At<'_>, report: &mut Report) -> Option<SendDocument> {
    let mut fields = at.fields(report)?;
    let template = fields.required("template", report, At::name);
    let topic = fields.optional("topic", report, At::name);
    let sender = fields.optional("sender", report, At::name);
    let on = fields.optional("on", report, outcomes);
    fields.done(report);
    Some(SendDocument { template: template?, topic, sender, on: on.unwrap_or_default() })
}

fn outcomes(at: &At<'_>, report: &mut Report) -> Option<BTreeMap<SendOutcome, StepId>> {
    let mut on = BTreeMap::new();
    for (word, at) in at.members(report)? {
        if word == "opened" || word == "clicked" {
            let help = "use a wait_for step after the send";
            let message = format!("`{word}` is not an outcome of a send");
            report.add("unknown_word", &at.path, message, help);
            continue;
        }
        let Some(outcome) = SendOutcome::parse(word) else {
            let known = SendOutcome::ALL.map(SendOutcome::as_str).join(", ");
            let message = format!("`{word}` is not an outcome of a send");
            report.add("unknown_word", &at.path, message, format!("one of: {known}"));
            continue;
        };
        if let Some(step) = at.name(report) {
            on.insert(outcome, step);
        }
    }
    Some(on)
}

fn set(at: &At<'_>, report: &mut Report) -> Option<BTreeMap<String, SetValue>> {
    let mut values = BTreeMap::new();
    for (attribute, at) in at.members(report)? {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        if attribute.is_empty() || attribute.len() > 64 || !attribute.chars().all(plain) {
            let message = format!("`{attribute}` is not an attribute name");
            let help = "use up to 64 letters, digits, _ and -";
            report.add("invalid_value", &at.path, message, help);
            continue;
        }
        if let Some(value) = set_value(&at, report) {
            values.insert(attribute.to_owned(), value);
        }
    }
    if values.is_empty() && report.problems.is_empty() {
        report.add("empty", &at.path, "nothing is set", "name at least one attribute");
    }
    Some(values)
}

fn set_value(at: &At<'_>, report: &mut Report) -> Option<SetValue> {
    match &at.node.kind {
        NodeKind::Map(_) => {
            let mut fields = at.fields(report)?;
            let from = fields.required("from", report, |at, r| at.value_path(&IN_RUN, r));
            fields.done(report);
            from.map(SetValue::From)
        }
        NodeKind::List(_) | NodeKind::Scalar { .. } => {
            let value = at.node.value();
            let fits = match &value {
                Value::List(items) => items.iter().all(|item| item.depth() == 1),
                Value::Null
                | Value::Bool(_)
                | Value::Int(_)
                | Value::Float(_)
                | Value::Text(_)
                | Value::Map(_) => true,
            };
            if fits && !value.has_nul() {
                return Some(SetValue::Value(value));
            }
            let help = "write a scalar, a list of scalars or {from: event.x}";
            report.add("invalid_value", &at.path, "this cannot be an attribute", help);
            None
        }
    }
}

fn exit(at: &At<'_>, report: &mut Report) -> Option<ExitDocument> {
    if at.node.value() == Value::Null {
        return Some(ExitDocument::default());
    }
    let mut fields = at.fields(report)?;
    let reason = fields.optional("reason", report, At::line);
    fields.done(report);
    Some(ExitDocument { reason })
}
