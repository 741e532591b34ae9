//! What a journey needs of a brand's own, and whether the brand that it is copied to has it: a Brand
//! document, senders with their secrets, and topics that ask for the same consent.
//!
//! What always holds: everything that is missing is told at once, each thing once.

use std::collections::BTreeSet;

use parcours_domain::Name;
use parcours_journey::{
    Document, Kind, Problem,
    document::{
        JourneyDocument, SenderDocument,
        journey::{ActionDocument, SendDocument},
        sender::Transport,
    },
};

use super::{Existing, copy::titled};

/// What the journey needs of the brand's own and the brand does not have.
pub(super) fn missing(
    documents: &[Document],
    source: &Existing,
    there: &Existing,
    secrets: &BTreeSet<Name>,
) -> Vec<Problem> {
    let mut found = Found { problems: Vec::new(), seen: BTreeSet::new() };
    let brand = there.documents.iter().find_map(|one| match &one.document {
        Document::Brand(brand) => Some(brand),
        Document::Sender(_) | Document::Topic(_) | Document::Template(_) | Document::Journey(_) => {
            None
        }
    });
    if brand.is_none() {
        let help = "apply its Brand document: who speaks, in which zone, by which sender";
        found.add("missing_brand_document", "", "the brand has no Brand document", help);
    }
    let usual = brand.and_then(|brand| brand.defaults.sender.as_ref());
    for (at, send) in documents.iter().flat_map(send_steps) {
        found.topic(&at, send, source, there);
        match send.sender.as_ref().or(usual) {
            Some(name) => found.sender(&at, name, there, secrets),
            // Without a Brand document there is no default to speak of.
            None if brand.is_none() => {}
            None => found.add(
                "missing_default_sender",
                &at,
                "the step sends by the default sender, and the brand has none",
                "name one in its Brand document: `defaults: {sender: NAME}`",
            ),
        }
    }
    for problem in &mut found.problems {
        problem.file = documents.last().map(titled).unwrap_or_default();
    }
    found.problems
}

fn send_steps(document: &Document) -> Vec<(String, &SendDocument)> {
    let Document::Journey(JourneyDocument { steps, .. }) = document else { return Vec::new() };
    let sends = steps.iter().enumerate().filter_map(|(place, step)| match &step.action {
        ActionDocument::Send(send) => Some((format!("steps[{place}].send"), send)),
        ActionDocument::Wait(_)
        | ActionDocument::WaitFor(_)
        | ActionDocument::Branch(_)
        | ActionDocument::Split(_)
        | ActionDocument::Set(_)
        | ActionDocument::Exit(_) => None,
    });
    sends.collect()
}

/// Problems, each said once however many steps have it.
struct Found {
    problems: Vec<Problem>,
    seen: BTreeSet<(&'static str, String)>,
}

impl Found {
    fn add(&mut self, code: &'static str, at: &str, message: impl Into<String>, help: &str) {
        let message = message.into();
        if self.seen.insert((code, message.clone())) {
            self.problems.push(Problem::at(code, at, message, help));
        }
    }

    /// The topic is there, and asks for the same consent as the one that the journey was written for.
    fn topic(&mut self, at: &str, send: &SendDocument, source: &Existing, there: &Existing) {
        let Some(name) = &send.topic else { return };
        let at = format!("{at}.topic");
        let topic = |of: &Existing| match of.get(Kind::Topic, name).map(|one| &one.document) {
            Some(Document::Topic(topic)) => Some((topic.class, topic.channel)),
            Some(_) | None => None,
        };
        match (topic(source), topic(there)) {
            (_, None) => self.add(
                "missing_topic",
                &at,
                format!("the brand has no topic {name}"),
                "apply a Topic document of that name with the brand's own purpose; consent is given to it",
            ),
            (Some(own), Some(other)) if own != other => self.add(
                "other_topic",
                &at,
                format!("topic {name} is of another class or channel there"),
                "give one of the two topics another name: the class says who may be written to",
            ),
            (Some(_) | None, Some(_)) => {}
        }
    }

    fn sender(&mut self, at: &str, name: &Name, there: &Existing, secrets: &BTreeSet<Name>) {
        let sender = match there.get(Kind::Sender, name).map(|one| &one.document) {
            Some(Document::Sender(sender)) => sender,
            Some(_) | None => {
                let help =
                    "apply a Sender document of that name: from whom mail of this brand comes";
                let message = format!("the brand has no sender {name}");
                return self.add("missing_sender", &format!("{at}.sender"), message, help);
            }
        };
        for secret in secrets_of(sender).filter(|secret| !secrets.contains(secret)) {
            let message =
                format!("sender {name} needs the secret {secret}, which is not set there");
            self.add("missing_secret", at, message, "set it: PUT /v1/secrets/NAME");
        }
    }
}

fn secrets_of(sender: &SenderDocument) -> impl Iterator<Item = &Name> {
    let password = match &sender.transport {
        Transport::Smtp(smtp) => smtp.password.as_ref(),
        Transport::Mailbox => None,
    };
    sender.dkim.iter().map(|one| &one.key).chain(password).map(|one| &one.secret)
}
