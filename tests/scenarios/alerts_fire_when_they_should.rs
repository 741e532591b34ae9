//! Prometheus' own tool says what fires when, over `deploy/prometheus`.

use std::process::Command;

use parcours_tests::foreign;

use crate::the_chart_keeps_its_word::repository;

#[test]
fn the_rules_are_sound_and_do_what_their_tests_say() {
    let name = "the_rules_are_sound_and_do_what_their_tests_say";
    let Some(promtool) = foreign("prometheus/usr/bin/promtool", name) else { return };
    for arguments in [
        ["check", "rules", "alerts.yaml"],
        ["check", "config", "prometheus.yaml"],
        ["test", "rules", "alerts_test.yaml"],
    ] {
        let mut command = Command::new(&promtool);
        command.args(arguments).current_dir(repository().join("deploy/prometheus"));
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{arguments:?}: {said}");
        println!("{said}");
    }
}
