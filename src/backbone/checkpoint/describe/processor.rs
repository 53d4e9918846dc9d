//! `preprocessor_config.json` and `processor_config.json`, as transformers' `CLIPImageProcessor` reads them.

use std::path::Path;

use serde_json::Value;

use super::keys::{PROCESSOR, PROCESSOR_FILE};
use super::section::{self, Section, whole};
use crate::error::Result;
use crate::input::{CropRounding, Preprocess, Resampling, ResizeMode};

/// Names of the class that prepares images for CLIP, in all versions of transformers. It is also what a file means
/// that names none.
const PROCESSORS: [&str; 4] =
    ["CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil", "CLIPFeatureExtractor"];

/// What the class has where a file says nothing.
const SIDE: usize = 224;

/// The newer file holds the older one's content as one of its objects, and then it is the one that counts.
pub(super) fn read(folder: &Path) -> Result<Preprocess> {
    let [older, newer] = super::PROCESSOR_FILES.map(|file| folder.join(file));
    if newer.exists() {
        let mut file = Section::open(&newer)?;
        let processor = file.inner("image_processor")?;
        file.no_code()?;
        file.finish(&[PROCESSOR_FILE])?;
        if let Some(processor) = processor {
            return image_processor(processor);
        }
    }
    image_processor(Section::open(&older)?)
}

fn image_processor(mut processor: Section) -> Result<Preprocess> {
    let resampling = resampling(&mut processor)?;
    processor.no_code()?;
    processor.off(&["do_pad"], "false: a picture fills the tower's input")?;
    processor.off(&["use_square_size"], "false")?;
    processor.only("do_convert_rgb", &[true.into()], "true: the tower takes three channels")?;
    processor.only("do_resize", &[true.into()], "true: pictures come in any size")?;
    processor.only("resample", &[3.into()], "3, bicubic")?;
    for key in ["data_format", "input_data_format"] {
        processor.only(key, &["channels_first".into(), Value::Null], "channels_first")?;
    }
    let (resize, resize_mode) = resize(&mut processor)?;
    let crop = crop(&mut processor, resize, resize_mode)?;
    let default = Preprocess::default();
    let factor = part(&mut processor, "do_rescale", "rescale_factor", "a number", Value::as_f64)?;
    let mut channels = |key| part(&mut processor, "do_normalize", key, "three numbers, or one", channels);
    let (mean, std) = (channels("image_mean")?, channels("image_std")?);
    let (rounding, orient) = own(&mut processor)?;
    processor.finish(&[PROCESSOR, &["do_rescale", "do_normalize"]])?;
    Ok(Preprocess {
        resize,
        resize_mode,
        crop,
        resampling,
        rounding,
        orient,
        rescale: factor.map_or(1.0, |factor| factor.map_or(default.rescale, |factor| factor as f32)),
        mean: mean.map_or([0.0; 3], |mean| mean.unwrap_or(default.mean)),
        std: std.map_or([1.0; 3], |std| std.unwrap_or(default.std)),
    })
}

fn resampling(processor: &mut Section) -> Result<Resampling> {
    let key = match processor.get("image_processor_type") {
        Some(name) if !name.is_null() => "image_processor_type",
        _ => "feature_extractor_type",
    };
    let expected = format!("one of {}", PROCESSORS.join(", "));
    let by_pillow = processor.read(key, &expected, |name| match name {
        Value::Null => Some(false),
        name => Some(PROCESSORS.into_iter().find(|known| name == known)?.ends_with("Pil")),
    })?;
    processor.take("image_processor_type"); // null, if it is still there
    Ok(if by_pillow == Some(true) { Resampling::Pillow } else { Resampling::Torchvision })
}

/// Whether a part of the preparation is done. Null is no default, but false.
fn is_on(processor: &Section, switch: &str) -> Result<bool> {
    match processor.get(switch) {
        None => Ok(true),
        Some(Value::Null) => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| processor.wrong(switch, "true or false", value)),
    }
}

/// A value of a part of the preparation: none if that is left out, and none within if the key is absent.
fn part<T>(
    processor: &mut Section,
    switch: &str,
    key: &str,
    expected: &str,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Result<Option<Option<T>>> {
    if is_on(processor, switch)? {
        return processor.read(key, expected, read).map(Some);
    }
    processor.take(key);
    Ok(None)
}

/// A size: of the short side alone, or of height and width.
enum Size {
    Shortest(usize),
    Sides(usize, usize),
}

/// A number in old files, two numbers, or an object.
fn measure(value: &Value, square: bool) -> Option<Size> {
    match value {
        Value::Array(sides) => match &sides[..] {
            [height, width] => Some(Size::Sides(whole(height)?, whole(width)?)),
            _ => None,
        },
        Value::Object(sides) => match sides.len() {
            1 => Some(Size::Shortest(whole(sides.get("shortest_edge")?)?)),
            2 if sides.get("longest_edge") == Some(&Value::Null) => {
                Some(Size::Shortest(whole(sides.get("shortest_edge")?)?))
            }
            2 => Some(Size::Sides(whole(sides.get("height")?)?, whole(sides.get("width")?)?)),
            _ => None,
        },
        value => {
            let side = whole(value)?;
            Some(if square { Size::Sides(side, side) } else { Size::Shortest(side) })
        }
    }
}

fn resize(processor: &mut Section) -> Result<(usize, ResizeMode)> {
    let square = processor.read("default_to_square", "true or false", |value| match value {
        Value::Null => Some(false),
        value => value.as_bool(),
    })?;
    let expected = "the shortest_edge, or a height and width that are equal";
    let size = processor.read("size", expected, |value| match measure(value, square == Some(true))? {
        Size::Shortest(side) => Some((side, ResizeMode::Shortest)),
        Size::Sides(height, width) => (height == width).then_some((height, ResizeMode::Squash)),
    })?;
    Ok(size.unwrap_or((SIDE, ResizeMode::Shortest)))
}

fn crop(processor: &mut Section, resize: usize, mode: ResizeMode) -> Result<usize> {
    let expected = "a height and width that are equal";
    let side =
        part(processor, "do_center_crop", "crop_size", expected, |value| match measure(value, true)? {
            Size::Sides(height, width) => (height == width).then_some(height),
            Size::Shortest(_) => None,
        })?;
    match (side, processor.take("do_center_crop"), mode) {
        (Some(side), ..) => Ok(side.unwrap_or(SIDE)),
        (None, _, ResizeMode::Squash) => Ok(resize),
        (None, found, ResizeMode::Shortest) => {
            let expected = "true, or a size of height and width: else pictures are not square";
            Err(processor.wrong("do_center_crop", expected, found.unwrap_or_default()))
        }
    }
}

/// One number for all channels, or one of each.
fn channels(value: &Value) -> Option<[f32; 3]> {
    value.as_f64().map(|number| [number as f32; 3]).or_else(|| section::channels(value))
}

/// What transformers' processor cannot do, as this crate writes it.
fn own(processor: &mut Section) -> Result<(CropRounding, bool)> {
    let Some(mut own) = processor.inner("_clip_adapter")? else { return Ok((CropRounding::Down, false)) };
    let rounding = own.read("rounding", "half_even", |name| (*name == "half_even").then_some(()))?;
    let orient = own.flag("orient")?.unwrap_or(false);
    own.finish(&[])?;
    Ok((rounding.map_or(CropRounding::Down, |()| CropRounding::HalfEven), orient))
}
