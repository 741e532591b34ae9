//! What the demo says at its end: the table, and what to try next.

use std::{collections::BTreeMap, time::Instant};

use anyhow::Context as _;
use parcours_domain::{Millis, TenantId};
use parcours_kit::Clock as _;
use parcours_store::{BrandTable, MessageFilter, PageRequest};

use super::{
    Keys,
    drive::Drive,
    story,
    table::{Table, UnknownMessage},
};
use crate::assemble::Node;

/// Counts everything from the records.
///
/// # Errors
/// The store cannot be read.
pub async fn table(
    node: &Node,
    tenant: TenantId,
    drive: &Drive<'_>,
    begun: Instant,
) -> anyhow::Result<Table> {
    let counts = node.store.for_tenant(tenant).table().await?;
    let mut table = from_counts(&counts);
    table.unknown = unknown(node, tenant, drive).await?;
    table.days = (node.clock.now() - story::beginning()).0 / Millis::days(1).0;
    table.seconds = begun.elapsed().as_secs();
    Ok(table)
}

fn from_counts(counts: &BrandTable) -> Table {
    let number = |n: i64| u64::try_from(n).unwrap_or(0);
    let nest = |rows: &[(String, String, i64)]| {
        let mut nested: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for (outer, inner, n) in rows {
            nested.entry(outer.clone()).or_default().insert(inner.clone(), number(*n));
        }
        nested
    };
    let mut journeys = nest(&counts.runs);
    for runs in journeys.values_mut() {
        let entered = runs.values().sum();
        runs.insert("entered".to_owned(), entered);
    }
    let refused = counts.reasons.iter().filter(|(status, ..)| status == "refused");
    let withdrawn = counts.facts.iter().filter(|(kind, ..)| kind == "withdrawn");
    Table {
        events: number(counts.events.iter().map(|(.., n)| n).sum()),
        contacts: number(counts.contacts),
        journeys,
        messages: nest(&counts.messages),
        refusals: refused.map(|(_, why, n)| (why.clone(), number(*n))).collect(),
        clicks: number(counts.clicks),
        withdrawals: number(withdrawn.map(|(.., n)| n).sum()),
        ..Table::default()
    }
}

async fn unknown(
    node: &Node,
    tenant: TenantId,
    drive: &Drive<'_>,
) -> anyhow::Result<Vec<UnknownMessage>> {
    let filter = MessageFilter { status: Some("unknown".to_owned()), ..MessageFilter::default() };
    let page = node.store.for_tenant(tenant).messages(&filter, &PageRequest::first(500)).await?;
    let listed = page.items.iter().map(|message| {
        let customer = drive.customer(message.contact).context("every contact is a customer")?;
        Ok(UnknownMessage { customer, template: message.template.to_string() })
    });
    listed.collect()
}

/// What to try, with the commands to do it. No line carries a timestamp: the product clock has
/// only just left 1998.
#[must_use]
pub fn what_next(node: &Node, keys: &Keys) -> String {
    let url = node.url().unwrap_or_default();
    let Keys { ingest, admin } = keys;
    format!(
        "The product clock goes on at real speed from {now}. Try:\n\n\
         each message as its recipient sees it, with its why:\n  {url}/mailbox\n\
         the API, browsable:\n  {url}/docs\n\n\
         a new customer, with consent, buys (then look at the mailbox again):\n  \
         curl -u {ingest}: {url}/v1/identify -H 'content-type: application/json' \\\n    \
         -d '{{\"userId\":\"moi\",\"traits\":{{\"email\":\"moi@disques.example\",\"first_name\":\"Ada\"}}}}'\n  \
         ID=$(curl -s -H 'authorization: Bearer {admin}' '{url}/v1/contacts?user_id=moi' | \
         grep -o '\"id\":\"[^\"]*' | head -n 1 | cut -d'\"' -f4)\n  \
         curl -H 'authorization: Bearer {admin}' {url}/v1/contacts/$ID/consents \
         -H 'content-type: application/json' \\\n    \
         -d '{{\"facts\":[{{\"kind\":\"given\",\"topic\":\"conseils\",\"source\":\"curl\"}}]}}'\n  \
         curl -u {ingest}: {url}/v1/track -H 'content-type: application/json' \\\n    \
         -d '{{\"userId\":\"moi\",\"event\":\"Order Completed\",\"properties\":{{\"quantity\":1}}}}'\n\n\
         everything that happened to this customer, and where the runs stand:\n  \
         curl -H 'authorization: Bearer {admin}' {url}/v1/contacts/$ID/timeline\n  \
         curl -H 'authorization: Bearer {admin}' '{url}/v1/runs?contact='$ID\n\n\
         Ctrl-C stops.",
        now = node.clock.now(),
    )
}
