//! What publishing a set would change, document by document and, for journeys, step by step.

use std::collections::BTreeSet;

use parcours_journey::{Document, plan};
use parcours_wire::http::document::{DocumentDiff, RenamedStep, StepsDiff};
use serde_json::Value as Json;

use super::{Checked, CheckedDocument, Existing, ExistingDocument};

/// Compares a checked set with what is published.
#[must_use]
pub fn diff(checked: &Checked, existing: &Existing) -> Vec<DocumentDiff> {
    checked
        .documents
        .iter()
        .map(|new| {
            let old = existing.get(new.document.kind(), new.document.name());
            DocumentDiff {
                kind: new.document.kind().as_str().to_owned(),
                name: new.document.name().to_string(),
                change: match old {
                    None => "new",
                    Some(_) if new.changed => "changed",
                    Some(_) => "unchanged",
                }
                .to_owned(),
                version: old.map(|old| old.version),
                fields: old.map(|old| fields(&old.document, &new.document)).unwrap_or_default(),
                steps: steps(old, new),
            }
        })
        .collect()
}

/// Dotted paths of the members that differ, one level into objects.
pub(super) fn fields(old: &Document, new: &Document) -> Vec<String> {
    let mut paths = BTreeSet::new();
    differences(&old.to_json(), &new.to_json(), "", &mut paths);
    paths.into_iter().collect()
}

fn differences(old: &Json, new: &Json, at: &str, paths: &mut BTreeSet<String>) {
    let (Json::Object(before), Json::Object(after)) = (old, new) else {
        if old != new {
            paths.insert(at.to_owned());
        }
        return;
    };
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        let of = |map: &serde_json::Map<String, Json>| map.get(key).cloned().unwrap_or(Json::Null);
        differences(&of(before), &of(after), &path, paths);
    }
}

fn steps(old: Option<&ExistingDocument>, new: &CheckedDocument) -> Option<StepsDiff> {
    let (before, after) = (old?.plan()?, new.plan.as_ref()?);
    let diff = plan::diff(&before, after);
    let texts = |ids: Vec<parcours_domain::StepId>| ids.iter().map(ToString::to_string).collect();
    Some(StepsDiff {
        added: texts(diff.added),
        removed: texts(diff.removed),
        renamed: diff
            .renamed
            .iter()
            .map(|(from, to)| RenamedStep { from: from.to_string(), to: to.to_string() })
            .collect(),
        changed: texts(diff.changed),
    })
}
