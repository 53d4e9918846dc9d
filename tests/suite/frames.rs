//! Files of videos as frames: folders, animations, what an `ffmpeg` reads, and what is no video.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use burn::tensor::Device;
use clip_adapter::{
    ClipBackbone, Error, Result,
    extract::{EncodedVideo, frame_set},
    image::{Frame as Picture, RgbImage, Rgba, RgbaImage, codecs::gif::GifEncoder},
    input::{Frame, Sampling, Video},
};

const FOUR: Sampling = Sampling::Uniform { frames: 4 };

fn frames(path: &Path, sampling: Sampling) -> Result<Vec<Frame>> {
    Video::new(path).frames(sampling)?.collect()
}

/// The red of the middle of every frame.
fn reds(frames: &[Frame]) -> Vec<u8> {
    let middle = |image: &RgbImage| image.get_pixel(image.width() / 2, image.height() / 2)[0];
    frames.iter().map(|frame| middle(&frame.image)).collect()
}

#[test]
fn a_folder_is_read_in_natural_order() {
    let folder = tempfile::tempdir().unwrap();
    for at in [0u8, 1, 2, 10, 11] {
        let path = folder.path().join(format!("frame_{at}.png"));
        RgbImage::from_pixel(4, 4, clip_adapter::image::Rgb([20 * at, 0, 0])).save(path).unwrap();
    }
    fs::write(folder.path().join("notes.txt"), "no picture").unwrap();
    let found = frames(folder.path(), Sampling::Uniform { frames: 5 }).unwrap();
    assert_eq!(reds(&found), [0, 20, 40, 200, 220]);
    assert_eq!(found[3].time, 3.0);
    assert_eq!(reds(&frames(folder.path(), Sampling::Uniform { frames: 1 }).unwrap()), [40]);
    assert_eq!(reds(&frames(folder.path(), Sampling::Uniform { frames: 10 }).unwrap()).len(), 10);
    fs::write(folder.path().join("frame_3.png"), b"\x89PNG and no more").unwrap();
    let error = frames(folder.path(), Sampling::Uniform { frames: 6 }).unwrap_err();
    assert!(matches!(&error, Error::Image { path, .. } if path.ends_with("frame_3.png")), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = frames(empty.path(), FOUR).unwrap_err();
    assert!(error.to_string().ends_with("found a folder without pictures"), "{error}");
}

/// A GIF of eight frames of 100 ms, whose second half is transparent.
fn gif(path: &Path) {
    let mut encoder = GifEncoder::new(File::create(path).unwrap());
    for at in 0..8u8 {
        let alpha = if at < 4 { 255 } else { 0 };
        let image = RgbaImage::from_pixel(8, 6, Rgba([30 * at, 0, 0, alpha]));
        let delay = clip_adapter::image::Delay::from_numer_denom_ms(100, 1);
        encoder.encode_frame(Picture::from_parts(image, 0, 0, delay)).unwrap();
    }
}

#[test]
fn an_animation_is_composed_on_its_ground() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gif");
    gif(&path);
    let found = frames(&path, FOUR).unwrap();
    assert_eq!(found.len(), 4);
    assert_eq!(reds(&found)[..2], [30, 90]);
    let times: Vec<f64> = found.iter().map(|frame| (10.0 * frame.time).round() / 10.0).collect();
    assert_eq!(times, [0.1, 0.3, 0.5, 0.7]);
    let rate = frames(&path, Sampling::Rate { fps: 2.5, max: 100 }).unwrap();
    assert_eq!(rate.len(), 2, "0.8 seconds at 2.5 a second");
    assert_eq!(frames(&path, Sampling::Rate { fps: 100.0, max: 3 }).unwrap().len(), 3);

    let bytes = fs::read(&path).unwrap();
    for cut in [10, bytes.len() / 2, bytes.len() - 20] {
        let path = folder.path().join("cut.gif");
        fs::write(&path, &bytes[..cut]).unwrap();
        match frames(&path, FOUR) {
            Ok(found) => assert_eq!(found.len(), 4, "what is whole of it is given"),
            Err(error) => assert!(matches!(error, Error::Image { .. }), "{error}"),
        }
    }
}

#[test]
fn a_still_picture_is_a_video_of_one_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    RgbaImage::from_pixel(4, 4, Rgba([0, 0, 0, 0])).save(&path).unwrap();
    assert_eq!(reds(&frames(&path, FOUR).unwrap()), [255; 4], "white shows through");
    let black: Vec<Frame> =
        Video::new(&path).on([0; 3]).frames(FOUR).unwrap().collect::<Result<_>>().unwrap();
    assert_eq!(reds(&black), [0; 4]);
    assert_eq!(Video::describe(FOUR, [255; 3]), "4 frames, uniform");
    assert_eq!(Video::describe(FOUR, [0, 16, 255]), "4 frames, uniform, on #0010ff");
    assert!(matches!(frames(&folder.path().join("no.gif"), FOUR), Err(Error::Read { .. })));
    assert!(matches!(frames(&path, Sampling::Uniform { frames: 0 }), Err(Error::Setting { .. })));
}

