//! Document folders on disk.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use parcours_wire::http::document::SourceFile;

/// The most files of a folder; more is most likely the wrong folder.
const FILES_MAX: usize = 2_000;

/// How deep folders are followed.
const DEPTH_MAX: usize = 16;

/// Reads every `.yaml`, `.yml` and `.json` file of a folder and its folders, in the order of their
/// names, or one file.
///
/// # Errors
/// Nothing there, no document files, or a file that cannot be read.
pub fn read(place: &Path) -> anyhow::Result<Vec<SourceFile>> {
    let mut paths = Vec::new();
    if place.is_dir() {
        collect(place, DEPTH_MAX, &mut paths)?;
    } else if place.exists() {
        paths.push(place.to_owned());
    } else {
        bail!("there is no {}; name a folder or file with documents", place.display());
    }
    if paths.is_empty() {
        bail!("{} holds no .yaml, .yml or .json file", place.display());
    }
    paths.iter().map(|path| source(place, path)).collect()
}

fn source(place: &Path, path: &Path) -> anyhow::Result<SourceFile> {
    let shown = path.strip_prefix(place).ok().filter(|rest| !rest.as_os_str().is_empty());
    let source = fs::read_to_string(path)
        .with_context(|| format!("cannot read {} as UTF-8 text", path.display()))?;
    Ok(SourceFile { name: shown.unwrap_or(path).display().to_string(), source })
}

fn collect(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    found.sort();
    for path in found {
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or("");
        if path.is_dir() && !hidden && depth > 0 {
            collect(&path, depth - 1, paths)?;
        } else if matches!(ending, "yaml" | "yml" | "json") && !hidden {
            paths.push(path);
        }
        if paths.len() > FILES_MAX {
            bail!("more than {FILES_MAX} document files below {}", folder.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_in_order_and_other_files_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &&str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        };
        ["b.yaml", "a/z.json", "notes.txt", ".git/x.yaml", "c.yml"].iter().for_each(write);
        let names: Vec<String> =
            read(folder.path()).unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["a/z.json", "b.yaml", "c.yml"]);
        assert!(read(&folder.path().join("none")).is_err());
    }
}
