//! The command `extract_features`: killed, in parts, and with mistakes.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{golden, photos};
use crate::commands::example;

/// The command, with small batches and shards.
fn command(root: &Path, arguments: &[&str]) -> Command {
    let mut command = example("extract_features");
    command.arg("--backbone").arg(golden("hf_gelu_patch14")).arg("--images").arg(root.join("photos"));
    command.args(["--batch", "2"]).args(arguments).current_dir(root).stdout(Stdio::null());
    command
}

/// 120 links to the same few pictures.
fn linked_photos(root: &Path) {
    let (source, folder) = photos();
    fs::create_dir_all(root.join("photos/pet")).unwrap();
    for (index, file) in folder.files().iter().cycle().take(120).enumerate() {
        let link = root.join(format!("photos/pet/{index:03}.png"));
        let original =
            root.join(file.strip_prefix(source.path()).unwrap().to_string_lossy().replace('/', "-"));
        if !original.exists() {
            fs::copy(file, &original).unwrap();
        }
        fs::hard_link(original, link).unwrap();
    }
}

#[test]
fn a_killed_command_goes_on_and_writes_the_same_file() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    linked_photos(root);
    assert!(command(root, &["--out", "whole"]).status().unwrap().success());

    let kept = ["--store", "store", "--shard", "4", "--out", "resumed"];
    let mut child = command(root, &kept).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    let stored = || fs::read_dir(root.join("store/train")).map_or(0, Iterator::count);
    while stored() < 4 && started.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(stored() >= 4, "nothing was kept");
    assert!(command(root, &kept).status().unwrap().success());
    assert_eq!(fs::read(root.join("resumed")).unwrap(), fs::read(root.join("whole")).unwrap());
}

#[test]
fn parts_of_a_command_merge_into_the_same_file() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    linked_photos(root);
    assert!(command(root, &["--out", "whole"]).status().unwrap().success());
    let store = ["--store", "store", "--shard", "20"];
    for part in ["2/2", "1/2"] {
        let merge = command(root, &[&store[..2], &["--merge", "--out", "merged"]].concat()).output().unwrap();
        assert_eq!(merge.status.code(), Some(2), "not whole yet");
        assert!(command(root, &[&store[..], &["--part", part]].concat()).status().unwrap().success());
    }
    let merged = [&store[..2], &["--merge", "--out", "merged"]].concat();
    assert!(command(root, &merged).status().unwrap().success());
    assert_eq!(fs::read(root.join("merged")).unwrap(), fs::read(root.join("whole")).unwrap());
}

#[test]
fn mistakes_of_the_command_end_in_one_sentence() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    linked_photos(root);
    for (arguments, sentence) in [
        (vec![], "--out"),
        (vec!["--out", "no/such/folder/file"], "cannot write no/such/folder/file"),
        (vec!["--out", "file", "--part", "1/2"], "cannot be used with"),
        (vec!["--store", "store", "--part", "3/2"], "I from 1 to N"),
        (vec!["--out", "file", "--store", "a", "--store", "b"], "one folder without --merge"),
        (vec!["--out", "file", "--store", "a", "--shard", "3"], "setting `shard`: expected a multiple of 2"),
        (vec!["--out", "file", "--workers", "0"], "setting `workers`"),
        (vec!["--out", "file", "--prompts", "imagenet-81"], "imagenet-80"),
        (vec!["--out", "file", "--prompts", "no/such.txt"], "cannot read no/such.txt"),
        (vec!["--out", "file", "--device", "abacus"], "unknown device `abacus`"),
        (vec!["--out", "file", "--store", "empty", "--merge"], "cannot read empty/train/manifest.json"),
    ] {
        let output = command(root, &arguments).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(sentence), "{arguments:?}: {message}");
        assert!(!message.contains("panicked"), "{arguments:?}: {message}");
        assert!(!root.join("file").exists());
    }
}
