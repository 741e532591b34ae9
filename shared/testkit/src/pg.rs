//! A throw-away PostgreSQL.
//!
//! With `PARCOURS_TEST_POSTGRES_URL` each test gets a fresh database in that server. Without it
//! this process starts a server of its own: `initdb` into a new directory as user `postgres`
//! (when run as root) or as the present user, fsync on, reachable by a Unix socket in that
//! directory only, so no port is taken.
//!
//! What always holds: the server ends with the process that started it, however that ends,
//! because its shell waits for the end of our side of a pipe; its directory goes with it.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr as _,
    sync::{
        Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use sqlx::{ConnectOptions as _, Connection as _, postgres::PgConnectOptions};

use crate::minder::Minder;

/// Names the server under which each test gets a database.
pub const URL_VARIABLE: &str = "PARCOURS_TEST_POSTGRES_URL";

/// Starts a server and says where its socket is; then does as told, line by line, until standard
/// input ends.
const SCRIPT: &str = r#"
set -e
PATH="$PATH:$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)"
dir=$(mktemp -d /tmp/parcours-pg.XXXXXX)
trap 'rm -rf "$dir"' EXIT
trap '' INT
cd "$dir"
initdb -D data -U postgres -A trust -E UTF8 --locale=C --no-sync >log 2>&1 || { cat log >&2; exit 1; }
serve() {
  pg_ctl -D data -w -l log -o "-k $dir -c listen_addresses='' -c max_connections=300 -c fsync=on $1" start >/dev/null || { cat log >&2; exit 1; }
}
end() { pg_ctl -D data -w -m immediate stop >/dev/null 2>&1 || true; }
serve "$1"
echo "$dir"
while read -r word rest; do
  case $word in
    kill) end; echo done;;
    start) serve "$1"; echo ready;;
    set) export "$rest"; echo set;;
  esac
done
end
"#;

/// A server that this process started.
struct Server {
    minder: Mutex<Minder>,
    url: String,
}

impl Server {
    fn start(settings: &str) -> Result<Self> {
        let is_root = std::fs::metadata("/proc/self")?.uid() == 0;
        let mut command = if is_root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh", "-c", SCRIPT, "sh"]);
            command
        } else {
            let mut command = Command::new("sh");
            command.args(["-c", SCRIPT, "sh"]);
            command
        };
        let (minder, directory) = Minder::start(command.arg(settings))
            .context("PostgreSQL's programs or runuser are missing")?;
        if directory.is_empty() {
            bail!("PostgreSQL did not start; its log is above");
        }
        let url = format!("postgres://postgres@localhost/postgres?host={directory}");
        Ok(Self { minder: Mutex::new(minder), url })
    }

    fn order(&self, word: &str, done: &str) -> Result<()> {
        self.minder.lock().unwrap_or_else(PoisonError::into_inner).order(word, done)
    }
}

static SERVER: Mutex<Weak<Server>> = Mutex::new(Weak::new());
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A database of its own; gone when dropped.
pub struct TempDatabase {
    url: String,
    admin: PgConnectOptions,
    name: String,
    server: Option<Arc<Server>>,
}

impl TempDatabase {
    /// A fresh, empty database.
    ///
    /// # Errors
    /// When no server can be reached or started.
    pub async fn new() -> Result<Self> {
        match std::env::var(URL_VARIABLE) {
            Ok(url) if !url.is_empty() => Self::create(&url, None).await,
            _ => {
                let server = {
                    let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
                    match shared.upgrade() {
                        Some(server) => server,
                        None => {
                            let server = Arc::new(Server::start("")?);
                            *shared = Arc::downgrade(&server);
                            server
                        }
                    }
                };
                let url = server.url.clone();
                Self::create(&url, Some(server)).await
            }
        }
    }

    /// A database in a server of its own that runs with other settings, such as `-c fsync=off`.
    ///
    /// # Errors
    /// When no server can be started.
    pub async fn with_settings(settings: &str) -> Result<Self> {
        let server = Arc::new(Server::start(settings)?);
        let url = server.url.clone();
        Self::create(&url, Some(server)).await
    }

