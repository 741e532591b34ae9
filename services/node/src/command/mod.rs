//! The commands that are not the running product.

pub mod breaker;
pub mod client;
mod copy;
mod files;
pub mod keep;
mod kept_file;
mod migrate;
mod problems;
pub mod quota;
pub mod restore;
mod rollup;
mod roundtrip;
pub mod sending;
mod session;
mod status;
mod tryout;

use std::{fs, path::Path};

use anyhow::{Context as _, bail};
use parcours_gateway::publish;
use parcours_journey::Document;
use parcours_wire::http::{
    document::{DocumentDiff, SourceFile},
    key::KeyRequest,
};

pub use copy::copy;
pub use migrate::migrate;
pub use rollup::rollup;
pub use roundtrip::roundtrip;
pub use session::Session;
pub use status::status;
pub use tryout::{preview, test_send};

use crate::cli::{ContactCommand, DocumentArgs, ExportArgs, KeyCreateArgs, NodeArgs};

/// `validate`: every problem of a folder, needing nothing but the folder.
///
/// # Errors
/// The problems.
pub fn validate(dir: &Path) -> anyhow::Result<()> {
    let files = files::read(dir)?;
    let set = publish::read(&files);
    let checked = publish::check(&set, &publish::Existing::default()).map_err(|found| {
        let faults: Vec<_> = found.iter().map(publish::fault).collect();
        anyhow::anyhow!(problems::text(&faults))
    })?;
    println!("{} documents, no problems", checked.documents.len());
    Ok(())
}

/// Which brand a set is for: its own Brand document, or the one named on the command line.
struct Target {
    organisation: Option<String>,
    brand: Option<String>,
}

fn target(files: &[SourceFile], named: Option<&str>) -> anyhow::Result<Target> {
    // A set that cannot be read has its problems told by the server, all at once.
    let set = publish::read(files);
    let own = set.documents.iter().find_map(|located| match &located.document {
        Document::Brand(brand) => Some(brand.clone()),
        Document::Sender(_) | Document::Topic(_) | Document::Template(_) | Document::Journey(_) => {
            None
        }
    });
    match (own, named) {
        (Some(own), Some(named)) if own.name.as_str() != named => {
            bail!("the documents are of brand {}, but --brand says {named}", own.name)
        }
        (Some(own), _) => Ok(Target {
            organisation: Some(own.organisation.to_string()),
            brand: Some(own.name.to_string()),
        }),
        (None, named) => Ok(Target { organisation: None, brand: named.map(str::to_owned) }),
    }
}

/// `apply`: publishes a folder; makes its brand when it has a Brand document.
///
/// # Errors
/// Every problem; nothing was published then.
pub async fn apply(node: &NodeArgs, args: &DocumentArgs) -> anyhow::Result<()> {
    let files = files::read(&args.dir)?;
    let target = target(&files, args.brand.as_deref())?;
    let mut session = Session::open(node, &args.remote).await?;
    let answer = publish_set(&mut session, files, &target).await;
    session.close().await?;
    for document in answer?.documents {
        let change = if document.changed { "published" } else { "unchanged" };
        println!("{change} {} {} version {}", document.kind, document.name, document.version);
    }
    Ok(())
}

async fn publish_set(
    session: &mut Session,
    files: Vec<SourceFile>,
    target: &Target,
) -> anyhow::Result<parcours_wire::http::document::AppliedAnswer> {
    choose(session, target, true).await?;
    session.client.apply(files).await
}

async fn choose(session: &mut Session, target: &Target, make: bool) -> anyhow::Result<()> {
    if let (Some(organisation), Some(brand), true) = (&target.organisation, &target.brand, make) {
        session.client.make_brand(organisation, brand).await?;
    }
    if let Some(brand) = &target.brand {
        session.client.choose_brand(brand);
    }
    Ok(())
}

/// `diff`: what `apply` would change.
///
/// # Errors
/// Every problem of the set.
pub async fn diff(node: &NodeArgs, args: &DocumentArgs) -> anyhow::Result<()> {
    let files = files::read(&args.dir)?;
    let target = target(&files, args.brand.as_deref())?;
    let mut session = Session::open(node, &args.remote).await?;
    let answer = async {
        choose(&mut session, &target, false).await?;
        session.client.diff(files).await
    }
    .await;
    session.close().await?;
    for document in answer?.documents {
        print!("{}", shown(&document));
    }
    Ok(())
}

