//! `preview` and `test-send`: a template tried out with a contact.

use std::fs;

use anyhow::Context as _;
use parcours_wire::http::{
    message::MessageAnswer,
    template::{FieldView, OutlookView, PreviewRequest, PreviewView, TestSendRequest},
};

use super::{Session, contact_id};
use crate::cli::{NodeArgs, PreviewArgs, TestSendArgs, TryoutArgs};

/// `preview`: the message, each merge field's source, and whether it would be sent.
///
/// # Errors
/// What the server says, or a file that cannot be read or written.
pub async fn preview(node: &NodeArgs, args: &PreviewArgs) -> anyhow::Result<()> {
    let source = args.source.as_ref().map(|path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    });
    let source = source.transpose()?;
    let session = open(node, &args.tryout).await?;
    let shown: anyhow::Result<PreviewView> = async {
        let request = PreviewRequest {
            contact: contact_id(&session, &args.tryout.contact).await?.parse()?,
            run: None,
            data: data(&args.tryout)?,
            topic: args.tryout.topic.clone(),
            version: None,
            source,
        };
        let path = format!("/v1/templates/{}/preview", args.tryout.template);
        session.client.post(&path, &request).await
    }
    .await;
    session.close().await?;
    let shown = shown?;
    if let (Some(path), Some(html)) = (&args.html, &shown.html) {
        fs::write(path, html).with_context(|| format!("cannot write {}", path.display()))?;
    }
    print!("{}", text_of(&shown));
    Ok(())
}

/// `test-send`: prints the message's id.
///
/// # Errors
/// What the server says: an address that is not listed before all.
pub async fn test_send(node: &NodeArgs, args: &TestSendArgs) -> anyhow::Result<()> {
    let session = open(node, &args.tryout).await?;
    let sent: anyhow::Result<MessageAnswer> = async {
        let request = TestSendRequest {
            to: args.to.clone(),
            contact: contact_id(&session, &args.tryout.contact).await?.parse()?,
            run: None,
            data: data(&args.tryout)?,
            topic: args.tryout.topic.clone(),
            sender: None,
        };
        let path = format!("/v1/templates/{}/test", args.tryout.template);
        session.client.post(&path, &request).await
    }
    .await;
    session.close().await?;
    println!("{}", sent?.id);
    Ok(())
}

async fn open(node: &NodeArgs, args: &TryoutArgs) -> anyhow::Result<Session> {
    let mut session = Session::open(node, &args.remote).await?;
    if let Some(brand) = &args.brand {
        session.client.choose_brand(brand);
    }
    Ok(session)
}

fn data(args: &TryoutArgs) -> anyhow::Result<Option<serde_json::Value>> {
    let data = args.data.as_deref().map(serde_json::from_str).transpose();
    data.context("--data is not JSON")
}

fn text_of(shown: &PreviewView) -> String {
    let OutlookView { would_be_sent, why_not, .. } = &shown.outlook;
    let mut lines = vec![
        format!("subject: {}", shown.subject.as_deref().unwrap_or("(no message)")),
        if *would_be_sent {
            "would be sent".to_owned()
        } else {
            format!("would not be sent: {}", why_not.join(", "))
        },
    ];
    lines.extend(shown.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.extend(shown.fields.iter().map(|FieldView { path, source, value }| {
        let value = value.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("  {path} ({source}) {value}").trim_end().to_owned()
    }));
    if let Some(text) = &shown.text {
        lines.push(format!("\n{}", text.trim_end()));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_reads_as_a_list_of_what_matters() {
        let field = |path: &str, source: &str, value| FieldView {
            path: path.into(),
            source: source.into(),
            value,
        };
        let shown = PreviewView {
            template: "hello".into(),
            version: Some(1),
            subject: None,
            html: None,
            text: None,
            links: Vec::new(),
            fields: vec![
                field("contact.city", "missing", None),
                field("run.total", "run", Some(12.into())),
            ],
            outlook: OutlookView {
                would_be_sent: false,
                why_not: vec!["no_consent".into(), "missing:contact.city".into()],
                ground: None,
                fact: None,
                topic: None,
            },
            warnings: vec!["large".into()],
        };
        assert_eq!(
            text_of(&shown),
            "subject: (no message)\nwould not be sent: no_consent, missing:contact.city\n\
             warning: large\n  contact.city (missing)\n  run.total (run) 12\n"
        );
    }
}