    async fn create(url: &str, server: Option<Arc<Server>>) -> Result<Self> {
        let admin = PgConnectOptions::from_str(url)?.disable_statement_logging();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let nanos = std::time::UNIX_EPOCH.elapsed()?.subsec_nanos();
        let name = format!("parcours_{}_{nanos}_{number}", std::process::id());
        let mut connection = admin.connect().await?;
        let sql = format!("CREATE DATABASE {name}");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
        connection.close().await?;
        let url = database_url(url, &name);
        Ok(Self { url, admin, name, server })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes a login with these rights (such as `CREATEROLE NOINHERIT`) and gives it the database,
    /// as an operator does who gives no superuser away; the URL for it.
    ///
    /// # Errors
    /// When there is such a login already, or the server does not answer.
    pub async fn owned_by(&self, login: &str, rights: &str) -> Result<String> {
        let mut admin = self.connect().await?;
        let sql = format!(
            "CREATE ROLE {login} LOGIN {rights}; ALTER DATABASE {} OWNER TO {login}; \
             GRANT USAGE, CREATE ON SCHEMA public TO {login}",
            self.name
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut admin).await?;
        let owner = format!("postgres://{}@", self.admin.get_username());
        Ok(self.url.replacen(&owner, &format!("postgres://{login}@"), 1))
    }

    /// Ends its server at once, as a crash does (`pg_ctl -m immediate`).
    ///
    /// # Errors
    /// When others may use that server.
    pub fn kill_server(&self) -> Result<()> {
        self.own_server()?.order("kill", "done")
    }

    /// Starts its server again; returns when it has recovered.
    ///
    /// # Errors
    /// When others may use that server, or it does not start.
    pub fn start_server(&self) -> Result<()> {
        self.own_server()?.order("start", "ready")
    }

    /// From its next start on the server has this in its environment.
    ///
    /// # Errors
    /// When others may use that server.
    pub fn set_for_server(&self, name: &str, value: &str) -> Result<()> {
        self.own_server()?.order(&format!("set {name}={value}"), "set")
    }

    /// Where its server keeps its files.
    ///
    /// # Errors
    /// When others may use that server.
    pub fn server_folder(&self) -> Result<PathBuf> {
        let folder = self.own_server()?.url.rsplit_once("host=").map(|(_, folder)| folder);
        Ok(Path::new(folder.context("a server of ours has a socket")?).join("data"))
    }

    fn own_server(&self) -> Result<&Server> {
        let own = self.server.as_ref().filter(|server| Arc::strong_count(server) == 1);
        own.map(AsRef::as_ref).context("the server is not this test's own")
    }

    /// A connection of one's own, for looking in from outside.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn connect(&self) -> Result<sqlx::PgConnection> {
        Ok(self.admin.clone().database(&self.name).connect().await?)
    }
}

impl Drop for TempDatabase {
    fn drop(&mut self) {
        if self.server.is_some() {
            return; // The database goes with its server.
        }
        let (admin, name) = (self.admin.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = admin.connect().await?;
                let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
                Ok(())
            })
        });
        let _outcome = dropping.join();
    }
}

/// The same server, another database.
fn database_url(url: &str, name: &str) -> String {
    let (base, query) = match url.split_once('?') {
        Some((base, query)) => (base, format!("?{query}")),
        None => (url, String::new()),
    };
    let authority = base.find("://").map_or(0, |at| at + 3);
    let end = base[authority..].find('/').map_or(base.len(), |at| authority + at);
    format!("{}/{name}{query}", &base[..end])
}

#[cfg(test)]
mod tests {
    use super::database_url;

    #[test]
    fn only_the_database_in_the_url_changes() {
        assert_eq!(database_url("postgres://u@h:1/a?host=/x", "b"), "postgres://u@h:1/b?host=/x");
        assert_eq!(database_url("postgres://u@h", "b"), "postgres://u@h/b");
    }
}
