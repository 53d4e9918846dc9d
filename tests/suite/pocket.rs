//! The pocket model, its pictures, and the examples that make a classifier with it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use base64::prelude::{BASE64_STANDARD, Engine};
use clip_adapter::input::ImageFolder;

use crate::commands::{failure_in, json, run_in, text};

/// Two styles of the same things, and their classes.
const EMOJI: ([&str; 2], usize) = (["fluent-3d", "fluent-line"], 22);
const ICONS: ([&str; 2], usize) = (["icon-line", "icon-colour"], 20);

fn pocket(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pocket").join(part)
}

fn images(style: &str) -> PathBuf {
    pocket("images").join(style)
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { size(&path) } else { path.metadata().unwrap().len() }).sum()
}

#[test]
fn the_pictures_are_small_and_the_same_in_every_style() {
    assert!(size(&pocket("images")) <= 3_000_000);
    assert!(size(&pocket("model")) <= 6_000_000);
    for (styles, classes) in [EMOJI, ICONS] {
        let mut all = BTreeSet::new();
        for style in styles {
            let folder = ImageFolder::open(images(style)).unwrap();
            assert_eq!(folder.class_names().len(), classes);
            for class in 0..classes {
                let count = folder.labels().iter().filter(|&&label| label == class).count();
                assert!((20..=32).contains(&count), "{style} {}: {count}", folder.class_names()[class]);
            }
            for file in folder.files() {
                assert_eq!(image::image_dimensions(file).unwrap(), (64, 64), "{}", file.display());
            }
            let names =
                folder.files().iter().map(|file| file.strip_prefix(images(style)).unwrap().to_owned());
            all.insert(names.collect::<Vec<_>>());
        }
        assert_eq!(all.len(), 1);
    }
}

/// Everything that the first command promises, from one run of it.
#[test]
fn quickstart_gains_ten_points_and_shows_them() {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let printed = run_in(
        folder.path(),
        "quickstart",
        &["--json", "out.json", "--save", "adapter", "--html", "page.html"],
    );
    // Half a minute alone; here other tests take the cores too.
    assert!(start.elapsed().as_secs() < 150, "{:?}", start.elapsed());
    let out = json(&folder.path().join("out.json"));
    let number = |part: &str, name: &str| out[part][name].as_f64().unwrap();
    assert_eq!((number("facts", "classes"), number("facts", "shots")), (20.0, 16.0));
    assert_eq!(number("facts", "tested"), number("facts", "encoded") - 20.0 * 16.0);
    assert!(number("facts", "start_seconds") < 3.0);
    let gain = number("clip_adapter", "accuracy") - number("zero_shot", "accuracy");
    assert!(gain >= 10.0, "{gain} points");
    assert!(number("clip_adapter", "macro_f1") > number("zero_shot", "macro_f1"));

    let points = out["points"].as_array().unwrap();
    let of = |method: &str| points.iter().filter(|point| point["method"] == method).collect::<Vec<_>>();
    for method in ["clip-adapter", "auto"] {
        let shots: Vec<u64> = of(method).iter().filter_map(|point| point["shots"].as_u64()).collect();
        assert_eq!(shots, [1, 2, 4, 8, 16]);
    }
    assert_eq!(of("clip-adapter")[4]["accuracy"], out["clip_adapter"]["accuracy"]);
    let [corrected, spoiled] = ["corrected", "spoiled"].map(|kind| number("changed", kind));
    // What was corrected and what was spoiled is all that moves the accuracy.
    approx::assert_abs_diff_eq!(
        100.0 * (corrected - spoiled) / number("facts", "tested"),
        gain,
        epsilon = 1e-9
    );

    assert!(folder.path().join("adapter").exists());
    assert!(printed.contains("read back: the same logits for all 301 images"), "{printed}");
    assert!(printed.contains("images/icon-colour/food/apple.png"), "{printed}");
    assert_eq!(out["classified"].as_array().unwrap().len(), 2);
    check_page(&fs::read_to_string(folder.path().join("page.html")).unwrap(), corrected as usize);
}

fn check_page(page: &str, corrected: usize) {
    for section in ["shots", "confusion", "changed", "style"] {
        assert!(page.contains(&format!("<h2 id=\"{section}\">")), "{section}");
    }
    assert_eq!(page.matches("<table class=\"confusion\">").count(), 2);
    assert_eq!(page.matches("<polyline").count(), 2);
    assert!(page.contains(&format!("<h3>Corrected: {corrected}")));
    assert!(page.matches("<figure").count() >= 12);
    assert!(
        !page.contains("<script") && !page.contains("http:") && !page.contains("https:"),
        "everything is in the page"
    );
    let sources = page.matches(" src=").count();
    assert_eq!(page.matches(" src=\"data:image/png;base64,").count(), sources);
    // The first picture of another style is the file's, to the bit.
    let style = &page[page.find("<h2 id=\"style\">").unwrap()..];
    let base64 = style.split("base64,").nth(1).unwrap().split('"').next().unwrap();
    let shown = image::load_from_memory(&BASE64_STANDARD.decode(base64).unwrap()).unwrap().to_rgb8();
    let file = image::open(images("icon-colour").join("food/apple.png")).unwrap().to_rgb8();
    assert!(shown == file);
}

