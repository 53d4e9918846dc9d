use std::sync::Arc;

use super::set::check_class_names;
use super::{Embeddings, FeatureSet};
use crate::error::{Error, Result};

/// Frames of labelled videos: as many of each video, in order, `[videos, frames, dim]`.
///
/// A video that gave fewer frames has its last one repeated, and [`counts`](Self::counts) says how many are its own.
///
/// # Examples
/// ```
/// use clip_adapter::features::{Embeddings, FrameSet};
///
/// let frames = Embeddings::new(vec![1.0, 0.0, 0.6, 0.8, 0.0, 1.0, 0.8, 0.6], 2)?;
/// let set = FrameSet::new(frames, 2, vec![0, 1], ["left", "right"])?;
/// assert_eq!((set.len(), set.frames(), set.dim()), (2, 2, 2));
/// assert_eq!(set.reversed().video(0), [0.6, 0.8, 1.0, 0.0]);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FrameSet {
    rows: Embeddings, // [videos * frames, dim]
    frames: usize,
    counts: Vec<usize>,
    times: Option<Vec<f32>>, // [videos * frames]
    labels: Vec<usize>,
    class_names: Arc<[String]>,
}

impl FrameSet {
    /// Joins the frames of all videos, video after video and `frames` of each, with one label a video and the names
    /// that the labels point at.
    ///
    /// # Errors
    /// [`Error::Data`] if the rows are not whole videos, there is not one label a video, a label is no class, or a
    /// class name is empty or given twice; [`Error::Setting`] if `frames` is 0.
    pub fn new<N: Into<String>>(
        rows: Embeddings,
        frames: usize,
        labels: Vec<usize>,
        class_names: impl IntoIterator<Item = N>,
    ) -> Result<Self> {
        let class_names: Arc<[String]> = class_names.into_iter().map(Into::into).collect();
        check_class_names(&class_names)?;
        Self::with_shared_names(rows, frames, labels, class_names)
    }

    pub(super) fn with_shared_names(
        rows: Embeddings,
        frames: usize,
        labels: Vec<usize>,
        class_names: Arc<[String]>,
    ) -> Result<Self> {
        if frames == 0 {
            return Err(Error::setting("frames", "1 or more", 0));
        }
        if rows.rows() != frames * labels.len() {
            let expected = format!("{frames} for each of {} labels", labels.len());
            return Err(Error::data("frames", expected, rows.rows()));
        }
        if let Some(video) = labels.iter().position(|&label| label >= class_names.len()) {
            let (what, expected) =
                (format!("row {video} of the labels"), format!("a class below {}", class_names.len()));
            return Err(Error::data(what, expected, labels[video]));
        }
        let counts = vec![frames; labels.len()];
        Ok(Self { rows, frames, counts, times: None, labels, class_names })
    }

    /// Says how many frames, from the first on, are each video's own; the others only fill up.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one count a video, or one is 0 or larger than [`frames`](Self::frames).
    pub fn with_counts(mut self, counts: Vec<usize>) -> Result<Self> {
        if counts.len() != self.len() {
            return Err(Error::data(
                "counts",
                format!("one for each of {} videos", self.len()),
                counts.len(),
            ));
        }
        if let Some(video) = counts.iter().position(|count| !(1..=self.frames).contains(count)) {
            let (what, expected) = (format!("count of video {video}"), format!("1..={}", self.frames));
            return Err(Error::data(what, expected, counts[video]));
        }
        self.counts = counts;
        Ok(self)
    }

    /// Says when each frame is shown, in seconds from the beginning of its video: `[videos * frames]`.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one a frame, or one is negative or not finite.
    pub fn with_times(mut self, times: Vec<f32>) -> Result<Self> {
        if times.len() != self.rows.rows() {
            let expected = format!("one for each of {} frames", self.rows.rows());
            return Err(Error::data("times", expected, times.len()));
        }
        if let Some(frame) = times.iter().position(|time| !(time.is_finite() && *time >= 0.0)) {
            return Err(Error::data(format!("time of frame {frame}"), "seconds, 0 or more", times[frame]));
        }
        self.times = Some(times);
        Ok(self)
    }

    /// The number of videos.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no video at all.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Frames of each video, those included that only fill up.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The width of a frame's embedding.
    pub fn dim(&self) -> usize {
        self.rows.dim()
    }

    /// All frames, video after video.
    pub fn rows(&self) -> &Embeddings {
        &self.rows
    }

    /// The frames of one video, one after the other.
    ///
    /// # Panics
    /// If `video` is not below [`len`](Self::len).
    pub fn video(&self, video: usize) -> &[f32] {
        let size = self.frames * self.dim();
        &self.rows.values()[video * size..][..size]
    }

    /// How many frames are each video's own.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// When a frame is shown, in seconds, if that is known.
    ///
    /// # Panics
    /// If there is no such frame.
    pub fn time(&self, video: usize, frame: usize) -> Option<f32> {
        self.times.as_ref().map(|times| times[video * self.frames..][..self.frames][frame])
    }

    pub(super) fn times(&self) -> Option<&[f32]> {
        self.times.as_deref()
    }

    /// One class index a video.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The classes' names, in label order.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The given videos, in the given order, with the same classes.
    ///
    /// # Panics
    /// If a video is not below [`len`](Self::len).
    pub fn select(&self, videos: &[usize]) -> Self {
        let frames: Vec<usize> =
            videos.iter().flat_map(|video| video * self.frames..(video + 1) * self.frames).collect();
        let times = |times: &Vec<f32>| frames.iter().map(|&frame| times[frame]).collect();
        Self {
            rows: self.rows.select(&frames),
            frames: self.frames,
            counts: videos.iter().map(|&video| self.counts[video]).collect(),
            times: self.times.as_ref().map(times),
            labels: videos.iter().map(|&video| self.labels[video]).collect(),
            class_names: self.class_names.clone(),
        }
    }

    /// Draws `shots` videos of every class, as [`FeatureSet::shots`] draws images.
    ///
    /// # Errors
    /// As [`FeatureSet::shots`].
    pub fn shots(&self, shots: usize, seed: u64) -> Result<Self> {
        let firsts: Vec<usize> = (0..self.len()).map(|video| video * self.frames).collect();
        let labels = self.labels.clone();
        let set = FeatureSet::with_shared_names(self.rows.select(&firsts), labels, self.class_names.clone())?;
        Ok(self.select(&set.shot_rows(shots, seed)?))
    }

    /// Every video backwards; the frames that only fill up stay behind, and the times are dropped.
    pub fn reversed(&self) -> Self {
        let order = |video: usize| {
            let (start, count) = (video * self.frames, self.counts[video]);
            (0..self.frames).map(move |frame| start + if frame < count { count - 1 - frame } else { 0 })
        };
        let frames: Vec<usize> = (0..self.len()).flat_map(order).collect();
        Self { rows: self.rows.select(&frames), times: None, ..self.clone() }
    }

    /// A video as one row `[frames * dim]` of unit frames: what a model takes that looks at their order.
    ///
    /// # Errors
    /// None in practice: what is kept here is finite and has labels.
    pub fn side_by_side(&self) -> Result<FeatureSet> {
        let rows = Embeddings::new(self.rows.normalised().into_values(), self.frames * self.dim())?;
        FeatureSet::with_shared_names(rows, self.labels.clone(), self.class_names.clone())
    }
}
