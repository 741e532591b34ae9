//! The brands that the load is for: documents of a small shop, a key each, and contacts.

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    api::Api,
    args::Args,
    server::Server,
    traffic::{self, Person},
};

/// One brand: its name and a client with its key for ingest.
#[derive(Clone, Debug)]
pub struct Brand {
    /// Its place in the list.
    pub number: usize,
    /// A client that sends as this brand.
    pub api: Api,
    /// The key, for clients of other make.
    pub key: String,
}

/// Makes the brands.
pub async fn make(server: &Server, count: usize) -> anyhow::Result<Vec<Brand>> {
    let admin = server.admin_key.as_deref().context("the store was not empty: no admin key")?;
    let admin = Api::new(&server.url, admin);
    let mut brands = Vec::with_capacity(count);
    for number in 0..count {
        let name = format!("shop{number:02}");
        let key = admin.make_brand(&name, &documents(&name)).await?;
        brands.push(Brand { number, api: admin.with_key(&key), key });
    }
    Ok(brands)
}

/// Makes contacts of the brands: an `identify` with address and traits for each of `people`.
pub async fn identify(
    args: &Args,
    brands: &[Brand],
    people: std::ops::Range<usize>,
) -> anyhow::Result<()> {
    let written = people.len();
    send(args, brands, people, traffic::identify).await?;
    eprintln!("{written} contacts are there");
    Ok(())
}

/// Sends one item for each of `people`, in batches, a person always to the same brand.
pub async fn send(
    args: &Args,
    brands: &[Brand],
    people: std::ops::Range<usize>,
    write: impl Fn(&mut String, Person, &str),
) -> anyhow::Result<()> {
    let now = jiff::Timestamp::now().to_string();
    let mut batches = Vec::new();
    for brand in brands {
        let own = people.clone().filter(|one| one % brands.len() == brand.number);
        let own: Vec<Person> = own.map(|number| Person { brand: brand.number, number }).collect();
        for (turn, chunk) in own.chunks(args.batch).enumerate() {
            let body = traffic::body(chunk.iter(), |text, one| write(text, *one, &now));
            batches.push((turn, brand.api.clone(), body, chunk.len()));
        }
    }
    // Brands take turns, as they would.
    batches.sort_by_key(|(turn, ..)| *turn);
    let sent = batches
        .into_iter()
        .map(|(_, api, body, items)| async move { api.batch(body, items).await });
    stream::iter(sent).buffer_unordered(args.users).try_collect::<()>().await
}

fn documents(name: &str) -> String {
    DOCUMENTS.replace("BRAND", name)
}

/// What each brand publishes: a cart journey that waits, a receipt that is sent at once, and a
/// sale that begins at a moment that the event names.
const DOCUMENTS: &str = "\
apiVersion: parcours/v1
kind: Brand
name: BRAND
organisation: load
display_name: BRAND
controller: {name: BRAND SARL, contact: privacy@BRAND.example}
postal_address: 1 rue de la Charge, 69001 Lyon, France
public_url: http://localhost:8080
time_zone: Europe/Paris
locale: fr-FR
defaults: {sender: shop}
---
apiVersion: parcours/v1
kind: Sender
name: shop
from: {name: BRAND, address: hello@BRAND.example}
transport: {kind: mailbox}
---
apiVersion: parcours/v1
kind: Topic
name: receipts
title: Receipts
purpose: To send you the receipt that you asked for
class: transactional
---
apiVersion: parcours/v1
kind: Template
name: receipt
language: en
subject: \"Your receipt, {{ contact.first_name }}\"
fields:
  contact.first_name: {default: dear customer}
html: |
  <html><body><p>{{ contact.first_name }}, here is the receipt {{ run.receipt }}.</p>
  <p>{{ brand.name }}, {{ brand.postal_address }}</p></body></html>
---
apiVersion: parcours/v1
kind: Journey
name: cart
entry: {event: Cart Updated, reentry: always}
goals:
  - {id: ordered, event: Order Completed}
steps:
  - id: patience
    wait: {for: 3d}
  - id: note
    set: {left_a_cart: true}
---
apiVersion: parcours/v1
kind: Journey
name: receipt
entry: {event: Receipt Requested, reentry: always}
steps:
  - id: mail
    send: {template: receipt, topic: receipts}
---
apiVersion: parcours/v1
kind: Journey
name: sale
entry: {event: Sale Announced, reentry: always}
steps:
  - id: opening
    wait: {date: run.starts_at}
  - id: note
    set: {invited: true}
";
