//! The brands that the load is for: documents of a small shop, a key each, and contacts.

use std::ops::Range;

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
    /// Its name.
    pub name: String,
    /// A client with the install's key.
    pub admin: Api,
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
        let (api, admin) = (admin.with_key(&key), admin.clone());
        brands.push(Brand { number, name, admin, api, key });
    }
    Ok(brands)
}

/// The server has a new address.
pub fn follow(brands: &mut [Brand], url: &str) {
    let Some(first) = brands.first() else { return };
    let (admin, shared) = (first.admin.at(url), first.api.at(url));
    for brand in brands {
        (brand.admin, brand.api) = (admin.clone(), shared.with_key(&brand.key));
    }
}

/// So many people, shared out to the brands in turn.
pub fn spread(brands: &[Brand], numbers: Range<usize>) -> Vec<Person> {
    numbers.map(|number| Person { brand: brands[number % brands.len()].number, number }).collect()
}

/// Makes contacts: an `identify` with address and traits for each.
pub async fn identify(args: &Args, brands: &[Brand], people: &[Person]) -> anyhow::Result<()> {
    send(args, brands, people, traffic::identify).await?;
    eprintln!("{} contacts are there", people.len());
    Ok(())
}

/// Sends one item for each of `people`, in batches, a person always to the same brand.
pub async fn send(
    args: &Args,
    brands: &[Brand],
    people: &[Person],
    write: impl Fn(&mut String, Person, &str),
) -> anyhow::Result<()> {
    let mut batches = Vec::new();
    for brand in brands {
        let own = people.iter().filter(|one| one.brand == brand.number).copied();
        let own: Vec<Person> = own.collect();
        for (turn, chunk) in own.chunks(args.batch).enumerate() {
            batches.push((turn, &brand.api, chunk.to_vec()));
        }
    }
    // Brands take turns, as they would.
    batches.sort_by_key(|(turn, ..)| *turn);
    let sent = batches.into_iter().map(|(_, api, people)| {
        let now = jiff::Timestamp::now().to_string();
        let body = traffic::body(people.iter(), |text, one| write(text, *one, &now));
        async move { api.batch(body, people.len()).await }
    });
    stream::iter(sent).buffer_unordered(args.users).try_collect::<()>().await
}

fn documents(name: &str) -> String {
    DOCUMENTS.replace("BRAND", name)
}

/// What each brand publishes: a cart journey that waits, a receipt that is sent at once, a parcel
/// whose way takes a moment, and a sale that begins at a moment that the event names.
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
name: parcel
entry: {event: Parcel Shipped, key: event.receipt, reentry: always}
steps:
  - id: way
    wait: {for: 2s}
  - id: mail
    send: {template: receipt, topic: receipts, on: {sent: told}}
  - id: told
    set: {told_of_a_parcel: true}
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
