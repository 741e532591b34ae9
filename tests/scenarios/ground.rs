//! Where a server keeps its data, on either database, and a look at it from outside.

use std::{path::PathBuf, process::Command};

use parcours_testkit::pg::TempDatabase;
use parcours_tests::{Server, parcours};
use sqlx::{Connection as _, PgConnection, SqliteConnection};

/// A data folder and, on PostgreSQL, a database; outlives the servers started on it.
pub struct Ground {
    pub data: tempfile::TempDir,
    database: Option<TempDatabase>,
    /// How servers reach the database, when not directly.
    through: Option<String>,
    runtime: tokio::runtime::Runtime,
}

impl Ground {
    /// SQLite in the data folder.
    pub fn sqlite() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { data: tempfile::tempdir().unwrap(), database: None, through: None, runtime }
    }

    /// A PostgreSQL database of its own.
    pub fn postgres() -> Self {
        let mut ground = Self::sqlite();
        ground.database = Some(ground.runtime.block_on(TempDatabase::new()).unwrap());
        ground
    }

    /// The database's own URL.
    pub fn url(&self) -> &str {
        self.database.as_ref().expect("on PostgreSQL").url()
    }

    /// Servers reach the database by this URL from now on.
    pub fn go_through(&mut self, url: String) {
        self.through = Some(url);
    }

    /// A command for a server here.
    pub fn command(&self) -> Command {
        let mut command = parcours(self.data.path());
        if let Some(database) = &self.database {
            let url = self.through.as_deref().unwrap_or(database.url());
            command.env("PARCOURS_DATABASE_URL", url).env("PARCOURS_ROOT_KEY", "1f".repeat(32));
        }
        command
    }

    /// A running server.
    pub fn start(&self) -> Server {
        Server::start_with(&mut self.command()).unwrap()
    }

    /// Transactions that the database ended because they waited for one another.
    pub fn deadlocks(&self) -> i64 {
        match &self.database {
            Some(_) => self.number(
                "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
            ),
            None => 0,
        }
    }

    /// The folder of a brand `visites`: each event `Visite` starts a run keyed by its `visite`.
    pub fn visits(&self) -> PathBuf {
        let folder = self.data.path().join("documents");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("visites.yaml"), VISITS).unwrap();
        folder
    }

    /// The one number that a statement answers with, read beside the server.
    pub fn number(&self, sql: &str) -> i64 {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        self.runtime.block_on(async {
            match &self.database {
                Some(database) => {
                    let mut connection = PgConnection::connect(database.url()).await.unwrap();
                    sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
                }
                None => {
                    let file = self.data.path().join("parcours.sqlite");
                    let url = format!("sqlite://{}?mode=ro", file.display());
                    let mut connection = SqliteConnection::connect(&url).await.unwrap();
                    sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
                }
            }
        })
    }
}

/// A brand whose only journey keeps one run for each visit, for as long as the tests last.
const VISITS: &str = "\
apiVersion: parcours/v1
kind: Brand
name: visites
organisation: tests
display_name: Visites
controller: { name: Visites SARL, contact: vie-privee@visites.example }
postal_address: 1 rue des Essais, 69001 Lyon, France
public_url: http://localhost:8080
time_zone: Europe/Paris
locale: fr-FR
---
apiVersion: parcours/v1
kind: Journey
name: visite
entry: { event: Visite, key: event.visite, reentry: always }
steps:
  - id: attendre
    wait: { for: 300d }
";

/// Stamps a scenario onto both databases: `on_both!(name)` makes the tests `name::sqlite` and
/// `name::postgres` out of `fn name(ground: Ground)`.
macro_rules! on_both {
    ($name:ident) => {
        mod $name {
            #[test]
            fn sqlite() {
                super::$name($crate::ground::Ground::sqlite());
            }
            #[test]
            fn postgres() {
                super::$name($crate::ground::Ground::postgres());
            }
        }
    };
}
pub(crate) use on_both;
