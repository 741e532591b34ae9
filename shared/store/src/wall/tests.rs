//! The doors themselves, on few connections: whatever a statement asks for, it sees the rows of
//! those it was begun for.

use std::{collections::BTreeSet, str::FromStr as _};

use parcours_domain::TenantId;
use parcours_testkit::pg::TempDatabase;
use sea_orm::SqlxPostgresConnector;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use super::{Door, Role};
use crate::{
    RootKeySource, Store, StoreConfig,
    db::{Backend, Db},
    error::StoreError,
    side::sql::{Sql, vals},
};

const ONE: TenantId = TenantId(Uuid::from_u128(1));
const TWO: TenantId = TenantId(Uuid::from_u128(2));

/// Two brands with a contact each, and three connections.
async fn ground() -> (TempDatabase, Db, PgPool) {
    let database = TempDatabase::new().await.unwrap();
    let key = RootKeySource::Hex("5".repeat(64));
    let config = StoreConfig { worker_role: false, ..StoreConfig::new(database.url(), key) };
    Store::open(config).await.unwrap().close().await;
    let options = PgConnectOptions::from_str(database.url()).unwrap();
    let options = options.options([("role", Role::Brands.name())]);
    let pool = PgPoolOptions::new().max_connections(3).connect_with(options).await.unwrap();
    let connection = SqlxPostgresConnector::from_sqlx_postgres_pool(pool.clone());
    let db = Db::new(Backend::Postgres, connection.clone(), connection);
    for tenant in [ONE, TWO] {
        let tx = db.begin(tenant).await.unwrap();
        add(tenant, 0).run(&tx).await.unwrap();
        tx.commit().await.unwrap();
    }
    (database, db, pool)
}

fn add(tenant: TenantId, number: u128) -> Sql {
    Sql::new(
        "INSERT INTO contact (tenant_id, id, shard, handle, created_at) VALUES ($1, $2, 0, '', 0)",
        vals![tenant.0, Uuid::from_u128(number)],
    )
}

/// Without a word about brands: only the wall keeps them apart.
async fn seen(on: &impl sea_orm::ConnectionTrait) -> Result<BTreeSet<TenantId>, StoreError> {
    let rows = Sql::new("SELECT tenant_id FROM contact", vec![]).all(on).await?;
    rows.iter().map(|row| row.id("tenant_id")).collect()
}

/// One request: a read, several reads, a commit, a rollback, a dropped or a refused transaction.
async fn request(db: &Db, number: usize) {
    let (mine, other) = if number.is_multiple_of(2) { (ONE, TWO) } else { (TWO, ONE) };
    let only = BTreeSet::from([mine]);
    match number % 7 {
        0 => assert_eq!(seen(&db.read(mine)).await.unwrap(), only),
        1 => {
            let look = db.look(mine).await.unwrap();
            assert_eq!(seen(&look).await.unwrap(), only);
            assert_eq!(seen(&look).await.unwrap(), only);
            look.end().await.unwrap();
        }
        2 => {
            let tx = db.begin(mine).await.unwrap();
            let bump = "UPDATE contact SET created_at = created_at + 1";
            assert_eq!(Sql::new(bump, vec![]).run(&tx).await.unwrap(), 1);
            tx.commit().await.unwrap();
        }
        3 => drop(db.begin(mine).await.unwrap()),
        4 => {
            let tx = db.begin(mine).await.unwrap();
            let walled = add(other, number as u128 + 1).run(&tx).await;
            assert!(matches!(walled, Err(StoreError::Walled)), "{walled:?}");
            tx.rollback().await;
        }
        5 => {
            let mut tx = db.begin(Role::Sweep).await.unwrap();
            let rows = Sql::new("SELECT tenant_id FROM contact", vec![]).all(&tx).await.unwrap();
            assert_eq!(rows.len(), 2, "a door across brands");
            tx.turn(mine).await.unwrap();
            assert_eq!(seen(&tx).await.unwrap(), only, "and on as one of them");
            tx.commit().await.unwrap();
        }
        _ => assert_eq!(seen(&db.read(Door::of([ONE, TWO]))).await.unwrap().len(), 2),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_brands_take_turns_on_few_connections_and_nothing_leaks() {
    let (_database, db, pool) = ground().await;
    let tasks = (0..16_usize).map(|task| {
        let db = db.clone();
        tokio::spawn(async move {
            for turn in 0..250 {
                request(&db, task + 16 * turn + turn).await;
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.unwrap();
    }
    assert_eq!(seen(&db.read(Role::Brands)).await.unwrap(), BTreeSet::new(), "nobody's door");
    for door in [Door::from(ONE), Door::from(Role::Backup)] {
        // Three at once are all that there are.
        let begin = || db.begin(door.clone());
        let held = [begin().await, begin().await, begin().await];
        for tx in held {
            tx.unwrap().commit().await.unwrap();
        }
        let mut idle = Vec::new();
        for _ in 0..3 {
            let mut session = pool.acquire().await.unwrap();
            let text = "SELECT current_user || ' ' || current_setting('parcours.tenants', true)";
            let left: String = sqlx::query_scalar(text).fetch_one(&mut *session).await.unwrap();
            assert_eq!(left, "parcours_brands ", "what a transaction leaves behind");
            idle.push(session);
        }
    }
    db.close().await;
}

#[tokio::test]
async fn a_door_opens_no_table_of_another() {
    let (_database, db, _) = ground().await;
    let events = Sql::new("SELECT body FROM event", vec![]).all(&db.read(Role::Sweep)).await;
    assert!(matches!(events, Err(StoreError::Walled)));
    let handle = Sql::new("SELECT handle FROM contact", vec![]).all(&db.read(Role::Sweep)).await;
    assert!(matches!(handle, Err(StoreError::Walled)), "only what it needs of a table");
    // Reads do not write.
    let written = add(ONE, 9).run(&db.read(ONE)).await;
    assert!(written.is_err());
    assert_eq!(seen(&db.read(ONE)).await.unwrap().len(), 1);
    db.close().await;
}

#[test]
fn a_list_names_each_brand_once() {
    assert_eq!(Door::of([TWO, ONE, TWO]).list(), format!("{{{},{}}}", ONE.0, TWO.0));
    assert_eq!(Door::of([]).list(), "{}");
    assert_eq!(Door::from(Role::Sweep).list(), "");
    let marks: BTreeSet<_> = Role::ALL.into_iter().map(Role::mark).collect();
    let names: BTreeSet<_> = Role::ALL.into_iter().map(Role::name).collect();
    assert_eq!((marks.len(), names.len()), (Role::ALL.len(), Role::ALL.len()));
}
