use std::path::Path;

use super::{Question, QuestionList, YES_NO, located, read_json};
use crate::error::{Error, Result};

/// Images that a list may number. The data set has 4,000.
const MOST: usize = 1_000_000;

pub(super) fn open(folder: &Path, split: &str) -> Result<QuestionList> {
    let path = folder.join(split).join("questions.json");
    let rows: Vec<(String, String, usize)> = read_json(&path, "a list of [question, answer, image]")?;
    let images = rows.iter().map(|(_, _, image)| image + 1).max().unwrap_or(0);
    if images > MOST {
        return Err(Error::malformed(&path, "image numbers", format!("below {MOST}"), images - 1));
    }
    let images = (0..images).map(|image| folder.join(split).join(format!("images/{image}.png"))).collect();
    let question = |(text, answer, image): (String, String, usize)| {
        let kind = Some(kind(&text).to_owned());
        Question { image, text, answers: vec![answer], choices: None, kind }
    };
    located(&path, QuestionList::new(images, rows.into_iter().map(question).collect()))
}

fn kind(text: &str) -> &'static str {
    match text.split_whitespace().next() {
        Some("what") if text.contains("color") => "color",
        Some("what") => "shape",
        _ => YES_NO,
    }
}
