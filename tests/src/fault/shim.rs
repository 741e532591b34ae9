//! The machine under a process: syncs are counted, the wall clock moves, the disk is full.
//!
//! A small C library is built with the system's compiler and preloaded into the product
//! (`tests/fault/shim.c`); a shared file steers it, and outlives what it is under.

use std::{
    fs::{File, OpenOptions, Permissions},
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::bail;

/// Words of the shared file, as `shim.c` numbers them.
const SYNCS: u64 = 0;
const OFFSET: u64 = 1;
const FULL: u64 = 2;
const REFUSED: u64 = 3;
const WORDS: u64 = 4;

/// A built shim with its controls.
#[derive(Debug)]
pub struct Shim {
    library: PathBuf,
    control: PathBuf,
    words: File,
}

impl Shim {
    /// Builds it into `folder`, with nothing wrong yet.
    ///
    /// # Errors
    /// There is no C compiler (`cc`), or the folder cannot be written.
    pub fn build(folder: &Path) -> anyhow::Result<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fault/shim.c");
        let (library, control) = (folder.join("shim.so"), folder.join("shim.words"));
        let output = Command::new("cc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .output()?;
        if !output.status.success() {
            bail!("shim.c: {}", String::from_utf8_lossy(&output.stderr));
        }
        let words =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&control)?;
        words.set_len(WORDS * 8)?;
        Ok(Self { library, control, words })
    }

    /// The environment that puts it under a process whose disk is `disk`.
    #[must_use]
    pub fn variables(&self, disk: &Path) -> [(&'static str, String); 3] {
        // The kernel names open files by their real path.
        let disk = disk.canonicalize().unwrap_or_else(|_| disk.to_owned());
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("PARCOURS_SHIM", self.control.display().to_string()),
            ("PARCOURS_SHIM_DISK", disk.display().to_string()),
        ]
    }

    /// Lets a process of another user be put upon it.
    ///
    /// # Errors
    /// Its files are another's.
    pub fn open_to_all(&self) -> anyhow::Result<()> {
        let folder = self.control.parent().unwrap_or(Path::new("."));
        std::fs::set_permissions(folder, Permissions::from_mode(0o755))?;
        Ok(std::fs::set_permissions(&self.control, Permissions::from_mode(0o666))?)
    }

    /// How many fsync and fdatasync calls returned without an error so far.
    ///
    /// # Errors
    /// The shared file is gone.
    pub fn syncs(&self) -> anyhow::Result<i64> {
        self.read(SYNCS)
    }

    /// Moves the wall clock: so many milliseconds from the machine's.
    ///
    /// # Errors
    /// The shared file is gone.
    pub fn shift_clock(&self, millis: i64) -> anyhow::Result<()> {
        self.write(OFFSET, millis * 1_000_000)
    }

    /// Whether the disk is full from now on.
    ///
    /// # Errors
    /// The shared file is gone.
    pub fn fill_disk(&self, full: bool) -> anyhow::Result<()> {
        self.write(FULL, i64::from(full))
    }

    /// How many writes were refused because the disk was full.
    ///
    /// # Errors
    /// The shared file is gone.
    pub fn refused_writes(&self) -> anyhow::Result<i64> {
        self.read(REFUSED)
    }

    fn read(&self, word: u64) -> anyhow::Result<i64> {
        let mut bytes = [0; 8];
        self.words.read_exact_at(&mut bytes, word * 8)?;
        Ok(i64::from_ne_bytes(bytes))
    }

    fn write(&self, word: u64, value: i64) -> anyhow::Result<()> {
        Ok(self.words.write_all_at(&value.to_ne_bytes(), word * 8)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under(shim: &Shim, disk: &Path, script: &str) -> String {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(disk).envs(shim.variables(disk));
        let output = command.output().expect("sh runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned()
    }

    #[test]
    fn syncs_are_counted_across_processes() {
        let folder = tempfile::tempdir().expect("a folder");
        let shim = Shim::build(folder.path()).expect("it builds");
        under(&shim, folder.path(), "dd if=/dev/zero of=a bs=1 count=1 conv=fsync 2>/dev/null");
        under(&shim, folder.path(), "dd if=/dev/zero of=b bs=1 count=1 conv=fdatasync 2>/dev/null");
        assert_eq!(shim.syncs().expect("a count"), 2);
    }

    #[test]
    fn the_wall_clock_moves_both_ways() {
        let folder = tempfile::tempdir().expect("a folder");
        let shim = Shim::build(folder.path()).expect("it builds");
        let now = |shim: &Shim| -> i64 {
            under(shim, folder.path(), "date +%s").parse().expect("seconds")
        };
        let here = now(&shim);
        for (millis, seconds) in [(3_600_500, 3_600), (-3_600_500, -3_601), (0, 0)] {
            shim.shift_clock(millis).expect("it moves");
            let away = now(&shim) - here - seconds;
            assert!((0..=60).contains(&away), "moved by {millis} ms: {away} s off");
        }
    }

    #[test]
    fn a_full_disk_refuses_growth_below_it_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = folder.path().join("disk");
        std::fs::create_dir(&disk).expect("a folder");
        let shim = Shim::build(folder.path()).expect("it builds");
        under(&shim, &disk, "printf old > file");
        shim.fill_disk(true).expect("full");
        let script = "printf longer | dd of=file conv=notrunc; printf out > ../outside";
        let said = under(&shim, &disk, script);
        assert!(said.contains("No space left on device"), "{said}");
        assert_eq!(std::fs::read(folder.path().join("outside")).expect("a file"), b"out");
        assert_eq!(shim.refused_writes().expect("a count"), 1);
        shim.fill_disk(false).expect("room");
        assert_eq!(under(&shim, &disk, "printf new > file; cat file"), "new");
    }
}
