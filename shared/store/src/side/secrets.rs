//! A brand's secrets: passwords and private keys that documents name and never hold.
//!
//! What always holds: a secret is sealed under the brand's key and its own name; listings show
//! names and versions; only delivery opens one.

use parcours_domain::{Name, TenantId, Timestamp};
use zeroize::Zeroizing;

use super::sql::{Sql, ms, vals};
use crate::{TenantStore, error::StoreError};

/// The most bytes of a secret.
pub(crate) const SECRET_BYTES_MAX: usize = 64 * 1024;

fn aad(tenant: TenantId, name: &Name) -> Vec<u8> {
    [b"secret:".as_slice(), &tenant.bytes(), name.as_str().as_bytes()].concat()
}

impl TenantStore {
    /// Stores or replaces a secret; its version.
    ///
    /// # Errors
    /// `Refused` beyond 64 kB; otherwise what the database says.
    pub async fn put_secret(
        &self,
        name: &Name,
        plain: &[u8],
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let tenant = self.tenant();
        let sealed = self.sealed(name, plain).await?;
        let tx = self.begin().await?;
        let row = Sql::new(
            "INSERT INTO secret (tenant_id, name, version, ciphertext, created_at) \
             VALUES ($1, $2, 1, $3, $4) ON CONFLICT (tenant_id, name) DO UPDATE SET \
             version = secret.version + 1, ciphertext = excluded.ciphertext, \
             created_at = excluded.created_at RETURNING version",
            vals![tenant.0, name.as_str(), sealed, ms(now)],
        )
        .one(&tx)
        .await?
        .ok_or(StoreError::Conflict)?;
        let version = row.get("version")?;
        tx.commit().await?;
        Ok(version)
    }

    /// Stores a secret unless there is one of this name: its version, or none when there is. Of
    /// two at once one is stored.
    ///
    /// # Errors
    /// As [`TenantStore::put_secret`].
    pub async fn create_secret(
        &self,
        name: &Name,
        plain: &[u8],
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        let tenant = self.tenant();
        let sealed = self.sealed(name, plain).await?;
        let tx = self.begin().await?;
        let made = Sql::new(
            "INSERT INTO secret (tenant_id, name, version, ciphertext, created_at) \
             VALUES ($1, $2, 1, $3, $4) ON CONFLICT (tenant_id, name) DO NOTHING",
            vals![tenant.0, name.as_str(), sealed, ms(now)],
        )
        .run(&tx)
        .await?;
        tx.commit().await?;
        Ok((made > 0).then_some(1))
    }

    async fn sealed(&self, name: &Name, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        if plain.len() > SECRET_BYTES_MAX {
            return Err(StoreError::Refused {
                code: "54000".to_owned(),
                on: Some("secret".to_owned()),
                unique: false,
            });
        }
        self.keys().await?.secret.seal(&aad(self.tenant(), name), plain)
    }

    /// The secret's bytes and version; none when there is no such secret.
    ///
    /// # Errors
    /// What the database says, or `Key` when it does not open.
    pub async fn open_secret(
        &self,
        name: &Name,
    ) -> Result<Option<(Zeroizing<Vec<u8>>, i64)>, StoreError> {
        let tenant = self.tenant();
        let row = Sql::new(
            "SELECT version, ciphertext FROM secret WHERE tenant_id = $1 AND name = $2",
            vals![tenant.0, name.as_str()],
        )
        .one(&self.read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let sealed: Vec<u8> = row.get("ciphertext")?;
        let plain = self.keys().await?.secret.open(&aad(tenant, name), &sealed)?;
        Ok(Some((Zeroizing::new(plain), row.get("version")?)))
    }

    /// Names and versions of all secrets, by name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn secret_names(&self) -> Result<Vec<(Name, i64)>, StoreError> {
        let rows = Sql::new(
            "SELECT name, version FROM secret WHERE tenant_id = $1 ORDER BY name",
            vals![self.tenant().0],
        )
        .all(&self.read())
        .await?;
        rows.iter()
            .map(|row| Ok((row.word("name", |text| text.parse().ok())?, row.get("version")?)))
            .collect()
    }

    /// Deletes a secret; whether there was one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delete_secret(&self, name: &Name) -> Result<bool, StoreError> {
        let tx = self.begin().await?;
        let touched = Sql::new(
            "DELETE FROM secret WHERE tenant_id = $1 AND name = $2",
            vals![self.tenant().0, name.as_str()],
        )
        .run(&tx)
        .await?;
        tx.commit().await?;
        Ok(touched > 0)
    }
}
