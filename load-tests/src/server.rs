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

/// Roles of a worker; each serves its figures.
const WORKER: &str = "gateway,worker";

/// What the processes of an install know and nobody else.
const RPC_SECRET: &str = "known-to-the-load-test-alone";

/// A running server.
pub struct Server {
    processes: Vec<Process>,
    /// Its process ids: first the one that clients speak to.
    pub pids: Vec<u32>,
    /// Where each of them listens.
    pub urls: Vec<String>,
    /// Where clients speak to it.
    pub url: String,
    /// The install's first admin key; only the first start prints it.
    pub admin_key: Option<String>,
    /// Where SQLite keeps its file.
    data: PathBuf,
    /// Every process that was ever started.
    every: Pids,
}

struct Process {
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
        let mut processes = Vec::new();
        let first = (args.workers() > 0).then_some("gateway,delivery,consent");
        processes.push(Process::start(args, first).await?);
        for _ in 0..args.workers() {
            processes.push(Process::start(args, Some(WORKER)).await?);
        }
        let first = processes.first().context("nothing was started")?;
        let (url, admin_key) = (first.url.clone(), first.admin_key.clone());
        let pids = processes.iter().map(|process| process.pid).collect();
        let urls = processes.iter().map(|process| process.url.clone()).collect();
        let every = Pids::default();
        processes.iter().for_each(|process| every.add(process.pid));
        Ok(Self { processes, pids, urls, url, admin_key, data, every })
    }

    /// Ends the process in this place in order and waits.
    pub async fn stop_worker(&mut self, place: usize) -> anyhow::Result<()> {
        let process = self.processes.remove(place);
        self.urls.remove(place);
        self.pids.remove(place);
        process.stop().await
    }

    /// One more worker; waits until it listens.
    pub async fn start_worker(&mut self, args: &Args) -> anyhow::Result<()> {
        let process = Process::start(args, Some(WORKER)).await?;
        self.every.add(process.pid);
        self.urls.push(process.url.clone());
        self.pids.push(process.pid);
        self.processes.push(process);
        Ok(())
    }

    /// Whom to look at while it runs.
    pub fn watched(&self, args: &Args) -> Watched {
        Watched::new(self.every.clone(), args.postgres.as_deref(), &self.data)
    }

    /// What its processes hold in memory, in bytes.
    pub fn resident(&self) -> anyhow::Result<u64> {
        let each = self.pids.iter().map(|pid| resident(*pid).context("the server is gone"));
        each.sum()
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
        for url in &self.urls {
            pages.push_str(&Api::new(url, "").metrics().await?);
        }
        Ok(pages)
    }
}

impl Process {
    /// With every role, or with these.
    async fn start(args: &Args, roles: Option<&str>) -> anyhow::Result<Self> {
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
        if let Some(roles) = roles {
            command.args(["--roles", roles, "--rpc-listen", "127.0.0.1:0"]);
            command.args(["--rpc-secret", RPC_SECRET]);
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
        Ok(Self { child, _stdout: lines, pid, url, admin_key })
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
