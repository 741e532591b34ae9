//! Eighteen months, one moment after another.
//!
//! The product clock stands at a moment until everything due then is done, then jumps to the next
//! moment at which anything is: a purchase, a reaction of a customer, a timer, a message. Within a
//! moment the order is fixed: what the clock made due, then purchases, then reactions. The clock
//! is stored before anything of its moment happens, and all that happens can be repeated without
//! effect (messageIds, one click for each link, one withdrawal), so a killed demo goes on where it
//! was by doing the stored moment again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use parcours_domain::{
    Channel, ContactId, Millis, TenantId, Timestamp,
    consent::{FactKind, Scope},
};
use parcours_kit::Clock as _;
use parcours_store::{MailboxRow, PageRequest};
use parcours_wire::{ConsentApi as _, FactRequest};

use super::{
    data::{self, Purchase},
    letters,
    shop::{Shop, identify, order},
    story,
};
use crate::assemble::Node;

/// The templates whose link some customers follow.
const NUDGES: [&str; 2] = ["relance-nouveautes", "relance-selection"];

/// The template whose unsubscribe link some customers use.
const THANKS: &str = "merci";

/// Letters read from the mailbox at a time.
const LETTERS_PAGE: u32 = 50;

/// What happens at one moment from outside.
#[derive(Default)]
struct Moment {
    purchases: Vec<Purchase>,
    clicks: BTreeSet<String>,
    withdrawals: BTreeSet<String>,
}

/// The demo in motion.
pub struct Drive<'a> {
    node: &'a Node,
    shop: &'a Shop,
    tenant: TenantId,
    agenda: BTreeMap<Timestamp, Moment>,
    first_rows: BTreeSet<u32>,
    customers: BTreeMap<ContactId, u32>,
}

impl<'a> Drive<'a> {
    /// Reads the data and looks where the clock stands: what lies before is done.
    ///
    /// # Errors
    /// The data or the mailbox cannot be read.
    pub async fn new(node: &'a Node, shop: &'a Shop, tenant: TenantId) -> anyhow::Result<Self> {
        let now = node.clock.now();
        let purchases = data::parse(data::PURCHASES)?;
        let mut seen = BTreeSet::new();
        let firsts = purchases.iter().filter(|purchase| seen.insert(purchase.customer));
        let first_rows = firsts.map(|purchase| purchase.row).collect();
        let contact =
            |customer: u32| node.chance.contact(tenant, "user_id", &story::user_id(customer)).0;
        let customers = seen.iter().map(|customer| (contact(*customer), *customer)).collect();
        let mut agenda: BTreeMap<Timestamp, Moment> = BTreeMap::new();
        for purchase in purchases.into_iter().filter(|purchase| purchase.at >= now) {
            agenda.entry(purchase.at).or_default().purchases.push(purchase);
        }
        let mut drive = Self { node, shop, tenant, agenda, first_rows, customers };
        drive.read_letters(Timestamp::EPOCH, now).await?;
        Ok(drive)
    }

    /// Which customer a contact is.
    #[must_use]
    pub fn customer(&self, contact: ContactId) -> Option<u32> {
        self.customers.get(&contact).copied()
    }

    /// Goes on to the end of the data; tells `progress` each moment that it reaches.
    ///
    /// # Errors
    /// The server refuses something, or the store fails.
    pub async fn live_through(
        &mut self,
        mut progress: impl FnMut(Timestamp),
    ) -> anyhow::Result<()> {
        let end = story::end();
        // The stored moment may have been left half done.
        let mut at = self.node.clock.now();
        loop {
            self.live(at).await.with_context(|| format!("at {at} in the demo"))?;
            progress(at);
            let due = self.node.next_due().await?;
            let next = self.agenda.keys().next().copied().into_iter().chain(due).min();
            match next {
                Some(next) if next <= end => at = next.max(at),
                Some(_) | None => break,
            }
        }
        self.node.move_clock(end, false).await
    }

    /// Everything of one moment.
    async fn live(&mut self, at: Timestamp) -> anyhow::Result<()> {
        self.node.move_clock(at, false).await?;
        self.node.settled().await?;
        let moment = self.agenda.remove(&at).unwrap_or_default();
        if !moment.purchases.is_empty() {
            self.buy(&moment.purchases).await?;
            self.node.settled().await?;
        }
        for path in &moment.clicks {
            self.shop.click(path).await?;
        }
        for path in &moment.withdrawals {
            self.shop.one_click(path).await?;
        }
        self.node.settled().await?;
        self.read_letters(at, at + Millis(1)).await
    }

    /// New customers introduce themselves and some consent; then everybody pays.
    async fn buy(&self, purchases: &[Purchase]) -> anyhow::Result<()> {
        let new: Vec<&Purchase> =
            purchases.iter().filter(|purchase| self.first_rows.contains(&purchase.row)).collect();
        if !new.is_empty() {
            self.shop.batch(new.iter().map(|purchase| identify(purchase)).collect()).await?;
        }
        for purchase in new.iter().filter(|purchase| story::consents(purchase.customer)) {
            let contact = self
                .node
                .chance
                .contact(self.tenant, "user_id", &story::user_id(purchase.customer))
                .0;
            let fact = FactRequest {
                kind: FactKind::Given,
                scope: Scope::Topic("conseils".parse()?),
                channel: Channel::Email,
                source: story::SOURCE.to_owned(),
                wording: Some("checkout-box-1".to_owned()),
                address: None,
            };
            self.node.consent.record(self.tenant, contact, vec![fact]).await?;
        }
        self.shop.batch(purchases.iter().map(order).collect()).await
    }

    /// Reads what has arrived since `since` and puts the customers' reactions on the agenda; those
    /// before `from` are done.
    async fn read_letters(&mut self, since: Timestamp, from: Timestamp) -> anyhow::Result<()> {
        let store = self.node.store.for_tenant(self.tenant);
        let mut page = PageRequest::first(LETTERS_PAGE);
        loop {
            let letters = store.mailbox(&page).await?;
            let new: Vec<MailboxRow> =
                letters.items.into_iter().take_while(|row| row.arrived_at >= since).collect();
            let reached_the_old = new.len() < LETTERS_PAGE as usize;
            for row in &new {
                self.react(row, from).await?;
            }
            match letters.next {
                Some(next) if !reached_the_old => page.cursor = Some(next),
                Some(_) | None => return Ok(()),
            }
        }
    }

    /// What one customer will do about one letter, and when.
    async fn react(&mut self, row: &MailboxRow, from: Timestamp) -> anyhow::Result<()> {
        let nudge = NUDGES.contains(&row.template.as_str());
        if !nudge && row.template != THANKS {
            return Ok(());
        }
        let store = self.node.store.for_tenant(self.tenant);
        let Some(message) = store.message(row.message).await? else { return Ok(()) };
        let Some(customer) = self.customer(message.contact) else { return Ok(()) };
        let after =
            if nudge { story::clicks_after(customer) } else { story::withdraws_after(customer) };
        let Some(at) = after.map(|after| row.arrived_at + after).filter(|at| *at >= from) else {
            return Ok(());
        };
        let raw = store.mail(row.message).await?.context("a letter in the list is there")?;
        let links = letters::read(&raw);
        let moment = self.agenda.entry(at).or_default();
        if nudge {
            moment.clicks.extend(links.click);
        } else {
            moment.withdrawals.extend(links.unsubscribe);
        }
        Ok(())
    }
}
