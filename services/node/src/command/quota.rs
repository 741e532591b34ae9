//! `quota`: what a brand may use, and what it uses of it.

use anyhow::{Context as _, bail};
use parcours_domain::Weight;
use parcours_wire::http::quota::{QuotasRequest, QuotasView};

use super::Session;
use crate::cli::{NodeArgs, QuotaArgs, QuotaCommand, QuotaSetArgs};

const ROUTE: &str = "/v1/quotas";

/// The word that takes a quota away.
const DEFAULT: &str = "default";

/// `quota` and `quota set`.
///
/// # Errors
/// What the server says, or a value that is none.
pub async fn quota(node: &NodeArgs, args: &QuotaArgs) -> anyhow::Result<()> {
    let mut session = Session::open(node, &args.remote).await?;
    if let Some(brand) = &args.brand {
        session.client.choose_brand(brand);
    }
    let view = match &args.command {
        None => session.client.get(ROUTE).await,
        Some(QuotaCommand::Set(set)) => change(&session, set).await,
    };
    session.close().await?;
    let view = view?;
    println!("{}", if args.json { serde_json::to_string(&view)? } else { text(&view) });
    Ok(())
}

async fn change(session: &Session, set: &QuotaSetArgs) -> anyhow::Result<QuotasView> {
    let QuotaSetArgs { events, contacts, journeys, sends_per_day, template_cpu, weight } = set;
    let all = [events, contacts, journeys, sends_per_day, template_cpu, weight];
    if all.iter().all(|option| option.is_none()) {
        bail!(
            "name what to set: --events, --contacts, --journeys, --sends-per-day, --template-cpu or \
             --weight"
        );
    }
    let now: QuotasView = session.client.get(ROUTE).await?;
    let mut quotas: QuotasRequest = now.quotas;
    if let Some(events) = &set.events {
        quotas.events = Some(events.clone()).filter(|events| events != DEFAULT);
    }
    number(&set.contacts, "--contacts", &mut quotas.contacts)?;
    number(&set.journeys, "--journeys", &mut quotas.journeys)?;
    number(&set.sends_per_day, "--sends-per-day", &mut quotas.sends_per_day)?;
    number(&set.template_cpu, "--template-cpu", &mut quotas.template_cpu)?;
    number(&set.weight, "--weight", &mut quotas.weight)?;
    session.client.put(ROUTE, &quotas).await
}

fn number(said: &Option<String>, option: &str, quota: &mut Option<u32>) -> anyhow::Result<()> {
    match said.as_deref() {
        None => {}
        Some(DEFAULT) => *quota = None,
        Some(number) => {
            let number = number.parse();
            *quota = Some(number.with_context(|| format!("{option} is a number, or `default`"))?);
        }
    }
    Ok(())
}

fn text(view: &QuotasView) -> String {
    let QuotasView { quotas, events_in_force, used } = view;
    let events = events_in_force.clone().unwrap_or_else(|| "any number".to_owned());
    let whose = if quotas.events.is_none() { " (as the install says)" } else { "" };
    let line = |what: &str, used: u64, most: Option<u32>| {
        let most = most.map_or_else(|| "any number".to_owned(), |most| most.to_string());
        format!("{what}: {used} of {most}")
    };
    [
        format!("events: {events}{whose}"),
        line("contacts", used.contacts, quotas.contacts),
        line("journeys", used.journeys, quotas.journeys),
        line("sends today (UTC)", used.sends_today, quotas.sends_per_day),
        quotas.template_cpu.map_or_else(
            || "templates: any processor time".to_owned(),
            |percent| format!("templates: {percent} % of a core"),
        ),
        format!("weight: {}", quotas.weight.unwrap_or(Weight::default().get())),
    ]
    .join("\n")
}
