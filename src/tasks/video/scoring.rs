use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, positive};
use crate::evaluate::retrieval::{DirectionReport, Ranks, Similarities};
use crate::features::{Embeddings, FrameSet};

/// How well a video fits a query, of which the embedding is known: a text's or an image's. No parameters.
///
/// # Examples
/// ```
/// use clip_adapter::features::{Embeddings, FrameSet};
/// use clip_adapter::tasks::video::Scoring;
///
/// let frames = Embeddings::new(vec![1.0, 0.0, 0.0, 1.0], 2)?;
/// let video = FrameSet::new(frames, 2, vec![0], ["a clip"])?.with_times(vec![0.5, 1.5])?;
/// let query = Embeddings::new(vec![0.0, 2.0], 2)?;
/// let mean = Scoring::Mean.scores(&query, &video)?;
/// approx::assert_abs_diff_eq!(mean[0], 0.5f32.sqrt(), epsilon = 1e-6);
/// let best = Scoring::best_moments(&query, &video)?;
/// assert_eq!((best[0].frame, best[0].time, best[0].score), (1, Some(1.5), 1.0));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Scoring {
    /// The cosine with [`Pooling::Mean`](super::Pooling::Mean)'s row.
    Mean,
    /// The cosine with `unit(sum_t w_t f_t)`, `w = softmax_t(c q f_t)`: frames that fit the query count more. `c` is
    /// the sharpness, above 0, and usually 10.
    Query(f64),
    /// The cosine with the frame that fits best.
    Max,
}

impl Default for Scoring {
    fn default() -> Self {
        Self::Query(10.0)
    }
}

/// A place in a video, and how well it fits a query.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Moment {
    /// The video.
    pub video: usize,
    /// The frame.
    pub frame: usize,
    /// Its time in seconds, if that is known.
    pub time: Option<f32>,
    /// Its cosine with the query.
    pub score: f32,
}

/// How well the texts of classes find videos, and videos the texts of their classes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VideoRetrieval {
    /// Videos sought by the texts of their classes; a class without a video asks nothing.
    pub text_to_video: DirectionReport,
    /// The text of its class sought by each video, among those of all classes.
    pub video_to_text: DirectionReport,
}

impl fmt::Display for VideoRetrieval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (texts, videos) = (&self.text_to_video, &self.video_to_text);
        writeln!(f, "text to video: {texts} ({} texts in {} videos)", texts.queries, texts.gallery)?;
        write!(f, "video to text: {videos} ({} videos in {} texts)", videos.queries, videos.gallery)
    }
}

impl Scoring {
    /// How well one text a class, `[classes, dim]`, finds the class's videos, and each video its text. Videos that each
    /// have a text of their own are as many classes.
    ///
    /// # Errors
    /// As [`scores`](Self::scores); [`Error::Data`] if there is not one text a class, or no video.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::features::{Embeddings, FrameSet};
    /// use clip_adapter::tasks::video::Scoring;
    ///
    /// let frames = Embeddings::new(vec![1.0, 0.0, 0.8, 0.6, 0.0, 1.0, 0.6, 0.8], 2)?;
    /// let videos = FrameSet::new(frames, 2, vec![0, 1], ["sunrise", "rain"])?;
    /// let texts = Embeddings::new(vec![1.0, 0.0, 0.0, 1.0], 2)?;
    /// let report = Scoring::default().evaluate(&texts, &videos)?;
    /// assert_eq!((report.text_to_video.r1, report.video_to_text.r1), (100.0, 100.0));
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn evaluate(&self, texts: &Embeddings, videos: &FrameSet) -> Result<VideoRetrieval> {
        let classes = videos.class_names().len();
        if texts.rows() != classes {
            let expected = format!("one for each of {classes} classes");
            return Err(Error::data("texts", expected, texts.rows()));
        }
        if videos.is_empty() {
            return Err(Error::data("videos", "at least one", "none"));
        }
        let scores = Similarities::new(self.scores(texts, videos)?, videos.len())?;
        let (mut by_text, mut by_video) = (Ranks::new(videos.len()), Ranks::new(classes));
        for (class, scores) in scores.rows().enumerate() {
            let own: Vec<usize> =
                (0..videos.len()).filter(|&video| videos.labels()[video] == class).collect();
            if !own.is_empty() {
                by_text.add(scores, &own)?;
            }
        }
        for (scores, &label) in scores.transposed().rows().zip(videos.labels()) {
            by_video.add(scores, &[label])?;
        }
        Ok(VideoRetrieval { text_to_video: by_text.report()?, video_to_text: by_video.report()? })
    }

