//! Extraction: the bits of a plain loop whatever the threads, interruptions, devices and parts.

mod command;

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use burn::tensor::Device;
use clip_adapter::{
    ClipBackbone, Error, FeatureFile, FeatureSet, Prompts,
    extract::{Broken, Extracted, Extraction, Store},
    input::{ImageFolder, ImageList},
};
use image::RgbImage;
use tempfile::TempDir;

/// 12 images of `cat` and 11 of `dog`: with batches of 4 and shards of 8 three shards, the last of 7.
const IMAGES: [(&str, usize); 2] = [("cat", 12), ("dog", 11)];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn clip() -> ClipBackbone {
    ClipBackbone::from_pretrained(golden("hf_gelu_patch14"), &Device::flex()).unwrap()
}

/// A folder of small pictures, no two alike.
fn photos() -> (TempDir, ImageFolder) {
    let root = tempfile::tempdir().unwrap();
    for (class, count) in IMAGES {
        fs::create_dir(root.path().join(class)).unwrap();
        for index in 0..count {
            let (tone, width) = (17 * index + class.len(), 20 + 3 * index as u32);
            let picture = RgbImage::from_fn(width, 26, |x, y| {
                image::Rgb([(5 * x) as u8, (9 * y) as u8, (tone as u32 + x * y) as u8])
            });
            picture.save(root.path().join(class).join(format!("{index:02}.png"))).unwrap();
        }
    }
    let folder = ImageFolder::open(root.path()).unwrap();
    (root, folder)
}

fn small(clip: &ClipBackbone) -> Extraction<'_> {
    clip.extract().batch(4).shard(8)
}

/// Stops as soon as this many images are done.
fn stop_at(clip: &ClipBackbone, images: usize) -> Extraction<'_> {
    small(clip).on_progress(move |now| match now.done < images {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    })
}

fn shards(store: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("shard-"));
    paths.sort();
    paths
}

fn whole(clip: &ClipBackbone, folder: &ImageFolder) -> FeatureSet {
    small(clip).run(folder).unwrap().labelled().unwrap()
}

#[test]
fn extraction_has_the_bits_of_a_plain_loop_for_any_number_of_workers() {
    let (clip, (_root, folder)) = (clip(), photos());
    let plain = clip.encode_images(folder.files()).unwrap();
    for workers in [1, 2, 7, 40] {
        let listed = clip.extract().workers(workers).run(&ImageList::new(folder.files())).unwrap();
        assert_eq!(listed.embeddings, plain, "{workers} workers");
        assert_eq!(listed.keys, folder.files());
        assert!(matches!(listed.labelled(), Err(Error::Data { .. })), "a list knows no classes");
        let found = clip.extract().workers(workers).run(&folder).unwrap();
        assert_eq!(found.embeddings, plain, "{workers} workers");
        assert!(found.skipped.is_empty());
        let labelled = found.labelled().unwrap();
        assert_eq!(labelled.embeddings(), &plain.normalised(), "{workers} workers");
        assert_eq!(labelled.labels(), folder.labels());
        assert_eq!(labelled.class_names(), ["cat", "dog"]);
    }
}

#[test]
fn two_copies_side_by_side_keep_the_order() {
    let (clip, (_root, folder)) = (clip(), photos());
    let copy = clip.clone();
    for _ in 0..3 {
        let both = small(&clip).also_on([&copy]).run(&folder).unwrap();
        assert_eq!(both.labelled().unwrap(), whole(&clip, &folder));
    }
    let other = ClipBackbone::from_pretrained(golden("hf_sharded"), &Device::flex()).unwrap();
    let error = small(&clip).also_on([&other]).run(&folder).unwrap_err();
    assert!(matches!(error, Error::Fingerprint { what: "backbones", .. }), "{error}");
}

