//! Frames of videos: folders of pictures and animations by this crate, other files by an `ffmpeg` of the system.

mod animation;
mod ffmpeg;
mod folder;
mod sampling;

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage, Rgba};

pub use ffmpeg::FFMPEG_TIMEOUT;
pub use sampling::Sampling;

use crate::error::{Error, Result};

/// A frame of a video, and when it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Seconds from the beginning.
    pub time: f64,
    /// The picture.
    pub image: RgbImage,
}

/// Frames one after the other; no more than one is in memory unless the caller keeps them.
pub type Frames = Box<dyn Iterator<Item = Result<Frame>>>;

/// File names that are taken for videos.
pub const VIDEO_ENDINGS: [&str; 11] =
    ["gif", "webp", "png", "apng", "mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg"];

/// What a video is read from.
///
/// | Source | Read by | Sampled by |
/// | --- | --- | --- |
/// | a folder of pictures, `frame_2` before `frame_10` | this crate | place |
/// | GIF, animated WebP, APNG, and pictures that do not move | this crate, composed on their canvas | place |
/// | mp4, mkv, webm, avi and whatever else | `ffmpeg` and `ffprobe` on the path, turned as the file says | time |
///
/// What is transparent becomes `background`, white unless said otherwise: it is part of what features are, and of
/// [`describe`](Self::describe).
///
/// # Examples
/// ```
/// use clip_adapter::input::{Sampling, Video};
///
/// // A picture that does not move has one frame, which fills all places.
/// let video = Video::new("examples/pocket/images/icon-colour/food/apple.png");
/// let frames = video.frames(Sampling::Uniform { frames: 4 })?.collect::<clip_adapter::Result<Vec<_>>>()?;
/// assert_eq!((frames.len(), frames[0].time), (4, 0.0));
/// assert!(frames.iter().all(|frame| frame.image == frames[0].image));
/// assert_eq!(Video::describe(Sampling::Rate { fps: 1.0, max: 60 }, [255; 3]), "1 fps, at most 60");
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Video {
    path: PathBuf,
    background: [u8; 3],
}

/// How a path is read.
enum Kind {
    Folder,
    Gif,
    WebP,
    Png,
    Other,
}

impl Video {
    /// A file, or a folder of pictures.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), background: [255; 3] }
    }

    /// Puts what is transparent on another ground than white.
    pub fn on(mut self, background: [u8; 3]) -> Self {
        self.background = background;
        self
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A sampling and a ground in words, as they stand in a file of features.
    pub fn describe(sampling: Sampling, background: [u8; 3]) -> String {
        match background {
            [255, 255, 255] => sampling.to_string(),
            [red, green, blue] => format!("{sampling}, on #{red:02x}{green:02x}{blue:02x}"),
        }
    }

    /// The same of this video's ground.
    pub fn describe_with(&self, sampling: Sampling) -> String {
        Self::describe(sampling, self.background)
    }

    /// The frames that a sampling chooses, in order. What is wrong with the video may come in the place of a frame,
    /// which is then the last.
    ///
    /// # Errors
    /// [`Error::Setting`] for a sampling out of range; [`Error::Read`] if the path cannot be read;
    /// [`Error::Image`] if it is no video, is damaged or has no frame; [`Error::Unsupported`] if `ffmpeg` is needed
    /// and is not on the path.
    pub fn frames(&self, sampling: Sampling) -> Result<Frames> {
        sampling.validate()?;
        let path = &self.path;
        let frames = match kind(path)? {
            Kind::Other => return ffmpeg::frames(path, sampling),
            Kind::Folder => folder::frames(path, sampling)?,
            kind => animation::frames(path, kind, self.background, sampling)?,
        };
        Ok(frames)
    }
}

/// By what it begins with, whatever its name.
fn kind(path: &Path) -> Result<Kind> {
    use std::io::Read;

    if path.is_dir() {
        return Ok(Kind::Folder);
    }
    let failed = |source| Error::read(path, source);
    let mut start = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(16).read_to_end(&mut start).map_err(failed)?;
    Ok(match &start[..] {
        [b'G', b'I', b'F', b'8', ..] => Kind::Gif,
        [0x89, b'P', b'N', b'G', ..] => Kind::Png,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Kind::WebP,
        _ => Kind::Other,
    })
}

/// `a c + (1 - a) ground`, rounded.
fn flattened(image: &image::RgbaImage, ground: [u8; 3]) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let Rgba([red, green, blue, alpha]) = *image.get_pixel(x, y);
        let mix = |colour: u8, ground: u8| {
            let (colour, ground, alpha) = (u32::from(colour), u32::from(ground), u32::from(alpha));
            ((colour * alpha + ground * (255 - alpha) + 127) / 255) as u8
        };
        Rgb([mix(red, ground[0]), mix(green, ground[1]), mix(blue, ground[2])])
    })
}

/// Takes frames by their places, which do not fall, from frames that are read once; a frame that is wanted several
/// times is given as often.
fn chosen(mut frames: Frames, places: Vec<usize>) -> Frames {
    let (mut at, mut last, mut failed) = (0, None::<Frame>, false);
    Box::new(places.into_iter().map_while(move |place| {
        while !failed && (at <= place || last.is_none()) {
            match frames.next() {
                Some(Ok(frame)) => last = Some(frame),
                Some(Err(error)) => {
                    failed = true;
                    return Some(Err(error));
                }
                None => break,
            }
            at += 1;
        }
        if failed { None } else { last.clone().map(Ok) }
    }))
}
