//! What stands in `deploy/` and `helm/` exists in the product: settings, roles, commands, metrics,
//! times of an orderly stop, figures.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::{CommandFactory as _, Parser as _, ValueEnum as _};
use parcours_kit::telemetry::METRICS;
use parcours_node::{Cli, cli::Role};

use crate::the_chart_keeps_its_word::repository;

/// Read by commands from the environment alone: a passphrase is no argument.
const BESIDE_THE_OPTIONS: [&str; 1] = ["PARCOURS_PASSPHRASE"];

/// Settings of `deploy/cluster` itself.
const OF_THE_SCRIPT: [&str; 2] = ["PARCOURS_BIN", "PARCOURS_CLUSTER_LOGS"];

/// All files of a folder, with what they hold.
fn texts(folder: &str) -> Vec<(PathBuf, String)> {
    fn below(path: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, found);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    below(&repository().join(folder), &mut found);
    assert!(!found.is_empty(), "{folder} is empty");
    found
}

/// The words in a text that begin so, of letters that such a word may have.
fn words(text: &str, beginning: &str, may: fn(char) -> bool) -> BTreeSet<String> {
    let parts = text.split(|c: char| !may(c));
    parts.filter(|word| word.starts_with(beginning)).map(str::to_owned).collect()
}

/// The environment variables of all options of all commands.
fn declared() -> BTreeSet<String> {
    fn of(command: &clap::Command, names: &mut BTreeSet<String>) {
        let variables = command.get_arguments().filter_map(clap::Arg::get_env);
        names.extend(variables.map(|name| name.to_string_lossy().into_owned()));
        command.get_subcommands().for_each(|inner| of(inner, names));
    }
    let mut names = BTreeSet::new();
    of(&Cli::command(), &mut names);
    names
}

#[test]
fn settings() {
    let mut known = declared();
    known.extend(BESIDE_THE_OPTIONS.iter().chain(&OF_THE_SCRIPT).map(|&name| name.to_owned()));
    for (path, text) in texts("deploy").into_iter().chain(texts("helm")) {
        let used = words(&text, "PARCOURS_", |c| c.is_ascii_uppercase() || c == '_');
        // A name that ends so is a pattern.
        let unknown: Vec<_> =
            used.iter().filter(|name| !known.contains(*name) && !name.ends_with('_')).collect();
        assert!(unknown.is_empty(), "{}: no option reads {unknown:?}", path.display());
    }
}

#[test]
fn roles() {
    let known: BTreeSet<_> = Role::value_variants()
        .iter()
        .filter_map(|role| Some(role.to_possible_value()?.get_name().to_owned()))
        .collect();
    let compose = fs::read_to_string(repository().join("deploy/compose.cluster.yaml")).unwrap();
    let mut started = Vec::new();
    for line in compose.lines().filter_map(|line| line.split_once("PARCOURS_ROLES:")) {
        let roles = line.1.trim().trim_end_matches('}').trim_matches('"');
        started.extend(roles.split(',').map(str::to_owned));
    }
    let named: BTreeSet<_> = started.into_iter().collect();
    assert_eq!(named, known, "every role runs in the cluster, and no other");
    let kinds = include_str!("../../helm/parcours/templates/_names.tpl");
    let kinds =
        kinds.split("define \"parcours.kinds\"").nth(1).and_then(|text| text.lines().nth(1));
    let kinds: BTreeSet<_> = kinds.unwrap().split(' ').map(str::to_owned).collect();
    assert_eq!(kinds, known);
}

/// The lists after `args:` and `command:` whose first word is a command of ours.
fn commands() -> Vec<Vec<String>> {
    let texts = texts("deploy").into_iter().chain(texts("helm"));
    let mut found = Vec::new();
    for (path, text) in texts.filter(|(path, _)| path.extension().is_some_and(|e| e == "yaml")) {
        for line in text.lines().map(str::trim) {
            let list = line.strip_prefix("args: [").or_else(|| line.strip_prefix("command: ["));
            let Some(list) = list.and_then(|list| list.strip_suffix(']')) else { continue };
            let words: Vec<_> = list.split(',').map(|word| word.trim().to_owned()).collect();
            if !["postgres", "redis-server"].contains(&words[0].as_str()) {
                println!("{}: {words:?}", path.display());
                found.push(words);
            }
        }
    }
    found
}

