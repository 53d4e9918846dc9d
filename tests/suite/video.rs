//! Videos as frames: pooled rows and the temporal transformer, on made-up motions of real pictures.

use std::{fs, path::Path, process::Stdio, thread, time::Duration};

use burn::tensor::Device;
use clip_adapter::{
    Classifier, Error, Method, Support, ZeroShot,
    features::{Embeddings, FRAME_FORMAT, FrameFile, FrameSet},
    image::{Rgb, RgbImage},
    methods::LinearProbe,
    model::{Save, Saved},
    tasks::{
        self,
        video::{Dct, Pooling, TemporalTransformer},
    },
};
use safetensors::{Dtype, tensor::TensorView};

use crate::{
    commands::{example, json, text},
    frames::{assert_none_running, clip, ffmpeg, has_ffmpeg},
    shared,
};

fn motions(test: &str) -> Option<FrameFile> {
    let path = shared::folder(test)?.join("data/motion_pocket.safetensors");
    Some(FrameFile::read(path).expect("a file of frames"))
}

/// Mean accuracy of the linear probe over three draws.
fn probe(file: &FrameFile, pooling: Pooling, shots: usize) -> f64 {
    let test = pooling.set(file.split("test").unwrap()).unwrap().into_test_set();
    let draws = if shots < 64 { 3 } else { 1 }; // 64 are all there are
    let accuracy = |seed: u64| {
        let drawn = file.split("train").unwrap().shots(shots, seed).unwrap();
        let support = Support::new(pooling.set(&drawn).unwrap()).unwrap();
        let classes = pooling.classes(file, support.set()).unwrap();
        let model = LinearProbe::default().fit(&support, &classes, &Device::flex()).unwrap();
        model.evaluate(&test).unwrap().accuracy
    };
    (1..=draws).map(accuracy).sum::<f64>() / draws as f64
}

#[test]
fn the_temporal_basis_tells_motions_apart_and_the_mean_does_not() {
    let Some(file) = motions("the_temporal_basis_tells_motions_apart") else { return };
    let dct = Pooling::Dct(Dct::default());
    for (shots, at_least) in [(1, 50.0), (4, 71.0), (16, 82.0), (64, 87.0)] {
        let (mean, waves) = (probe(&file, Pooling::Mean, shots), probe(&file, dct, shots));
        println!("{shots} clips a class: mean {mean:.1}, dct {waves:.1}");
        assert!(waves >= at_least, "{shots} clips a class: {waves:.1}");
        assert!(mean < 45.0, "{shots} clips a class: {mean:.1}, order or emoji have leaked");
    }
}

/// Right is left backwards, and so on: each motion of an even label is followed by its opposite.
#[test]
fn backwards_is_the_opposite_motion() {
    let Some(file) = motions("backwards_is_the_opposite_motion") else { return };
    let (pooling, test) = (Pooling::Dct(Dct::default()), file.split("test").unwrap());
    let rows = [test.clone(), test.reversed()].map(|videos| pooling.rows(&videos).unwrap());
    let dim = test.dim();
    for video in 0..test.len() {
        let (forth, back) = (rows[0].row(video), rows[1].row(video));
        assert!(forth[..dim] == back[..dim] && forth[2 * dim..] == back[2 * dim..]);
        assert!(forth[dim..2 * dim].iter().zip(&back[dim..2 * dim]).all(|(a, b)| *a == -*b));
    }
    let support = Support::new(pooling.set(file.split("train").unwrap()).unwrap()).unwrap();
    let classes = pooling.classes(&file, support.set()).unwrap();
    let model = LinearProbe::default().fit(&support, &classes, &Device::flex()).unwrap();
    let predictions = model.score(&rows[1]).unwrap();
    let opposite =
        predictions.predictions().zip(test.labels()).filter(|(found, label)| *found == **label ^ 1);
    let share = 100.0 * opposite.count() as f64 / test.len() as f64;
    println!("backwards {share:.1} % are called the opposite motion");
    assert!(share >= 80.0, "{share:.1}");
}

