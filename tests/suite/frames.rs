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

use crate::commands::text;

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
    // A GIF's palette is found by a search, and may miss by a level or two.
    assert!(reds(&found).iter().zip([30, 90]).all(|(red, expected)| red.abs_diff(expected) <= 4));
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

pub fn has_ffmpeg(test: &str) -> bool {
    let there = Command::new("ffmpeg").arg("-version").output().is_ok_and(|done| done.status.success());
    if !there {
        crate::shared::say_skipped(test, "no ffmpeg on the path");
    }
    there
}

/// Runs `ffmpeg`, which must not fail.
pub fn ffmpeg(arguments: &[&str]) {
    let mut command = Command::new("ffmpeg");
    let done = command.args(["-nostdin", "-y", "-v", "error"]).args(arguments).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A test pattern of so many seconds and ten frames a second.
pub fn clip(path: &Path, seconds: &str) {
    let pattern = format!("testsrc=duration={seconds}:size=96x64:rate=10");
    ffmpeg(&["-f", "lavfi", "-i", &pattern, "-pix_fmt", "yuv420p", &text(path)]);
}

/// A video of 100 grey frames, each brighter than the one before, so many a second. `more` is for the output.
fn greys(path: &Path, rate: &str, more: &[&str]) {
    let raw = path.with_extension("raw");
    let frame = |at: u8| vec![20 + 2 * at; 3 * 64 * 48];
    fs::write(&raw, (0..100).flat_map(frame).collect::<Vec<u8>>()).unwrap();
    let (from, to) = (text(&raw), text(path));
    let input = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x48", "-framerate", rate, "-i", &from];
    ffmpeg(&[&input[..], &["-pix_fmt", "yuv420p"], more, &[&to]].concat());
}

/// That these of the grey frames come, at these times.
#[track_caller]
fn assert_shown(path: &Path, sampling: Sampling, shown: &[f64], times: &[f64]) {
    let found = frames(path, sampling).unwrap();
    let greys: Vec<f64> = reds(&found).iter().map(|&red| (f64::from(red) - 20.0) / 2.0).collect();
    let same = |found: &[f64], expected: &[f64], by: f64| {
        found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= by)
    };
    assert!(same(&greys, shown, 0.9), "{}: {greys:?}, not {shown:?}", path.display());
    let at: Vec<f64> = found.iter().map(|frame| frame.time).collect();
    assert!(same(&at, times, 0.03), "{}: at {at:?}, not {times:?}", path.display());
}

const QUARTERS: [f64; 4] = [1.25, 3.75, 6.25, 8.75];

