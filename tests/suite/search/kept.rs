//! The index that one keeps.

use std::{
    cell::Cell,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use clip_adapter::{
    ClipBackbone, Error, FeatureFile,
    tasks::search::{Changes, Index, Indexer, PhotoIndex},
};
use image::RgbImage;
use tempfile::TempDir;

use crate::commands::{failure_in, json, run_in, text};

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pocket/model")
}

fn clip() -> ClipBackbone {
    ClipBackbone::from_pretrained(model(), &Device::flex()).unwrap()
}

fn picture(path: &Path, tone: u32) {
    let picture = RgbImage::from_fn(24, 24, |x, y| {
        image::Rgb([(10 * x + tone) as u8, (9 * y + 3 * tone) as u8, (7 * tone + x * y) as u8])
    });
    picture.save(path).unwrap();
}

/// 40 pictures, no two alike, in two folders, and a file that is none.
fn photos() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["beach", "town/night"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
        for at in 0..20 {
            picture(&root.path().join(folder).join(format!("{at:02}.png")), 11 * at + folder.len() as u32);
        }
    }
    fs::write(root.path().join("notes.txt"), "no image").unwrap();
    root
}

fn index(clip: &ClipBackbone, root: &Path, path: &Path) -> Changes {
    Indexer::new(clip).shard(16).run(root, path).unwrap().1
}

/// What counts: added, changed, removed, renamed, unchanged, encoded, left out.
fn counts(changes: &Changes) -> [usize; 7] {
    let Changes { added, changed, removed, renamed, unchanged, encoded, left_out, .. } = changes;
    [added.len(), changed.len(), removed.len(), renamed.len(), *unchanged, *encoded, left_out.len()]
}

#[test]
fn an_index_follows_its_folder_and_encodes_what_is_new() {
    let (clip, root, out) = (clip(), photos(), tempfile::tempdir().unwrap());
    let (root, path) = (root.path(), out.path().join("photos.index"));
    assert_eq!(counts(&index(&clip, root, &path)), [40, 0, 0, 0, 0, 40, 0]);
    let first = fs::read(&path).unwrap();
    assert_eq!(counts(&index(&clip, root, &path)), [0, 0, 0, 0, 40, 0, 0]);
    assert!(fs::read(&path).unwrap() == first);

    // Three are new, one of them a copy; two are gone, two moved, one has another content, one was only touched.
    (0..2).for_each(|at| picture(&root.join(format!("town/new {at}.png")), 100 + at));
    fs::copy(root.join("beach/00.png"), root.join("copy.png")).unwrap();
    (1..3).for_each(|at| fs::remove_file(root.join(format!("beach/0{at}.png"))).unwrap());
    fs::rename(root.join("beach/03.png"), root.join("beach/sunset.png")).unwrap();
    fs::rename(root.join("beach/04.png"), root.join("town/04.png")).unwrap();
    picture(&root.join("beach/05.png"), 200);
    let touched = fs::read(root.join("beach/06.png")).unwrap();
    fs::remove_file(root.join("beach/06.png")).unwrap();
    fs::write(root.join("beach/06.png"), touched).unwrap();
    let (index_now, changes) = Indexer::new(&clip).run(root, &path).unwrap();
    assert_eq!(counts(&changes), [3, 1, 2, 2, 35, 3, 0]);
    assert_eq!(changes.added, ["copy.png", "town/new 0.png", "town/new 1.png"]);
    assert_eq!(changes.changed, ["beach/05.png"]);
    assert_eq!(changes.removed, ["beach/01.png", "beach/02.png"]);
    let moved = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let expected = [moved("beach/03.png", "beach/sunset.png"), moved("beach/04.png", "town/04.png")];
    assert_eq!(changes.renamed, expected);

    // It is what one that is built anew holds, to the last bits of rows that were encoded beside others.
    let anew = out.path().join("anew.index");
    index(&clip, root, &anew);
    let (kept, anew) = (PhotoIndex::read(&path).unwrap(), PhotoIndex::read(&anew).unwrap());
    assert_eq!((kept.items(), kept.len()), (anew.items(), 41));
    for row in 0..41 {
        let (kept, anew) = (kept.embedding(row).unwrap(), anew.embedding(row).unwrap());
        approx::assert_abs_diff_eq!(kept[..], anew[..], epsilon = 1e-3);
        assert_eq!(index_now.embedding(row).unwrap(), kept);
    }
    let row = |path: &str| index_now.row_of(path).unwrap();
    let embedding = |path: &str| index_now.embedding(row(path)).unwrap();
    assert_eq!(embedding("copy.png"), embedding("beach/00.png"));
    assert_eq!(index_now.row_of("beach/01.png"), None);
    assert!(!out.path().join("photos.index.work").exists());
}

