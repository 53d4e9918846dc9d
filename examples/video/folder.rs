//! From a folder of videos to a file of frames.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use clip_adapter::{
    ClipBackbone, Error, Prompts, Result,
    extract::{EncodedVideo, frame_set},
    features::{FrameFile, FrameSet},
    input::{Sampling, VIDEO_ENDINGS, Video, readable},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::{Arguments, cli, page, search};

/// The splits that a folder may be divided into.
const SPLITS: [&str; 4] = ["train", "val", "test", "all"];

/// Videos with a class each, by its place among the names.
struct Found {
    videos: Vec<(PathBuf, usize)>,
    names: Vec<String>,
}

pub fn extract(arguments: &Arguments, folder: &Path) -> Result<()> {
    if let (None, None) = (&arguments.out, &arguments.query) {
        return Err(Error::setting("videos", "--out, --query or both beside it", "neither"));
    }
    cli::folders::check_for(&[arguments.out.as_ref(), arguments.json.as_ref(), arguments.html.as_ref()])?;
    let sampling = match arguments.fps {
        Some(fps) => Sampling::Rate { fps, max: arguments.max },
        None => Sampling::Uniform { frames: arguments.frames },
    };
    sampling.validate()?;
    let splits = splits(folder)?;
    let names = splits[0].1.names.clone();
    for (_, found) in &splits[1..] {
        cli::folders::check_same_classes(&readable(folder), &names, &found.names)?;
    }
    let prompts = match (&arguments.prompts, &arguments.backbone) {
        (Some(name), _) => Prompts::find(name)?,
        (None, Some(_)) => Prompts::default(),
        (None, None) => Prompts::read(cli::pocket::path("prompts.txt"))?,
    };
    let clip = search::backbone(arguments)?;
    let words: Vec<String> = names.iter().map(|name| name.replace(['_', '-'], " ")).collect();
    let dataset =
        folder.file_name().map_or_else(|| readable(folder), |name| name.to_string_lossy().into_owned());
    let mut file =
        FrameFile::new(dataset, clip.identity(), Video::describe(sampling, [255; 3]), words.clone())?
            .with_classifier(clip.text_classifier(&words, &prompts)?)?;
    let (mut skipped, mut paths) = (Vec::new(), BTreeMap::new());
    for (split, found) in &splits {
        if let Some((set, own)) = encode(arguments, &clip, sampling, split, found, &words, &mut skipped)? {
            println!("{split}: {} videos of {} classes, {} frames", set.len(), words.len(), set.frames());
            file = file.with_split(split, set)?;
            paths.insert(split.clone(), own);
        }
    }
    if let Some(out) = &arguments.out {
        file.write(out)?;
        println!("wrote {}", out.display());
    }
    if let Some(text) = &arguments.query {
        let split = search::split(arguments, &file);
        let pictures = paths.get(split).map(|paths| page::Pictures { paths, sampling });
        return search::search(arguments, &clip, &file, split, pictures, text);
    }
    if let Some(path) = &arguments.json {
        let splits: Vec<_> = file.split_names().map(String::from).collect();
        let all = json!({ "sampling": file.sampling(), "backbone": file.backbone(), "splits": splits, "skipped": skipped });
        cli::files::write_json(path, &all)?;
    }
    Ok(())
}

/// The frames of a split's videos, and the files that they come from, but for those that are skipped.
fn encode(
    arguments: &Arguments,
    clip: &ClipBackbone,
    sampling: Sampling,
    split: &str,
    found: &Found,
    names: &[String],
    skipped: &mut Vec<String>,
) -> Result<Option<(FrameSet, Vec<PathBuf>)>> {
    let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len}").expect("a valid template");
    let bar = ProgressBar::new(found.videos.len() as u64).with_style(style).with_prefix(split.to_owned());
    let (mut videos, mut labels, mut paths) = (Vec::new(), Vec::new(), Vec::new());
    for (path, label) in &found.videos {
        let video = Video::new(path);
        let encoded = match &arguments.store {
            Some(store) => EncodedVideo::stored(clip, &video, sampling, store),
            None => EncodedVideo::of(clip, &video, sampling),
        };
        match encoded {
            Ok(encoded) => {
                videos.push(encoded);
                labels.push(*label);
                paths.push(path.clone());
            }
            Err(error @ Error::Image { .. }) if arguments.skip_broken => {
                bar.suspend(|| eprintln!("skipped: {error}"));
                skipped.push(error.to_string());
            }
            Err(error) => return Err(error),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if videos.is_empty() {
        return Ok(None);
    }
    Ok(Some((frame_set(&videos, labels, names)?, paths)))
}

/// A folder of `train`, `test` and so on, or all in one.
fn splits(folder: &Path) -> Result<Vec<(String, Found)>> {
    let found: Vec<&str> = SPLITS.into_iter().filter(|name| folder.join(name).is_dir()).collect();
    match &found[..] {
        [] => Ok(vec![("all".to_owned(), classes(folder)?)]),
        names => names.iter().map(|name| Ok(((*name).to_owned(), classes(&folder.join(name))?))).collect(),
    }
}

/// A sub-folder of videos a class; or videos, of which each is a class of its own.
fn classes(folder: &Path) -> Result<Found> {
    let (mut videos, mut names) = (Vec::new(), Vec::new());
    let own = files(folder)?;
    if !own.is_empty() {
        for path in own {
            videos.push((path.clone(), names.len()));
            names.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
        return Ok(Found { videos, names });
    }
    for class in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        let mut own = files(&class)?;
        own.extend(entries(&class)?.into_iter().filter(|path| path.is_dir()));
        if own.is_empty() {
            continue;
        }
        own.sort();
        videos.extend(own.into_iter().map(|path| (path, names.len())));
        names.push(class.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    match videos.is_empty() {
        false => Ok(Found { videos, names }),
        true => {
            let expected = format!("videos ({}), or a sub-folder of them a class", VIDEO_ENDINGS.join(", "));
            Err(Error::data(readable(folder), expected, "none"))
        }
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|source| Error::read(folder, source))?;
    let entries: std::io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut entries = entries.map_err(|source| Error::read(folder, source))?;
    entries.retain(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
    entries.sort();
    Ok(entries)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = entries(folder)?;
    files.retain(|path| {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        path.is_file() && ending.is_some_and(|ending| VIDEO_ENDINGS.contains(&ending.as_str()))
    });
    Ok(files)
}
