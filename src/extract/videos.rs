use std::fs;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use sha2::{Digest, Sha256};

use crate::archive::{Archive, ArchiveWriter};
use crate::backbone::ClipBackbone;
use crate::error::{Error, Result};
use crate::features::{Embeddings, FrameSet};
use crate::fingerprint::short_hex;
use crate::input::{Sampling, Video};

/// The format of one video in a store.
const FORMAT: &str = "clip-video/1";

/// Frames encoded at once.
const BATCH: usize = 32;

/// The frames of one video as a backbone sees them.
///
/// # Examples
/// ```
/// use clip_adapter::extract::{EncodedVideo, frame_set};
/// use clip_adapter::input::{Sampling, Video};
/// use clip_adapter::prelude::*;
///
/// let clip = ClipBackbone::from_pretrained("examples/pocket/model", &Device::flex())?;
/// let video = Video::new("examples/pocket/images/icon-colour/food"); // a folder of pictures
/// let encoded = EncodedVideo::of(&clip, &video, Sampling::Uniform { frames: 4 })?;
/// assert_eq!((encoded.rows.rows(), encoded.times.len()), (4, 4));
/// let set = frame_set(&[encoded], vec![0], ["food"])?;
/// assert_eq!((set.len(), set.frames()), (1, 4));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedVideo {
    /// `[frames, dim]`, not normalised.
    pub rows: Embeddings,
    /// When each is shown, in seconds.
    pub times: Vec<f32>,
}

impl EncodedVideo {
    /// Reads, preprocesses and encodes a video's frames. One decoded frame is in memory at a time.
    ///
    /// # Errors
    /// As [`Video::frames`]; [`Error::Execution`] if the device fails; [`Error::Data`] if an embedding is not finite.
    pub fn of(clip: &ClipBackbone, video: &Video, sampling: Sampling) -> Result<Self> {
        let (dim, side) = (clip.config().embed_dim, clip.preprocess().crop);
        let (mut values, mut times, mut pixels) = (Vec::new(), Vec::new(), Vec::new());
        let mut encode = |pixels: &mut Vec<f32>| -> Result<()> {
            let count = pixels.len() / (3 * side * side);
            if count > 0 {
                let batch = TensorData::new(std::mem::take(pixels), [count, 3, side, side]);
                let rows = clip.image_embeddings(Tensor::from_data(batch, clip.device()));
                let rows = rows.try_into_vec_as::<f32>();
                values.extend(rows.map_err(|error| Error::execution("encoding frames", error))?);
            }
            Ok(())
        };
        for frame in video.frames(sampling)? {
            let frame = frame?;
            pixels.extend(clip.preprocess().pixels(&frame.image).map_err(|error| match error {
                Error::Data { expected, found, .. } => {
                    Error::image(video.path(), format!("a frame of {found} where {expected} was needed"))
                }
                other => other,
            })?);
            times.push(frame.time as f32);
            if times.len().is_multiple_of(BATCH) {
                encode(&mut pixels)?;
            }
        }
        encode(&mut pixels)?;
        if times.is_empty() {
            return Err(Error::image(video.path(), "a video without frames"));
        }
        Ok(Self { rows: Embeddings::new(values, dim)?, times })
    }

    /// The same from a store, a folder of one small file a video, or into it: what was encoded once is not encoded again,
    /// also after the program was ended. A file that has changed, another sampling or another backbone is another video.
    ///
    /// # Errors
    /// As [`of`](Self::of); [`Error::Write`] if the store cannot be written, [`Error::Malformed`] for a damaged file in it.
    pub fn stored(clip: &ClipBackbone, video: &Video, sampling: Sampling, store: &Path) -> Result<Self> {
        fs::create_dir_all(store).map_err(|source| Error::write(store, source))?;
        let path = store.join(format!("{}.safetensors", key(clip, video, sampling)?));
        if path.exists() {
            let archive = Archive::open(&path)?;
            archive.require_format(FORMAT)?;
            let (rows, [count, dim]) = archive.floats("rows")?;
            let (times, [stamps]) = archive.floats("times")?;
            if count != stamps || count == 0 {
                return Err(archive.malformed("times", format!("one for each of {count} frames"), stamps));
            }
            let rows = Embeddings::new(rows, dim).map_err(|error| archive.locate("rows", error))?;
            return Ok(Self { rows, times });
        }
        let encoded = Self::of(clip, video, sampling)?;
        let mut archive = ArchiveWriter::new(FORMAT);
        archive.floats("rows", &[encoded.rows.rows(), encoded.rows.dim()], encoded.rows.values());
        archive.floats("times", &[encoded.times.len()], &encoded.times);
        archive.write(&path)?;
        Ok(encoded)
    }
}

/// What a video, its sampling and the backbone are called in a store.
fn key(clip: &ClipBackbone, video: &Video, sampling: Sampling) -> Result<String> {
    let path = video.path();
    let about = |path: &Path| -> Result<String> {
        let found = fs::metadata(path).map_err(|source| Error::read(path, source))?;
        let changed = found.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let changed = changed.unwrap_or_default().as_nanos();
        Ok(format!("{:?} {} {changed}", path.file_name(), found.len()))
    };
    let mut hash = Sha256::new();
    hash.update(format!("{} {} {}", clip.identity(), video.describe_with(sampling), about(path)?));
    if path.is_dir() {
        let entries = fs::read_dir(path).map_err(|source| Error::read(path, source))?;
        let mut files: Vec<String> = Vec::new();
        for entry in entries {
            files.push(about(&entry.map_err(|source| Error::read(path, source))?.path())?);
        }
        files.sort();
        hash.update(files.join("\n"));
    }
    // The whole path too, as two videos may have one name, length and time.
    hash.update(path.as_os_str().as_encoded_bytes());
    Ok(short_hex(hash))
}

/// Videos of any lengths side by side: the last frame of a shorter one fills its places up, and is not counted.
///
/// # Errors
/// As [`FrameSet::new`]; [`Error::Dim`] if the widths differ.
pub fn frame_set<N: Into<String>>(
    videos: &[EncodedVideo],
    labels: Vec<usize>,
    class_names: impl IntoIterator<Item = N>,
) -> Result<FrameSet> {
    let frames = videos.iter().map(|video| video.rows.rows()).max().unwrap_or(0);
    let dim = videos.first().map_or(1, |video| video.rows.dim());
    let (mut values, mut times) = (Vec::new(), Vec::new());
    for video in videos {
        if video.rows.dim() != dim {
            return Err(Error::Dim { what: "frames".to_owned(), expected: dim, found: video.rows.dim() });
        }
        for frame in 0..frames {
            let frame = frame.min(video.rows.rows() - 1);
            values.extend(video.rows.row(frame));
            times.push(video.times.get(frame).copied().unwrap_or(0.0));
        }
    }
    let counts = videos.iter().map(|video| video.rows.rows()).collect();
    FrameSet::new(Embeddings::new(values, dim)?, frames, labels, class_names)?
        .with_counts(counts)?
        .with_times(times)
}
