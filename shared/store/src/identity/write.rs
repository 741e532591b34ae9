//! Reading what is known, and writing a plan in one transaction.
//!
//! What always holds: on PostgreSQL the contacts that a plan touches are locked and read again
//! before it is made, so no second userId can attach to one meanwhile; an identity that another
//! transaction inserted first rolls everything back, and the caller starts over.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

use parcours_domain::{ContactId, Handle, Timestamp, hash::sha256_head, shard_of};
use sea_orm::ConnectionTrait;

use super::{
    Asked, Key, Kind, Known, Resolved,
    plan::{self, Plan},
    room::MayMake,
};
use crate::{
    db::{Insert, Tx, in_rows, looked_up, with_rows},
    error::StoreError,
    keys::TenantKeys,
    side::{
        inbox::{self, AbsorbRef, InboxWrite},
        sql::{Sql, damaged, ms, vals},
    },
    store::TenantStore,
};

/// A look-up for each row: by the key whatever the planner believes of the table's size.
const POINTS_AT: (&str, &str) = (
    "WITH v (v_tenant, v_kind, v_hmac) AS (VALUES ",
    ") SELECT v_kind AS kind, v_hmac AS value_hmac, (SELECT i.contact_id FROM identity i \
     WHERE i.tenant_id = v_tenant AND i.kind = v_kind AND i.value_hmac = v_hmac) AS contact_id \
     FROM v",
);

impl TenantStore {
    /// Which contacts these identities point at. An absorption re-points its identities in its own
    /// commit; whoever reads just before is told by the contact that it has become another.
    pub(super) async fn known(
        &self,
        on: &impl ConnectionTrait,
        asked: &[Asked],
    ) -> Result<Known, StoreError> {
        let keys: BTreeSet<&Key> = asked.iter().flat_map(|one| &one.keys).collect();
        let tenant = self.tenant.0;
        let rows = keys.iter().map(|(kind, hmac)| vals![tenant, kind.as_str(), hmac.to_vec()]);
        let found = with_rows(on, POINTS_AT, rows.collect()).await?;
        let mut known = Known::default();
        let mut contacts = BTreeSet::new();
        for row in found {
            let Some(contact) = row.id_opt::<ContactId>("contact_id")? else { continue };
            let kind = row.word("kind", Kind::parse)?;
            known.contacts.insert((kind, row.bytes("value_hmac")?), contact);
            contacts.insert(contact);
        }
        // Who is anonymous matters only when an item names a person in several ways.
        if asked.iter().any(|one| one.keys.len() > 1) {
            let rows = contacts.iter().map(|contact| vals![tenant, contact.0]).collect();
            let strong = "SELECT contact_id, kind FROM identity WHERE kind <> 'anonymous_id'";
            for row in looked_up(on, strong, &["tenant_id", "contact_id"], rows).await? {
                let kind = row.word("kind", Kind::parse)?;
                known.strong.entry(row.id("contact_id")?).or_default().push(kind);
            }
        }
        Ok(known)
    }

    /// Makes the plan under locks and writes it; nothing when a race was lost.
    pub(super) async fn write(
        &self,
        asked: &[Asked],
        chance: &(dyn Fn(&str, &str) -> (ContactId, Handle) + Sync),
        now: Timestamp,
        quota: Option<u32>,
    ) -> Result<Option<Vec<Resolved>>, StoreError> {
        let tx = self.begin().await?;
        let mut known = self.known(&tx, asked).await?;
        if tx.is_postgres() && !known.contacts.is_empty() {
            let locked = self.lock_contacts(&tx, &known).await?;
            known = self.known(&tx, asked).await?;
            if !known.contacts.values().all(|contact| locked.contains(contact)) {
                tx.rollback().await;
                return Ok(None);
            }
        }
        known.pending = self.pending(&tx, &known).await?;
        let mut plan = plan::make(asked, known.clone(), chance, u32::MAX);
        let made = u32::try_from(plan.contacts.len()).unwrap_or(u32::MAX);
        let room = self.room(&tx, quota, made).await?;
        if room < made {
            plan = plan::make(asked, known, chance, room);
        }
        if !self.attach(&tx, &plan, now).await? {
            tx.rollback().await;
            return Ok(None);
        }
        self.make_contacts(&tx, &plan, now).await?;
        self.absorb(&tx, &plan, now).await?;
        self.record_differences(&tx, &plan, now).await?;
        self.store.inner.faults.commit(tx).await?;
        Ok(Some(plan.resolved))
    }

    /// How many of so many new contacts may be made.
    async fn room(&self, tx: &Tx, quota: Option<u32>, want: u32) -> Result<u32, StoreError> {
        let Some(quota) = quota.filter(|_| want > 0) else { return Ok(want) };
        let (rooms, now) = (&self.store.inner.rooms, Instant::now());
        match rooms.take(self.tenant, quota, want, now) {
            MayMake::Yes => Ok(want),
            MayMake::None => Ok(0),
            MayMake::Count => {
                let text = "SELECT count(*) AS n FROM contact WHERE tenant_id = $1";
                let row = Sql::new(text, vals![self.tenant.0]).one(tx).await?;
                let count = row.map_or(Ok(0), |row| row.get::<i64>("n"))?;
                let count = u64::try_from(count).map_err(|_| damaged("count"))?;
                Ok(rooms.counted((self.tenant, quota), count, want, now))
            }
        }
    }