#[test]
fn quickstart_is_repeatable_and_takes_other_images() {
    let folder = tempfile::tempdir().unwrap();
    let (model, prompts, emoji) =
        (text(pocket("model")), text(pocket("prompts.txt")), text(images("fluent-3d")));
    let mut arguments = vec!["--shots", "2", "--json", "out.json", "--images", &emoji];
    arguments.extend(["--backbone", &model, "--prompts", &prompts]);
    let [first, second] = [(), ()].map(|()| {
        run_in(folder.path(), "quickstart", &arguments);
        json(&folder.path().join("out.json"))
    });
    for part in ["zero_shot", "clip_adapter", "changed", "classified"] {
        assert_eq!(first[part], second[part], "{part}");
    }
    assert_eq!(first["points"].as_array().unwrap().len(), 4);
    assert!(folder.path().join("clip-adapter.html").exists());
    let classified: Vec<&str> =
        first["classified"].as_array().unwrap().iter().filter_map(|image| image["file"].as_str()).collect();
    assert!(classified.iter().all(|file| Path::new(file).starts_with(images("fluent-3d"))), "{classified:?}");
}

/// With a learning rate of nothing, full fine-tuning is zero-shot CLIP: both take the same pixels and classify by
/// the same cosines.
#[test]
fn fine_tuning_starts_where_zero_shot_is() {
    let folder = tempfile::tempdir().unwrap();
    let (line, deep) = (text(images("fluent-line")), text(images("fluent-3d")));
    let mut arguments = vec!["--images", &line, "--others", &deep, "--shots", "1", "--seeds", "1"];
    arguments.extend(["--rates", "1e-9", "--epochs", "1", "--json", "out.json", "--markdown", "out.md"]);
    run_in(folder.path(), "compare_finetuning", &arguments);
    let out = json(&folder.path().join("out.json"));
    let outcomes = out.as_array().unwrap();
    assert_eq!(outcomes.len(), 8 * 2);
    let of = |method: &str, style: &str| {
        outcomes.iter().find(|outcome| outcome["method"] == method && outcome["style"] == style).unwrap()
    };
    for style in ["fluent-line", "fluent-3d"] {
        let [full, zero_shot] =
            ["full fine-tuning", "zero-shot"].map(|method| of(method, style)["accuracy"].as_f64().unwrap());
        approx::assert_abs_diff_eq!(full, zero_shot, epsilon = 0.4); // two of 572 images
    }
    let trained = |method: &str| of(method, "fluent-3d")["parameters"].as_u64().unwrap();
    assert_eq!(trained("zero-shot"), 0);
    assert!(trained("full fine-tuning") > 20 * trained("clip-adapter"));
    assert!(trained("clip-adapter") > 0);
    let table = fs::read_to_string(folder.path().join("out.md")).unwrap();
    assert!(
        table.contains("Accuracy on fluent-line") && table.contains("Macro F1 on other styles (fluent-3d)"),
        "{table}"
    );
    assert_eq!(table.matches("| full fine-tuning |").count(), 2);
}

#[test]
fn mistakes_end_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments, sentence) in [
        ("quickstart", vec!["--images", "absent"], "cannot read absent"),
        ("quickstart", vec!["--backbone", "absent"], "cannot read absent"),
        ("quickstart", vec!["--prompts", "imagenet-81"], "expected one of single, imagenet-7"),
        ("quickstart", vec!["--shots", "0"], "setting `shots`: expected 1 or more"),
        ("quickstart", vec!["--shots", "25"], "class `games`: expected at least 25 images, found 24"),
        ("quickstart", vec!["--html", "no/such/folder/page.html"], "cannot write no/such/folder/page.html"),
        ("quickstart", vec!["--device", "abacus"], "unknown device `abacus`"),
        ("compare_finetuning", vec!["--images", "absent"], "cannot read absent"),
        ("compare_finetuning", vec!["--shots", "0"], "setting `shots`: expected 1 or more"),
        ("compare_finetuning", vec!["--json", "no/such/a"], "cannot write no/such/a"),
    ] {
        let message = failure_in(folder.path(), name, &arguments);
        assert!(message.contains(sentence), "{name} {arguments:?}: {message}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
}
