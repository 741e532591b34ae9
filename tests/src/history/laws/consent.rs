//! Laws of consent: marketing reaches only who said yes and has not said no; what was said is kept.

use std::collections::BTreeMap;

use crate::history::{
    Answer, SentFact, Word,
    finding::{Finding, Kind},
    index::{Index, counted},
};

type Facts<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a SentFact>>;

/// Both laws: they share who said what.
pub(super) fn only_who_said_yes(index: &Index<'_>) -> Vec<Finding> {
    let mut facts = Facts::new();
    for fact in &index.history.facts {
        facts.entry((&fact.brand, &fact.user)).or_default().push(fact);
    }
    let mut findings = unlawful(index, &facts);
    findings.extend(kept(index, &facts));
    findings
}

/// No marketing message begins to leave before a yes was sent, or after a no was acknowledged,
/// beyond those that may have been leaving already.
fn unlawful(index: &Index<'_>, facts: &Facts<'_>) -> Vec<Finding> {
    let (mut never, mut too_late) = (Vec::new(), Vec::new());
    for arrival in &index.history.arrivals {
        let message = arrival.message.as_deref().and_then(|id| index.messages.get(id));
        let Some(message) = message.filter(|message| message.marketing) else { continue };
        let Some(&(brand, user)) = index.user_of.get(message.contact.as_str()) else { continue };
        let said = facts.get(&(brand, user)).map_or(&[][..], Vec::as_slice);
        let yes = said.iter().filter(|fact| fact.word == Word::Given && fact.at <= arrival.at);
        let Some(yes) = yes.map(|fact| fact.at).max() else {
            let about = format!("message {} reached {user} ({brand}) without a yes", message.id);
            never.push(Finding::new(Kind::Unlawful, about));
            continue;
        };
        let no = said.iter().find(|fact| {
            let told = fact.answered_at.filter(|_| fact.answer == Answer::Acknowledged);
            fact.word == Word::Withdrawn && fact.at > yes && told.is_some_and(|at| at < arrival.at)
        });
        if no.is_some() {
            let about = format!("message {} reached {user} ({brand}) after a no", message.id);
            too_late.push(Finding::new(Kind::Unlawful, about));
        }
    }
    if too_late.len() > index.history.promises.leaving_most {
        never.append(&mut too_late);
    }
    never
}

/// An acknowledged fact is held once.
fn kept(index: &Index<'_>, facts: &Facts<'_>) -> Vec<Finding> {
    let mut held: BTreeMap<((&str, &str), &str), usize> = BTreeMap::new();
    for fact in &index.history.held.facts {
        if let Some(user) = index.user_of.get(fact.contact.as_str()) {
            *held.entry((*user, &fact.kind)).or_default() += 1;
        }
    }
    let mut findings = Vec::new();
    for (who, said) in facts {
        for (word, kind) in [(Word::Given, "given"), (Word::Withdrawn, "withdrawn")] {
            let of = |answers: &[Answer]| {
                said.iter().filter(|f| f.word == word && answers.contains(&f.answer)).count()
            };
            let least = of(&[Answer::Acknowledged]);
            let most = least + of(&[Answer::Unknown]);
            let count = held.get(&(*who, kind)).copied().unwrap_or(0);
            let about = || format!("fact `{kind}` of {} ({})", who.1, who.0);
            findings.extend(counted(count, least, most, about));
        }
    }
    findings
}