#[test]
fn commands_are_understood() {
    let found = commands();
    assert!(found.len() >= 3, "{found:?}");
    for words in found {
        let line = ["parcours".to_owned()].into_iter().chain(words);
        if let Err(error) = Cli::try_parse_from(line) {
            panic!("{error}");
        }
    }
}

#[test]
fn metrics() {
    let exported: BTreeSet<_> = METRICS.iter().map(|&(name, ..)| name).collect();
    for file in ["alerts.yaml", "dashboard.json"] {
        let path = repository().join("helm/parcours/files").join(file);
        let used = words(&fs::read_to_string(path).unwrap(), "parcours_", |c| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
        });
        assert!(used.len() > 10, "{file}: {used:?}");
        for name in &used {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .filter(|family| exported.contains(family));
            assert!(exported.contains(name.as_str()) || family.is_some(), "{file}: {name}");
        }
    }
}

/// Every alert is shown to fire, and the chart and `deploy/` have the same ones.
#[test]
fn every_alert_is_tried_out() {
    let rules = include_str!("../../deploy/prometheus/alerts.yaml");
    assert_eq!(rules, include_str!("../../helm/parcours/files/alerts.yaml"));
    let tried = include_str!("../../deploy/prometheus/alerts_test.yaml");
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.split_once("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for (_, alert) in alerts {
        assert!(tried.contains(&format!("alertname=\"{alert}\"")), "{alert} never fires in a test");
    }
}

/// A pod is given the time that an orderly stop may take.
#[test]
fn times_of_a_stop() {
    let product = include_str!("../../services/node/src/assemble.rs");
    for constant in
        ["HTTP_STOP_S: u64 = 10;", "DELIVERY_STOP: Duration = Duration::from_secs(610);"]
    {
        assert!(product.contains(constant), "changed: {constant} Change the chart's guards, too");
    }
    let worker = parcours_worker::WorkerConfig::default();
    assert_eq!(worker.drain_max.as_secs(), 30, "change the chart's guards, too");
    let guards = include_str!("../../helm/parcours/templates/_guards.tpl");
    assert!(guards.contains("\"gateway\" 10 \"worker\" 50 \"delivery\" 620 \"consent\" 10"));
    for name in ["one", "cluster"] {
        let compose = repository().join(format!("deploy/compose.{name}.yaml"));
        assert!(fs::read_to_string(compose).unwrap().contains("stop_grace_period: 640s"));
    }
}

/// The table of sizes is the README's measurement, rounded up.
#[test]
fn figures() {
    let readme = include_str!("../../README.md");
    let measured = readme.lines().find(|line| line.starts_with("| 100,000 contacts |"));
    // As in "184 us: 75, 109": the server's share and the database's.
    let cell = measured.unwrap().split('|').nth(3).unwrap().replace([':', ','], "");
    let costs: Vec<f64> = cell.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [whole, server, database] = costs[..] else { panic!("{cell}") };
    assert_eq!(whole, server + database);
    let table = include_str!("../../helm/parcours/values-production.yaml");
    let told = table.replace("\n# ", " ");
    assert!(told.contains(&format!("{server} in gateway and worker, {database} in PostgreSQL")));
    let rows = table.lines().filter_map(|line| line.strip_prefix("#")).filter_map(|line| {
        let cells: Vec<f64> =
            line.split('|').filter_map(|cell| cell.trim().replace(',', "").parse().ok()).collect();
        <[f64; 3]>::try_from(cells).ok()
    });
    let mut count = 0;
    for [events, cores, of_database] in rows {
        let rounded_up = |us: f64| (events * us / 1e5).ceil() / 10.0;
        assert_eq!((cores, of_database), (rounded_up(server), rounded_up(database)), "{events}");
        count += 1;
    }
    assert!(count >= 2);
}
