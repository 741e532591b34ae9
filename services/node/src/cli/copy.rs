//! Options of `copy`.

use clap::Args;

use super::RemoteArgs;

/// Options of `copy`.
#[derive(Clone, Debug, Args)]
pub struct CopyArgs {
    /// The journey's name.
    pub journey: String,
    /// The brand that has it: its name, or `organisation/name`.
    #[arg(long, value_name = "BRAND")]
    pub from: String,
    /// The brand of the same organisation that gets it.
    #[arg(long, value_name = "BRAND")]
    pub to: String,
    /// The journey's name there, when that is another.
    #[arg(long = "as", value_name = "NAME")]
    pub named: Option<String>,
    /// Another name for a template there; may be said for each.
    #[arg(long = "template", value_name = "OLD=NEW", value_parser = renamed)]
    pub templates: Vec<(String, String)>,
    /// Replace what is there with another content.
    #[arg(long)]
    pub replace: bool,
    /// Only say what would happen.
    #[arg(long)]
    pub dry_run: bool,
    /// How to reach the server.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

fn renamed(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(old, new)| !old.is_empty() && !new.is_empty());
    let (old, new) = parts.ok_or("write OLD=NEW, two names of templates")?;
    Ok((old.to_owned(), new.to_owned()))
}
