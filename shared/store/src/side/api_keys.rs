//! API keys: a prefix to find the row by, 256 random bits, stored as a hash.
//!
//! What always holds: the secret is shown once, when it is made; a look-up compares hashes in
//! constant time; a revoked or expired key opens nothing.

use std::{collections::BTreeSet, fmt};

use data_encoding::BASE32_NOPAD;
use parcours_domain::{KeyId, OrganisationId, TenantId, Timestamp, hash::sha256};
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::{
    AdminDoor,
    sql::{ROWS_MAX, Row, Sql, bytes, ms, ms_opt, random, vals},
};
use crate::{error::StoreError, wall::Role};

/// Characters of the prefix between the kind and the secret.
const PREFIX_LEN: usize = 8;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Send events.
    Ingest,
    /// Read.
    Read,
    /// Publish, send by API, change contacts.
    Manage,
    /// Publish what sends without consent, make keys, halt.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Read, Self::Manage, Self::Admin];

    /// The stored and shown word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Manage => "manage",
            Self::Admin => "admin",
        }
    }
    /// From the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// Whether a key may be seen by visitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// In a web page: anonymous events only.
    Public,
    /// On a server.
    Secret,
}

impl KeyKind {
    /// The stored and shown word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Secret => "secret",
        }
    }
    /// From the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "public" => Some(Self::Public),
            "secret" => Some(Self::Secret),
            _ => None,
        }
    }
}

/// A key to make. Neither organisation nor tenant: a key of the install.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// Reaches all brands of this organisation.
    pub organisation: Option<OrganisationId>,
    /// Reaches this brand.
    pub tenant: Option<TenantId>,
    /// Public or secret.
    pub kind: KeyKind,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// What people call it.
    pub label: String,
    /// From when on it opens nothing.
    pub expires_at: Option<Timestamp>,
}

/// A key as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// Its organisation, when it reaches all brands of one.
    pub organisation: Option<OrganisationId>,
    /// Its brand, when it reaches one.
    pub tenant: Option<TenantId>,
    /// The first characters of the key, to recognise it by.
    pub prefix: String,
    /// Public or secret.
    pub kind: KeyKind,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// What people call it.
    pub label: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it opens nothing.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// The key itself, shown once; never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct NewKeySecret(String);

impl NewKeySecret {
    /// The text to hand to the key's owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}
impl fmt::Debug for NewKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<key>")
    }
}

const COLUMNS: &str = "SELECT id, organisation_id, tenant_id, prefix, hash, kind, scopes, label, \
     created_at, expires_at, revoked_at, last_used_at FROM api_key";

impl AdminDoor {
    /// Makes a key; its text is in the answer and nowhere else.
    ///
    /// # Errors
    /// What the database says.
    pub async fn create_key(
        &self,
        new: &NewApiKey,
        now: Timestamp,
    ) -> Result<(ApiKey, NewKeySecret), StoreError> {
        let start = match new.kind {
            KeyKind::Public => "pk_",
            KeyKind::Secret => "sk_",
        };
        let head = BASE32_NOPAD.encode(&random::<5>()?).to_lowercase();
        let prefix = format!("{start}{head}");
        let body = BASE32_NOPAD.encode(&random::<32>()?).to_lowercase();
        let secret = NewKeySecret(format!("{prefix}_{body}"));
        let key = ApiKey {
            id: KeyId(Uuid::new_v4()),
            organisation: new.organisation,
            tenant: new.tenant,
            prefix,
            kind: new.kind,
            scopes: new.scopes.clone(),
            label: new.label.clone(),
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let values = vals![
            key.id.0,
            key.organisation.map(Uuid::from),
            key.tenant.map(Uuid::from),
            key.prefix.clone(),
            bytes(&hash_of(secret.expose())),
            key.kind.as_str(),
            scopes.join(","),
            key.label.clone(),
            ms(now),
            ms_opt(key.expires_at)
        ];
        self.change(
            Role::Control,
            Sql::new(
                "INSERT INTO api_key (id, organisation_id, tenant_id, prefix, hash, kind, scopes, \
             label, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                values,
            ),
        )
        .await?;
        Ok((key, secret))
    }

    /// The live key with this text, if there is one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn authenticate(
        &self,
        text: &str,
        now: Timestamp,
    ) -> Result<Option<ApiKey>, StoreError> {
        let prefix_len = 3 + PREFIX_LEN;
        let Some(prefix) = text.get(..prefix_len).filter(|_| text.len() < 200) else {
            return Ok(None);
        };
        let row = Sql::new(COLUMNS, vec![])
            .text(" WHERE prefix = ")
            .arg(prefix)
            .one(&self.db().read(Role::Control))
            .await?;
        let Some(row) = row else { return Ok(None) };
        let stored: [u8; 32] = row.bytes("hash")?;
        if !bool::from(stored.ct_eq(&hash_of(text))) {
            return Ok(None);
        }
        let key = key_from(&row)?;
        let live = key.revoked_at.is_none() && key.expires_at.is_none_or(|end| now < end);
        Ok(Some(key).filter(|_| live))
    }

