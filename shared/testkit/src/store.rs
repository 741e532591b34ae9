//! Throw-away stores on either backend, and brands and contacts to put into them.
//!
//! What always holds: a place outlives the stores opened in it, so a test can close, kill and
//! open again; nothing is left behind.

use std::ops::Deref;

use anyhow::Result;
use parcours_domain::{ContactId, Handle, TenantId, Timestamp, hash::sha256_head};
use parcours_store::{
    Backend, IdentityQuery, Resolution, RootKeySource, Store, StoreConfig, TenantStore,
};

use crate::pg::TempDatabase;

/// The root key of every throw-away store.
pub const ROOT_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

enum Ground {
    Sqlite(tempfile::TempDir),
    Postgres(Box<TempDatabase>),
}

/// Where a store lives; may be opened again and again.
pub struct TempPlace {
    ground: Ground,
}

impl TempPlace {
    /// An empty place.
    ///
    /// # Errors
    /// When there is no room or no server.
    pub async fn new(backend: Backend) -> Result<Self> {
        let ground = match backend {
            Backend::Sqlite => Ground::Sqlite(tempfile::tempdir()?),
            Backend::Postgres => Ground::Postgres(Box::new(TempDatabase::new().await?)),
        };
        Ok(Self { ground })
    }

    /// The URL for [`StoreConfig`].
    #[must_use]
    pub fn url(&self) -> String {
        match &self.ground {
            Ground::Sqlite(dir) => format!("sqlite:{}", dir.path().join("parcours.db").display()),
            Ground::Postgres(database) => database.url().to_owned(),
        }
    }

    /// A worker's configuration: 16 shards, two lanes, [`ROOT_KEY`].
    #[must_use]
    pub fn config(&self) -> StoreConfig {
        let root_key = RootKeySource::Hex(ROOT_KEY.to_owned());
        StoreConfig { shards: 16, ..StoreConfig::new(self.url(), root_key) }
    }

    /// The database, when it is one of PostgreSQL's.
    #[must_use]
    pub fn database(&self) -> Option<&TempDatabase> {
        match &self.ground {
            Ground::Sqlite(_) => None,
            Ground::Postgres(database) => Some(database),
        }
    }

    /// The directory of a SQLite file.
    #[must_use]
    pub fn directory(&self) -> Option<&std::path::Path> {
        match &self.ground {
            Ground::Sqlite(dir) => Some(dir.path()),
            Ground::Postgres(_) => None,
        }
    }
}

/// An open store and the place it lives in.
pub struct TempStore {
    /// The store; drop or close it before opening the place again.
    pub store: Store,
    /// Its place.
    pub place: TempPlace,
}

impl Deref for TempStore {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

/// A fresh store with the worker role.
///
/// # Errors
/// When it cannot be made.
pub async fn temp_store(backend: Backend) -> Result<TempStore> {
    let place = TempPlace::new(backend).await?;
    let store = Store::open(place.config()).await?;
    Ok(TempStore { store, place })
}

/// A brand of this name, in an organisation of its own.
///
/// # Errors
/// What the store says.
pub async fn temp_brand(store: &Store, name: &str) -> Result<TenantId> {
    let at = Timestamp::from_millis(1_700_000_000_000);
    Ok(store.admin().create_brand(&format!("{name} SA"), name, at).await?)
}

/// Ids and handles that follow from the identity: for tests that repeat.
#[must_use]
pub fn derived(kind: &str, value: &str) -> (ContactId, Handle) {
    let id = sha256_head::<16>(&[b"contact", kind.as_bytes(), value.as_bytes()]);
    let handle = sha256_head::<16>(&[b"handle", kind.as_bytes(), value.as_bytes()]);
    (ContactId(uuid::Builder::from_custom_bytes(id).into_uuid()), Handle(handle))
}

/// The contact of this userId, made if there is none.
///
/// # Errors
/// What the store says.
pub async fn temp_contact(brand: &TenantStore, user_id: &str) -> Result<ContactId> {
    let query = IdentityQuery { user_id: Some(user_id.to_owned()), ..IdentityQuery::default() };
    let tenant = brand.tenant();
    // Ids of two brands differ although the userId is the same.
    let chance = move |kind: &str, value: &str| derived(kind, &format!("{tenant} {value}"));
    let at = Timestamp::from_millis(1_700_000_000_000);
    let resolved = brand.resolve(&[query], &chance, at).await?;
    match resolved.first().map(|one| &one.contact) {
        Some(Resolution::Contact(contact)) => Ok(*contact),
        other => anyhow::bail!("no contact: {other:?}"),
    }
}

/// Stamps each check onto both backends: `on_both_backends!(name)` makes the tests
/// `name::sqlite` and `name::postgres` out of `async fn name(backend: Backend)` in the module
/// `checks`; `on_both_backends!(here: name)` out of the one beside it.
#[macro_export]
macro_rules! on_both_backends {
    (here: $($name:ident),* $(,)?) => {
        $( $crate::on_both_backends!(@ $name, super::$name); )*
    };
    (@ $name:ident, $check:path) => {
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                $check(parcours_store::Backend::Sqlite).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                $check(parcours_store::Backend::Postgres).await;
            }
        }
    };
    ($($name:ident),* $(,)?) => {
        $( $crate::on_both_backends!(@ $name, super::checks::$name); )*
    };
}
