//! Organisations and brands.
//!
//! What always holds: creating by name is idempotent; a brand is made together with its keys.

use parcours_domain::{OrganisationId, TenantId, Timestamp};
use sea_orm::ConnectionTrait;
use serde::Serialize;
use uuid::Uuid;

use super::{
    AdminDoor,
    sql::{Row, Sql, ms, vals},
};
use crate::{error::StoreError, wall::Role};

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrganisationRow {
    /// Its id.
    pub id: OrganisationId,
    /// Its name, unique in the install.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A brand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrandRow {
    /// Its id.
    pub tenant: TenantId,
    /// Whose it is.
    pub organisation: OrganisationId,
    /// The organisation's name.
    pub organisation_name: String,
    /// Its name, unique in the organisation.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its sending was halted, if it is.
    pub halted_at: Option<Timestamp>,
    /// Why.
    pub halt_reason: Option<String>,
    /// Moves with every change of what its verdicts rest on.
    pub consent_version: i64,
}

const BRANDS: &str = "SELECT b.tenant_id, b.organisation_id, o.name AS organisation_name, b.name, \
     b.created_at, b.halted_at, b.halt_reason, b.consent_version FROM brand b \
     JOIN organisation o ON o.id = b.organisation_id";

impl AdminDoor {
    /// The organisation of this name, made if there is none.
    ///
    /// # Errors
    /// What the database says.
    pub async fn create_organisation(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<OrganisationId, StoreError> {
        let tx = self.db().begin(Role::Control).await?;
        let id = organisation_in(&tx, name, now).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// The brand of this name in this organisation; both made if there is none, the brand with
    /// its keys.
    ///
    /// # Errors
    /// What the database says.
    pub async fn create_brand(
        &self,
        organisation: &str,
        brand: &str,
        now: Timestamp,
    ) -> Result<TenantId, StoreError> {
        let tx = self.db().begin(Role::Control).await?;
        let organisation = organisation_in(&tx, organisation, now).await?;
        let tenant = TenantId(Uuid::new_v4());
        let made = Sql::new(
            "INSERT INTO brand (tenant_id, organisation_id, name, created_at, consent_version) \
             VALUES ($1, $2, $3, $4, 1) ON CONFLICT (organisation_id, name) DO NOTHING",
            vals![tenant.0, organisation.0, brand, ms(now)],
        )
        .run(&tx)
        .await?;
        let row = Sql::new(
            "SELECT tenant_id FROM brand WHERE organisation_id = $1 AND name = $2",
            vals![organisation.0, brand],
        )
        .one(&tx)
        .await?
        .ok_or(StoreError::Conflict)?;
        if made > 0 {
            self.store.create_keys(&tx, tenant, now).await?;
        }
        tx.commit().await?;
        row.id("tenant_id")
    }

    /// All organisations, by name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn organisations(&self) -> Result<Vec<OrganisationRow>, StoreError> {
        let rows =
            Sql::new("SELECT id, name, created_at FROM organisation ORDER BY name, id", vec![])
                .all(&self.db().read(Role::Control))
                .await?;
        rows.iter()
            .map(|row| {
                Ok(OrganisationRow {
                    id: row.id("id")?,
                    name: row.get("name")?,
                    created_at: row.time("created_at")?,
                })
            })
            .collect()
    }

    /// All brands (of one organisation), by organisation and name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn brands(
        &self,
        organisation: Option<OrganisationId>,
    ) -> Result<Vec<BrandRow>, StoreError> {
        let mut sql = Sql::new(BRANDS, vec![]);
        if let Some(organisation) = organisation {
            sql = sql.text(" WHERE b.organisation_id = ").arg(organisation.0);
        }
        let rows = sql
            .text(" ORDER BY o.name, b.name, b.tenant_id")
            .all(&self.db().read(Role::Control))
            .await?;
        rows.iter().map(brand_from).collect()
    }

    /// One brand.
    ///
    /// # Errors
    /// What the database says.
    pub async fn brand(&self, tenant: TenantId) -> Result<Option<BrandRow>, StoreError> {
        let row = Sql::new(BRANDS, vec![])
            .text(" WHERE b.tenant_id = ")
            .arg(tenant.0)
            .one(&self.db().read(Role::Control))
            .await?;
        row.as_ref().map(brand_from).transpose()
    }

    /// Halts a brand's sending; whether there is such a brand.
    ///
    /// # Errors
    /// What the database says.
    pub async fn halt_brand(
        &self,
        tenant: TenantId,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let touched = self
            .change(
                Role::Control,
                Sql::new(
                    "UPDATE brand SET halted_at = coalesce(halted_at, $2), halt_reason = $3 \
                 WHERE tenant_id = $1",
                    vals![tenant.0, ms(now), reason],
                ),
            )
            .await?;
        Ok(touched > 0)
    }

    /// Lets a brand send again; whether there is such a brand.
    ///
    /// # Errors
    /// What the database says.
    pub async fn unhalt_brand(&self, tenant: TenantId) -> Result<bool, StoreError> {
        let touched = self
            .change(
                Role::Control,
                Sql::new(
                    "UPDATE brand SET halted_at = NULL, halt_reason = NULL WHERE tenant_id = $1",
                    vals![tenant.0],
                ),
            )
            .await?;
        Ok(touched > 0)
    }
}

async fn organisation_in(
    tx: &impl ConnectionTrait,
    name: &str,
    now: Timestamp,
) -> Result<OrganisationId, StoreError> {
    Sql::new(
        "INSERT INTO organisation (id, name, created_at) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO NOTHING",
        vals![Uuid::new_v4(), name, ms(now)],
    )
    .run(tx)
    .await?;
    let row = Sql::new("SELECT id FROM organisation WHERE name = $1", vals![name]).one(tx).await?;
    row.ok_or(StoreError::Conflict)?.id("id")
}

fn brand_from(row: &Row) -> Result<BrandRow, StoreError> {
    Ok(BrandRow {
        tenant: row.id("tenant_id")?,
        organisation: row.id("organisation_id")?,
        organisation_name: row.get("organisation_name")?,
        name: row.get("name")?,
        created_at: row.time("created_at")?,
        halted_at: row.time_opt("halted_at")?,
        halt_reason: row.get("halt_reason")?,
        consent_version: row.get("consent_version")?,
    })
}