#[test]
fn a_broken_image_is_fatal_or_skipped() {
    let (clip, (root, _)) = (clip(), photos());
    let broken = root.path().join("cat/05.png");
    fs::write(&broken, b"no image").unwrap();
    let folder = ImageFolder::open(root.path()).unwrap();
    let error = small(&clip).run(&folder).unwrap_err();
    assert!(matches!(&error, Error::Image { path, .. } if *path == broken), "{error}");

    let mut reported = Vec::new();
    let skip =
        |options: Extraction<'_>| -> Extracted { options.on_broken(Broken::Skip).run(&folder).unwrap() };
    let found = skip(small(&clip).on_skip(|path, _| reported.push(path.to_owned())));
    assert_eq!(reported, std::slice::from_ref(&broken));
    let labelled = found.labelled().unwrap();
    assert_eq!(labelled.class_counts(), [11, 11]);
    assert!(!found.keys.contains(&broken) && found.keys.len() == 22);
    assert!(matches!(&found.skipped[..], [(path, Error::Image { .. })] if *path == broken));
    // The image after the broken one is still itself, and so is its label.
    let dog = clip.encode_images(&folder.files()[12..13]).unwrap().normalised();
    let row = found.keys.iter().position(|file| file.ends_with("dog/00.png")).unwrap();
    let difference = labelled.embeddings().row(row).iter().zip(dog.row(0)).map(|(a, b)| (a - b).abs());
    assert!(difference.fold(0.0, f32::max) < 1e-5);
    assert_eq!(labelled.labels()[row], 1);

    // A store remembers what was skipped, and that it was.
    let store = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let stored = skip(small(&clip).store(store.path()));
        assert_eq!((&stored.embeddings, &stored.keys), (&found.embeddings, &found.keys));
        assert!(matches!(&stored.skipped[..], [(path, Error::Image { .. })] if *path == broken));
    }
    let error = small(&clip).store(store.path()).run(&folder).unwrap_err();
    assert!(matches!(&error, Error::Image { path, .. } if *path == broken), "{error}");
}

#[test]
fn nothing_but_broken_images_gives_no_rows() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("cat")).unwrap();
    for index in 0..9 {
        fs::write(root.path().join(format!("cat/{index}.jpg")), [0xff, 0xd8, index]).unwrap();
    }
    let folder = ImageFolder::open(root.path()).unwrap();
    let clip = clip();
    let options = || small(&clip).on_broken(Broken::Skip);
    let found = options().run(&folder).unwrap();
    assert_eq!((found.embeddings.rows(), found.skipped.len()), (0, 9));
    let store = root.path().join("store");
    let found = options().store(&store).run(&folder).unwrap();
    assert_eq!((found.embeddings.rows(), found.skipped.len()), (0, 9));
}

#[test]
fn a_vanished_image_is_fatal_even_when_broken_ones_are_skipped() {
    let (clip, (root, folder)) = (clip(), photos());
    let gone = root.path().join("dog/03.png");
    fs::remove_file(&gone).unwrap();
    let error = small(&clip).on_broken(Broken::Skip).run(&folder).unwrap_err();
    assert!(matches!(&error, Error::Read { path, .. } if *path == gone), "{error}");
}

#[test]
fn progress_counts_up_to_the_end() {
    let (clip, (_root, folder)) = (clip(), photos());
    let mut seen = Vec::new();
    let options = small(&clip).on_progress(|now| {
        assert!(now.images_per_second > 0.0 && now.seconds_left >= 0.0);
        assert_eq!((now.total, now.skipped), (23, 0));
        seen.push(now.done);
        ControlFlow::Continue(())
    });
    options.run(&folder).unwrap();
    assert_eq!(seen, [4, 8, 12, 16, 20, 23]);
}

#[test]
fn an_interrupted_run_goes_on_from_its_store() {
    let (clip, (_root, folder)) = (clip(), photos());
    let work = tempfile::tempdir().unwrap();
    let error = stop_at(&clip, 12).run(&folder).unwrap_err();
    assert!(matches!(error, Error::ExtractionCancelled { done: 12, total: 23, store: None }), "{error}");

    let store = work.path().join("store");
    let error = stop_at(&clip, 12).store(&store).run(&folder).unwrap_err();
    assert!(error.to_string().contains("12 of 23 images; resume from"), "{error}");
    assert_eq!(shards(&store).len(), 1, "the shard that was whole is kept");
    let first = fs::read(&shards(&store)[0]).unwrap();

    let mut seen = Vec::new();
    let options = small(&clip).store(&store).on_progress(|now| {
        seen.push(now.done);
        ControlFlow::Continue(())
    });
    let resumed = options.run(&folder).unwrap();
    assert_eq!(seen, [12, 16, 20, 23], "the first 8 images were not encoded again");
    assert_eq!(resumed.labelled().unwrap(), whole(&clip, &folder));
    assert_eq!(fs::read(&shards(&store)[0]).unwrap(), first);

    // Shard by shard, the files are those of a run that was never interrupted.
    let other = work.path().join("other");
    small(&clip).store(&other).run(&folder).unwrap();
    assert_eq!(shards(&store).len(), 3);
    for (left, right) in shards(&store).iter().zip(shards(&other)) {
        assert_eq!(fs::read(left).unwrap(), fs::read(right).unwrap());
    }
    // A complete store needs no encoding at all.
    let again = stop_at(&clip, 0).store(&store).run(&folder).unwrap();
    assert_eq!(again.embeddings, resumed.embeddings);
}