#[test]
fn videos_are_encoded_once() {
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/pocket/model");
    let clip = ClipBackbone::from_pretrained(model, &Device::flex()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (path, store) = (folder.path().join("a.gif"), folder.path().join("store"));
    gif(&path);
    let video = Video::new(&path);
    let first = EncodedVideo::stored(&clip, &video, FOUR, &store).unwrap();
    assert_eq!(first, EncodedVideo::of(&clip, &video, FOUR).unwrap());
    assert_eq!(first, EncodedVideo::stored(&clip, &video, FOUR, &store).unwrap());
    assert_eq!(fs::read_dir(&store).unwrap().count(), 1);
    let other = EncodedVideo::stored(&clip, &video, Sampling::Uniform { frames: 2 }, &store).unwrap();
    assert_eq!((other.rows.rows(), fs::read_dir(&store).unwrap().count()), (2, 2));
    let set = frame_set(&[first, other], vec![0, 0], ["a"]).unwrap();
    assert_eq!((set.frames(), set.counts()), (4, &[4, 2][..]));
    assert_eq!(
        set.video(1)[clip.config().embed_dim..][..8],
        set.video(1)[3 * clip.config().embed_dim..][..8]
    );
}

fn has_ffmpeg(test: &str) -> bool {
    let there = Command::new("ffmpeg").arg("-version").output().is_ok_and(|done| done.status.success());
    if !there {
        crate::shared::say_skipped(test, "no ffmpeg on the path");
    }
    there
}

/// A test pattern of so many seconds and frames a second.
fn clip(path: &Path, seconds: &str, more: &[&str]) {
    let pattern = format!("testsrc=duration={seconds}:size=96x64:rate=10");
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-y", "-v", "error", "-f", "lavfi", "-i", &pattern, "-pix_fmt", "yuv420p"]);
    let done = command.args(more).arg(path).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn other_files_are_read_by_ffmpeg() {
    if !has_ffmpeg("other_files_are_read_by_ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.mp4", "a.mkv", "a.webm", "a.avi", "- odd 'name'; $(x).mp4"] {
        let path = folder.path().join(name);
        clip(&path, "10", &[]);
        let found = frames(&path, FOUR).unwrap();
        let times: Vec<f64> = found.iter().map(|frame| (100.0 * frame.time).round() / 100.0).collect();
        assert_eq!(found.len(), 4, "{name}");
        assert!(
            times.iter().zip([1.25, 3.75, 6.25, 8.75]).all(|(a, b)| (a - b).abs() < 0.1),
            "{name} {times:?}"
        );
        assert_eq!(found[0].image.dimensions(), (96, 64));
        assert!(found[0].image != found[3].image, "{name}: the pattern moves");
        let rate = frames(&path, Sampling::Rate { fps: 1.0, max: 3600 }).unwrap();
        assert!((9..=11).contains(&rate.len()), "{name}: {} frames", rate.len());
    }
    // Shorter than a second; and one that is turned.
    let short = folder.path().join("short.mp4");
    clip(&short, "0.3", &[]);
    assert_eq!(frames(&short, Sampling::Uniform { frames: 8 }).unwrap().len(), 8);
    assert!(!frames(&short, Sampling::Rate { fps: 1.0, max: 10 }).unwrap().is_empty());
    let turned = folder.path().join("turned.mp4");
    let from = folder.path().join("a.mp4");
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-i"]).arg(&from);
    let done = command.args(["-c", "copy", "-metadata:s:v:0", "rotate=90"]).arg(&turned).output().unwrap();
    assert!(done.status.success());
    let size = frames(&turned, FOUR).unwrap()[0].image.dimensions();
    assert!([(64, 96), (96, 64)].contains(&size), "{size:?}");
}

#[test]
fn what_is_no_video_is_said_in_a_sentence() {
    if !has_ffmpeg("what_is_no_video_is_said_in_a_sentence") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut, text) =
        (folder.path().join("a.mp4"), folder.path().join("cut.mp4"), folder.path().join("t.mp4"));
    clip(&whole, "5", &[]);
    let bytes = fs::read(&whole).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(&text, "this is no video\n").unwrap();
    let empty = folder.path().join("empty.mp4");
    fs::write(&empty, "").unwrap();
    let sound = folder.path().join("sound.wav");
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "sine=duration=1"]);
    assert!(command.arg(&sound).output().unwrap().status.success());
    let (webm, cut_webm) = (folder.path().join("a.webm"), folder.path().join("cut.webm"));
    clip(&webm, "5", &[]);
    let bytes = fs::read(&webm).unwrap();
    fs::write(&cut_webm, &bytes[..bytes.len() / 2]).unwrap();
    for path in [&cut, &text, &empty, &sound, &cut_webm] {
        for sampling in [FOUR, Sampling::Rate { fps: 1.0, max: 10 }] {
            let error = frames(path, sampling).unwrap_err();
            assert!(matches!(&error, Error::Image { path: named, .. } if named == path), "{error}");
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
        }
    }
    // A reader who leaves early ends the program.
    let mut some = Video::new(&whole).frames(Sampling::Rate { fps: 10.0, max: 1000 }).unwrap();
    assert!(some.next().unwrap().is_ok());
    drop(some);
    let running = fs::read_dir("/proc").map(|entries| {
        entries
            .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
            .filter(|line| {
                let line = String::from_utf8_lossy(line).into_owned();
                line.starts_with("ffmpeg") && line.contains(&*folder.path().to_string_lossy())
            })
            .count()
    });
    assert_eq!(running.unwrap_or(0), 0, "no process is left");
}
