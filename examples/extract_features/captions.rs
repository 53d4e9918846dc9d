//! Images with captions: a file of pairs instead of a file of classes.

use std::collections::HashMap;
use std::path::Path;

use clip_adapter::features::{PairFile, Pairs};
use clip_adapter::input::{CaptionedImages, ImageList, left_out_lines, readable};
use clip_adapter::{Error, Result};
use indicatif::ProgressBar;

use crate::{Arguments, Rate, cli, extraction};

/// The word that stands for captions beside the images.
const BESIDE: &str = "beside";

/// Encodes images and their captions, and writes them as pairs.
pub fn write(arguments: &Arguments, captions: &str, out: &Path) -> Result<()> {
    cli::folders::check_for(&[arguments.out.as_ref()])?;
    let folder = &arguments.images;
    let photos = match captions {
        BESIDE => CaptionedImages::beside(folder)?,
        file => CaptionedImages::read(folder, file)?,
    };
    for line in left_out_lines(photos.left_out()) {
        eprintln!("left out: {line}");
    }
    let kept = kept(&photos, arguments.only.as_deref())?;
    let clips = arguments.clips()?;
    let files = kept.iter().map(|&image| photos.images().files()[image].clone());
    let (images, bar, rate) = (ImageList::new(files), ProgressBar::new(0), Rate::default());
    let mut extraction = extraction(arguments, &clips, "images", &bar, &rate);
    match &arguments.store[..] {
        [] => {}
        [store] => extraction = extraction.store(store),
        stores => return Err(Error::setting("store", "one folder with --captions", stores.len())),
    }
    let extracted = extraction.run(&images);
    bar.finish_and_clear();
    let extracted = extracted?;
    rate.tell("images");

    // Only images that could be read have captions to encode.
    let place: HashMap<&Path, usize> =
        images.files().iter().zip(&kept).map(|(file, &image)| (file.as_path(), image)).collect();
    let (mut texts, mut of, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for (row, key) in extracted.keys.iter().enumerate() {
        let captions = photos.captions(place[key.as_path()]);
        texts.extend_from_slice(captions);
        of.resize(texts.len(), row);
        names.push(readable(key.strip_prefix(folder).unwrap_or(key)).replace('\\', "/"));
    }
    let clip = &clips[0];
    let pairs = Pairs::new(
        extracted.embeddings.normalised(),
        clip.encode_texts(&texts)?.normalised(),
        of,
        clip.logit_scale(),
        clip.identity(),
    )?;
    let (images, count) = (pairs.len(), texts.len());
    let pairs = pairs.with_image_names(names)?.with_captions(texts)?;
    let dataset = readable(folder.file_name().unwrap_or_default());
    PairFile::new(dataset, pairs).write(out)?;
    println!(
        "wrote {}: {images} images ({} skipped) with {count} captions",
        out.display(),
        extracted.skipped.len()
    );
    Ok(())
}

/// The images that are wanted: all of them, or those of one part of a data set.
fn kept(photos: &CaptionedImages, only: Option<&str>) -> Result<Vec<usize>> {
    let all = 0..photos.images().files().len();
    let Some(only) = only else { return Ok(all.collect()) };
    let kept: Vec<usize> = all.clone().filter(|&image| photos.split(image) == Some(only)).collect();
    if kept.is_empty() {
        let known = cli::distinct::distinct(all.filter_map(|image| photos.split(image))).join(", ");
        let expected =
            if known.is_empty() { "captions that name one".to_owned() } else { format!("one of {known}") };
        return Err(Error::setting("only", expected, only));
    }
    Ok(kept)
}