#[test]
fn a_run_that_was_stopped_ends_in_the_same_bytes() {
    let (clip, root, out) = (clip(), photos(), tempfile::tempdir().unwrap());
    fs::write(root.path().join("beach/torn.png"), b"\x89PNG\r\n\x1a\n and no more").unwrap();
    let (whole, path) = (out.path().join("whole.index"), out.path().join("photos.index"));
    let expected = counts(&index(&clip, root.path(), &whole));
    assert_eq!(expected, [40, 0, 0, 0, 0, 40, 1]);
    let parts = || fs::read_dir(out.path().join("photos.index.work")).map_or(0, Iterator::count);

    // Stopped in the first part, in the second, and in the third: what was finished is not done again.
    let stopped = |whole_parts: usize| {
        let batches = Cell::new(0);
        let indexer = Indexer::new(&clip).shard(16).on_progress(|_| {
            batches.set(batches.get() + 1);
            match batches.get() > whole_parts {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        indexer.run(root.path(), &path).unwrap_err()
    };
    for (whole_parts, kept) in [(0, 0), (1, 1), (1, 2)] {
        let error = stopped(whole_parts);
        let Error::ExtractionCancelled { done, total, .. } = error else { panic!("{error}") };
        assert_eq!((parts(), done, total), (kept, 16 * kept, 41));
        assert!(!path.exists());
    }
    assert_eq!(index(&clip, root.path(), &path).encoded, 41 - 32);
    assert!(fs::read(&path).unwrap() == fs::read(&whole).unwrap());
    assert_eq!(parts(), 0);

    // So does an update, and a part that is damaged is named.
    (0..20).for_each(|at| picture(&root.path().join(format!("new {at}.png")), 11 * at + 7));
    assert!(stopped(1).is_cancelled());
    assert_eq!(parts(), 1);
    assert_eq!(index(&clip, root.path(), &whole).encoded, 20);
    assert_eq!(index(&clip, root.path(), &path).encoded, 5); // the torn one was in the first part again
    assert!(fs::read(&path).unwrap() == fs::read(&whole).unwrap());

    (0..20).for_each(|at| picture(&root.path().join(format!("newer {at}.png")), 11 * at + 8));
    assert!(stopped(1).is_cancelled());
    let part = out.path().join("photos.index.work/part-000000.safetensors");
    fs::write(&part, &fs::read(&part).unwrap()[..500]).unwrap();
    let found = Indexer::new(&clip).run(root.path(), &path).unwrap_err();
    assert!(matches!(&found, Error::Malformed { path, .. } if *path == part), "{found}");
}

#[test]
fn what_cannot_be_read_is_left_out_and_said_until_it_can() {
    let (clip, root, out) = (clip(), photos(), tempfile::tempdir().unwrap());
    let (root, path) = (root.path(), out.path().join("photos.index"));
    let torn = root.join("beach/torn.jpg");
    fs::write(&torn, "no image").unwrap();
    fs::write(root.join("empty.png"), "").unwrap();
    let (index_now, changes) = Indexer::new(&clip).run(root, &path).unwrap();
    let names: Vec<&str> = changes.left_out.iter().map(|left| left.path.as_str()).collect();
    assert_eq!((names, index_now.len()), (vec!["beach/torn.jpg", "empty.png"], 40));
    assert!(changes.left_out.iter().all(|left| !left.reason.is_empty()));
    assert_eq!(PhotoIndex::read(&path).unwrap().left_out(), changes.left_out);

    fs::rename(root.join("beach/07.png"), &torn).unwrap(); // a PNG, whatever it is called
    let changes = index(&clip, root, &path);
    assert_eq!(counts(&changes), [0, 0, 0, 1, 39, 0, 1]);

    // What had a row and is damaged has none.
    fs::write(root.join("beach/08.png"), "damaged").unwrap();
    let changes = index(&clip, root, &path);
    assert_eq!(counts(&changes), [0, 0, 1, 0, 39, 0, 2]);
    assert_eq!(changes.removed, ["beach/08.png"]);

    #[cfg(unix)]
    {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        picture(&root.join("caf.png"), 250);
        fs::rename(root.join("caf.png"), root.join(OsStr::from_bytes(b"caf\xe9.png"))).unwrap();
        let changes = index(&clip, root, &path);
        assert!(
            changes.left_out.iter().any(|left| left.path == r"caf\xE9.png" && left.reason.contains("UTF-8"))
        );
    }
}

/// A disk that is not there, or another folder by mistake, must not cost the index.
#[test]
fn what_would_lose_the_index_is_refused() {
    let (clip, root, out) = (clip(), photos(), tempfile::tempdir().unwrap());
    let path = out.path().join("photos.index");
    index(&clip, root.path(), &path);
    let bytes = fs::read(&path).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let failed = |root: &Path| Indexer::new(&clip).run(root, &path).unwrap_err();
    assert!(matches!(failed(empty.path()), Error::Data { .. }));
    assert!(matches!(failed(&empty.path().join("none")), Error::Read { .. }));
    fs::write(empty.path().join("a.png"), "none").unwrap();
    assert!(matches!(failed(empty.path()), Error::Data { .. }));

    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hf_gelu_patch14");
    let other = ClipBackbone::from_pretrained(other, &Device::flex()).unwrap();
    let refused = [
        Indexer::new(&other).run(root.path(), &path).unwrap_err(),
        PhotoIndex::open(&path, other.identity()).unwrap_err(),
        PhotoIndex::read(&path).unwrap().search_text(&other, "a cat", 1).unwrap_err(),
    ];
    assert!(refused.iter().all(|error| matches!(error, Error::Fingerprint { .. })), "{refused:?}");
    assert!(matches!(Indexer::new(&clip).shard(0).run(root.path(), &path), Err(Error::Setting { .. })));
    assert!(fs::read(&path).unwrap() == bytes);

    // Cut anywhere, or of another format.
    for length in [0, 4, 100, bytes.len() / 2, bytes.len() - 1] {
        let cut = out.path().join("cut.index");
        fs::write(&cut, &bytes[..length]).unwrap();
        assert!(matches!(PhotoIndex::open(&cut, clip.identity()), Err(Error::Malformed { .. })), "{length}");
        assert!(
            matches!(Indexer::new(&clip).run(root.path(), &cut), Err(Error::Malformed { .. })),
            "{length}"
        );
    }
    let features = out.path().join("minerals.safetensors");
    FeatureFile::synthetic(0).unwrap().write(&features).unwrap();
    assert!(matches!(PhotoIndex::read(&features), Err(Error::Malformed { .. })));
    let mut damaged = bytes.clone();
    let items = bytes.windows(10).position(|window| window == b"{\"images\":").unwrap();
    damaged[items - 2..items].copy_from_slice(&[0x00, 0x7c]); // the last value of the last row is an infinity
    fs::write(out.path().join("damaged.index"), damaged).unwrap();
    let found = PhotoIndex::open(out.path().join("damaged.index"), clip.identity()).unwrap_err();
    assert!(found.to_string().contains("row 39"), "{found}");
}

#[test]
fn search_takes_a_sentence_an_image_or_both() {
    let (clip, root, out) = (clip(), photos(), tempfile::tempdir().unwrap());
    let path = out.path().join("photos.index");
    let (index, _) = Indexer::new(&clip).run(root.path(), &path).unwrap();
    let image = root.path().join("beach/09.png");
    let found = index.search_image(&clip, &image, 5).unwrap();
    assert_eq!((found.len(), found[0].path.as_str()), (5, "beach/09.png"));
    approx::assert_abs_diff_eq!(found[0].score, 1.0, epsilon = 1e-3);
    let like = index.search_row(found[0].row, 4).unwrap();
    let paths = |found: &[clip_adapter::tasks::search::Found]| -> Vec<String> {
        found.iter().map(|found| found.path.clone()).collect()
    };
    assert_eq!(paths(&like), paths(&found[1..]));

    // A weight of 0 is the image alone, and a large one the text.
    let text = "a photo of a beach";
    let by_text = index.search_text(&clip, text, 40).unwrap();
    let composed = |weight| index.search_composed(&clip, &image, text, weight, 40).unwrap();
    assert_eq!(paths(&composed(0.0)), paths(&index.search_image(&clip, &image, 40).unwrap()));
    for (both, alone) in composed(100.0).iter().zip(&by_text) {
        approx::assert_abs_diff_eq!(both.score, alone.score, epsilon = 0.03);
    }
    for weight in [-0.1, 100.1, f32::NAN] {
        let refused = index.search_composed(&clip, &image, text, weight, 1).unwrap_err();
        assert!(matches!(&refused, Error::Setting { name, .. } if name == "weight"), "{refused}");
    }
    let on_disk = PhotoIndex::open_on_disk(&path, clip.identity()).unwrap();
    assert_eq!(on_disk.search_text(&clip, text, 40).unwrap(), by_text);
    assert_eq!(
        PhotoIndex::open(&path, clip.identity()).unwrap().search_text(&clip, text, 40).unwrap(),
        by_text
    );
}

#[test]
fn features_become_an_index_that_is_no_folders() {
    let file = FeatureFile::synthetic(0).unwrap();
    let index = PhotoIndex::of_features(&file).unwrap();
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("minerals.index");
    index.write(&path).unwrap();
    let read = PhotoIndex::open(&path, file.classifier().backbone()).unwrap();
    assert_eq!((read.items(), read.dim()), (index.items(), file.classifier().dim()));
    let test = file.split("train").unwrap().embeddings().normalised();
    let digits = test.rows().to_string().len();
    for row in [0, test.rows() - 1] {
        let kept = read.embedding(read.row_of(&format!("train/{row:0digits$}")).unwrap()).unwrap();
        approx::assert_abs_diff_eq!(kept[..], *test.row(row), epsilon = 1e-3);
    }
    let split_sizes: usize = file.split_names().map(|name| file.split(name).unwrap().len()).sum();
    assert_eq!(read.len(), split_sizes);
}

#[test]
fn the_command_builds_updates_finds_and_exports() {
    let (root, out) = (photos(), tempfile::tempdir().unwrap());
    let (model, images) = (text(model()), text(root.path()));
    let run = |more: &[&str]| {
        let common = ["--out", "photos.index", "--json", "out.json"];
        run_in(out.path(), "index", &[&common[..], more].concat());
        json(&out.path().join("out.json"))
    };
    let built = run(&["--backbone", &model, "--images", &images]);
    assert_eq!((&built["images"], &built["changes"]["encoded"]), (&40.into(), &40.into()));
    fs::remove_file(root.path().join("beach/00.png")).unwrap();
    fs::rename(root.path().join("beach/01.png"), root.path().join("x.png")).unwrap();
    let query = text(root.path().join("x.png"));
    let asked = ["--backbone", &model, "--images", &images, "--query", &query, "--top", "3"];
    let updated = run(&asked);
    assert_eq!(updated["changes"]["removed"], serde_json::json!(["beach/00.png"]));
    assert_eq!(updated["changes"]["renamed"], serde_json::json!([["beach/01.png", "x.png"]]));
    assert_eq!((&updated["changes"]["encoded"], &updated["search"]["kind"]), (&0.into(), &"image".into()));
    assert_eq!(updated["search"]["found"][0]["path"], "x.png");
    assert_eq!(updated["search"]["found"].as_array().unwrap().len(), 3);
    let asked =
        ["--backbone", &model, "--query", &query, "--text", "at night", "--weight", "0.5", "--on-disk"];
    assert_eq!(run(&asked)["search"]["found"].as_array().unwrap().len(), 10);
    assert_eq!(run(&["--backbone", &model, "--query", "a town"])["search"]["kind"], "text");

    run(&["--export", "rows.npy", "--half"]);
    let index = PhotoIndex::read(out.path().join("photos.index")).unwrap();
    let npy = fs::read(out.path().join("rows.npy")).unwrap();
    assert_eq!(npy.len(), 128 + 39 * index.dim() * 2);
    let names = fs::read_to_string(out.path().join("rows.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(names.lines().last().unwrap()).unwrap();
    assert_eq!((last, names.lines().count()), (serde_json::json!({ "row": 38, "path": "x.png" }), 39));

    #[cfg(feature = "parquet")]
    {
        run(&["--export", "rows.parquet"]);
        let parquet = fs::read(out.path().join("rows.parquet")).unwrap();
        assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    }
    let failure = |arguments: &[&str]| failure_in(out.path(), "index", arguments);
    assert!(failure(&["--backbone", &model, "--out", "none.index", "--query", "a"]).contains("none.index"));
    assert!(failure(&["--backbone", &model, "--out", "none.index", "--images", "none"]).contains("none"));
    assert!(failure(&["--out", "photos.index", "--query", "a town"]).contains("--backbone"));
    let text_for_text = ["--backbone", &model, "--out", "photos.index", "--query", "a", "--text", "b"];
    assert!(failure(&text_for_text).contains("an image file"));
    assert!(failure(&["--out", "photos.index", "--export", "rows.csv"]).contains(".npy"));
    #[cfg(not(feature = "parquet"))]
    assert!(failure(&["--out", "photos.index", "--export", "rows.parquet"]).contains("feature `parquet`"));
    let features = ["--features", "photos.index", "--out", "features.index"];
    assert!(failure(&features).contains("clip-features/1"));
}

/// What the writer has written is what a reader of the format finds.
#[cfg(feature = "parquet")]
#[test]
fn parquet_is_read_back_value_for_value() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::{Field, RowAccessor};

    let index = PhotoIndex::of_features(&FeatureFile::synthetic(0).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("minerals.parquet");
    index.write_parquet(&path).unwrap();
    let reader = SerializedFileReader::new(fs::File::open(&path).unwrap()).unwrap();
    let mut rows = 0;
    for (row, found) in reader.get_row_iter(None).unwrap().enumerate() {
        let found = found.unwrap();
        assert_eq!(found.get_string(0).unwrap(), &index.items()[row].path);
        let values: Vec<f32> = found
            .get_list(1)
            .unwrap()
            .elements()
            .iter()
            .map(|value| match value {
                Field::Float(value) => *value,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(values, index.embedding(row).unwrap());
        rows += 1;
    }
    assert_eq!(rows, index.len());
}