#[test]
fn other_files_are_read_by_ffmpeg() {
    if !has_ffmpeg("other_files_are_read_by_ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let seconds: Vec<f64> = (0..10).map(f64::from).collect();
    let tens: Vec<f64> = (0..10).map(|second| 10.0 * f64::from(second)).collect();
    for name in ["a.mp4", "a.mkv", "a.webm", "a.avi", "a.mov", "- odd 'name'; $(x).mp4"] {
        let path = folder.path().join(name);
        greys(&path, "10", &[]);
        assert_shown(&path, FOUR, &[12.0, 37.0, 62.0, 87.0], &QUARTERS);
        assert_shown(&path, Sampling::Rate { fps: 1.0, max: 3600 }, &tens, &seconds);
        assert_eq!(frames(&path, FOUR).unwrap()[0].image.dimensions(), (64, 48));
    }
    // The duration is not told; the first half second is black; the first half of the frames comes in a second.
    let live = folder.path().join("live.mkv");
    greys(&live, "10", &["-f", "matroska", "-live", "1"]);
    assert_shown(&live, FOUR, &[12.0, 37.0, 62.0, 87.0], &QUARTERS);
    let black = folder.path().join("black.mp4");
    greys(&black, "10", &["-vf", "drawbox=color=black:t=fill:enable='lt(t,0.5)'"]);
    assert_shown(&black, FOUR, &[12.0, 37.0, 62.0, 87.0], &QUARTERS);
    assert!(reds(&frames(&black, Sampling::Rate { fps: 1.0, max: 1 }).unwrap())[0] < 3);
    let varying = folder.path().join("varying.mkv");
    let times = "settb=1/1000,setpts='if(lt(N,50),N/50,1+(N-50)*9/50)/TB'";
    greys(&varying, "10", &["-vf", times, "-fps_mode", "vfr", "-enc_time_base", "1:1000"]);
    assert_shown(&varying, FOUR, &[51.0, 65.0, 78.0, 92.0], &[1.24, 3.72, 6.2, 8.68]);
    // Shorter than a second.
    let short = folder.path().join("short.mp4");
    clip(&short, "0.3");
    assert_eq!(frames(&short, Sampling::Uniform { frames: 8 }).unwrap().len(), 8);
    assert_eq!(frames(&short, Sampling::Rate { fps: 1.0, max: 10 }).unwrap().len(), 1);
}

/// Frames far apart are sought one by one: also where one stays for ten seconds, or the file ends too early.
#[test]
fn long_videos_are_not_decoded_as_a_whole() {
    if !has_ffmpeg("long_videos_are_not_decoded_as_a_whole") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let times = [125.0, 375.0, 625.0, 875.0];
    for name in ["a.mp4", "a.mkv", "a.webm"] {
        let path = folder.path().join(name);
        greys(&path, "1/10", &[]);
        assert_shown(&path, FOUR, &[12.0, 37.0, 62.0, 87.0], &times);
    }
    for name in ["b.mp4", "b.mkv", "b.webm", "b.avi"] {
        let path = folder.path().join(name);
        greys(&path, "1/10", &["-vf", "fps=2"]);
        assert_shown(&path, FOUR, &[12.0, 37.0, 62.0, 87.0], &times);
    }
    // Where only the sound goes on, the last picture that was found fills up.
    let (half, sound) = (folder.path().join("half.mkv"), folder.path().join("sound.mkv"));
    greys(&half, "1/5", &["-vf", "fps=2"]);
    let silence = ["-f", "lavfi", "-t", "1000", "-i", "anullsrc=r=8000:cl=mono"];
    ffmpeg(&[&["-i", &text(&half)], &silence[..], &["-c:v", "copy", "-c:a", "flac", &text(&sound)]].concat());
    assert_shown(&sound, FOUR, &[25.0, 75.0, 75.0, 75.0], &[125.0, 375.0, 375.0, 375.0]);
    let cut = folder.path().join("cut.mkv");
    let bytes = fs::read(folder.path().join("b.mkv")).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let error = frames(&cut, FOUR).unwrap_err();
    assert!(matches!(&error, Error::Image { path, .. } if *path == cut), "{error}");
}

/// A phone's file, which says that it is to be turned by a quarter.
#[test]
fn turned_videos_stand_upright() {
    if !has_ffmpeg("turned_videos_stand_upright") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    clip(&path, "1");
    let mut bytes = fs::read(&path).unwrap();
    // The matrix of the track's header, of 16.16 numbers: (1, 0, 0, 1) becomes (0, 1, -1, 0).
    let header = bytes.windows(4).position(|word| word == b"tkhd").unwrap();
    let matrix = header + 4 + 40;
    for (place, value) in [(0, 0i32), (4, 1 << 16), (12, -1 << 16), (16, 0)] {
        bytes[matrix + place..][..4].copy_from_slice(&value.to_be_bytes());
    }
    fs::write(&path, bytes).unwrap();
    assert_eq!(frames(&path, FOUR).unwrap()[0].image.dimensions(), (64, 96));
}

#[test]
fn what_is_no_video_is_said_in_a_sentence() {
    if !has_ffmpeg("what_is_no_video_is_said_in_a_sentence") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut, words) =
        (folder.path().join("a.mp4"), folder.path().join("cut.mp4"), folder.path().join("t.mp4"));
    clip(&whole, "5");
    let bytes = fs::read(&whole).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(&words, "this is no video\n").unwrap();
    let empty = folder.path().join("empty.mp4");
    fs::write(&empty, "").unwrap();
    let sound = folder.path().join("sound.wav");
    ffmpeg(&["-f", "lavfi", "-i", "sine=duration=1", &text(&sound)]);
    let (webm, cut_webm) = (folder.path().join("a.webm"), folder.path().join("cut.webm"));
    clip(&webm, "5");
    let bytes = fs::read(&webm).unwrap();
    fs::write(&cut_webm, &bytes[..bytes.len() / 2]).unwrap();
    for path in [&cut, &words, &empty, &sound, &cut_webm] {
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
    assert_none_running(folder.path());
}

/// That no `ffmpeg` is left that reads from this folder.
#[track_caller]
pub fn assert_none_running(folder: &Path) {
    let Ok(entries) = fs::read_dir("/proc") else { return };
    let lines = entries.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    let lines: Vec<String> = lines.map(|line| String::from_utf8_lossy(&line).into_owned()).collect();
    assert!(lines.iter().any(|line| !line.is_empty()), "not one process in /proc");
    let left = lines.iter().find(|line| line.starts_with("ff") && line.contains(&text(folder)));
    assert_eq!(left, None, "no process is left");
}