#[test]
fn a_store_of_something_else_is_refused() {
    let (clip, (root, folder)) = (clip(), photos());
    let elsewhere = tempfile::tempdir().unwrap();
    let store = elsewhere.path().join("store");
    small(&clip).store(&store).run(&folder).unwrap();
    let refused = |folder: &ImageFolder, options: Extraction<'_>| match options.store(&store).run(folder) {
        Err(Error::Fingerprint { what, expected, found }) => {
            assert_ne!(expected, found);
            what
        }
        other => panic!("{other:?}"),
    };
    let other = ClipBackbone::from_pretrained(golden("hf_sharded"), &Device::flex()).unwrap();
    assert_eq!(refused(&folder, small(&other)), "backbones of the store");
    assert_eq!(refused(&folder, small(&clip).batch(2)), "batches of the store");
    assert_eq!(refused(&folder, small(&clip).shard(12)), "shards of the store");

    // The same names with one image changed, and one image more.
    let changed = root.path().join("cat/03.png");
    let (bytes, time) = (fs::read(&changed).unwrap(), fs::metadata(&changed).unwrap().modified().unwrap());
    let file = fs::File::options().append(true).open(&changed).unwrap();
    file.set_modified(time + Duration::from_secs(1)).unwrap();
    assert_eq!(refused(&folder, small(&clip)), "lists of images of the store");
    fs::write(&changed, [&bytes[..], &[0]].concat()).unwrap();
    file.set_modified(time).unwrap();
    assert_eq!(refused(&folder, small(&clip)), "lists of images of the store");
    fs::write(&changed, &bytes).unwrap();
    file.set_modified(time).unwrap();
    assert!(small(&clip).store(&store).run(&folder).is_ok(), "as it was");
    fs::copy(&changed, root.path().join("dog/99.png")).unwrap();
    let longer = ImageFolder::open(root.path()).unwrap();
    assert_eq!(refused(&longer, small(&clip)), "lists of images of the store");

    // A shard that another store's was copied over.
    let stranger = root.path().join("stranger");
    small(&other).store(&stranger).run(&folder).unwrap();
    fs::copy(&shards(&stranger)[1], &shards(&store)[1]).unwrap();
    assert_eq!(refused(&folder, small(&clip)), "backbones of the store");
}

#[test]
fn a_damaged_store_is_one_typed_error() {
    let (clip, (root, folder)) = (clip(), photos());
    let store = root.path().join("store");
    small(&clip).store(&store).run(&folder).unwrap();
    let paths = shards(&store);
    let [first, second, last] = &paths[..] else { panic!("three shards") };
    let whole = fs::read(first).unwrap();
    let extract = || small(&clip).store(&store).run(&folder).unwrap_err();

    fs::write(first, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(extract(), Error::Malformed { path, .. } if path == *first));
    fs::copy(second, first).unwrap();
    let error = extract();
    assert!(matches!(&error, Error::Malformed { part, .. } if part.contains("shard")), "{error}");
    fs::copy(last, first).unwrap();
    assert!(matches!(extract(), Error::Malformed { .. }));
    fs::write(first, &whole).unwrap();
    fs::write(store.join("manifest.json"), b"{}").unwrap();
    assert!(matches!(extract(), Error::Malformed { part, .. } if part == "JSON"));
}

/// A store in several folders, in memory.
fn merge(folders: &[impl AsRef<Path>], backbone: &str, images: &ImageFolder) -> Result<Extracted, Error> {
    Store::open(folders, backbone)?.load(images)
}

#[test]
fn parts_put_together_are_the_whole() {
    let (clip, (root, folder)) = (clip(), photos());
    let expected = whole(&clip, &folder);
    for count in [1, 2, 3, 5] {
        let shared = root.path().join(format!("shared-{count}"));
        let own: Vec<PathBuf> =
            (1..=count).map(|index| root.path().join(format!("own-{count}-{index}"))).collect();
        let mut rows = 0;
        for index in (1..=count).rev() {
            let part = small(&clip).store(&shared).part(index, count).run(&folder).unwrap();
            rows += part.embeddings.rows();
            assert!(part.keys.iter().all(|file| folder.files().contains(file)));
            small(&clip).store(&own[index - 1]).part(index, count).fill(&folder).unwrap();
        }
        assert_eq!(rows, 23);
        let merged = merge(&[&shared], clip.identity(), &folder).unwrap();
        assert_eq!(
            (&merged.labelled().unwrap(), &merged.keys[..]),
            (&expected, folder.files()),
            "{count} parts"
        );
        let merged = merge(&own, clip.identity(), &folder).unwrap();
        assert_eq!(merged.labelled().unwrap(), expected, "{count} folders");
    }
}

