//! Videos that were found, as strips of their frames and how well each fits over time.

use std::path::PathBuf;

use clip_adapter::{
    Result,
    features::FrameSet,
    input::{Sampling, Video},
};

use crate::cli::{
    data_uri,
    html::{self, escape},
};

/// Height and width of the bars, in units of their own: the page stretches them.
const HEIGHT: f32 = 60.0;
const WIDTH: f32 = 480.0;

/// Frames that are shown of one video, beside the best.
const SHOWN: usize = 12;

/// Where the pictures of the videos are, and how their frames were taken.
pub struct Pictures<'a> {
    pub paths: &'a [PathBuf],
    pub sampling: Sampling,
}

/// A video that was found.
pub struct Found {
    pub video: usize,
    pub name: String,
    pub score: f32,
    /// The frame that fits best.
    pub best: usize,
    /// Of every frame with the query.
    pub cosines: Vec<f32>,
}

/// When a frame is shown, or which it is.
pub fn place(videos: &FrameSet, video: usize, frame: usize) -> String {
    match videos.time(video, frame) {
        Some(time) => format!("{time:.1} s"),
        None => format!("frame {frame}"),
    }
}

/// A page of these videos.
pub fn page(
    text: &str,
    videos: &FrameSet,
    found: &[Found],
    pictures: Option<Pictures<'_>>,
) -> Result<String> {
    let all = || found.iter().flat_map(|found| found.cosines.iter().copied());
    let (low, high) = (all().fold(f32::INFINITY, f32::min), all().fold(f32::NEG_INFINITY, f32::max));
    let mut body = format!(
        "<p>How well each frame fits <strong>{}</strong>: the cosine over time, with bars from {low:.3} to {high:.3}.</p>",
        escape(text)
    );
    for one in found {
        let name = escape(&one.name);
        let when = |frame: usize| place(videos, one.video, frame);
        let width = WIDTH / one.cosines.len() as f32;
        let bar = |at: usize| {
            let (cosine, best) = (one.cosines[at], at == one.best);
            let height = 2.0 + (HEIGHT - 2.0) * (cosine - low) / (high - low).max(1e-6);
            format!(
                "<rect{} x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{height:.2}\"><title>{}: {cosine:.3}</title></rect>",
                if best { " class=\"best\"" } else { "" },
                at as f32 * width,
                HEIGHT - height,
                if best { (0.9 * width).max(2.0) } else { 0.9 * width },
                when(at),
            )
        };
        // The best last, so that it is seen among thousands.
        let others = (0..one.cosines.len()).filter(|&at| at != one.best);
        let bars: String = others.chain([one.best]).map(bar).collect();
        let (best, last) = (when(one.best), one.cosines.len() - 1);
        body += &format!(
            "<h2>{name}, {:.3}</h2>\n<svg class=\"bars\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" \
             role=\"img\" aria-label=\"cosines of {} frames of {name}, the best at {best}\">{bars}</svg>\n\
             <p class=\"ends\"><span>{}</span><span>best at {best}: {:.3}</span><span>{}</span></p>\n",
            one.score,
            one.cosines.len(),
            when(0),
            one.cosines[one.best],
            when(last),
        );
        if let Some(pictures) = &pictures {
            body += &strip(one, pictures, when)?;
        }
    }
    Ok(html::page("Moments in videos", &body))
}

/// Frames evenly over a video and the best, read once more.
fn strip(one: &Found, pictures: &Pictures<'_>, when: impl Fn(usize) -> String) -> Result<String> {
    let shown = Sampling::Uniform { frames: SHOWN.min(one.cosines.len()) };
    let mut shown = shown.places(one.cosines.len());
    shown.push(one.best);
    let path = &pictures.paths[one.video];
    let mut items = String::new();
    let last = shown.iter().copied().max().unwrap_or(0);
    for (at, frame) in Video::new(path).frames(pictures.sampling)?.enumerate().take(last + 1) {
        let frame = frame?;
        if !shown.contains(&at) {
            continue;
        }
        let (picture, when) = (data_uri::photo(&frame.image, path)?, when(at));
        let (class, best) = if at == one.best { (" class=\"best\"", ", best") } else { ("", "") };
        items += &format!(
            "<li{class}><img src=\"{picture}\" alt=\"at {when}\">{when}{best}<br><strong>{:.3}</strong></li>",
            one.cosines[at]
        );
    }
    Ok(format!("<ol class=\"strip\">{items}</ol>\n"))
}
