//! Finds every problem of a set over what is published already, and compiles what has none.

use std::collections::BTreeMap;

use parcours_content::{CompiledTemplate, TemplateProblem, TemplateSource};
use parcours_domain::{Channel, MessageClass, Name};
use parcours_journey::{
    Catalogue, Document, Kind, Plan, Problem,
    document::{
        BrandDocument, FieldRule, JourneyDocument, Located, SenderDocument, TemplateDocument,
        TopicDocument, journey::ActionDocument,
    },
    plan::{FieldUse, TopicInfo},
};

use super::{DocumentSet, Existing};

/// A set without problems, compiled.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// The documents, in the order in which they can be applied.
    pub documents: Vec<CheckedDocument>,
}

/// One document that can be published.
#[derive(Clone, Debug)]
pub struct CheckedDocument {
    /// The document.
    pub document: Document,
    /// The version it will have.
    pub version: u32,
    /// Whether it differs from what is published.
    pub changed: bool,
    /// Plan or compiled template, as stored.
    pub compiled: Option<Vec<u8>>,
    /// The plan of a journey.
    pub plan: Option<Plan>,
    /// Whether publishing it allows something to be sent without consent.
    pub transactional: bool,
}

/// Finds all problems of all documents. Of a document that cannot be read only its own faults are
/// told: what refers to it is taken to be right.
///
/// # Errors
/// Every problem; then nothing of the set can be published.
pub fn check(set: &DocumentSet, existing: &Existing) -> Result<Checked, Vec<Problem>> {
    let mut problems = set.problems.clone();
    let view = View::new(set, existing, &mut problems);
    for located in &set.documents {
        match &located.document {
            Document::Brand(brand) => view.check_brand(brand, located, &mut problems),
            Document::Sender(_) | Document::Topic(_) | Document::Template(_) => {}
            Document::Journey(journey) => view.check_journey(journey, Some(located), &mut problems),
        }
    }
    for journey in view.touched_journeys() {
        view.check_journey(journey, None, &mut problems);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut documents: Vec<_> =
        set.documents.iter().map(|located| view.checked(&located.document)).collect();
    documents.sort_by_key(|checked| checked.document.kind());
    Ok(Checked { documents })
}

/// The brand as it would be with the set published.
struct View<'a> {
    set: &'a DocumentSet,
    existing: &'a Existing,
    templates: BTreeMap<&'a Name, CompiledTemplate>,
}

impl<'a> View<'a> {
    /// Compiles the set's templates; their problems are added.
    fn new(set: &'a DocumentSet, existing: &'a Existing, problems: &mut Vec<Problem>) -> Self {
        let mut templates = BTreeMap::new();
        for old in &existing.documents {
            if let (Document::Template(document), Some(compiled)) = (&old.document, old.template())
            {
                templates.insert(&document.name, compiled);
            }
        }
        templates.retain(|name, _| !set.may_hold(Kind::Template, Some(*name)));
        for located in &set.documents {
            let Document::Template(document) = &located.document else { continue };
            match parcours_content::compile(&source(document)) {
                Ok(compiled) => drop(templates.insert(&document.name, compiled)),
                Err(found) => {
                    templates.remove(&document.name);
                    problems
                        .extend(found.iter().map(|one| located.places.locate(of_template(one))));
                }
            }
        }
        Self { set, existing, templates }
    }

