//! The file and its passphrase, as the command line names them; and telling how far it has come.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufReader, BufWriter, Read as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use parcours_store::keep::{KeptFile, Passphrase, Progress};

use crate::cli::PassphraseArgs;

/// The environment variable that may hold the passphrase.
const VARIABLE: &str = "PARCOURS_PASSPHRASE";

/// How often a long table is told of.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// The passphrase that the arguments or the environment give.
pub fn passphrase(args: &PassphraseArgs) -> anyhow::Result<Passphrase> {
    let text = match &args.passphrase_file {
        Some(path) if path == Path::new("-") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            text
        }
        Some(path) => fs::read_to_string(path)
            .with_context(|| format!("cannot read the passphrase from {}", path.display()))?,
        None => match std::env::var(VARIABLE) {
            Ok(text) => text,
            Err(_) => bail!(
                "a passphrase is needed: put it into the environment as {VARIABLE}, or into a file \
                 and give that as --passphrase-file"
            ),
        },
    };
    Ok(Passphrase::new(&text)?)
}

/// Opens a file that was kept.
pub fn open(path: &Path, passphrase: &Passphrase) -> anyhow::Result<KeptFile> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    KeptFile::open(Box::new(BufReader::with_capacity(1 << 20, file)), passphrase)
        .with_context(|| path.display().to_string())
}

/// A file being written: its name appears when it is whole and on disk.
pub struct Draft {
    path: PathBuf,
    draft: PathBuf,
    out: BufWriter<File>,
}

impl Draft {
    /// Beside where it will be; readable by its owner only.
    pub fn new(path: &Path) -> anyhow::Result<Self> {
        if path.exists() {
            bail!("{} exists already; name another file", path.display());
        }
        let mut draft = path.as_os_str().to_owned();
        draft.push(".part");
        let draft = PathBuf::from(draft);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .with_context(|| format!("cannot write {}", draft.display()))?;
        Ok(Self { path: path.to_owned(), draft, out: BufWriter::with_capacity(1 << 20, file) })
    }

    /// Where to write.
    pub fn out(&mut self) -> &mut dyn Write {
        &mut self.out
    }

    /// Gives it its name.
    pub fn finish(self) -> anyhow::Result<()> {
        let Self { path, draft, out } = self;
        let done = || -> std::io::Result<()> {
            let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        done().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Tells on standard error how far it has come: each table, and a long one now and then.
pub struct Teller {
    begun: Instant,
    told: Instant,
    table: &'static str,
}

impl Teller {
    /// From now on.
    pub fn new() -> Self {
        let now = Instant::now();
        Self { begun: now, told: now, table: "" }
    }

    /// So far.
    pub fn tell(&mut self, progress: Progress) {
        if progress.table == self.table && self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.table = progress.table;
        self.told = Instant::now();
        let rate = progress.rows as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        // A closed terminal is no reason to stop.
        let _ = writeln!(
            std::io::stderr(),
            "{}: {} rows so far, {rate:.0} rows/s",
            progress.table,
            progress.rows
        );
    }
}
