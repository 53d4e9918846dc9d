//! Videos that were found, as strips of the scores of their frames over time.

use clip_adapter::{
    Result,
    features::FrameSet,
    tasks::video::{Moment, Scoring},
};

use crate::cli::html::{self, escape};

/// Height and width of a strip, in pixels.
const HEIGHT: f32 = 60.0;
const WIDTH: f32 = 480.0;

/// A page of the videos in this order, with the cosine of every frame with the query.
pub fn page(
    text: &str,
    query: &[f32],
    videos: &FrameSet,
    order: &[usize],
    scores: &[f32],
    moments: &[Moment],
) -> Result<String> {
    let mut body =
        format!("<p>How well each frame fits <strong>{}</strong>: the cosine, over time.</p>", escape(text));
    let strips: Vec<Vec<f32>> =
        order.iter().map(|&video| Scoring::over_time(query, videos, video)).collect::<Result<_>>()?;
    let all = || strips.iter().flatten().copied();
    let (low, high) = (all().fold(f32::INFINITY, f32::min), all().fold(f32::NEG_INFINITY, f32::max));
    for (&video, strip) in order.iter().zip(&strips) {
        let name = escape(&videos.class_names()[videos.labels()[video]]);
        let best = moments[video].frame;
        let width = WIDTH / strip.len() as f32;
        let bars: String = (strip.iter().enumerate())
            .map(|(at, score)| {
                let height = 2.0 + (HEIGHT - 2.0) * (score - low) / (high - low).max(1e-6);
                let colour = if at == best { "#dc2626" } else { "#2563eb" };
                let when =
                    videos.time(video, at).map_or(format!("frame {at}"), |time| format!("{time:.1} s"));
                format!(
                    "<rect x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{height:.2}\" fill=\"{colour}\">\
                     <title>{when}: {score:.3}</title></rect>",
                    at as f32 * width,
                    HEIGHT - height,
                    (width - 0.5).max(0.3),
                )
            })
            .collect();
        body += &format!(
            "<h2>{name}, {:.3}</h2>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             role=\"img\" aria-label=\"scores of the frames of {name} over time\">{bars}</svg>\n",
            scores[video]
        );
    }
    Ok(html::page("Moments in videos", &body))
}