    fn document(&self, kind: Kind, name: &Name) -> Option<&'a Document> {
        let new = self.set.get(kind, name).map(|located| &located.document);
        // What is published may be about to change in a way that cannot be read.
        let old = || self.existing.get(kind, name).filter(|_| !self.set.may_hold(kind, Some(name)));
        new.or_else(|| old().map(|old| &old.document))
    }

    fn topic_document(&self, name: &Name) -> Option<&'a TopicDocument> {
        match self.document(Kind::Topic, name) {
            Some(Document::Topic(topic)) => Some(topic),
            Some(_) | None => None,
        }
    }

    fn sender_document(&self, name: &Name) -> Option<&'a SenderDocument> {
        match self.document(Kind::Sender, name) {
            Some(Document::Sender(sender)) => Some(sender),
            Some(_) | None => None,
        }
    }

    fn brand_document(&self) -> Option<&'a BrandDocument> {
        let new = self.set.documents.iter().map(|located| &located.document);
        let old = self.existing.documents.iter().map(|old| &old.document);
        new.chain(old).find_map(|document| match document {
            Document::Brand(brand) => Some(brand),
            Document::Sender(_)
            | Document::Topic(_)
            | Document::Template(_)
            | Document::Journey(_) => None,
        })
    }

    fn check_brand(&self, brand: &BrandDocument, located: &Located, problems: &mut Vec<Problem>) {
        if let Some(name) = self.existing.brand.as_ref().filter(|name| **name != brand.name) {
            problems.push(located.places.locate(Problem::at(
                "other_brand",
                "name",
                format!("the document describes {}, but these documents go to {name}", brand.name),
                "apply it with a key of that brand, or name that brand in the Parcours-Brand header",
            )));
        }
        if let Some(sender) = &brand.defaults.sender
            && !self.has_sender(sender)
        {
            problems.push(located.places.locate(Problem::at(
                "unknown_sender",
                "defaults.sender",
                format!("there is no Sender named {sender}"),
                "add the Sender document to the set, or publish it first",
            )));
        }
    }

    /// Compiles for its problems. A journey without a place is published already: what the set
    /// changes around it must not break it.
    fn check_journey(
        &self,
        journey: &JourneyDocument,
        at: Option<&Located>,
        problems: &mut Vec<Problem>,
    ) {
        let mut found = match parcours_journey::compile(journey, 1, self) {
            Ok(_) => Vec::new(),
            Err(found) => found,
        };
        if self.set.brand().is_none() && self.set.may_hold(Kind::Brand, None) {
            // The default sender is in the document that cannot be read.
            found.retain(|problem| problem.code != "no_sender");
        }
        found.extend(self.marketing_problems(journey));
        problems.extend(found.into_iter().map(|mut problem| match at {
            Some(located) => located.places.locate(problem),
            None => {
                problem.message = format!(
                    "published journey {} would not work any more: {}",
                    journey.name, problem.message
                );
                problem
            }
        }));
    }

    /// A template that a step sends under a marketing topic carries an unsubscribe link.
    fn marketing_problems(&self, journey: &JourneyDocument) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (place, step) in journey.steps.iter().enumerate() {
            let ActionDocument::Send(send) = &step.action else { continue };
            let topic = send.topic.as_ref().and_then(|name| self.topic_document(name));
            if topic.is_none_or(|topic| topic.class == MessageClass::Transactional) {
                continue;
            }
            let Some(template) = self.templates.get(&send.template) else { continue };
            problems.extend(parcours_content::check_marketing(template).iter().map(|one| {
                let message = format!("template {}: {}", send.template, one.message);
                Problem::at(
                    one.code,
                    format!("steps[{place}].send.template"),
                    message,
                    one.help.clone(),
                )
            }));
        }
        problems
    }

    /// Published journeys that send a template or under a topic of the set and are not in it.
    fn touched_journeys(&self) -> impl Iterator<Item = &'a JourneyDocument> {
        let live = self.existing.documents.iter().filter(|old| !old.archived);
        live.filter_map(|old| match &old.document {
            Document::Journey(journey) => Some(journey),
            Document::Brand(_)
            | Document::Sender(_)
            | Document::Topic(_)
            | Document::Template(_) => None,
        })
        .filter(|journey| self.set.get(Kind::Journey, &journey.name).is_none())
        .filter(|journey| {
            sends(journey).any(|(template, topic)| {
                self.set.get(Kind::Template, template).is_some()
                    || topic.is_some_and(|topic| self.set.get(Kind::Topic, topic).is_some())
            })
        })
    }

    fn journeys(&self) -> impl Iterator<Item = &'a JourneyDocument> {
        let new = self.set.documents.iter().map(|located| &located.document);
        let old = self.existing.documents.iter().filter(|old| !old.archived);
        let old = old.map(|old| &old.document);
        let old = old.filter(|document| self.set.get(document.kind(), document.name()).is_none());
        new.chain(old).filter_map(|document| match document {
            Document::Journey(journey) => Some(journey),
            Document::Brand(_)
            | Document::Sender(_)
            | Document::Topic(_)
            | Document::Template(_) => None,
        })
    }

    fn is_transactional_topic(&self, topic: Option<&Name>) -> bool {
        topic
            .and_then(|name| self.topic_document(name))
            .is_some_and(|topic| topic.class == MessageClass::Transactional)
    }

    /// Whether somebody could be sent to without consent who could not before.
    fn adds_test_address(&self, brand: &BrandDocument) -> bool {
        let before = match self.existing.get(Kind::Brand, &brand.name).map(|old| &old.document) {
            Some(Document::Brand(before)) => before.test_addresses.as_slice(),
            Some(_) | None => &[],
        };
        brand.test_addresses.iter().any(|address| !before.contains(address))
    }

    fn is_transactional(&self, document: &Document) -> bool {
        match document {
            Document::Brand(brand) => self.adds_test_address(brand),
            Document::Sender(_) => false,
            Document::Topic(topic) => topic.class == MessageClass::Transactional,
            Document::Journey(journey) => {
                sends(journey).any(|(_, topic)| self.is_transactional_topic(topic))
            }
            Document::Template(template) => self.journeys().any(|journey| {
                sends(journey).any(|(name, topic)| {
                    *name == template.name && self.is_transactional_topic(topic)
                })
            }),
        }
    }

    fn checked(&self, document: &Document) -> CheckedDocument {
        let version = self.existing.next_version(document);
        let (compiled, plan) = match document {
            Document::Brand(_) | Document::Sender(_) | Document::Topic(_) => (None, None),
            Document::Template(template) => {
                (self.templates.get(&template.name).map(CompiledTemplate::encode), None)
            }
            Document::Journey(journey) => {
                let plan = parcours_journey::compile(journey, version, self).ok();
                (plan.as_ref().and_then(|plan| plan.encode().ok()), plan)
            }
        };
        CheckedDocument {
            version,
            changed: self.existing.is_changed_by(document),
            transactional: self.is_transactional(document),
            document: document.clone(),
            compiled,
            plan,
        }
    }
}

