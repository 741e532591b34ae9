//! A throw-away Redis.
//!
//! With `PARCOURS_TEST_REDIS_URL` tests share that server, each under an install id of its own.
//! Without it this process starts a server of its own, reachable by a Unix socket in a new directory
//! only, so no port is taken. A test that flushes, kills or freezes Redis starts one for itself
//! ([`RedisServer`]). Where there is no `redis-server`, the test says so, is counted, and does nothing.
//!
//! What always holds: a server ends with the process that started it, however that ends, because its
//! shell waits for the end of our side of a pipe; its directory goes with it.

use std::{
    fs::OpenOptions,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use anyhow::{Context as _, Result, bail};
use uuid::Uuid;

/// Names the server that tests share.
pub const URL_VARIABLE: &str = "PARCOURS_TEST_REDIS_URL";

/// Starts a server and says when it is ready; then does as told, line by line, until standard
/// input ends.
const SCRIPT: &str = r#"
dir=$(mktemp -d /tmp/parcours-redis.XXXXXX) || exit 1
cd "$dir"
trap '' INT
serve() {
  sh -c 'echo $$ >pid; exec redis-server --port 0 --unixsocket "$0/socket" --save "" --appendonly no "$@"' "$dir" "$@" </dev/null |
    while read -r line; do
      case $line in *"eady to accept connections"*) echo ready;; esac
    done &
}
end() { kill -CONT "$(cat pid)" 2>/dev/null; kill -KILL "$(cat pid)" 2>/dev/null; wait; }
echo "$dir"
serve "$@"
while read -r word; do
  case $word in
    kill) end; echo done;;
    start) serve "$@";;
    freeze) kill -STOP "$(cat pid)"; echo done;;
    thaw) kill -CONT "$(cat pid)"; echo done;;
  esac
done
end
cd /
rm -rf "$dir"
"#;

/// A server that this process started, for one test alone.
pub struct RedisServer {
    shell: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    url: String,
}

impl RedisServer {
    /// A fresh, empty server; none, said and counted, when there is no `redis-server`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(test: &str) -> Result<Option<Self>> {
        if !installed() {
            skip(test);
            return Ok(None);
        }
        Self::start_with(&[]).map(Some)
    }

    /// The same with other settings, such as `["--maxmemory", "2mb"]`; `redis-server` is there.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_with(settings: &[&str]) -> Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .args(settings)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = shell.stdin.take();
        let mut answers = BufReader::new(shell.stdout.take().context("no output")?);
        let mut directory = String::new();
        answers.read_line(&mut directory)?;
        let url = format!("redis+unix://{}/socket", directory.trim());
        let mut server = Self { shell, orders, answers, url };
        server.expect("ready")?;
        Ok(server)
    }

    /// Its URL; the same after [`RedisServer::start_again`].
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When the shell that minds it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.order("kill")?;
        self.expect("done")
    }

    /// Starts it again, with what it saved last (`SAVE`), if it saved anything.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        self.order("start")?;
        self.expect("ready")
    }

    /// It answers nothing until [`RedisServer::thaw`].
    ///
    /// # Errors
    /// When the shell that minds it is gone.
    pub fn freeze(&mut self) -> Result<()> {
        self.order("freeze")?;
        self.expect("done")
    }

    /// It goes on.
    ///
    /// # Errors
    /// When the shell that minds it is gone.
    pub fn thaw(&mut self) -> Result<()> {
        self.order("thaw")?;
        self.expect("done")
    }

    fn order(&mut self, word: &str) -> Result<()> {
        Ok(writeln!(self.orders.as_mut().context("it was ended")?, "{word}")?)
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        if answer.trim() != word {
            bail!("Redis was expected to be {word}, and it is {answer:?}");
        }
        Ok(())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.orders.take());
        // The shell ends the server and removes its directory.
        let _status = self.shell.wait();
    }
}

static SERVER: Mutex<Weak<RedisServer>> = Mutex::new(Weak::new());

/// A place of its own in a server that others use too.
pub struct TempRedis {
    url: String,
    install: String,
    _server: Option<Arc<RedisServer>>,
}

impl TempRedis {
    /// An install that nobody else has; none, said and counted, when there is no Redis.
    ///
    /// # Errors
    /// When a server is there and does not start.
    pub fn new(test: &str) -> Result<Option<Self>> {
        let install = Uuid::new_v4().simple().to_string();
        if let Some(url) = std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty()) {
            return Ok(Some(Self { url, install, _server: None }));
        }
        let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
        let server = match shared.upgrade() {
            Some(server) => server,
            None => {
                let Some(server) = RedisServer::start(test)? else { return Ok(None) };
                let server = Arc::new(server);
                *shared = Arc::downgrade(&server);
                server
            }
        };
        Ok(Some(Self { url: server.url().to_owned(), install, _server: Some(server) }))
    }

    /// The server's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What tells this test's keys from all others.
    #[must_use]
    pub fn install(&self) -> &str {
        &self.install
    }
}

fn installed() -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|path| path.join("redis-server").exists())
}

/// Says that a test does nothing, and has `tests/run` count it.
fn skip(test: &str) {
    eprintln!("SKIPPED: {test}: there is no redis-server; tests/run installs it");
    if let Some(list) = std::env::var_os("PARCOURS_TEST_SKIPS")
        && let Ok(mut file) = OpenOptions::new().append(true).open(list)
    {
        // The line above was the loud one; a list that cannot be written loses only the count.
        let _ = writeln!(file, "{test}: there is no redis-server");
    }
}