    /// Which of the known contacts are about to be absorbed, and by whom.
    async fn pending(
        &self,
        tx: &Tx,
        known: &Known,
    ) -> Result<HashMap<ContactId, ContactId>, StoreError> {
        let contacts: BTreeSet<ContactId> = known.contacts.values().copied().collect();
        let rows = contacts.iter().map(|contact| vals![self.tenant.0, contact.0]).collect();
        let absorbs = "SELECT contact_id, ref FROM inbox WHERE kind = 'absorb'";
        let rows = looked_up(tx, absorbs, &["tenant_id", "contact_id"], rows).await?;
        let pending = rows.iter().map(|row| {
            let into: AbsorbRef = serde_json::from_str(&row.get::<String>("ref")?)
                .map_err(|_| damaged("inbox.ref"))?;
            Ok((row.id("contact_id")?, into.into))
        });
        pending.collect()
    }

    async fn lock_contacts(
        &self,
        tx: &Tx,
        known: &Known,
    ) -> Result<BTreeSet<ContactId>, StoreError> {
        let contacts: BTreeSet<ContactId> = known.contacts.values().copied().collect();
        let tenant = self.tenant.0;
        let keys = contacts.iter().map(|contact| vals![tenant, contact.0]);
        let sql = Sql::default().text("SELECT id FROM contact WHERE (tenant_id, id) IN ");
        in_rows(sql, keys).text(" ORDER BY id").lock(tx, "FOR NO KEY UPDATE").all(tx).await?;
        Ok(contacts)
    }

    /// Whether every identity was free.
    async fn attach(&self, tx: &Tx, plan: &Plan, now: Timestamp) -> Result<bool, StoreError> {
        // Sorted, so that two transactions never wait for each other.
        let attach: BTreeMap<Key, ContactId> = plan.attach.iter().copied().collect();
        let wanted = attach.len();
        let rows = attach.into_iter().map(|((kind, hmac), contact)| {
            let version = TenantKeys::VERSION;
            vals![self.tenant.0, kind.as_str(), hmac.to_vec(), version, contact.0, ms(now)]
        });
        let columns =
            ["tenant_id", "kind", "value_hmac", "key_version", "contact_id", "created_at"];
        let made = Insert::new("identity", &columns)
            .suffix("ON CONFLICT DO NOTHING")
            .run(tx, rows.collect())
            .await?;
        Ok(usize::try_from(made) == Ok(wanted))
    }

    async fn make_contacts(&self, tx: &Tx, plan: &Plan, now: Timestamp) -> Result<(), StoreError> {
        let shards = self.store.shards();
        let rows = plan.contacts.iter().map(|(contact, handle)| {
            let shard = i64::from(shard_of(*contact, shards));
            vals![self.tenant.0, contact.0, shard, handle.0.to_vec(), ms(now)]
        });
        Insert::new("contact", &["tenant_id", "id", "shard", "handle", "created_at"])
            .suffix("ON CONFLICT DO NOTHING")
            .run(tx, rows.collect())
            .await
            .map(|_| ())
    }

    /// Tells each absorbed contact, by a row in its inbox, what it becomes.
    async fn absorb(&self, tx: &Tx, plan: &Plan, now: Timestamp) -> Result<(), StoreError> {
        let pairs: BTreeSet<_> = plan.absorb.iter().copied().collect();
        let rows = pairs.into_iter().map(|(from, into)| InboxWrite {
            tenant: self.tenant,
            contact: from,
            source: sha256_head(&[b"absorb", &from.bytes(), &into.bytes()]),
            kind: "absorb",
            reference: inbox::json(&AbsorbRef { into }),
            body: None,
        });
        inbox::write(tx, self.store.shards(), rows.collect(), now).await
    }

    /// Records, once for each pair, that two known contacts were named together.
    async fn record_differences(
        &self,
        tx: &Tx,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let pairs: BTreeSet<_> = plan.differ.iter().copied().collect();
        let mut rows = Vec::new();
        for (taken, other) in pairs {
            let id = sha256_head::<16>(&[b"differ", &taken.bytes(), &other.bytes()]);
            let id = uuid::Builder::from_custom_bytes(id).into_uuid();
            let payload =
                serde_json::to_vec(&serde_json::json!({ "contact": taken, "other": other }));
            rows.push(vals![
                self.tenant.0,
                id,
                taken.0,
                "ingest",
                "known_contacts_differ",
                "identities of two known contacts came in one item; they were not merged",
                payload.map_err(|_| damaged("quarantine.payload"))?,
                ms(now)
            ]);
        }
        let columns =
            ["tenant_id", "id", "contact_id", "origin", "code", "detail", "payload", "created_at"];
        let insert = Insert::new("quarantine", &columns).suffix("ON CONFLICT DO NOTHING");
        insert.run(tx, rows).await.map(|_| ())
    }
}
