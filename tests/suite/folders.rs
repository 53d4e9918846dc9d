//! A folder of classes holds what a person would say it holds, as torchvision's `ImageFolder` (0.29) has it where that
//! has an answer: sub-folders count, a class without an image is refused.

use std::{fs, path::Path};

use clip_adapter::{Error, FeatureFile, TextClassifier, input::ImageFolder};
use image::{ImageFormat, Rgb, RgbImage};

use crate::{
    backbone::golden,
    commands::{example, failure_in, json, run_in, text},
};

/// A small picture of one colour, which the name of its file gives another shade.
fn picture(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let name = path.as_os_str().as_encoded_bytes();
    let shade = name.iter().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
    let format = match path.extension().and_then(|ending| ending.to_str()) {
        Some("jfif" | "jpg") => ImageFormat::Jpeg,
        _ => ImageFormat::Png,
    };
    RgbImage::from_pixel(40, 40, Rgb([shade, 90, 255 - shade])).save_with_format(path, format).unwrap();
}

fn pictures(root: &Path, files: &[&str]) {
    files.iter().for_each(|file| picture(&root.join(file)));
}

/// What an error says of the folder.
fn refused(root: &Path) -> String {
    match ImageFolder::open(root) {
        Err(Error::Data { found, .. }) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn hidden_and_tool_folders_are_no_classes() {
    let root = tempfile::tempdir().unwrap();
    pictures(root.path(), &["bird/1.png", "house/1.png", "house/2.png"]);
    let clean = ImageFolder::open(root.path()).unwrap();
    let left =
        [".ipynb_checkpoints", ".git/objects", "@eaDir/a", "__MACOSX/bird", "$RECYCLE.BIN", "lost+found"];
    for folder in left.into_iter().chain(["bird/.thumbnails", "house/@eaDir", "house/__MACOSX"]) {
        picture(&root.path().join(folder).join("bird-checkpoint.png"));
    }
    fs::write(root.path().join("bird/._1.png"), b"a Mac's").unwrap();
    fs::write(root.path().join("bird/Thumbs.db"), b"Windows'").unwrap();
    picture(&root.path().join("stray.png"));
    assert_eq!(ImageFolder::open(root.path()).unwrap(), clean);
}

#[test]
fn pictures_in_sub_folders_and_of_any_ending_count() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    pictures(
        root.path(),
        &["drink/1.jfif", "drink/hot/tea.PNG", "drink/hot/green/matcha.jpg", "drink/no ending"],
    );
    pictures(root.path(), &["meal/1.png"]);
    fs::write(at("meal/notes"), b"text").unwrap();
    fs::write(at("meal/notes.txt"), b"text").unwrap();
    #[cfg(unix)]
    for (target, link) in [("../drink/hot", "meal/linked"), ("..", "meal/back"), ("..", "drink/hot/back")] {
        std::os::unix::fs::symlink(target, at(link)).unwrap();
    }
    let photos = ImageFolder::open(root.path()).unwrap();
    let name = |path: &std::path::PathBuf| text(path.strip_prefix(root.path()).unwrap()).replace('\\', "/");
    let mut expected =
        vec!["drink/1.jfif", "drink/hot/green/matcha.jpg", "drink/hot/tea.PNG", "drink/no ending"];
    expected.push("meal/1.png");
    if cfg!(unix) {
        expected.extend(["meal/linked/green/matcha.jpg", "meal/linked/tea.PNG"]);
    }
    assert_eq!(photos.files().iter().map(name).collect::<Vec<_>>(), expected);
    assert_eq!(photos.labels()[..5], [0, 0, 0, 0, 1]);
}

#[test]
fn a_class_without_an_image_is_named() {
    let root = tempfile::tempdir().unwrap();
    pictures(root.path(), &["bird/1.png", "house/1.png"]);
    fs::create_dir(root.path().join("empty")).unwrap();
    fs::create_dir(root.path().join("phone")).unwrap();
    fs::write(root.path().join("phone/1.heic"), b"another format").unwrap();
    assert_eq!(refused(root.path()), "none in `empty`, `phone` (1 file, such as 1.heic)");
    let (photos, empty) = ImageFolder::open_leaving_out(root.path()).unwrap();
    assert_eq!(
        (photos.class_names().join(" "), empty.join(" ")),
        ("bird house".into(), "empty phone".into())
    );
    for class in 0..1000 {
        fs::create_dir(root.path().join(format!("no {class:03}"))).unwrap();
    }
    assert_eq!(refused(root.path()), "none in `empty`, `no 000`, `no 001`, `no 002`, 998 more");
}

#[test]
fn one_class_alone_is_pointless() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(refused(root.path()), "no sub-folder");
    pictures(root.path(), &["bird/1.png"]);
    assert_eq!(ImageFolder::open(root.path()).unwrap().class_names(), ["bird"]);
    let (model, photos) = (text(golden("hf_gelu_patch14")), text(root.path()));
    let picture = text(root.path().join("bird/1.png"));
    for (name, arguments) in [
        ("train_folder", ["--images", &photos, "--out", "a"]),
        ("quickstart", ["--images", &photos, "--shots", "1"]),
        ("zero_shot", ["--images", &picture, "--classes", "bird"]),
    ] {
        let error = failure_in(root.path(), name, &[&["--backbone", &model], &arguments[..]].concat());
        assert!(error.contains("`bird` alone: every image would be of it"), "{name}: {error}");
    }
    // Features of one class can be joined to others.
    let output = example("extract_features")
        .current_dir(root.path())
        .args(["--backbone", &model, "--images", &photos, "--out", "f"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("`bird` alone"), "{said}");
}

#[test]
fn a_class_may_be_called_train() {
    let root = tempfile::tempdir().unwrap();
    let names = |folder: &Path| ImageFolder::open(folder).unwrap().class_names().join(" ");
    pictures(root.path(), &["bird/1.png", "building/1.png", "train/1.png", "train/steam/2.png"]);
    assert_eq!(names(root.path()), "bird building train");
    assert_eq!(ImageFolder::splits(root.path()).unwrap(), []);

    // Two classes that are called so, with their images straight in them.
    let root = tempfile::tempdir().unwrap();
    pictures(root.path(), &["train/1.png", "test/1.png"]);
    assert_eq!(names(root.path()), "test train");

    // Splits, also beside a folder that holds no image, and with a picture astray.
    let root = tempfile::tempdir().unwrap();
    pictures(
        root.path(),
        &["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png", "test/astray.png"],
    );
    fs::create_dir(root.path().join("annotations")).unwrap();
    let splits = ImageFolder::splits(root.path()).unwrap();
    assert_eq!(splits, [("train", root.path().join("train")), ("test", root.path().join("test"))]);
    assert!(refused(root.path()).starts_with("the splits annotations, test, train of a data set"));
    assert_eq!(names(&splits[0].1), "a b");
}

#[test]
fn names_that_look_the_same_are_named() {
    let root = tempfile::tempdir().unwrap();
    pictures(root.path(), &["caf\u{e9}/1.png", "cafe\u{301}/1.png"]);
    let photos = ImageFolder::open(root.path()).unwrap();
    assert_eq!(photos.class_names().len(), 2); // two folders, where the file system keeps them apart
    let text = TextClassifier::new(vec![1.0, 2.0], 1, photos.class_names(), ["a {}."], 100.0, "none");
    let error = text.unwrap_err().to_string();
    assert!(error.contains("again, in another normal form of Unicode"), "{error}");
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf_8_work_in_tables_and_in_json() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let root = tempfile::tempdir().unwrap();
    let at = |name: &[u8]| root.path().join(OsStr::from_bytes(name));
    for class in [&b"photos/caf\xe9"[..], b"photos/caf\xe8", b"photos/tea"] {
        for file in [&b"1.png"[..], b"\xff.png"] {
            picture(&at(class).join(OsStr::from_bytes(file)));
        }
    }
    let photos = ImageFolder::open(at(b"photos")).unwrap();
    assert_eq!(photos.class_names(), [r"caf\xE8", r"caf\xE9", "tea"]);
    assert_eq!(photos.files().len(), 6);

    let model = golden("hf_gelu_patch14");
    let (adapter, one) = (at(b"a\xe9"), at(b"photos/caf\xe9/\xff.png"));
    let run = |name: &str, arguments: &[&OsStr]| {
        let mut command = example(name);
        let output =
            command.current_dir(root.path()).arg("--backbone").arg(&model).args(arguments).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let os = OsStr::new;
    let photos = at(b"photos");
    run(
        "train_folder",
        &[
            os("--images"),
            photos.as_os_str(),
            os("--method"),
            os("gda"),
            os("--out"),
            adapter.as_os_str(),
            os("--json"),
            os("trained.json"),
        ],
    );
    assert_eq!(json(&root.path().join("trained.json"))["classes"][1], r"caf\xE9");
    let printed = run(
        "classify",
        &[
            os("--adapter"),
            adapter.as_os_str(),
            os("--images"),
            one.as_os_str(),
            os("--json"),
            os("out.json"),
        ],
    );
    assert!(printed.contains(r"photos/caf\xE9/\xFF.png"), "{printed}");
    let out = json(&root.path().join("out.json"));
    assert!(out["images"][0]["file"].as_str().unwrap().ends_with(r"caf\xE9/\xFF.png"), "{out}");
    assert!(out["adapter"].as_str().unwrap().ends_with(r"a\xE9"));
    run(
        "zero_shot",
        &[os("--classes"), os("tea,coffee"), os("--images"), one.as_os_str(), os("--json"), os("z.json")],
    );
    run("encode", &[os("--images"), one.as_os_str(), os("--out"), at(b"e\xe9").as_os_str()]);
    assert!(at(b"e\xe9").is_file());
}

#[test]
fn a_class_that_cannot_be_read_is_left_out_where_that_was_asked_for() {
    let root = tempfile::tempdir().unwrap();
    pictures(
        root.path(),
        &["photos/bird/1.png", "photos/bird/2.png", "photos/house/1.png", "photos/tea/1.png"],
    );
    fs::write(root.path().join("photos/tea/1.png"), b"no image").unwrap();
    fs::create_dir(root.path().join("photos/empty")).unwrap();
    let model = text(golden("hf_gelu_patch14"));
    let train = ["--backbone", &model, "--images", "photos", "--method", "gda", "--out", "a"];
    let extract = ["--backbone", &model, "--images", "photos", "--out", "f"];
    assert!(failure_in(root.path(), "train_folder", &train).contains("none in `empty`"));
    fs::remove_dir(root.path().join("photos/empty")).unwrap();
    let error = failure_in(root.path(), "train_folder", &train);
    assert!(error.contains("1.png: expected an image") && error.contains("--skip-broken"), "{error}");
    fs::create_dir(root.path().join("photos/empty")).unwrap();

    run_in(root.path(), "train_folder", &[&train[..], &["--skip-broken", "--json", "j"]].concat());
    let trained = json(&root.path().join("j"));
    assert_eq!(trained["classes"], serde_json::json!(["bird", "house"]));
    assert_eq!((&trained["class_images"], &trained["skipped"]), (&serde_json::json!([2, 1]), &1.into()));
    run_in(root.path(), "extract_features", &[&extract[..], &["--skip-broken"]].concat());
    let file = FeatureFile::read(root.path().join("f")).unwrap();
    assert_eq!(file.split("train").unwrap().class_names(), ["bird", "house"]);
    assert_eq!(file.split("train").unwrap().labels(), [0, 0, 1]);
    fs::write(root.path().join("photos/house/1.png"), b"no image").unwrap();
    let error = failure_in(root.path(), "train_folder", &[&train[..], &["--skip-broken"]].concat());
    assert!(error.contains("`bird` alone"), "{error}");
}

#[test]
fn splits_of_a_data_set_are_not_trained_on_as_classes() {
    let root = tempfile::tempdir().unwrap();
    for split in ["train", "test"] {
        pictures(
            &root.path().join("photos").join(split),
            &["bird/1.png", "train/1.png", "train/steam/2.png"],
        );
    }
    let model = text(golden("hf_gelu_patch14"));
    let error =
        failure_in(root.path(), "train_folder", &["--backbone", &model, "--images", "photos", "--out", "a"]);
    assert!(error.contains("open one of them"), "{error}");
    run_in(root.path(), "extract_features", &["--backbone", &model, "--images", "photos", "--out", "f"]);
    let file = FeatureFile::read(root.path().join("f")).unwrap();
    for split in ["train", "test"] {
        assert_eq!(file.split(split).unwrap().class_counts(), [1, 2]);
    }
    fs::remove_dir_all(root.path().join("photos/test/bird")).unwrap();
    pictures(root.path(), &["photos/test/other/1.png"]);
    let error = failure_in(
        root.path(),
        "extract_features",
        &["--backbone", &model, "--images", "photos", "--out", "f"],
    );
    assert!(error.contains("`bird` among them"), "{error}");
}
