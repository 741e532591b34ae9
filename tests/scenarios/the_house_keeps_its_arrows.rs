//! The crates depend on one another as the map in the README says, and on nothing else of ours.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// The map: a crate, and which of ours it may depend on.
fn arrows() -> BTreeMap<&'static str, Vec<&'static str>> {
    let all = [
        "domain", "journey", "content", "wire", "store", "queue", "kit", "gateway", "worker",
        "delivery", "consent",
    ];
    BTreeMap::from([
        ("domain", vec![]),
        ("journey", vec!["domain"]),
        ("content", vec!["domain"]),
        ("wire", vec!["domain"]),
        ("store", vec!["domain", "journey"]),
        ("queue", vec!["domain", "wire"]),
        ("kit", vec!["domain", "wire"]),
        ("gateway", vec!["domain", "journey", "wire", "store", "queue", "kit", "content"]),
        ("worker", vec!["domain", "journey", "wire", "store", "queue", "kit"]),
        ("delivery", vec!["domain", "wire", "store", "queue", "kit", "content"]),
        ("consent", vec!["domain", "wire", "store", "queue", "kit", "content"]),
        ("testkit", vec!["domain", "journey", "content", "wire", "store", "queue", "kit"]),
        ("node", all.to_vec()),
        ("tests", [all.as_slice(), &["node"]].concat()),
    ])
}

/// Every edge between our crates that the map does not allow, as `from -> to`.
fn forbidden(edges: &[(String, String, DependencyKind)]) -> BTreeSet<String> {
    let arrows = arrows();
    edges
        .iter()
        .filter(|(from, to, kind)| {
            let testkit_in_tests = to == "testkit" && *kind == DependencyKind::Development;
            let drawn =
                arrows.get(from.as_str()).is_some_and(|to_set| to_set.contains(&to.as_str()));
            !testkit_in_tests && !drawn
        })
        .map(|(from, to, _)| format!("{from} -> {to}"))
        .collect()
}

fn edges() -> Vec<(String, String, DependencyKind)> {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata runs");
    let ours = |name: &str| name.strip_prefix("parcours-").map(str::to_owned);
    metadata
        .packages
        .iter()
        .flat_map(|package| {
            let from = ours(&package.name).unwrap_or_else(|| package.name.to_string());
            package.dependencies.iter().filter_map(move |dependency| {
                Some((from.clone(), ours(&dependency.name)?, dependency.kind))
            })
        })
        .collect()
}

#[test]
fn no_edge_that_the_map_does_not_draw() {
    let edges = edges();
    assert!(edges.len() > 20, "the workspace was read: {edges:?}");
    assert_eq!(forbidden(&edges), BTreeSet::new());
}

#[test]
fn an_edge_between_services_would_be_seen() {
    let edge = |from: &str, to: &str, kind| vec![(from.to_owned(), to.to_owned(), kind)];
    for (from, to) in [("gateway", "worker"), ("domain", "journey"), ("store", "testkit")] {
        assert_eq!(forbidden(&edge(from, to, DependencyKind::Normal)).len(), 1, "{from} -> {to}");
    }
    assert!(forbidden(&edge("store", "testkit", DependencyKind::Development)).is_empty());
}

#[test]
fn every_crate_is_on_the_map() {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata runs");
    for package in &metadata.packages {
        let name = package.name.strip_prefix("parcours-").expect("packages are parcours-*");
        assert!(arrows().contains_key(name), "{name} is not on the map");
    }
}
