//! `sending`: what is in the queue, and the release of a restored install.

use comfy_table::Table;
use parcours_store::Store;
use parcours_wire::http::sending::{
    QueuedView, ReleaseAnswer, ReleaseRequest, RestoredView, SendingView,
};

use super::Session;
use crate::cli::{MayHaveLeftArg, NodeArgs, SendingArgs, SendingCommand};

/// `sending` and `sending release`.
///
/// # Errors
/// What the server says.
pub async fn sending(node: &NodeArgs, args: &SendingArgs) -> anyhow::Result<()> {
    let session = Session::open(node, &args.remote).await?;
    let said = match args.command {
        None => list(&session, args.json).await,
        Some(SendingCommand::Release { may_have_left }) => {
            release(&session, may_have_left, args.json).await
        }
    };
    session.close().await?;
    println!("{}", said?.trim_end());
    Ok(())
}

async fn list(session: &Session, json: bool) -> anyhow::Result<String> {
    let view: SendingView = session.client.get("/v1/sending").await?;
    if json { Ok(serde_json::to_string(&view)?) } else { Ok(text(&view)) }
}

async fn release(session: &Session, what: MayHaveLeftArg, json: bool) -> anyhow::Result<String> {
    let word = match what {
        MayHaveLeftArg::Skip => "skip",
        MayHaveLeftArg::Send => "send",
    };
    let request = ReleaseRequest { may_have_left: Some(word.to_owned()) };
    let answer: ReleaseAnswer = session.client.post("/v1/sending/release", &request).await?;
    if json {
        return Ok(serde_json::to_string(&answer)?);
    }
    let ReleaseAnswer { skipped, queued, still_halted } = answer;
    let halted =
        if still_halted { "; the install is still halted by an order of its own" } else { "" };
    Ok(format!(
        "released: {skipped} messages that may have left end as unknown, {queued} are sent \
         again{halted}"
    ))
}

/// What a store holds, for people.
///
/// # Errors
/// The store cannot be read.
pub(super) async fn shown(store: &Store) -> anyhow::Result<String> {
    let admin = store.admin();
    let install = admin.install().await?;
    let restored = admin
        .restored()
        .await?
        .map(|from| RestoredView { backup_at: from.backup_at, caught_up_at: from.caught_up_at });
    let queued = admin.queued().await?.into_iter().map(|group| QueuedView {
        brand_id: group.tenant.0,
        brand: group.brand,
        template: group.template,
        class: group.class,
        would_leave: group.would_leave,
        may_have_left: group.may_have_left,
        first_at: group.first_at,
        last_at: group.last_at,
    });
    let halted = install.halted_at.is_some();
    let queued = queued.collect();
    Ok(text(&SendingView { restored, halted, halt_reason: install.halt_reason, queued }))
}

fn text(view: &SendingView) -> String {
    let mut said = String::new();
    if let Some(RestoredView { backup_at, caught_up_at }) = &view.restored {
        let until = caught_up_at.map_or_else(|| "...".to_owned(), |at| at.to_string());
        said.push_str(&format!(
            "restored from a backup of {backup_at}; what was asked for until {until} may have left \
             before.\nNothing leaves until `parcours sending release`; what may have left is then \
             not sent, unless told `--may-have-left send`.\n"
        ));
    } else if let (true, Some(reason)) = (view.halted, &view.halt_reason) {
        said.push_str(&format!("all sending is halted: {reason}\n"));
    }
    if view.queued.is_empty() {
        return said + "the queue is empty\n";
    }
    let mut table = Table::new();
    table.set_header(["brand", "template", "class", "would leave", "may have left", "from", "to"]);
    for group in &view.queued {
        table.add_row([
            group.brand.clone(),
            group.template.clone(),
            group.class.to_string(),
            group.would_leave.to_string(),
            group.may_have_left.to_string(),
            group.first_at.to_string(),
            group.last_at.to_string(),
        ]);
    }
    said + &table.to_string() + "\n"
}
