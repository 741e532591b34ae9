//! The product as a child process, or as several: started on free ports, ended when the run is
//! over.

use std::{
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{
    api::{self, Api},
    args::{Args, Scenario},
    watch::{Pids, Watched, resident},
};

/// How long a start may take.
const START: Duration = Duration::from_secs(60);
/// How long a graceful stop may take before the process is killed.
const STOP: Duration = Duration::from_secs(60);
/// Any 32 bytes: the store is thrown away.
const ROOT_KEY: &str = "6c6f6164206c6f6164206c6f6164206c6f6164206c6f6164206c6f6164206c6f";

/// Every process but the workers, when there are several: clients speak to the first.
const APART: [&str; 3] = ["gateway", "delivery", "consent"];
const WORKER: &str = "worker";
/// The one process that is everything.
const WHOLE: &str = "everything";
/// How long processes rest before it is said what they hold idle.
const REST: Duration = Duration::from_secs(3);

/// What the processes of an install know and nobody else.
const RPC_SECRET: &str = "known-to-the-load-test-alone";

/// A running server.
pub struct Server {
    processes: Vec<Process>,
    /// Where clients speak to it.
    pub url: String,
    /// The install's first admin key; only the first start prints it.
    pub admin_key: Option<String>,
    /// Where SQLite keeps its file.
    data: PathBuf,
    /// Every process that was ever started.
    every: Pids,
}

/// What a process holds in memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Its role.
    pub role: &'static str,
    /// Now.
    pub now: u64,
    /// At most until now.
    pub most: u64,
}

struct Process {
    role: &'static str,
    child: Child,
    _stdout: Lines<BufReader<ChildStdout>>,
    pid: u32,
    url: String,
    admin_key: Option<String>,
}

impl Server {
    /// Starts the server and waits until it listens.
    pub async fn start(args: &Args) -> anyhow::Result<Self> {
        let data = args.work.join("data");
        std::fs::create_dir_all(&args.work)?;
        let workers = args.workers();
        let roles = if workers > 0 { &APART[..] } else { &[WHOLE] };
        let mut processes = Vec::new();
        for role in roles.iter().copied().chain(std::iter::repeat_n(WORKER, workers)) {
            processes.push(Process::start(args, role).await?);
        }
        let first = processes.first().context("nothing was started")?;
        let (url, admin_key) = (first.url.clone(), first.admin_key.clone());
        let every = Pids::default();
        processes.iter().for_each(|process| every.add(process.pid));
        Ok(Self { processes, url, admin_key, data, every })
    }

    /// Ends the worker that was started first in order and waits.
    pub async fn stop_worker(&mut self) -> anyhow::Result<()> {
        let place = self.processes.iter().position(|process| process.role == WORKER);
        self.processes.remove(place.context("no worker is left")?).stop().await
    }

    /// One more worker; waits until it listens.
    pub async fn start_worker(&mut self, args: &Args) -> anyhow::Result<()> {
        let process = Process::start(args, WORKER).await?;
        self.every.add(process.pid);
        self.processes.push(process);
        Ok(())
    }

    /// Whom to look at while it runs.
    pub fn watched(&self, args: &Args) -> Watched {
        Watched::new(self.every.clone(), args.postgres.as_deref(), &self.data)
    }

    /// What its processes hold in memory, in bytes.
    pub fn resident(&self) -> anyhow::Result<u64> {
        Ok(self.memory()?.iter().map(|memory| memory.now).sum())
    }

    /// The same once they have rested a little, for each of them.
    pub async fn at_rest(&self) -> anyhow::Result<Vec<Memory>> {
        tokio::time::sleep(REST).await;
        self.memory()
    }

    /// What each of its processes holds in memory.
    pub fn memory(&self) -> anyhow::Result<Vec<Memory>> {
        let of = |process: &Process| {
            let (now, most) = resident(process.pid).context("the server is gone")?;
            Ok(Memory { role: process.role, now, most })
        };
        self.processes.iter().map(of).collect()
    }

    /// Where the workers listen that are processes of their own.
    pub fn workers(&self) -> impl Iterator<Item = &str> {
        let workers = self.processes.iter().filter(|process| process.role == WORKER);
        workers.map(|process| process.url.as_str())
    }

    /// Ends it in order and waits.
    pub async fn stop(self) -> anyhow::Result<()> {
        for process in self.processes {
            process.stop().await?;
        }
        Ok(())
    }

    /// The metrics once all messages have ended.
    pub async fn settled(&self) -> anyhow::Result<String> {
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            let page = self.metrics().await?;
            let open = api::sum(&page, "parcours_messages_requested_total")
                .saturating_sub(api::sum(&page, "parcours_messages_ended_total"));
            if open == 0 || Instant::now() > patience {
                return Ok(page);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The value of a metric, of all its processes together.
    pub async fn metric(&self, name: &str) -> anyhow::Result<u64> {
        Ok(api::sum(&self.metrics().await?, name))
    }

    /// The metrics pages of all its processes, one after another.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let mut pages = String::new();
        for process in &self.processes {
            pages.push_str(&Api::new(&process.url, "").metrics().await?);
        }
        Ok(pages)
    }
}

impl Process {
    async fn start(args: &Args, role: &'static str) -> anyhow::Result<Self> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(args.work.join("server.log"))
            .context("the server's log cannot be written")?;
        let mut command = Command::new(&args.server);
        command
            .args(["--listen", "127.0.0.1:0", "--root-key", ROOT_KEY, "--data"])
            .arg(args.work.join("data"))
            .env_remove("PARCOURS_DATABASE_URL")
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        if let Some(url) = &args.postgres {
            command.env("PARCOURS_DATABASE_URL", url);
        }
        if let Some(url) = &args.redis {
            command.env("PARCOURS_REDIS_URL", url);
        }
        if role != WHOLE {
            command.args(["--roles", role, "--rpc-listen", "127.0.0.1:0"]);
            command.args(["--rpc-secret", RPC_SECRET]);
        }
        if let Some(active) = args.active_contacts() {
            command.args(["--active-contacts", &active.to_string()]);
        }
        if matches!(args.scenario, Scenario::Actors | Scenario::Pending) {
            // What is freed goes back at once, so that what is resident is what is held.
            command.env("MIMALLOC_PURGE_DELAY", "0");
        }
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", args.server.display()))?;
        let pid = child.id().context("the server ended at once")?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let spoken = timeout(START, first_lines(&mut lines)).await;
        let (url, admin_key) = spoken.context("the server did not start in a minute")??;
        Ok(Self { role, child, _stdout: lines, pid, url, admin_key })
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        let told = Command::new("kill").args(["-TERM", &self.pid.to_string()]).status().await?;
        if !told.success() {
            bail!("the server had ended by itself; see server.log");
        }
        let status: ExitStatus = timeout(STOP, self.child.wait())
            .await
            .context("the server does not stop; it is killed now")??;
        if !status.success() {
            bail!("the server ended with {status}; see server.log");
        }
        Ok(())
    }
}

/// Reads up to the line that says where it listens.
async fn first_lines(
    lines: &mut Lines<BufReader<ChildStdout>>,
) -> anyhow::Result<(String, Option<String>)> {
    let mut key = None;
    while let Some(line) = lines.next_line().await? {
        if let Some(text) = line.strip_prefix("first admin key (shown once): ") {
            key = Some(text.to_owned());
        }
        if let Some(url) = line.strip_prefix("Parcours listens on ") {
            return Ok((url.to_owned(), key));
        }
    }
    bail!("the server ended before it listened; see server.log")
}