    /// How well every video fits every query: `[queries, videos]`, row after row.
    ///
    /// # Errors
    /// [`Error::Dim`] if the widths differ; [`Error::Setting`] if the sharpness is not above 0.
    pub fn scores(&self, queries: &Embeddings, videos: &FrameSet) -> Result<Vec<f32>> {
        if let Self::Query(sharpness) = self {
            positive("sharpness", *sharpness)?;
        }
        each(queries, videos, |frames, cosines| self.score(frames, cosines))
    }

    /// The frame of every video that fits every query best: `[queries, videos]`, row after row.
    ///
    /// # Errors
    /// As [`scores`](Self::scores).
    pub fn best_moments(queries: &Embeddings, videos: &FrameSet) -> Result<Vec<Moment>> {
        let best = each(queries, videos, |_, cosines| {
            let frame = crate::numerics::argmax(cosines);
            (frame, cosines[frame])
        })?;
        let moment = |(at, (frame, score)): (usize, (usize, f32))| {
            let video = at % videos.len();
            Moment { video, frame, time: videos.time(video, frame), score }
        };
        Ok(best.into_iter().enumerate().map(moment).collect())
    }

    /// The cosine of every frame of a video with one query, over time.
    ///
    /// # Errors
    /// As [`scores`](Self::scores).
    pub fn over_time(query: &[f32], videos: &FrameSet, video: usize) -> Result<Vec<f32>> {
        let query = Embeddings::new(query.to_vec(), query.len())?;
        let cosines = each(&query, &videos.select(&[video]), |_, cosines| cosines.to_vec())?;
        Ok(cosines.into_iter().next().unwrap_or_default())
    }

    /// Of the frames of one video, unit rows, and their cosines with the query.
    fn score(&self, frames: &[f32], cosines: &[f32]) -> f32 {
        let most = cosines.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f64> = match self {
            Self::Max => return most,
            Self::Mean => vec![1.0; cosines.len()],
            Self::Query(c) => cosines.iter().map(|cosine| (c * f64::from(cosine - most)).exp()).collect(),
        };
        let dim = frames.len() / cosines.len();
        let mut row = vec![0.0; dim];
        for (frame, weight) in frames.chunks_exact(dim).zip(&weights) {
            row.iter_mut().zip(frame).for_each(|(sum, value)| *sum += weight * f64::from(*value));
        }
        // q . unit(sum w f) = sum w (q . f) / |sum w f|
        let along: f64 = weights.iter().zip(cosines).map(|(w, cosine)| w * f64::from(*cosine)).sum();
        (along / row.iter().map(|value| value * value).sum::<f64>().sqrt().max(1e-12)) as f32
    }
}

/// What `of` makes of the own frames of every video and their cosines with every query.
fn each<T>(queries: &Embeddings, videos: &FrameSet, of: impl Fn(&[f32], &[f32]) -> T) -> Result<Vec<T>> {
    queries.check_dim("frames", videos.dim())?;
    let (queries, frames) = (queries.normalised(), videos.rows().normalised());
    let (dim, size) = (videos.dim(), videos.frames() * videos.dim());
    let mut all = Vec::with_capacity(queries.rows() * videos.len());
    for query in 0..queries.rows() {
        for (video, &count) in videos.counts().iter().enumerate() {
            let frames = &frames.values()[video * size..][..count * dim];
            let cosine = |frame: &[f32]| frame.iter().zip(queries.row(query)).map(|(a, b)| a * b).sum();
            let cosines: Vec<f32> = frames.chunks_exact(dim).map(cosine).collect();
            all.push(of(frames, &cosines));
        }
    }
    Ok(all)
}

