//! Images with captions, as the field's files have them, and one list of all that was left out.

use std::{fs, path::Path};

use clip_adapter::{
    ClipBackbone, Error,
    burn::tensor::Device,
    features::PairFile,
    input::{CaptionedImages, LeftOut, Why, left_out_lines},
};
use tempfile::TempDir;

use crate::commands::{failure_in, run_in, text};

/// A folder of these empty files, of which those with `=` hold what follows it.
fn folder(files: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        let (name, text) = file.split_once('=').unwrap_or((file, ""));
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn read(root: &TempDir, file: &str) -> clip_adapter::Result<CaptionedImages> {
    CaptionedImages::read(root.path(), root.path().join(file))
}

/// Every image's path and captions.
fn told(root: &Path, photos: &CaptionedImages) -> Vec<(String, Vec<String>)> {
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
    let images = photos.images().files().iter().enumerate();
    images.map(|(at, path)| (name(path), photos.captions(at).to_vec())).collect()
}

fn image(name: &str, captions: &[&str]) -> (String, Vec<String>) {
    (name.into(), captions.iter().map(|caption| (*caption).to_owned()).collect())
}

fn left_out(photos: &CaptionedImages) -> Vec<String> {
    photos.left_out().iter().map(LeftOut::to_string).collect()
}

#[test]
fn texts_beside_the_images_are_their_captions() {
    let root = folder(&[
        "b.JPG",
        "b.txt=\u{feff}a dog\r\n\r\n  a dog that runs \r\n",
        "a/c.png",
        "a/c.txt=a cat",
        "d.jpg",
        "e.jpg",
        "e.txt= \n\n",
        "f.txt=nobody",
        ".hidden/g.jpg",
        "notes.md=of no image",
    ]);
    let photos = CaptionedImages::beside(root.path()).unwrap();
    let expected = [image("a/c.png", &["a cat"]), image("b.JPG", &["a dog", "a dog that runs"])];
    assert_eq!(told(root.path(), &photos), expected);
    let expected = [
        "`d.jpg`: an image without a caption",
        "`e.txt`: an empty caption",
        "`f.txt`: a caption without an image",
    ];
    assert_eq!(left_out(&photos), expected);
}

/// The same two images of every kind of file, each with the same two faults.
#[test]
fn every_kind_of_file_tells_the_same() {
    let files = [
        (
            "metadata.jsonl",
            "{\"file_name\": \"x/b.jpg\", \"text\": \"a dog\"}\n{\"file_name\": \"a.jpg\", \"text\": [\"a cat\", \"it sleeps\"]}\n\
             {\"file_name\": \"gone.jpg\", \"text\": \"a bird\"}\n{\"file_name\": \"a.jpg\", \"text\": \" \"}\n",
            ["line 3", "line 4"],
        ),
        (
            "records.json",
            "[{\"image\": \"x/b.jpg\", \"caption\": \"a dog\"}, {\"image\": \"a.jpg\", \"captions\": [\"a cat\", \"it sleeps\"]},\
             {\"image\": \"gone.jpg\", \"caption\": \"a bird\"}, {\"image\": \"a.jpg\", \"caption\": null}]",
            ["[2]", "[3]"],
        ),
        (
            "captions.txt",
            "image,caption\nx/b.jpg,a dog\na.jpg,a cat\na.jpg,\"it sleeps\"\ngone.jpg,a bird\na.jpg,\n",
            ["line 5", "line 6"],
        ),
        (
            "results.csv",
            "image_name| comment_number| comment\nx/b.jpg| 0| a dog\na.jpg| 0| a cat\na.jpg| 1| it sleeps\ngone.jpg| 0| a bird\na.jpg| 2|\n",
            ["line 5", "line 6"],
        ),
        (
            "open_clip.csv",
            "filepath\ttitle\nx/b.jpg\ta dog\na.jpg\ta cat\na.jpg\tit sleeps\ngone.jpg\ta bird\na.jpg\t\"\"\n",
            ["line 5", "line 6"],
        ),
        (
            "results.token",
            "x/b.jpg#0\ta dog\na.jpg#0\ta cat\na.jpg#1\tit sleeps\ngone.jpg#0\ta bird\na.jpg#2\t \n",
            ["line 4", "line 5"],
        ),
        (
            "captions_val2017.json",
            "{\"images\": [{\"id\": 2, \"file_name\": \"x/b.jpg\"}, {\"id\": 1, \"file_name\": \"a.jpg\"}, {\"id\": 3, \"file_name\": \"gone.jpg\"}],\
             \"annotations\": [{\"image_id\": 2, \"caption\": \"a dog\"}, {\"image_id\": 1, \"caption\": \"a cat\"}, {\"image_id\": 1, \"caption\": \"it sleeps\"},\
             {\"image_id\": 3, \"caption\": \"a bird\"}, {\"image_id\": 1, \"caption\": \"\"}]}",
            ["annotations[3]", "annotations[4]"],
        ),
        (
            "dataset_flickr8k.json",
            "{\"images\": [{\"filepath\": \"x\", \"filename\": \"b.jpg\", \"split\": \"val\", \"sentences\": [{\"raw\": \"a dog\"}]},\
             {\"filename\": \"a.jpg\", \"split\": \"train\", \"sentences\": [{\"raw\": \"a cat\"}, {\"raw\": \"it sleeps\"}]},\
             {\"filename\": \"gone.jpg\", \"split\": \"test\", \"sentences\": [{\"raw\": \"a bird\"}]},\
             {\"filename\": \"a.jpg\", \"split\": \"train\", \"sentences\": []}]}",
            ["images[2]", "images[3]"],
        ),
    ];
    for (name, text, [missing, empty]) in files {
        let root = folder(&["a.jpg", "x/b.jpg", "c.jpg", &format!("{name}={text}")]);
        let photos = read(&root, name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = [image("x/b.jpg", &["a dog"]), image("a.jpg", &["a cat", "it sleeps"])];
        assert_eq!(told(root.path(), &photos), expected, "{name}");
        let expected = [
            format!("{missing}: `gone.jpg`: a caption without an image"),
            format!("{empty}: `a.jpg`: an empty caption"),
            "`c.jpg`: an image without a caption".to_owned(),
        ];
        assert_eq!(left_out(&photos), expected, "{name}");
        let splits = [photos.split(0), photos.split(1)];
        let expected = if name.starts_with("dataset") { [Some("val"), Some("train")] } else { [None, None] };
        assert_eq!(splits, expected, "{name}");
    }
}

#[test]
fn no_caption_reaches_a_file_outside_the_folder() {
    let root = folder(&["photos/a.jpg", "secret.jpg"]);
    let outside = root.path().join("secret.jpg");
    let text = format!(
        "image,caption\na.jpg,a cat\n../secret.jpg,b\n{},c\nphotos/../../secret.jpg,d\n",
        outside.display()
    );
    let file = root.path().join("captions.csv");
    fs::write(&file, text).unwrap();
    let photos = CaptionedImages::read(root.path().join("photos"), &file).unwrap();
    assert_eq!(photos.images().files(), [root.path().join("photos/a.jpg")]);
    assert_eq!(photos.left_out().len(), 3);
    assert!(photos.left_out().iter().all(|left| left.why == Why::NoImage));
}

#[test]
fn what_is_printed_is_a_few_lines_whatever_was_left_out() {
    let mut text = "image,caption\na.jpg,a cat\n".to_owned();
    (0..5000).for_each(|at| text += &format!("gone-{at}.jpg,a bird\nno column\n"));
    let root = folder(&["a.jpg", &format!("c.csv={text}")]);
    let photos = read(&root, "c.csv").unwrap();
    assert_eq!(photos.left_out().len(), 10_000);
    let lines = left_out_lines(photos.left_out());
    let expected = [
        "5000 lines that are not as they should be: line 4: expected 2 columns, found 1, line 6: expected 2 columns, \
         found 1, line 8: expected 2 columns, found 1, line 10: expected 2 columns, found 1 and 4996 more",
        "5000 captions without an image: line 3: `gone-0.jpg`, line 5: `gone-1.jpg`, line 7: `gone-2.jpg`, \
         line 9: `gone-3.jpg` and 4996 more",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_file_of_nothing_good_is_one_error() {
    let malformed = [
        ("a.json=", "JSON", "EOF"),
        ("a.json={\"a\": 1}", "JSON", "missing field `images`"),
        ("a.json=[1, 2]", "[0]", "1"),
        ("a.jsonl=a cat\n", "line 1", "expected value"),
        ("a.jsonl=\n{\"image\": \"b.jpg\"}\n{}\n", "line 2", "none of them"),
        ("a.csv=photo;caption\n", "line 1: heading", "none of them"),
        ("a.csv=image,caption\nb.jpg\n", "line 2", "1"),
        ("a.token=no heading", "line 1: heading", "none of them"),
    ];
    for (file, part, found) in malformed {
        let root = folder(&["b.jpg", file]);
        let name = file.split_once('=').unwrap().0;
        match read(&root, name) {
            Err(Error::Malformed { path, part: p, found: f, .. }) => {
                assert_eq!((path, p.as_str()), (root.path().join(name), part), "{file}");
                assert!(f.contains(found), "{file}: {f}");
            }
            other => panic!("{file}: {other:?}"),
        }
    }
    let root = folder(&["b.jpg"]);
    fs::write(root.path().join("a.csv"), b"image,caption\nb.jpg,caf\xe9\n").unwrap();
    let error = read(&root, "a.csv").unwrap_err();
    assert!(
        matches!(&error, Error::Malformed { part, found, .. } if part == "line 2" && found == "the byte 0xE9")
    );
    assert!(matches!(read(&root, "absent.csv"), Err(Error::Read { .. })));
    for (file, found) in [
        (
            "a.csv=image,caption\nc.jpg,a\n",
            "1 caption without an image: line 2: `c.jpg`; 1 image without a caption: `b.jpg`",
        ),
        ("a.jsonl=", "1 image without a caption: `b.jpg`"),
    ] {
        let root = folder(&["b.jpg", file]);
        let error = read(&root, file.split_once('=').unwrap().0).unwrap_err();
        assert!(matches!(&error, Error::Data { found: f, .. } if f == found), "{file}: {error}");
    }
    let error = CaptionedImages::beside(folder(&["b.jpg"]).path()).unwrap_err();
    assert!(
        matches!(&error, Error::Data { expected, .. } if expected == "an image with a caption"),
        "{error}"
    );
}

/// From a folder of images with captions to a file of pairs, with a tiny random CLIP.
#[test]
fn a_command_makes_pairs_of_images_and_captions() {
    let root = folder(&["photos/x/wide.txt=a wide one\nanother\n", "photos/notes.txt=nobody"]);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (image, name) in [("wide.png", "x/wide.png"), ("alpha.png", "alpha.png")] {
        fs::copy(golden.join("images").join(image), root.path().join("photos").join(name)).unwrap();
    }
    fs::write(root.path().join("photos/broken.png"), b"no image").unwrap();
    let backbone = text(golden.join("hf_gelu_patch14"));
    let mut start = vec!["--backbone", &backbone, "--images", "photos", "--out", "pairs", "--captions"];
    let printed = run_in(root.path(), "extract_features", &[&start[..], &["beside"]].concat());
    assert_eq!(printed, "wrote pairs: 1 images (0 skipped) with 2 captions\n");
    let file = PairFile::read(root.path().join("pairs")).unwrap();
    let clip = ClipBackbone::from_pretrained(&backbone, &Device::flex()).unwrap();
    let image = clip.encode_images(&[golden.join("images/wide.png")]).unwrap().normalised();
    let texts = clip.encode_texts(&["a wide one", "another"]).unwrap().normalised();
    assert_eq!((file.dataset(), file.pairs().images(), file.pairs().texts()), ("photos", &image, &texts));
    assert_eq!(file.pairs().image_names().unwrap(), ["x/wide.png"]);
    assert_eq!(
        (file.pairs().captions().unwrap()[1].as_str(), file.pairs().backbone()),
        ("another", clip.identity())
    );

    let captions = r#"{"images": [{"filename": "alpha.png", "split": "test", "sentences": [{"raw": "b"}]},
        {"filepath": "x", "filename": "wide.png", "split": "train", "sentences": [{"raw": "c"}]},
        {"filename": "broken.png", "split": "test", "sentences": [{"raw": "d"}]}]}"#;
    fs::write(root.path().join("karpathy.json"), captions).unwrap();
    start.push("karpathy.json");
    let message = failure_in(root.path(), "extract_features", &[&start[..], &["--only", "val"]].concat());
    assert!(message.contains("setting `only`: expected one of test, train, found val"), "{message}");
    let message = failure_in(root.path(), "extract_features", &start);
    assert!(message.contains("broken.png: expected an image"), "{message}");
    let printed =
        run_in(root.path(), "extract_features", &[&start[..], &["--only", "test", "--skip-broken"]].concat());
    assert_eq!(printed, "wrote pairs: 1 images (1 skipped) with 1 captions\n");
    assert_eq!(PairFile::read(root.path().join("pairs")).unwrap().pairs().captions().unwrap(), ["b"]);
    let message =
        failure_in(root.path(), "extract_features", &[&start[..6], &["--captions", "absent.csv"]].concat());
    assert!(message.contains("cannot read absent.csv"), "{message}");
}