#[test]
fn the_transformer_starts_at_the_mean_and_learns_the_order() {
    let Some(file) = motions("the_transformer_starts_at_the_mean") else { return };
    let (device, test) = (Device::flex(), file.split("test").unwrap());
    let side_by_side = test.side_by_side().unwrap().into_test_set();
    let (mut trained, mut mean) = (0.0, 0.0);
    for seed in 1..=3 {
        let drawn = file.split("train").unwrap().shots(16, seed).unwrap();
        let classes = TemporalTransformer::classes(&file, &drawn).unwrap();
        let support = Support::new(drawn.side_by_side().unwrap()).unwrap();
        let fit = |epochs: usize| {
            let method = TemporalTransformer { epochs, seed, ..Default::default() };
            method.fit(&support, &classes, &device).unwrap()
        };
        if seed == 1 {
            let means = Support::new(Pooling::Mean.set(&drawn).unwrap()).unwrap();
            let plain = ZeroShot::default().fit(&means, &classes, &device).unwrap();
            let plain = plain.score(&Pooling::Mean.rows(test).unwrap()).unwrap();
            let start = fit(0).score(test.side_by_side().unwrap().embeddings()).unwrap();
            for (plain, start) in plain.rows().zip(start.rows()) {
                approx::assert_abs_diff_eq!(plain, start, epsilon = 1e-4);
            }
        }
        trained += fit(50).evaluate(&side_by_side).unwrap().accuracy / 3.0;
        mean += probe(&file, Pooling::Mean, 16) / 3.0;
    }
    println!("16 clips a class: transformer {trained:.1}, probe of the mean {mean:.1}");
    assert!(trained >= mean + 20.0, "{trained:.1} {mean:.1}");
}

#[test]
fn a_saved_transformer_is_opened_by_its_name() {
    let (file, device) = (FrameFile::synthetic(0).unwrap(), Device::flex());
    let drawn = file.split("train").unwrap().shots(2, 1).unwrap();
    let classes = TemporalTransformer::classes(&file, &drawn).unwrap();
    let support = Support::new(drawn.side_by_side().unwrap()).unwrap();
    let method = TemporalTransformer { epochs: 2, ..Default::default() };
    let model = method.fit(&support, &classes, &device).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("motions.safetensors");
    model.save(&path).unwrap();
    assert_eq!(Saved::open(&path).unwrap().kind(), "temporal-transformer");
    let same = tasks::load(&path, &classes.fingerprint(), &device).unwrap();
    let videos = file.split("test").unwrap().side_by_side().unwrap();
    assert_eq!(same.score(videos.embeddings()).unwrap(), model.score(videos.embeddings()).unwrap());
    let moved = model.to_device(&device).unwrap();
    assert_eq!(moved.score(videos.embeddings()).unwrap(), model.score(videos.embeddings()).unwrap());
    // Frames that were sampled in another way are other features.
    let pooled = Pooling::Mean.classes(&file, support.set());
    assert!(pooled.is_ok_and(|other| tasks::load(&path, &other.fingerprint(), &device).is_err()));
    let narrow = Embeddings::new(vec![1.0; 32], 32).unwrap();
    assert!(matches!(model.score(&narrow), Err(Error::Dim { expected: 256, found: 32, .. })));
    for method in [
        TemporalTransformer { heads: 0, ..Default::default() },
        TemporalTransformer { reduction: 32, ..Default::default() },
        TemporalTransformer { learning_rate: f64::NAN, ..Default::default() },
    ] {
        assert!(matches!(method.fit(&support, &classes, &device), Err(Error::Setting { .. })), "{method:?}");
    }
    let odd = Support::new(drawn.side_by_side().unwrap().select(&[0])).unwrap();
    let other = TemporalTransformer::classes(&file, &drawn.select(&[0, 2, 4, 6])).unwrap();
    assert!(method.fit(&odd, &other, &device).is_ok(), "one video is enough");
}

#[test]
fn frames_that_do_not_fit_together_are_refused() {
    let rows = |count: usize| Embeddings::new(vec![1.0; 2 * count], 2).unwrap();
    let set = |labels: Vec<usize>| FrameSet::new(rows(4), 2, labels, ["a", "b"]);
    set(vec![0, 1]).unwrap();
    for (error, expected) in [
        (set(vec![0]).unwrap_err(), "frames: expected 2 for each of 1 labels, found 4"),
        (set(vec![0, 2]).unwrap_err(), "row 1 of the labels: expected a class below 2, found 2"),
        (set(vec![0, 1]).unwrap().with_counts(vec![1, 3]).unwrap_err(), "count of video 1: expected 1..=2"),
        (set(vec![0, 1]).unwrap().with_times(vec![0.0; 3]).unwrap_err(), "times: expected one for each of 4"),
        (
            set(vec![0, 1]).unwrap().with_times(vec![0.0, 1.0, f32::NAN, 1.0]).unwrap_err(),
            "time of frame 2: expected seconds, 0 or more, found NaN",
        ),
        (
            Pooling::Mean
                .rows(
                    &FrameSet::new(Embeddings::new(vec![1.0, 0.0, -1.0, 0.0], 2).unwrap(), 2, vec![0], ["a"])
                        .unwrap(),
                )
                .unwrap_err(),
            "mean of the frames of video 0: expected a direction",
        ),
        (
            Pooling::Dct(Dct { order: 0, ..Dct::default() }).rows(&set(vec![0, 1]).unwrap()).unwrap_err(),
            "setting `order`",
        ),
        ("middle".parse::<Pooling>().unwrap_err(), "setting `pooling`: expected mean or dct"),
    ] {
        assert!(error.to_string().contains(expected), "{error}\nshould hold\n{expected}");
    }
}