impl fmt::Display for Scoring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mean => "mean",
            Self::Query(_) => "query",
            Self::Max => "max",
        })
    }
}

impl FromStr for Scoring {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "mean" => Ok(Self::Mean),
            "query" => Ok(Self::default()),
            "max" => Ok(Self::Max),
            _ => Err(Error::setting("scoring", "mean, query or max", format!("`{name}`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FrameFile;
    use crate::tasks::video::Pooling;

    #[test]
    fn sharpness_leads_from_the_mean_to_the_best_frame() {
        let file = FrameFile::synthetic(1).unwrap();
        let videos = file.split("test").unwrap().select(&[0, 30, 60]);
        let queries = file.split("train").unwrap().rows().select(&[3, 200]);
        let scores = |scoring: Scoring| scoring.scores(&queries, &videos).unwrap();
        approx::assert_abs_diff_eq!(
            &scores(Scoring::Query(1e-6))[..],
            &scores(Scoring::Mean)[..],
            epsilon = 1e-5
        );
        approx::assert_abs_diff_eq!(
            &scores(Scoring::Query(1e6))[..],
            &scores(Scoring::Max)[..],
            epsilon = 1e-5
        );
        let (rows, unit) = (Pooling::Mean.rows(&videos).unwrap(), queries.normalised());
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        for (at, score) in scores(Scoring::Mean).into_iter().enumerate() {
            approx::assert_abs_diff_eq!(score, cosine(unit.row(at / 3), rows.row(at % 3)), epsilon = 1e-5);
        }
        let moments = Scoring::best_moments(&queries, &videos).unwrap();
        assert!(moments.iter().zip(scores(Scoring::Max)).all(|(moment, score)| moment.score == score));
        let cosines = Scoring::over_time(queries.row(1), &videos, 2).unwrap();
        assert_eq!(cosines[moments[5].frame], moments[5].score);
    }

    /// Two videos of `a`, one of `b`, none of `c`; that of `b` is nearer to the text of `a`.
    #[test]
    fn texts_of_classes_find_their_videos() {
        let frames = Embeddings::new(vec![1.0, 0.0, 0.6, 0.8, 0.8, 0.6], 2).unwrap();
        let videos = FrameSet::new(frames, 1, vec![0, 0, 1], ["a", "b", "c"]).unwrap();
        let texts = Embeddings::new(vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.0], 2).unwrap();
        for scoring in [Scoring::Mean, Scoring::default(), Scoring::Max] {
            let VideoRetrieval { text_to_video, video_to_text } = scoring.evaluate(&texts, &videos).unwrap();
            assert_eq!((text_to_video.queries, text_to_video.gallery, text_to_video.relevant), (2, 3, 1.5));
            assert_eq!((text_to_video.r1, text_to_video.median_rank), (50.0, 1.5));
            assert_eq!((video_to_text.queries, video_to_text.gallery), (3, 3));
            approx::assert_abs_diff_eq!(video_to_text.r1, 100.0 / 3.0, epsilon = 1e-9);
        }
        let few = texts.select(&[0, 1]);
        assert!(
            matches!(Scoring::Mean.evaluate(&few, &videos), Err(Error::Data { what, .. }) if what == "texts")
        );
        let none = videos.select(&[]);
        assert!(
            matches!(Scoring::Mean.evaluate(&texts, &none), Err(Error::Data { what, .. }) if what == "videos")
        );
    }

    #[test]
    fn frames_that_only_fill_up_are_not_seen() {
        let file = FrameFile::synthetic(1).unwrap();
        let videos = file.split("test").unwrap().select(&[0]).with_counts(vec![1]).unwrap();
        let query = Embeddings::new(videos.video(0)[..32].to_vec(), 32).unwrap();
        for scoring in [Scoring::Mean, Scoring::default(), Scoring::Max] {
            approx::assert_abs_diff_eq!(scoring.scores(&query, &videos).unwrap()[0], 1.0, epsilon = 1e-6);
        }
        assert!(matches!(
            Scoring::Query(0.0).scores(&query, &videos),
            Err(Error::Setting { name, .. }) if name == "sharpness"
        ));
    }
}
