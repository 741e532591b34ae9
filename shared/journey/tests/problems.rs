//! Problems found when documents are read and published, as data.
//!
//! Each file in `problems/` ends with the problems it must have, one `# expect CODE PATH LINE`
//! a line, in order; a file that expects none must be clean.

#![expect(clippy::unwrap_used, reason = "what surrounds a test may end it too")]

use std::path::Path;

use parcours_domain::{Channel, MessageClass, Name};
use parcours_journey::{
    Catalogue, Document, Problem, compile,
    document::{Kind, parse_located},
    parse_documents,
    plan::{FieldUse, TopicInfo},
};

struct Shop;

impl Catalogue for Shop {
    fn topic(&self, name: &Name) -> Option<TopicInfo> {
        let info = TopicInfo { class: MessageClass::Marketing, channel: Channel::Email };
        (name.as_str() == "news").then_some(info)
    }
    fn has_template(&self, name: &Name) -> bool {
        matches!(name.as_str(), "offer" | "reads-event")
    }
    fn template_fields(&self, name: &Name) -> Option<Vec<FieldUse>> {
        let path = if name.as_str() == "offer" { "contact.first_name" } else { "event.total" };
        Some(vec![FieldUse { path: path.to_owned(), has_default: false }])
    }
    fn has_sender(&self, name: &Name) -> bool {
        name.as_str() == "shop"
    }
    fn default_sender(&self) -> Option<Name> {
        "shop".parse().ok()
    }
}

fn problems(source: &str) -> Vec<Problem> {
    let located = match parse_located(source, "file.yaml") {
        Ok(located) => located,
        Err(problems) => return problems,
    };
    let mut found = Vec::new();
    for one in located {
        let again = Document::from_json(&one.document.to_json()).unwrap();
        assert_eq!(again, one.document, "the stored form reads back");
        let text = one.document.to_json().to_string();
        assert_eq!(parse_documents(&text, "").unwrap(), [again], "the stored form can be applied");
        if let Document::Journey(journey) = &one.document {
            let problems = compile(journey, 1, &Shop).err().unwrap_or_default();
            found.extend(problems.into_iter().map(|problem| one.places.locate(problem)));
        }
    }
    found
}

#[test]
fn every_file_has_the_problems_it_expects() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/problems");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "the files are there");
    let mut wrong = String::new();
    for file in files {
        let source = std::fs::read_to_string(&file).unwrap();
        let expected: Vec<&str> =
            source.lines().filter_map(|line| line.strip_prefix("# expect ")).collect();
        let found: Vec<String> = problems(&source)
            .iter()
            .map(|p| format!("{} {} {}", p.code, p.path, p.line.unwrap_or(0)))
            .collect();
        if found != expected {
            wrong += &format!("{}\n", file.display());
            found.iter().for_each(|line| wrong += &format!("# expect {line}\n"));
        }
    }
    assert!(wrong.is_empty(), "other problems than expected:\n{wrong}");
}

#[test]
fn a_problem_says_where_what_and_how_to_mend_it() {
    let source =
        "apiVersion: parcours/v1\nkind: Topic\nname: news\ntitel: News\npurpose: To tell.\n";
    let shown: Vec<String> = problems(source).iter().map(Problem::to_string).collect();
    assert_eq!(
        shown,
        [
            "file.yaml:1:1: title: `title` is missing [missing_field] (add `title:`)",
            "file.yaml:4:8: titel: `titel` is not known here [unknown_field] (did you mean `title`?)",
        ]
    );
}

#[test]
fn hostile_sources_are_refused_quickly_and_without_harm() {
    let deep_flow = "[".repeat(500_000);
    let deep_block = format!("{}x", "- ".repeat(500_000));
    let deep_json = format!("{{\"a\":{}1", "[".repeat(400_000));
    let stairs: String = (0..900).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    let huge = "a".repeat(2 * 1024 * 1024);
    for (source, code) in [
        (deep_flow.as_str(), "json_syntax"),
        (deep_block.as_str(), "too_deep"),
        (deep_json.as_str(), "json_syntax"),
        (stairs.as_str(), "too_deep"),
        (huge.as_str(), "source_too_large"),
        ("a: &x 1\nb: *x", "yaml_anchor"),
        ("a: *x", "yaml_syntax"),
        ("a: !!binary x", "yaml_tag"),
        ("a: 1\na: 2", "duplicate_key"),
        ("{\"a\": 1, \"a\": 2}", "duplicate_key"),
        ("? [a]\n: b", "yaml_key"),
        ("a: [", "yaml_syntax"),
        ("- a", "not_a_document"),
        ("just text", "not_a_document"),
        ("[1]", "not_a_document"),
        ("a: \u{0}", "missing_field"),
    ] {
        let begin: String = source.chars().take(40).collect();
        let found = parse_documents(source, "x").unwrap_err();
        assert_eq!(found.first().map(|p| p.code), Some(code), "{begin}: {found:?}");
    }
    assert_eq!(parse_documents("# nothing\n---\n\n", "x").unwrap(), []);
}

#[test]
fn documents_of_one_file_are_told_apart_and_keep_their_lines() {
    let topic = "apiVersion: parcours/v1\nkind: Topic\nname: news\ntitle: N\npurpose: P\n";
    let source = format!("{topic}---\n{}", topic.replace("kind: Topic", "kind: Topics"));
    let found = parse_documents(&source, "two.yaml").unwrap_err();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].code, found[0].line), ("unknown_word", Some(8)));
    let both = parse_documents(&format!("{topic}---\n{topic}"), "two.yaml").unwrap();
    assert_eq!(both.iter().map(Document::kind).collect::<Vec<_>>(), [Kind::Topic, Kind::Topic]);
}
