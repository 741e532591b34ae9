//! What conditions mean, what is refused, and that no source takes the process down.

use parcours_domain::{Value, value::Properties};
use proptest::prelude::*;

use super::{Condition, ConditionError, Root, Scope, parse, parse_path};

const ALL: [Root; 3] = [Root::Contact, Root::Event, Root::Run];

fn map(json: serde_json::Value) -> Properties {
    match Value::from_json(json) {
        Value::Map(map) => map,
        other => panic!("{other:?}"),
    }
}

/// Whether the source holds, and what it missed.
fn check(source: &str) -> (bool, Vec<String>) {
    let contact = map(serde_json::json!({
        "n": 3, "half": 3.5, "big": 9_007_199_254_740_993_i64, "name": "Zoé", "yes": true,
        "no": false, "tags": ["a", 1], "address": {"city": "Lyon", "zip code": "69001"},
        "nothing": null,
    }));
    let event = map(serde_json::json!({"total": 10.0, "sku": "lp-1"}));
    let scope = Scope { contact: Some(&contact), event: Some(&event), run: None };
    let condition = parse(source, &ALL).unwrap_or_else(|error| panic!("{source}: {error}"));
    let stored = serde_json::to_string(&condition).unwrap();
    assert_eq!(serde_json::from_str::<Condition>(&stored).unwrap(), condition);
    let mut missing = Vec::new();
    (condition.holds(&scope, &mut missing), missing)
}

#[test]
fn leaves_that_can_be_answered() {
    for (source, truth) in [
        ("contact.n == 3", true),
        ("contact.n == 3.0", true),
        ("contact.n < contact.half", true),
        ("contact.half > 3 && contact.half <= 3.5", true),
        ("contact.n != 4", true),
        ("contact.n >= -1", true),
        ("contact.big == 9007199254740992.0", false),
        ("contact.big > 9007199254740992.0", true),
        ("contact.n < 1e300 && contact.n > -1e300", true),
        ("3u == contact.n", true),
        ("contact.name == 'Zoé'", true),
        ("contact.name < 'a'", true),
        ("contact.name.contains('o') && contact.name.startsWith('Z')", true),
        ("contact.name.endsWith('z')", false),
        ("size(contact.name) == 3 && contact.tags.size() == 2", true),
        ("contact.yes && !contact.no", true),
        ("contact.yes == true && contact.no != true", true),
        ("'a' in contact.tags && !('b' in contact.tags) && 1.0 in contact.tags", true),
        ("event.sku in ['lp-1', 'lp-2']", true),
        ("contact.address.city == 'Lyon' && contact.address['zip code'] == '69001'", true),
        ("has(contact.address.city) && !has(contact.address.street)", true),
        ("has(contact.nothing)", false),
        ("contact.n > 5 ? contact.no : event.total == 10", true),
        ("true || contact.n == 9", true),
    ] {
        assert_eq!(check(source), (truth, vec![]), "{source}");
    }
}

#[test]
fn a_missing_or_differently_typed_side_is_false_and_noted() {
    for (source, missed) in [
        ("contact.x == 1", "contact.x"),
        ("contact.x != 1", "contact.x"),
        ("contact.name == 3", "contact.name"),
        ("contact.name != 3", "contact.name"),
        ("contact.yes == 'true'", "contact.yes"),
        ("contact.yes < true", "contact.yes"),
        ("contact.n", "contact.n"),
        ("contact.x", "contact.x"),
        ("contact.nothing == 1", "contact.nothing"),
        ("contact.n.deeper == 1", "contact.n.deeper"),
        ("contact.n in contact.name", "contact.n"),
        ("contact.n.contains('3')", "contact.n"),
        ("size(contact.n) == 1", "contact.n"),
        ("contact.tags == contact.address", "contact.tags"),
        ("run.total == 1", "run.total"),
    ] {
        let (truth, missing) = check(source);
        assert!(!truth, "{source}");
        assert_eq!(missing.first().map(String::as_str), Some(missed), "{source}");
        assert!(check(&format!("!({source})")).0, "! turns {source} round");
    }
}

