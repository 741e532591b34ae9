//! A moment of a store, read beside the process that has it: what dump and backup write.

use std::{collections::BTreeMap, io::Write};

use parcours_domain::{OrganisationId, TenantId, Timestamp};
use sea_orm::DatabaseTransaction;
use uuid::Uuid;

use super::{
    KeepError, Passphrase, Progress,
    form::{FORMAT, Header, KeptBrand, KeptInstall, KeptKind, MAGIC, Span},
    seal::Sealing,
    write::{self, Task, Which},
};
use crate::{
    error::StoreError,
    migration::{self, partition::UNDATED_BELOW},
    open::Reader,
    side::sql::{Sql, vals},
    store::{StoreConfig, machine_now, product_clock},
};

/// Tables that PostgreSQL partitions by the month in their id.
const BY_MONTH: [&str; 5] = ["consent_fact", "event", "trace", "message", "attempt"];

/// One moment of a store. The store may be in use: nothing waits for this.
pub struct Snapshot {
    reader: Reader,
    tx: DatabaseTransaction,
    product_at: Timestamp,
}

/// A brand in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotBrand {
    /// Its id.
    pub tenant: TenantId,
    /// Who owns it.
    pub organisation: OrganisationId,
    /// The organisation's name.
    pub organisation_name: String,
    /// Its name.
    pub name: String,
    /// Whether its sending is halted.
    pub halted: bool,
    /// Messages past their final commit whose reply is not recorded.
    pub leaving: u64,
}

impl Snapshot {
    /// Takes a moment of the store that `config` names.
    ///
    /// # Errors
    /// It was not made by this version, its root key is missing or wrong, or it cannot be read.
    pub async fn take(config: &StoreConfig) -> Result<Self, KeepError> {
        let reader = Reader::open(config).await?;
        // Before the moment itself, so that nothing in it is later than this says.
        let now = machine_now();
        let clock = product_clock(&reader.on).await?;
        let product_at = clock.map_or(now, |clock| clock.at_machine(now));
        let tx = reader.moment().await?;
        let snapshot = Self { reader, tx, product_at };
        snapshot.install().await?;
        Ok(snapshot)
    }