/// One document's changes as lines.
fn shown(document: &DocumentDiff) -> String {
    let mut lines = vec![format!("{} {} {}", document.change, document.kind, document.name)];
    lines.extend(document.fields.iter().map(|field| format!("  field {field}")));
    if let Some(steps) = &document.steps {
        let worded =
            [("added", &steps.added), ("removed", &steps.removed), ("changed", &steps.changed)];
        for (word, steps) in worded {
            lines.extend(steps.iter().map(|step| format!("  step {word}: {step}")));
        }
        let renamed = steps.renamed.iter();
        lines.extend(renamed.map(|step| format!("  step renamed: {} -> {}", step.from, step.to)));
    }
    lines.join("\n") + "\n"
}

/// `export`: writes what is published as files that can be applied again.
///
/// # Errors
/// The folder cannot be written.
pub async fn export(node: &NodeArgs, args: &ExportArgs) -> anyhow::Result<()> {
    let mut session = Session::open(node, &args.remote).await?;
    if let Some(brand) = &args.brand {
        session.client.choose_brand(brand);
    }
    let answer = session.client.export().await;
    session.close().await?;
    for file in answer?.files {
        let path = args.dir.join(&file.name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(&path, file.source)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// `key create`: prints the key as the last line, once.
///
/// # Errors
/// What the server says.
pub async fn key_create(node: &NodeArgs, args: &KeyCreateArgs) -> anyhow::Result<()> {
    let mut session = Session::open(node, &args.remote).await?;
    let request = KeyRequest {
        kind: Some(if args.public { "public" } else { "secret" }.to_owned()),
        scopes: if args.public { Vec::new() } else { args.scopes.clone() },
        label: args.label.clone(),
        expires_at: None,
        reach: Some(if args.brand.is_some() { "brand" } else { "install" }.to_owned()),
    };
    if let Some(brand) = &args.brand {
        session.client.choose_brand(brand);
    }
    let answer = session.client.make_key(&request).await;
    session.close().await?;
    let secret = answer?.secret.context("the server gave no secret")?;
    println!("shown once, keep it safe:\n{secret}");
    Ok(())
}

/// `contact show`: one contact as JSON.
///
/// # Errors
/// There is no such contact.
pub async fn contact_show(node: &NodeArgs, command: &ContactCommand) -> anyhow::Result<()> {
    let ContactCommand::Show { contact, brand, remote } = command;
    let mut session = Session::open(node, remote).await?;
    if let Some(brand) = brand {
        session.client.choose_brand(brand);
    }
    let shown = contact_of(&session, contact).await;
    session.close().await?;
    println!("{}", serde_json::to_string_pretty(&shown?)?);
    Ok(())
}

/// A contact's id from itself, or from `user:ID`.
async fn contact_id(session: &Session, contact: &str) -> anyhow::Result<String> {
    match contact.strip_prefix("user:") {
        None => Ok(contact.to_owned()),
        Some(user) => {
            let query: String = url::form_urlencoded::byte_serialize(user.as_bytes()).collect();
            let path = format!("/v1/contacts?user_id={query}");
            let found: serde_json::Value = session.client.get(&path).await?;
            let id = found["items"][0]["id"].as_str();
            let id = id.with_context(|| format!("no contact has the userId {user}"))?;
            Ok(id.to_owned())
        }
    }
}

async fn contact_of(session: &Session, contact: &str) -> anyhow::Result<serde_json::Value> {
    let id = contact_id(session, contact).await?;
    let mut shown: serde_json::Value = session.client.get(&format!("/v1/contacts/{id}")).await?;
    let runs: serde_json::Value = session.client.get(&format!("/v1/runs?contact={id}")).await?;
    let timeline: serde_json::Value =
        session.client.get(&format!("/v1/contacts/{id}/timeline?limit=500")).await?;
    shown["runs"] = runs["items"].clone();
    shown["timeline"] = timeline["items"].clone();
    Ok(shown)
}