#[test]
fn what_is_not_covered_is_refused_precisely() {
    for (source, code, words) in [
        ("", "condition_empty", ""),
        ("contact.n >", "condition_syntax", ""),
        ("contact.n == unquoted", "condition_unknown_name", "unquoted"),
        ("person.n == 1", "condition_unknown_name", "person"),
        ("contact == 1", "condition_not_supported", "`contact` by itself"),
        ("contact.n + 1 == 4", "condition_not_supported", "arithmetic"),
        ("-contact.n == 4", "condition_not_supported", "arithmetic"),
        ("contact.name.matches('Z.*')", "condition_not_supported", "regular expression"),
        ("contact.tags.exists(t, t == 'a')", "condition_not_supported", "macro"),
        ("contact.tags[0] == 'a'", "condition_not_supported", "looking up"),
        ("contact.n == null", "condition_not_supported", "null"),
        ("contact.tags == ['a']", "condition_not_supported", "list"),
        ("contact.n in [contact.half]", "condition_not_supported", "list"),
        (
            "timestamp(event.at) > timestamp('2026-01-01T00:00:00Z')",
            "condition_not_supported",
            "timestamp",
        ),
        ("has(contact.n) == true", "condition_not_supported", "has()"),
        ("(contact.n == 1) == true", "condition_not_supported", "result of a comparison"),
        ("contact.n", "ok", ""),
        ("'text'", "condition_not_supported", "a value"),
        ("b'x' == contact.n", "condition_not_supported", "bytes"),
        ("{'a': 1}", "condition_not_supported", "map"),
        ("contact.name.reverse() == 'x'", "condition_not_supported", "reverse"),
    ] {
        let error = parse(source, &ALL).err();
        let found = error.as_ref().map_or("ok", ConditionError::code);
        assert_eq!(found, code, "{source}: {error:?}");
        let text = error.map_or(String::new(), |error| error.to_string());
        assert!(text.contains(words), "{source}: {text}");
    }
    assert_eq!(
        parse("run.x == 1", &[Root::Contact]),
        Err(ConditionError::RootUnavailable(Root::Run))
    );
    assert_eq!(parse_path("event.a.b", &ALL).unwrap().to_string(), "event.a.b");
    assert!(parse_path("event.a == 1", &ALL).is_err());
}

/// Each shape has at least once overflowed a parser's stack.
#[test]
fn no_source_takes_the_process_down() {
    let shapes: [fn(usize) -> String; 9] = [
        |n| format!("{}1{}", "(".repeat(n), ")".repeat(n)),
        |n| format!("1{}", " + 1".repeat(n)),
        |n| format!("contact.x{}", "[0]".repeat(n)),
        |n| format!("contact.x{}", ".size()".repeat(n)),
        |n| format!("{}true", "!".repeat(n)),
        |n| format!("true{}", " && true".repeat(n)),
        |n| format!("contact{}", ".a".repeat(n)),
        |n| format!("{}1{}", "[".repeat(n), "]".repeat(n)),
        |n| format!("{}true", "true ? true : ".repeat(n)),
    ];
    for (index, shape) in shapes.iter().enumerate() {
        for size in [10, 50, 100, 300, 1_000, 4_000, 100_000] {
            let source = shape(size);
            let answer = parse(&source, &ALL);
            if source.len() > super::CONDITION_BYTES_MAX {
                assert_eq!(answer, Err(ConditionError::TooLong(source.len())), "shape {index}");
            }
        }
    }
    let nested = format!("{}contact.x{}", "!(".repeat(70), ")".repeat(70));
    assert!(parse(&nested, &ALL).is_err());
    let wide = format!("contact.x{}", " || contact.x".repeat(300));
    assert!(parse(&wide, &ALL).is_ok(), "long chains stay flat");
}

#[test]
fn paths_are_listed_once_for_whoever_translates_them() {
    let condition =
        parse("contact.a == 1 || (has(event.b) && contact.a in run.c) || size(run.d) > 1", &ALL);
    let condition = condition.unwrap();
    let paths: Vec<_> = condition.paths().iter().map(ToString::to_string).collect();
    assert_eq!(paths, ["contact.a", "event.b", "run.c", "run.d"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is typed gets an answer.
    #[test]
    fn any_text_gets_an_answer(source in "[a-z0-9 .()\\[\\]{}'\"!&|=<>?:+*/-]{0,80}|contact\\.\\PC{0,40}") {
        let _ = parse(&source, &ALL);
    }
}