impl Catalogue for View<'_> {
    fn topic(&self, name: &Name) -> Option<TopicInfo> {
        if let Some(topic) = self.topic_document(name) {
            return Some(TopicInfo { class: topic.class, channel: topic.channel });
        }
        let unread = TopicInfo { class: MessageClass::Marketing, channel: Channel::Email };
        self.set.may_hold(Kind::Topic, Some(name)).then_some(unread)
    }
    fn has_template(&self, name: &Name) -> bool {
        self.document(Kind::Template, name).is_some()
            || self.set.may_hold(Kind::Template, Some(name))
    }
    fn template_fields(&self, name: &Name) -> Option<Vec<FieldUse>> {
        let fields = self.templates.get(name)?.fields_used().iter();
        Some(
            fields
                .map(|field| FieldUse {
                    path: field.path.clone(),
                    has_default: field.has_default(),
                })
                .collect(),
        )
    }
    fn has_sender(&self, name: &Name) -> bool {
        self.sender_document(name).is_some() || self.set.may_hold(Kind::Sender, Some(name))
    }
    fn default_sender(&self) -> Option<Name> {
        self.brand_document().and_then(|brand| brand.defaults.sender.clone())
    }
}

/// Template and topic of each send step.
pub(super) fn sends(journey: &JourneyDocument) -> impl Iterator<Item = (&Name, Option<&Name>)> {
    journey.steps.iter().filter_map(|step| match &step.action {
        ActionDocument::Send(send) => Some((&send.template, send.topic.as_ref())),
        ActionDocument::Wait(_)
        | ActionDocument::WaitFor(_)
        | ActionDocument::Branch(_)
        | ActionDocument::Split(_)
        | ActionDocument::Set(_)
        | ActionDocument::Exit(_) => None,
    })
}

/// The topic under which the first of these journeys to send the template does so.
#[must_use]
pub fn topic_of(template: &Name, documents: &[Document]) -> Option<Name> {
    let journeys = documents.iter().filter_map(|document| match document {
        Document::Journey(journey) => Some(journey),
        Document::Brand(_) | Document::Sender(_) | Document::Topic(_) | Document::Template(_) => {
            None
        }
    });
    let mut sends = journeys.flat_map(sends).filter(|(sent, _)| *sent == template);
    sends.find_map(|(_, topic)| topic.cloned())
}

fn source(document: &TemplateDocument) -> TemplateSource {
    let rule = |rule: &FieldRule| match rule {
        FieldRule::Required => parcours_content::FieldRule::Required,
        FieldRule::Default(value) => parcours_content::FieldRule::Default(value.clone()),
    };
    TemplateSource {
        subject: document.subject.clone(),
        html: document.html.clone().unwrap_or_default(),
        mjml: document.mjml.clone(),
        text: document.text.clone(),
        fields: document.fields.iter().map(|(path, one)| (path.clone(), rule(one))).collect(),
    }
}

fn of_template(problem: &TemplateProblem) -> Problem {
    let part = problem.part.as_str();
    let message = match (problem.line, problem.column) {
        (Some(line), Some(column)) => {
            format!("{} (line {line}, column {column} of the {part})", problem.message)
        }
        (Some(line), None) => format!("{} (line {line} of the {part})", problem.message),
        (None, _) => problem.message.clone(),
    };
    Problem::at(problem.code, part, message, problem.help.clone())
}
