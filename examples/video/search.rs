//! Videos that are found by what is said of them.

use std::path::PathBuf;

use clip_adapter::{ClipBackbone, Error, Result, features::FrameFile, tasks::video::Scoring};
use serde_json::json;

use crate::{
    Arguments, cli,
    page::{self, Found, Pictures},
};

/// The name of the split that is scored or searched.
pub fn split<'a>(arguments: &'a Arguments, file: &FrameFile) -> &'a str {
    let has = |name: &str| file.split_names().any(|known| known == name);
    match &arguments.test_split {
        Some(name) => name,
        None if has("all") && !has("test") => "all",
        None => "test",
    }
}

/// The CLIP that encodes videos and texts.
pub fn backbone(arguments: &Arguments) -> Result<ClipBackbone> {
    let folder = arguments.backbone.clone().unwrap_or_else(|| cli::pocket::path("model"));
    ClipBackbone::from_pretrained(folder, &arguments.device.open()?)
}

/// The videos of a file that fit a text best, and where in them.
pub fn in_file(arguments: &Arguments, text: &str) -> Result<()> {
    let Some(features) = &arguments.features else {
        return Err(Error::setting("query", "--features or --videos beside it", "neither"));
    };
    cli::folders::check_for(&[arguments.json.as_ref(), arguments.html.as_ref()])?;
    let (file, clip) = (FrameFile::read(features)?, backbone(arguments)?);
    search(arguments, &clip, &file, split(arguments, &file), None, text)
}

/// The same of videos whose files are known, so that the page can show them.
pub fn search(
    arguments: &Arguments,
    clip: &ClipBackbone,
    file: &FrameFile,
    split: &str,
    pictures: Option<Pictures<'_>>,
    text: &str,
) -> Result<()> {
    let videos = file.split(split)?;
    file.require_backbone(clip.identity())?;
    let query = clip.encode_texts(&[text])?;
    let scores = arguments.scoring.scores(&query, videos)?;
    let moments = Scoring::best_moments(&query, videos)?;
    let mut order: Vec<usize> = (0..videos.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(arguments.top);
    let (mut all, mut found) = (Vec::new(), Vec::new());
    for video in order {
        let (moment, class) = (moments[video], &videos.class_names()[videos.labels()[video]]);
        let path: Option<&PathBuf> = pictures.as_ref().map(|pictures| &pictures.paths[video]);
        let name = match path {
            Some(path) => path.display().to_string(),
            None => format!("{class} ({video})"),
        };
        let place = page::place(videos, video, moment.frame);
        println!("{:>7.3}  {name}, best at {place}", scores[video]);
        all.push(json!({
            "video": video, "class": class, "file": path, "score": scores[video], "moment": moment,
        }));
        let cosines = Scoring::over_time(query.row(0), videos, video)?;
        found.push(Found { video, name, score: scores[video], best: moment.frame, cosines });
    }
    if let Some(path) = &arguments.html {
        cli::files::write(path, page::page(text, videos, &found, pictures)?)?;
        println!("wrote {}", path.display());
    }
    if let Some(path) = &arguments.json {
        let all = json!({
            "query": text, "scoring": arguments.scoring.to_string(), "sampling": file.sampling(), "videos": all,
        });
        cli::files::write_json(path, &all)?;
    }
    Ok(())
}

/// How well the texts of the classes find their videos.
pub fn by_names(arguments: &Arguments) -> Result<()> {
    let Some(features) = &arguments.features else {
        return Err(Error::setting("retrieval", "--features beside it", "none"));
    };
    cli::folders::check_for(&[arguments.json.as_ref()])?;
    let file = FrameFile::read(features)?;
    let Some(texts) = file.classifier() else {
        return Err(Error::data(features.display().to_string(), "texts of the classes", "none"));
    };
    let report = arguments.scoring.evaluate(texts.weights(), file.split(split(arguments, &file))?)?;
    println!("{}: {}, scored by {}", file.dataset(), file.identity(), arguments.scoring);
    println!("{report}");
    if let Some(path) = &arguments.json {
        let mut all = json!(report);
        all["gallery"] = json!(report.text_to_video.gallery);
        all["queries"] = json!(report.text_to_video.queries);
        all["scoring"] = json!(arguments.scoring.to_string());
        all["sampling"] = json!(file.sampling());
        all["backbone"] = json!(file.backbone());
        cli::files::write_json(path, &all)?;
    }
    Ok(())
}