#[test]
fn a_spoiled_file_of_frames_names_the_tensor() {
    let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clips.safetensors");
    let read = |format: &str, frames: &[f32], labels: &[i64], counts: Option<&[i64]>| {
        let ints = |values: &[i64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let (frames, labels) = (floats(frames), ints(labels));
        let counts = counts.map(ints);
        let mut views = vec![
            ("train.frames", TensorView::new(Dtype::F32, vec![frames.len() / 16, 2, 2], &frames).unwrap()),
            ("train.labels", TensorView::new(Dtype::I64, vec![labels.len() / 8], &labels).unwrap()),
        ];
        if let Some(counts) = &counts {
            views
                .push(("train.counts", TensorView::new(Dtype::I64, vec![counts.len() / 8], counts).unwrap()));
        }
        let texts = [
            ("format", format),
            ("dataset", "d"),
            ("backbone", "b"),
            ("sampling", "s"),
            ("class_names", "[\"a\"]"),
        ];
        let texts = texts.map(|(key, value)| (key.to_owned(), value.to_owned()));
        std::fs::write(&path, safetensors::serialize(views, Some(texts.into())).unwrap()).unwrap();
        FrameFile::read(&path)
    };
    let good = [1.0, 0.0, 0.0, 1.0];
    assert_eq!(read(FRAME_FORMAT, &good, &[0], Some(&[1])).unwrap().split("train").unwrap().counts(), [1]);
    for (found, expected) in [
        (read("clip-features/1", &good, &[0], None), "metadata `format`: expected `clip-frames/1`"),
        (
            read(FRAME_FORMAT, &good, &[0, 0], None),
            "train.labels: expected one for each of 1 videos, found 2",
        ),
        (
            read(FRAME_FORMAT, &good, &[1], None),
            "train.frames: row 0 of the labels: expected a class below 1",
        ),
        (read(FRAME_FORMAT, &[1.0, 0.0, f32::NAN, 1.0], &[0], None), "train.frames: row 1 of the embeddings"),
        (
            read(FRAME_FORMAT, &[1.0, 0.0, 0.0, 0.0], &[0], None),
            "row 1 of the embeddings: expected a direction",
        ),
        (
            read(FRAME_FORMAT, &good, &[0], Some(&[3])),
            "train.counts: count of video 0: expected 1..=2, found 3",
        ),
    ] {
        let error = found.unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("clips.safetensors"),
            "{error}\nshould hold\n{expected}"
        );
    }
}

/// Colours as clips: what a text finds, by the command, its page and its figures.
#[test]
fn the_command_finds_videos_by_texts() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pocket/images/icon-colour");
    let clips = folder.path().join("clips");
    // Each clip is its thing after a plain white beginning.
    for (name, picture) in
        [("apple", "food/apple.png"), ("car", "vehicles/car.png"), ("cactus", "nature/cactus.png")]
    {
        let clip = clips.join(name).join("clip");
        fs::create_dir_all(&clip).unwrap();
        RgbImage::from_pixel(96, 96, Rgb([255; 3])).save(clip.join("0.png")).unwrap();
        fs::copy(pictures.join(picture), clip.join("1.png")).unwrap();
    }
    let at = |name: &str| text(folder.path().join(name));
    let (out, page, frames) = (at("out.json"), at("page.html"), at("clips.safetensors"));
    let run = |arguments: &[&str]| {
        let done = example("video").args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let clips = text(&clips);
    let told = run(&[
        "--videos", &clips, "--out", &frames, "--frames", "2", "--query", "a car", "--html", &page, "--json",
        &out,
    ]);
    let found = json(Path::new(&out));
    let first = &found["videos"][0];
    assert!(first["file"].as_str().unwrap().ends_with("car/clip"), "{found}");
    assert_eq!((&first["moment"]["frame"], &first["moment"]["time"]), (&1.into(), &1.0.into()), "{found}");
    assert!(told.contains("clip, best at 1.0 s"), "{told}");
    let html = fs::read_to_string(&page).unwrap();
    assert_eq!(html.matches("<img src=\"data:image/jpeg;base64,").count(), 6, "two frames of each of three");
    assert_eq!(html.matches("<li class=\"best\">").count(), 3);

    run(&["--features", &frames, "--query", "a car", "--html", &page, "--json", &out]);
    assert_eq!(json(Path::new(&out))["videos"][0]["video"], first["video"]);
    assert!(!fs::read_to_string(&page).unwrap().contains("<img"), "a file of frames has no pictures");
    run(&["--features", &frames, "--retrieval", "--scoring", "max", "--json", &out]);
    let found = json(Path::new(&out));
    assert_eq!((&found["queries"], &found["gallery"]), (&3.into(), &3.into()));
    assert_eq!(
        (&found["text_to_video"]["r1"], &found["video_to_text"]["queries"]),
        (&100.0.into(), &3.into())
    );

    for (arguments, expected) in [
        (&["--videos", &clips][..], "setting `videos`: expected --out, --query or both beside it"),
        (&["--query", "a car"], "setting `query`: expected --features or --videos beside it"),
        (&["--features", &frames, "--retrieval", "--test-split", "val"], "expected one of all, found `val`"),
    ] {
        let done = example("video").args(arguments).output().unwrap();
        let error = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.code() == Some(2) && error.contains(expected), "{error}");
    }
}

