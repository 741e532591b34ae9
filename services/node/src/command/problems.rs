//! Problems of documents, as people read them.

use parcours_wire::http::Fault;

/// One problem: where, what, how to mend it.
#[must_use]
pub fn line(fault: &Fault) -> String {
    let place = [
        fault.file.clone(),
        fault.line.map(|line| line.to_string()),
        fault.column.map(|column| column.to_string()),
    ];
    let place: Vec<String> = place.into_iter().flatten().collect();
    let path = if fault.path.is_empty() { String::new() } else { format!(" at {}", fault.path) };
    let help = if fault.help.is_empty() { String::new() } else { format!("\n    {}", fault.help) };
    format!("{}: {}{path}: {}{help}", place.join(":"), fault.code, fault.message)
}

/// All problems, one paragraph each, and their number.
#[must_use]
pub fn text(faults: &[Fault]) -> String {
    let mut lines: Vec<String> = faults.iter().map(line).collect();
    lines.push(match faults.len() {
        1 => "1 problem; nothing was published".to_owned(),
        n => format!("{n} problems; nothing was published"),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_where_what_and_how() {
        let fault = Fault {
            code: "unknown_field".into(),
            file: Some("a.yaml".into()),
            line: Some(3),
            column: Some(7),
            path: "steps[0].sned".into(),
            message: "no such field".into(),
            help: "did you mean send?".into(),
        };
        assert_eq!(
            line(&fault),
            "a.yaml:3:7: unknown_field at steps[0].sned: no such field\n    did you mean send?"
        );
    }
}
