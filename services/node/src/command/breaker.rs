//! `breaker`: what stops a brand, and letting it send again.

use anyhow::{Context as _, bail};
use parcours_wire::http::breaker::{BreakerRequest, BreakerView, ResetAnswer, TallyView};

use super::Session;
use crate::cli::{BreakerArgs, BreakerCommand, BreakerSetArgs, NodeArgs};

const ROUTE: &str = "/v1/breaker";

/// The word that takes a limit away.
const DEFAULT: &str = "default";

/// `breaker`, `breaker set` and `breaker reset`.
///
/// # Errors
/// What the server says, or a value that is none.
pub async fn breaker(node: &NodeArgs, args: &BreakerArgs) -> anyhow::Result<()> {
    let mut session = Session::open(node, &args.remote).await?;
    if let Some(brand) = &args.brand {
        session.client.choose_brand(brand);
    }
    let said = match &args.command {
        None => session.client.get(ROUTE).await.and_then(|view| shown(&view, args.json)),
        Some(BreakerCommand::Set(set)) => {
            change(&session, set).await.and_then(|view| shown(&view, args.json))
        }
        Some(BreakerCommand::Reset) => reset(&session, args.json).await,
    };
    session.close().await?;
    println!("{}", said?);
    Ok(())
}

async fn reset(session: &Session, json: bool) -> anyhow::Result<String> {
    let path = format!("{ROUTE}/reset");
    let answer: ResetAnswer = session.client.post(&path, &serde_json::json!({})).await?;
    Ok(match (json, answer.was_stopped) {
        (true, _) => serde_json::to_string(&answer)?,
        (false, true) => "it sends again; what was counted is forgotten".to_owned(),
        (false, false) => "nothing was stopped; what was counted is forgotten".to_owned(),
    })
}

async fn change(session: &Session, set: &BreakerSetArgs) -> anyhow::Result<BreakerView> {
    let all = [&set.complaints, &set.bounces, &set.refusals, &set.sample];
    if all.iter().all(|option| option.is_none()) {
        bail!("name what to set: --complaints, --bounces, --refusals or --sample");
    }
    let now: BreakerView = session.client.get(ROUTE).await?;
    let mut limits: BreakerRequest = now.set;
    let shares = [
        (&set.complaints, &mut limits.complaints),
        (&set.bounces, &mut limits.bounces),
        (&set.refusals, &mut limits.refusals),
    ];
    for (said, limit) in shares {
        if let Some(said) = said {
            *limit = Some(said.clone()).filter(|said| said != DEFAULT);
        }
    }
    match set.sample.as_deref() {
        None => {}
        Some(DEFAULT) => limits.sample = None,
        Some(count) => {
            let count = count.parse().context("--sample is a number, or `default`")?;
            limits.sample = Some(count);
        }
    }
    session.client.put(ROUTE, &limits).await
}

fn shown(view: &BreakerView, json: bool) -> anyhow::Result<String> {
    Ok(if json { serde_json::to_string(view)? } else { text(view) })
}

fn text(view: &BreakerView) -> String {
    let mut lines = vec![match &view.stopped {
        None => "nothing is stopped".to_owned(),
        Some(stopped) => format!(
            "{} is stopped since {} because of {}: {}",
            stopped.stops,
            stopped.at,
            stopped.cause,
            counts(&stopped.counts)
        ),
    }];
    let limit = |what: &str, limit: &Option<String>, own: &Option<String>| {
        let whose = if own.is_none() { " (default)" } else { "" };
        format!("{what}: stopped at {}{whose}", limit.as_deref().unwrap_or_default())
    };
    let (limits, set) = (&view.limits, &view.set);
    lines.push(limit("complaints, 24 hours", &limits.complaints, &set.complaints));
    lines.push(limit("bounces, 1 hour", &limits.bounces, &set.bounces));
    lines.push(limit("refusals, 1 hour", &limits.refusals, &set.refusals));
    lines.push(format!("of at least {} messages", limits.sample.unwrap_or_default()));
    for (what, tally) in [
        ("marketing, 1 hour", &view.marketing_hour),
        ("marketing, 24 hours", &view.marketing_day),
        ("transactional, 1 hour", &view.transactional_hour),
    ] {
        lines.push(format!("{what}: {}", counts(tally)));
    }
    lines.join("\n")
}

fn counts(tally: &TallyView) -> String {
    let TallyView { sent, bounced, refused, complained } = tally;
    format!("{sent} sent, {bounced} bounced, {refused} refused, {complained} complained about")
}
