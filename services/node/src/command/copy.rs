//! `copy`: a journey from brand to brand, or what copying it would change.

use anyhow::bail;
use parcours_wire::http::document::{CopyAnswer, CopyRequest, DocumentDiff};

use super::{Session, shown};
use crate::cli::{CopyArgs, NodeArgs};

/// Copies it and says what was done.
///
/// # Errors
/// Everything that the other brand lacks or has otherwise; nothing was copied then.
pub async fn copy(node: &NodeArgs, args: &CopyArgs) -> anyhow::Result<()> {
    let request = CopyRequest {
        journey: args.journey.clone(),
        from: args.from.clone(),
        to: args.to.clone(),
        named: args.named.clone(),
        templates: args.templates.iter().cloned().collect(),
        replace: args.replace,
        dry_run: args.dry_run,
    };
    if request.templates.len() < args.templates.len() {
        bail!("--template names a template twice");
    }
    let session = Session::open(node, &args.remote).await?;
    let answer = session.client.post("/v1/journeys/copy", &request).await;
    session.close().await?;
    print!("{}", text(&answer?, args.replace));
    Ok(())
}

fn text(answer: &CopyAnswer, replace: bool) -> String {
    let line = |one: &DocumentDiff| {
        if !answer.copied {
            return shown(one);
        }
        let done = match one.change.as_str() {
            "new" => "copied",
            "changed" => "replaced",
            other => other,
        };
        let version = one.version.unwrap_or_default();
        format!("{done} {} {} version {version}\n", one.kind, one.name)
    };
    let mut text: String = answer.documents.iter().map(line).collect();
    let differ = answer.documents.iter().filter(|one| one.change == "changed").count();
    if !answer.copied && !replace && differ > 0 {
        text +=
            &format!("{differ} differ there: --replace, or other names by --as and --template\n");
    }
    if answer.status != "live" {
        text +=
            &format!("the journey is {} there, and stays so until it is resumed\n", answer.status);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_and_what_would_be_read_differently() {
        let one = |kind: &str, name: &str, change: &str| DocumentDiff {
            kind: kind.into(),
            name: name.into(),
            change: change.into(),
            version: Some(2),
            fields: if change == "changed" { vec!["html".into()] } else { Vec::new() },
            steps: None,
        };
        let documents = vec![one("Template", "t", "changed"), one("Journey", "j", "unchanged")];
        let mut answer = CopyAnswer { copied: true, documents, status: "paused".into() };
        assert_eq!(
            text(&answer, true),
            "replaced Template t version 2\nunchanged Journey j version 2\n\
             the journey is paused there, and stays so until it is resumed\n"
        );
        (answer.copied, answer.status) = (false, "live".into());
        assert_eq!(
            text(&answer, false),
            "changed Template t\n  field html\nunchanged Journey j\n\
             1 differ there: --replace, or other names by --as and --template\n"
        );
    }
}
