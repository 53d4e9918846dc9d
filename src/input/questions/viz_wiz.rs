use std::path::Path;

use serde::Deserialize;

use super::{Person, Question, QuestionList, located, read_json, texts};
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct Row {
    image: String,
    question: String,
    #[serde(default)]
    answers: Vec<Person>,
    #[serde(default)]
    answer_type: Option<String>,
}

pub(super) fn open(path: &Path, images: &Path) -> Result<QuestionList> {
    let rows: Vec<Row> = read_json(path, "a list of VizWiz's questions")?;
    let mut files = Vec::with_capacity(rows.len());
    let mut questions = Vec::with_capacity(rows.len());
    for (image, row) in rows.into_iter().enumerate() {
        if Path::new(&row.image).components().count() != 1 {
            let found = format!("`{}`", row.image);
            return Err(Error::malformed(path, format!("image {image}"), "the name of a file", found));
        }
        files.push(images.join(&row.image));
        let (text, answers) = (row.question, texts(row.answers));
        questions.push(Question { image, text, answers, choices: None, kind: row.answer_type });
    }
    located(path, QuestionList::new(files, questions))
}
