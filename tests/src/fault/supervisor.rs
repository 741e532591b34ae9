//! An install and its processes: one process with all roles, or one for each; each comes back on
//! the port that it had.
//!
//! A part is named by its roles, as `--roles` takes them, or as it was begun.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context as _, bail};

use super::{process::Process, shim::Shim};
use crate::{parcours, parcours_of};

/// Every role in one process.
pub const ALL_ROLES: &str = "gateway,worker,delivery,consent";

/// The root key of installs on PostgreSQL.
const ROOT_KEY: &str = "1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f";

/// An install and its processes.
#[derive(Debug)]
pub struct Supervisor {
    data: PathBuf,
    /// Another version's binary; none: the one beside this test.
    binary: Option<PathBuf>,
    settings: Vec<(String, String)>,
    specs: BTreeMap<String, Spec>,
    parts: BTreeMap<String, Process>,
    /// The first admin key, once the install has been started.
    pub admin_key: String,
}

/// What a part is, each time that it is started.
#[derive(Clone, Debug)]
struct Spec {
    roles: String,
    port: u16,
    settings: Vec<(String, String)>,
    /// Where its log is appended; the test's own otherwise.
    log: Option<PathBuf>,
}

impl Supervisor {
    /// An install on SQLite in this folder.
    #[must_use]
    pub fn sqlite(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            binary: None,
            settings: Vec::new(),
            specs: BTreeMap::new(),
            parts: BTreeMap::new(),
            admin_key: String::new(),
        }
    }

    /// An install on this PostgreSQL database; the folder is scratch space for commands.
    #[must_use]
    pub fn postgres(data: &Path, url: &str) -> Self {
        Self::sqlite(data).with("PARCOURS_DATABASE_URL", url).with("PARCOURS_ROOT_KEY", ROOT_KEY)
    }

    /// The same install for somebody who gives it commands; the processes stay this one's.
    #[must_use]
    pub fn visitor(&self) -> Self {
        Self {
            data: self.data.clone(),
            binary: self.binary.clone(),
            settings: self.settings.clone(),
            specs: self.specs.clone(),
            parts: BTreeMap::new(),
            admin_key: self.admin_key.clone(),
        }
    }

    /// A variable in the environment of each of its processes.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts the shim under each of its processes; the data folder is the disk that can be full.
    #[must_use]
    pub fn under(self, shim: &Shim) -> Self {
        let data = self.data.clone();
        shim.variables(&data).into_iter().fold(self, |this, (name, value)| this.with(name, &value))
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The URL of its database; empty for the file in its folder.
    #[must_use]
    pub fn database(&self) -> String {
        let settings = self.settings.iter().rev();
        let mut urls = settings.filter(|(name, _)| name == "PARCOURS_DATABASE_URL");
        urls.next().map(|(_, url)| url.clone()).unwrap_or_default()
    }

    /// Whatever is started from now on is of this version; none: the one beside this test.
    pub fn becomes(&mut self, binary: Option<PathBuf>) {
        self.binary = binary;
    }

    fn bare(&self) -> Command {
        match &self.binary {
            None => parcours(&self.data),
            Some(binary) => parcours_of(binary, &self.data),
        }
    }

    /// A command for the binary with the install's settings.
    #[must_use]
    pub fn binary(&self) -> Command {
        let mut command = self.bare();
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts a part, for the first time or again, and returns once it is ready.
    ///
    /// # Errors
    /// It runs already, or it ended before it was ready.
    pub fn start(&mut self, name: &str) -> anyhow::Result<()> {
        if !self.specs.contains_key(name) {
            let spec =
                Spec { roles: name.to_owned(), port: free_port()?, settings: vec![], log: None };
            self.specs.insert(name.to_owned(), spec);
        }
        self.launch(name)
    }

    /// Starts one of several parts with these roles, with settings of its own and its log in a file
    /// of its own ([`Supervisor::log`]); afterwards it is a part like any other.
    ///
    /// # Errors
    /// As [`Supervisor::start`].
    pub fn begin(
        &mut self,
        (name, roles): (&str, &str),
        settings: Vec<(String, String)>,
    ) -> anyhow::Result<()> {
        let log = Some(self.data.join(format!("{name}.log")));
        let spec = Spec { roles: roles.to_owned(), port: free_port()?, settings, log };
        self.specs.insert(name.to_owned(), spec);
        self.launch(name)
    }

    /// What a part that was begun has logged, over all its lives.
    ///
    /// # Errors
    /// It was not begun, or the file cannot be read.
    pub fn log(&self, name: &str) -> anyhow::Result<String> {
        let log = self.specs.get(name).and_then(|spec| spec.log.as_deref());
        let log = log.with_context(|| format!("{name} has no log of its own"))?;
        Ok(String::from_utf8_lossy(&std::fs::read(log)?).into_owned())
    }

    fn launch(&mut self, name: &str) -> anyhow::Result<()> {
        if self.parts.contains_key(name) {
            bail!("{name} runs already");
        }
        let spec = self.specs.get(name).with_context(|| format!("{name} was never started"))?;
        let mut command = self.binary();
        command.env("PARCOURS_LISTEN", format!("127.0.0.1:{}", spec.port));
        command.env("PARCOURS_ROLES", &spec.roles);
        command.envs(spec.settings.iter().map(|(name, value)| (name, value)));
        let process = match &spec.log {
            None => Process::start(&mut command)?,
            Some(log) => {
                let log = OpenOptions::new().append(true).create(true).open(log)?;
                Process::start_logging(&mut command, log)?
            }
        };
        if !process.admin_key.is_empty() {
            self.admin_key.clone_from(&process.admin_key);
        }
        self.parts.insert(name.to_owned(), process);
        Ok(())
    }

    /// Starts again whatever has ended by itself, as a machine's supervisor does; which parts.
    ///
    /// # Errors
    /// One does not come back.
    pub fn tend(&mut self) -> anyhow::Result<Vec<String>> {
        let mut ended = Vec::new();
        for (name, part) in &mut self.parts {
            if part.has_ended()?.is_some() {
                ended.push(name.clone());
            }
        }
        for name in &ended {
            self.parts.remove(name);
            self.launch(name)?;
        }
        Ok(ended)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self, roles: &str) -> anyhow::Result<()> {
        self.parts.remove(roles).with_context(|| format!("{roles} does not run"))?.kill()
    }

    /// `kill -9`, then the same again.
    ///
    /// # Errors
    /// It does not run, or does not come back.
    pub fn restart(&mut self, roles: &str) -> anyhow::Result<()> {
        self.kill(roles)?;
        self.start(roles)
    }

    /// Asks a part to stop (SIGTERM); how it ended.
    ///
    /// # Errors
    /// It does not run.
    pub fn stop(&mut self, name: &str) -> anyhow::Result<ExitStatus> {
        self.parts.remove(name).with_context(|| format!("{name} does not run"))?.stop()
    }

    /// A running part, to freeze or thaw it.
    ///
    /// # Errors
    /// It does not run.
    pub fn part(&mut self, roles: &str) -> anyhow::Result<&mut Process> {
        self.parts.get_mut(roles).with_context(|| format!("{roles} does not run"))
    }

    /// Where a part serves HTTP, whether it runs now or not.
    ///
    /// # Errors
    /// It was never started.
    pub fn url(&self, roles: &str) -> anyhow::Result<String> {
        let spec = self.specs.get(roles).with_context(|| format!("{roles} was never started"))?;
        Ok(format!("http://127.0.0.1:{}", spec.port))
    }

    /// Runs a command against a part and returns what it printed.
    ///
    /// # Errors
    /// It ended with another status than 0; with what it said.
    pub fn command(&self, roles: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.bare();
        command.env("PARCOURS_URL", self.url(roles)?).env("PARCOURS_KEY", &self.admin_key);
        let output = command.args(arguments).output()?;
        if !output.status.success() {
            bail!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// A port that nobody has, below those that the system gives to outgoing connections, so that it
/// is still free when a killed process comes back to it.
///
/// # Errors
/// None was found.
pub fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that look at the same time begin at different places.
    let own = u16::try_from(std::process::id() % 11_000)?;
    for _ in 0..1_000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (own + step.wrapping_mul(7)) % 11_000;
        if TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between 20000 and 31000")
}
