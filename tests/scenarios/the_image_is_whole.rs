//! The image, as far as it can be looked at without building it: what the Dockerfile copies is
//! there and is enough for cargo, the base is the toolchain that the repository names, and the
//! binary runs from the root that `deploy/image-root` lays out, by an unprivileged user and with
//! nothing else there.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::chown,
    path::Path,
    process::{Command, Output},
};

use cargo_metadata::MetadataCommand;
use parcours_tests::parcours;

use crate::the_chart_keeps_its_word::repository;

const DOCKERFILE: &str = include_str!("../../deploy/Dockerfile");

/// The image's user.
const USER: u32 = 65_532;

/// What is copied from the repository, line by line.
fn copied() -> Vec<&'static str> {
    let lines = DOCKERFILE.lines().filter_map(|line| line.strip_prefix("COPY "));
    lines
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| {
            let mut words: Vec<_> = line.split_whitespace().collect();
            words.pop();
            words
        })
        .collect()
}

fn succeeded(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_is_copied_is_there_and_is_let_through() {
    let ignore = include_str!("../../deploy/Dockerfile.dockerignore");
    let lets_through: BTreeSet<_> =
        ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert_eq!(lets_through, copied().into_iter().collect());
    for source in copied() {
        assert!(repository().join(source).exists(), "{source}");
    }
}

#[test]
fn what_is_copied_is_a_whole_workspace() {
    let folder = tempfile::tempdir().unwrap();
    for source in copied() {
        let to = folder.path().join(source);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let copy = Command::new("cp").arg("-r").arg(repository().join(source)).arg(&to).output();
        succeeded(&copy.unwrap());
    }
    let manifest = folder.path().join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    let node = metadata.packages.iter().find(|package| package.name == "parcours-node");
    let mut targets = node.expect("the binary's package").targets.iter();
    assert!(targets.any(|target| target.is_bin() && target.name == "parcours"));
}

#[test]
fn the_base_is_our_toolchain_and_the_end_is_small_and_unprivileged() {
    let toolchain = include_str!("../../rust-toolchain.toml");
    let channel = toolchain.split('"').nth(1).unwrap();
    assert!(DOCKERFILE.contains(&format!("rust:{channel}-slim-bookworm")));
    assert!(DOCKERFILE.contains(&format!("RUSTUP_TOOLCHAIN={channel}")));
    let end = DOCKERFILE.split("\nFROM ").last().unwrap();
    assert!(end.starts_with("scratch\n"));
    assert!(end.contains(&format!("USER {USER}:{USER}")));
    assert!(end.contains("ENTRYPOINT [\"/parcours\"]"));
    assert!(!DOCKERFILE.contains("HEALTHCHECK"));
    for name in ["one", "cluster"] {
        let compose = repository().join(format!("deploy/compose.{name}.yaml"));
        for line in fs::read_to_string(compose).unwrap().lines() {
            let Some((_, image)) = line.split_once("image: ") else { continue };
            let tag = image.rsplit_once(':').map(|(_, tag)| tag.trim_start_matches('v'));
            let exact = tag.is_some_and(|tag| {
                tag.matches('.').count() >= 1 && tag.starts_with(|c: char| c.is_ascii_digit())
            });
            assert!(exact, "not one version: {image}");
        }
    }
}

/// The root of the image, laid out from the binary beside this test.
fn laid_out(root: &Path) {
    let binary = parcours(root).get_program().to_owned();
    let script = repository().join("deploy/image-root");
    succeeded(&Command::new(script).arg(binary).arg(root).output().unwrap());
}

#[test]
fn nothing_is_in_it_but_the_binary_and_what_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("image");
    laid_out(&root);
    let listed =
        Command::new("find").arg(&root).args(["-type", "f", "-printf", "%P %Ts\\n"]).output();
    let mut files = BTreeSet::new();
    for line in succeeded(&listed.unwrap()).lines() {
        let (name, date) = line.split_once(' ').unwrap();
        assert_eq!(date, "0", "{name} has a date of its own");
        files.insert(name.to_owned());
    }
    let loader = |name: &str| name.starts_with("lib") && name.contains("/ld-linux");
    let c_library = |name: &str| {
        ["libc.so.6", "libm.so.6", "libgcc_s.so.1"].iter().any(|end| name.ends_with(end))
    };
    let rest: Vec<_> = files.iter().filter(|name| !loader(name) && !c_library(name)).collect();
    let expected = [
        "etc/group",
        "etc/nsswitch.conf",
        "etc/passwd",
        "etc/ssl/certs/ca-certificates.crt",
        "parcours",
    ];
    assert_eq!(rest, expected, "the slim base has no other library");
    assert_eq!(files.iter().filter(|name| c_library(name)).count(), 3);
}

#[test]
fn it_runs_with_nothing_else_by_an_unprivileged_user() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: a change of root needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("image");
    laid_out(&root);
    fs::create_dir(root.join("data")).unwrap();
    chown(root.join("data"), Some(USER), Some(USER)).unwrap();
    let inside = |arguments: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={USER}:{USER}")).arg(&root).arg("/parcours");
        command.args(arguments).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("PARCOURS_DATA", "/data");
        command.output().unwrap()
    };
    let key = succeeded(&inside(&["key", "create"]));
    assert!(key.lines().last().is_some_and(|line| line.starts_with("sk_")), "{key}");
    assert!(succeeded(&inside(&["sending"])).contains("the queue is empty"));
}