#[test]
fn parts_that_do_not_fit_are_not_merged() {
    let (clip, (root, folder)) = (clip(), photos());
    let [one, two] = ["one", "two"].map(|name| root.path().join(name));
    small(&clip).store(&one).part(1, 3).run(&folder).unwrap();
    small(&clip).store(&two).part(3, 3).run(&folder).unwrap();
    let error = merge(&[&one, &two], clip.identity(), &folder).unwrap_err();
    assert!(error.to_string().contains("expected 3 shards, found 1 missing: 1"), "{error}");
    small(&clip).store(&two).part(2, 3).run(&folder).unwrap();
    assert!(merge(&[&one, &two], clip.identity(), &folder).is_ok());

    small(&clip).store(&one).part(3, 3).run(&folder).unwrap();
    let error = merge(&[&one, &two], clip.identity(), &folder).unwrap_err();
    assert!(error.to_string().contains("shard 2 of the store: expected in one folder"), "{error}");

    let other = root.path().join("other");
    clip.extract().batch(4).shard(4).store(&other).run(&folder).unwrap();
    let error = merge(&[&two, &other], clip.identity(), &folder).unwrap_err();
    assert!(matches!(error, Error::Fingerprint { what: "shards of the store", .. }), "{error}");
    let error = merge(&[&two], "another CLIP", &folder).unwrap_err();
    assert!(matches!(error, Error::Fingerprint { what: "backbones of the store", .. }), "{error}");
    assert!(matches!(merge(&[] as &[PathBuf], clip.identity(), &folder), Err(Error::Data { .. })));
    let absent = merge(&[root.path().join("absent")], clip.identity(), &folder);
    assert!(matches!(absent, Err(Error::Read { .. })));
}

#[test]
fn a_feature_file_from_a_store_has_the_bytes_of_one_from_memory() {
    let (clip, (root, folder)) = (clip(), photos());
    let classes = clip.text_classifier(folder.class_names(), &Prompts::default()).unwrap();
    let file = FeatureFile::new("pets", classes);
    let [memory, stored, store] = ["memory", "stored", "store"].map(|name| root.path().join(name));
    let set = whole(&clip, &folder);
    file.clone().with_split("train", set.clone()).unwrap().write(&memory).unwrap();
    small(&clip).store(&store).fill(&folder).unwrap();
    let opened = Store::open(&[&store], clip.identity()).unwrap();
    assert_eq!((opened.len(), opened.is_empty(), opened.skipped(&folder).unwrap().len()), (23, false, 0));
    file.write_with(&stored, &[("train", &opened, &folder)]).unwrap();
    assert_eq!(fs::read(&stored).unwrap(), fs::read(&memory).unwrap());
    assert_eq!(FeatureFile::read(&stored).unwrap().split("train").unwrap(), &set);

    let renamed = folder.clone().map_class_names(|name| format!("big {name}"));
    let error = file.write_with(&stored, &[("train", &opened, &renamed)]).unwrap_err();
    assert!(error.to_string().contains("big cat"), "{error}");
    assert_eq!(fs::read(&stored).unwrap(), fs::read(&memory).unwrap(), "what was there is untouched");
}

#[test]
fn options_out_of_range_are_named() {
    let (clip, (_root, folder)) = (clip(), photos());
    for (options, setting) in [
        (small(&clip).workers(0), "workers"),
        (small(&clip).batch(0), "batch"),
        (small(&clip).shard(6), "shard"),
        (small(&clip).shard(0), "shard"),
        (small(&clip).part(0, 2), "part"),
        (small(&clip).part(3, 2), "part"),
    ] {
        let error = options.run(&folder).unwrap_err();
        assert!(matches!(&error, Error::Setting { name, .. } if name == setting), "{error}");
    }
    let error = small(&clip).fill(&folder).unwrap_err();
    assert!(matches!(&error, Error::Setting { name, .. } if name == "store"), "{error}");
}
