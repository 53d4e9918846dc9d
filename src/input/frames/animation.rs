//! GIF, animated WebP and APNG, composed on their canvas.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use image::codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::{AnimationDecoder, ImageDecoder, ImageError, Limits};

use super::{Frame, Frames, Kind, Sampling, chosen, flattened};
use crate::error::{Error, Result};
use crate::input::decode::limits::{MAX_BYTES, MAX_SIDE};

/// What a delay of 0 counts as, as browsers have it, in seconds.
const NO_DELAY: f64 = 0.1;

/// Frames that one file may have.
const MOST: usize = 1 << 20;

pub(super) fn frames(path: &Path, kind: Kind, ground: [u8; 3], sampling: Sampling) -> Result<Frames> {
    // Read twice: how many frames there are and when is told by no header.
    let mut times = Vec::new();
    let mut end = 0.0;
    for frame in decoded(path, &kind)? {
        let (_, delay) = frame?;
        if times.len() == MOST {
            return Err(Error::image(path, format!("more than {MOST} frames")));
        }
        times.push(end);
        end += delay;
    }
    if times.is_empty() {
        return Err(Error::image(path, "an animation without frames"));
    }
    let places = sampling.places_at(&times, end);
    let name = path.to_owned();
    let frames = decoded(path, &kind)?.zip(times).map(move |(frame, time)| {
        let (frame, _) = frame?;
        let image = flattened(&frame.into_rgba8(), ground);
        crate::input::decode::limits::check(image.width(), image.height(), &name)?;
        Ok(Frame { time, image })
    });
    Ok(chosen(Box::new(frames), places))
}

type Decoded = Box<dyn Iterator<Item = Result<(image::DynamicImage, f64)>>>;

/// All frames and their delays. A decoder that panics on damaged bytes ends this file and no more.
fn decoded(path: &Path, kind: &Kind) -> Result<Decoded> {
    let name = path.to_owned();
    let frames = panic::catch_unwind(AssertUnwindSafe(|| open(path, kind)))
        .unwrap_or_else(|_| Err(Error::image(path, "bytes that make the decoder panic")))?;
    let mut frames = match frames {
        Opened::Still(image) => return Ok(Box::new(std::iter::once(Ok((*image, NO_DELAY))))),
        Opened::Moving(frames) => frames,
    };
    let mut over = false;
    Ok(Box::new(std::iter::from_fn(move || {
        if over {
            return None;
        }
        let next = panic::catch_unwind(AssertUnwindSafe(|| frames.next()));
        let frame = match next {
            Ok(None) => return None,
            Ok(Some(Ok(frame))) => {
                let (above, below) = frame.delay().numer_denom_ms();
                let delay = f64::from(above) / f64::from(below.max(1)) / 1000.0;
                let delay = if delay > 0.0 { delay } else { NO_DELAY };
                return Some(Ok((frame.into_buffer().into(), delay)));
            }
            Ok(Some(Err(error))) => Error::image(&name, error),
            Err(_) => Error::image(&name, "bytes that make the decoder panic"),
        };
        over = true;
        Some(Err(frame))
    })))
}

enum Opened {
    Still(Box<image::DynamicImage>),
    Moving(image::Frames<'static>),
}

fn open(path: &Path, kind: &Kind) -> Result<Opened> {
    let failed = |error: ImageError| Error::image(path, error);
    let mut file = BufReader::new(File::open(path).map_err(|source| Error::read(path, source))?);
    let still = |path: PathBuf| -> Result<Opened> {
        let bytes = crate::input::decode::read(&path)?;
        Ok(Opened::Still(Box::new(crate::input::decode::with_alpha(&bytes, &path)?)))
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    match kind {
        Kind::Gif => {
            let mut decoder = GifDecoder::new(file).map_err(failed)?;
            decoder.set_limits(limits).map_err(failed)?;
            Ok(Opened::Moving(decoder.into_frames()))
        }
        Kind::WebP => {
            let mut decoder = WebPDecoder::new(&mut file).map_err(failed)?;
            decoder.set_limits(limits.clone()).map_err(failed)?;
            if !decoder.has_animation() {
                return still(path.to_owned());
            }
            drop(decoder);
            file.rewind().map_err(|source| Error::read(path, source))?;
            let mut decoder = WebPDecoder::new(file).map_err(failed)?;
            decoder.set_limits(limits).map_err(failed)?;
            Ok(Opened::Moving(decoder.into_frames()))
        }
        _ => {
            let decoder = PngDecoder::with_limits(file, limits).map_err(failed)?;
            if !decoder.is_apng().map_err(failed)? {
                return still(path.to_owned());
            }
            Ok(Opened::Moving(decoder.apng().map_err(failed)?.into_frames()))
        }
    }
}
