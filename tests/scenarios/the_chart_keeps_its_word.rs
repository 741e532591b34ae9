//! The Helm chart, rendered by Helm's own library: what it renders is what is kept, fits the
//! schemas of eight Kubernetes versions and the restricted pod security standard, refuses what it
//! does not know, and every value that it offers has an effect.
//!
//! `tests/foreign/chart` holds the checks; `PARCOURS_BLESS=1` writes the renderings anew.

use std::{path::PathBuf, process::Command};

use parcours_tests::{foreign, foreign_scripts};

/// Runs one check: it must look at `least` things and find no fault.
fn check(name: &str, least: usize) {
    let Some((checked, faults)) = answer(name) else { return };
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked >= least, "{name} looked at {checked} things only");
}

/// How many things a check looked at, and what it says; nothing when Helm is not there.
fn answer(name: &str) -> Option<(usize, Vec<String>)> {
    let python = foreign("chart/bin/python", &format!("the_chart_keeps_its_word, {name}"))?;
    let output = Command::new(python)
        .arg("-B")
        .arg(foreign_scripts().join("chart/check.py"))
        .arg(name)
        .arg(repository().join("helm/parcours"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let faults = answer["faults"].as_array().unwrap().iter();
    let faults = faults.map(|fault| fault.as_str().unwrap().to_owned()).collect();
    Some((usize::try_from(answer["checked"].as_u64().unwrap()).unwrap(), faults))
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    foreign_scripts().ancestors().nth(2).unwrap().to_owned()
}

#[test]
fn it_renders_what_is_kept() {
    check("golden", 4);
}

#[test]
fn helm_finds_nothing_to_say() {
    check("lint", 8);
}

#[test]
fn every_object_fits_every_supported_kubernetes() {
    check("kubernetes", 500);
}

#[test]
fn every_pod_is_restricted() {
    check("restricted", 20);
}

#[test]
fn every_value_has_an_effect() {
    check("effects", 200);
}

#[test]
fn what_it_does_not_know_is_refused() {
    check("schema", 140);
}

#[test]
fn what_contradicts_itself_is_refused_with_a_way_out() {
    check("guards", 14);
}

#[test]
fn secrets_stand_in_secrets_only() {
    check("secrets", 30);
}

#[test]
fn only_who_must_reaches_what() {
    check("network", 300);
}

#[test]
fn names_and_selectors_fit() {
    check("fitting", 70);
}

#[test]
fn alert_rules_and_dashboard_arrive_as_they_are() {
    check("monitored", 2);
}