/// Runs the `video` command and watches the most memory that it has, in MB.
fn peak(arguments: &[&str]) -> f64 {
    let mut child = example("video").args(arguments).stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0.0f64;
    loop {
        // It only grows, so the last look before the end is what counts.
        let found = fs::read_to_string(&status).unwrap_or_default();
        if let Some(line) = found.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
            most = most.max(kilobytes / 1000.0);
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return most;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_hour_takes_the_memory_of_ten_seconds() {
    let test = "an_hour_takes_the_memory_of_ten_seconds";
    if !has_ffmpeg(test) {
        return;
    }
    if !Path::new("/proc/self/status").exists() {
        return shared::say_skipped(test, "no /proc that tells a process's memory");
    }
    let folder = tempfile::tempdir().unwrap();
    let clips = ["10", "3600"].map(|seconds| {
        let clips = folder.path().join(seconds);
        fs::create_dir_all(&clips).unwrap();
        let pattern = format!("testsrc=duration={seconds}:size=160x120:rate=1");
        ffmpeg(&["-f", "lavfi", "-i", &pattern, "-pix_fmt", "yuv420p", &text(clips.join("a.mp4"))]);
        text(clips)
    });
    let out = text(folder.path().join("out.safetensors"));
    for sampling in [&["--frames", "8"][..], &["--fps", "1"]] {
        let memory = |clips: &str| peak(&[&["--videos", clips, "--out", &out], sampling].concat());
        let [short, long] = clips.each_ref().map(|clips| memory(clips));
        println!("{sampling:?}: {short:.0} MB for ten seconds, {long:.0} MB for an hour");
        assert!(short > 10.0 && long < short + 150.0, "{sampling:?}: {short:.0} and {long:.0} MB");
    }
    assert_none_running(folder.path());
}

#[test]
fn broken_videos_end_the_command_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |name: &str, path: Option<&str>| {
        let clips = text(folder.path().join(name));
        let mut command = example("video");
        command.args(["--videos", &clips, "--out", &text(folder.path().join("out.safetensors"))]);
        if let Some(path) = path {
            command.env("PATH", path);
        }
        let done = command.output().unwrap();
        let error = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.code() == Some(2) && done.stdout.is_empty(), "{error}");
        let sentences: Vec<&str> = error.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(sentences.len() == 1 && sentences[0].contains(name), "{error}");
        assert!(!folder.path().join("out.safetensors").exists(), "nothing is half written");
        error
    };
    fs::create_dir_all(folder.path().join("words")).unwrap();
    fs::write(folder.path().join("words/notes.mp4"), "this is no video\n").unwrap();
    let error = fails("words", Some(""));
    assert!(
        error.contains(
            "notes.mp4: expected GIF, WebP, APNG or a folder of pictures, or the program `ffprobe`"
        ),
        "{error}"
    );
    if !has_ffmpeg("broken_videos_end_the_command_in_a_sentence") {
        return;
    }
    let error = fails("words", None);
    assert!(
        error.contains("notes.mp4: expected an image, found a file that `ffprobe` cannot read"),
        "{error}"
    );
    for name in ["cut.mp4", "cut.mkv"] {
        let (cut, whole) = (folder.path().join(name).join(name), folder.path().join(format!("whole {name}")));
        fs::create_dir_all(cut.parent().unwrap()).unwrap();
        clip(&whole, "5");
        let bytes = fs::read(&whole).unwrap();
        fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
        fails(name, None);
    }
    assert_none_running(folder.path());
}