    /// The brands of this moment, by organisation and name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn brands(&self) -> Result<Vec<SnapshotBrand>, KeepError> {
        let text = "SELECT b.tenant_id, b.organisation_id, o.name AS organisation_name, b.name, \
                    b.halted_at, (SELECT count(*) FROM send_queue q \
                    WHERE q.tenant_id = b.tenant_id AND q.phase = 2) AS leaving \
                    FROM brand b JOIN organisation o ON o.id = b.organisation_id \
                    ORDER BY o.name, b.name, b.tenant_id";
        let rows = Sql::new(text, vec![]).all(&self.tx).await?;
        let brands = rows.iter().map(|row| {
            Ok(SnapshotBrand {
                tenant: row.id("tenant_id")?,
                organisation: row.id("organisation_id")?,
                organisation_name: row.get("organisation_name")?,
                name: row.get("name")?,
                halted: row.time_opt("halted_at")?.is_some(),
                leaving: row.get::<i64>("leaving")?.unsigned_abs(),
            })
        });
        Ok(brands.collect::<Result<_, StoreError>>()?)
    }

    /// Writes one brand. `moved`: its sending was halted for this, before the snapshot was taken,
    /// and is to go on where the file is loaded; `unhalt` says that it was not halted otherwise.
    ///
    /// # Errors
    /// What the database or the file says.
    pub async fn dump(
        &self,
        brand: &SnapshotBrand,
        (moved, unhalt): (bool, bool),
        passphrase: &Passphrase,
        (file, progress): (&mut dyn Write, &mut dyn FnMut(Progress)),
    ) -> Result<BTreeMap<String, u64>, KeepError> {
        let held = "SELECT 1 AS n WHERE EXISTS (SELECT 1 FROM send_queue WHERE tenant_id = $1 \
                    AND phase = 3)";
        if Sql::new(held, vals![brand.tenant.0]).one(&self.tx).await?.is_some() {
            return Err(KeepError::WrongKind(
                "this brand came by a restore and has messages that may have left already; \
                 `parcours sending release` first",
            ));
        }
        let which = Which::Brand(brand.tenant, brand.organisation);
        let brands = std::slice::from_ref(brand);
        self.write((which, brands), (moved, unhalt), passphrase, (file, progress)).await
    }

    /// Writes the whole install.
    ///
    /// # Errors
    /// What the database or the file says.
    pub async fn backup(
        &self,
        passphrase: &Passphrase,
        (file, progress): (&mut dyn Write, &mut dyn FnMut(Progress)),
    ) -> Result<BTreeMap<String, u64>, KeepError> {
        let brands = self.brands().await?;
        let which = (Which::Install, brands.as_slice());
        self.write(which, (false, false), passphrase, (file, progress)).await
    }

    async fn write(
        &self,
        (which, brands): (Which, &[SnapshotBrand]),
        (moved, unhalt): (bool, bool),
        passphrase: &Passphrase,
        (file, progress): (&mut dyn Write, &mut dyn FnMut(Progress)),
    ) -> Result<BTreeMap<String, u64>, KeepError> {
        let (sealing, derivation) = Sealing::fresh(passphrase)?;
        let kept = brands.iter().map(|brand| KeptBrand {
            id: brand.tenant,
            organisation: brand.organisation_name.clone(),
            name: brand.name.clone(),
        });
        let header = Header {
            parcours: MAGIC.to_owned(),
            format: FORMAT,
            kind: match which {
                Which::Brand(..) => KeptKind::Brand,
                Which::Install => KeptKind::Install,
            },
            schema: migration::names(),
            product: env!("CARGO_PKG_VERSION").to_owned(),
            created_at: machine_now(),
            product_at: self.product_at,
            brands: kept.collect(),
            moved,
            install: self.install().await?,
            spans: self.spans(brands).await?,
            passphrase: derivation,
        };
        let root = &self.reader.root;
        let task = Task { tx: &self.tx, root, sealing: &sealing, which, unhalt };
        write::file(&task, &header, file, progress).await
    }

    async fn install(&self) -> Result<KeptInstall, KeepError> {
        let text = "SELECT product_now, product_speed, clock_set_at, halted_at, halt_reason \
                    FROM install WHERE id = 1";
        let row = Sql::new(text, vec![]).one(&self.tx).await?;
        let row = row.ok_or(StoreError::Damaged("install"))?;
        Ok(KeptInstall {
            product_now: row.get("product_now")?,
            product_speed: row.get("product_speed")?,
            clock_set_at: row.get("clock_set_at")?,
            halted_at: row.get("halted_at")?,
            halt_reason: row.get("halt_reason")?,
        })
    }

    /// From when to when each partitioned table has rows.
    async fn spans(&self, brands: &[SnapshotBrand]) -> Result<BTreeMap<String, Span>, KeepError> {
        let mut spans = BTreeMap::new();
        for brand in brands {
            for table in BY_MONTH {
                let (first, last) =
                    (self.end(table, brand, "").await?, self.end(table, brand, " DESC").await?);
                let (Some(first), Some(last)) = (first, last) else { continue };
                let span = spans.entry(table.to_owned()).or_insert(Span::Ids(first, last));
                if let Span::Ids(from, to) = span {
                    (*from, *to) = (first.min(*from), last.max(*to));
                }
            }
            let text = "SELECT min(day) AS first_day, max(day) AS last_day FROM event_key \
                        WHERE tenant_id = $1 AND day >= $2";
            let row = Sql::new(text, vals![brand.tenant.0, UNDATED_BELOW]).one(&self.tx).await?;
            let row = row.ok_or(StoreError::Damaged("event_key"))?;
            let days = row.get::<Option<i64>>("first_day")?.zip(row.get("last_day")?);
            let Some((first, last)) = days else { continue };
            let span = spans.entry("event_key".to_owned()).or_insert(Span::Days(first, last));
            if let Span::Days(from, to) = span {
                (*from, *to) = (first.min(*from), last.max(*to));
            }
        }
        Ok(spans)
    }

    /// Milliseconds of a table's first or last id.
    async fn end(
        &self,
        table: &str,
        brand: &SnapshotBrand,
        order: &str,
    ) -> Result<Option<i64>, StoreError> {
        let text =
            format!("SELECT id FROM {table} WHERE tenant_id = $1 ORDER BY id{order} LIMIT 1");
        let row = Sql::new(&text, vals![brand.tenant.0]).one(&self.tx).await?;
        row.map(|row| row.get::<Uuid>("id").map(millis_of)).transpose()
    }
}

/// The 48 time bits of a v7 id (RFC 9562, section 5.7).
fn millis_of(id: Uuid) -> i64 {
    i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX)
}