    /// All keys of an organisation, of a brand, or (neither) of the whole install, oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn api_keys(
        &self,
        organisation: Option<OrganisationId>,
        tenant: Option<TenantId>,
    ) -> Result<Vec<ApiKey>, StoreError> {
        let mut sql = Sql::new(COLUMNS, vec![]).text(" WHERE 1 = 1");
        if let Some(organisation) = organisation {
            sql = sql.text(" AND organisation_id = ").arg(organisation.0);
        }
        if let Some(tenant) = tenant {
            sql = sql.text(" AND tenant_id = ").arg(tenant.0);
        }
        let rows = sql.text(" ORDER BY created_at, id").all(&self.db().read(Role::Control)).await?;
        rows.iter().map(key_from).collect()
    }

    /// Notes when keys were last used (machine time); a later use that is stored stays.
    ///
    /// # Errors
    /// What the database says.
    pub async fn keys_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        for chunk in uses.chunks(ROWS_MAX) {
            let Some(latest) = chunk.iter().map(|(_, at)| *at).max() else { continue };
            let sql = Sql::default()
                .text("UPDATE api_key SET last_used_at = ")
                .arg(ms(latest))
                .text(" WHERE coalesce(last_used_at, 0) < ")
                .arg(ms(latest))
                .text(" AND id IN ")
                .list(chunk.iter().map(|(id, _)| id.0.into()));
            self.change(Role::Control, sql).await?;
        }
        Ok(())
    }

    /// Revokes a key; whether there is such a key. The first moment stays.
    ///
    /// # Errors
    /// What the database says.
    pub async fn revoke_key(&self, id: KeyId, now: Timestamp) -> Result<bool, StoreError> {
        let touched = self
            .change(
                Role::Control,
                Sql::new(
                    "UPDATE api_key SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1",
                    vals![id.0, ms(now)],
                ),
            )
            .await?;
        Ok(touched > 0)
    }
}

fn hash_of(text: &str) -> [u8; 32] {
    sha256(&[b"api key", text.as_bytes()])
}

fn key_from(row: &Row) -> Result<ApiKey, StoreError> {
    let scopes: String = row.get("scopes")?;
    Ok(ApiKey {
        id: row.id("id")?,
        organisation: row.id_opt("organisation_id")?,
        tenant: row.id_opt("tenant_id")?,
        prefix: row.get("prefix")?,
        kind: row.word("kind", KeyKind::parse)?,
        scopes: scopes.split(',').filter_map(Scope::parse).collect(),
        label: row.get("label")?,
        created_at: row.time("created_at")?,
        expires_at: row.time_opt("expires_at")?,
        revoked_at: row.time_opt("revoked_at")?,
        last_used_at: row.time_opt("last_used_at")?,
    })
}
