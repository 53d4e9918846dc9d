use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Person, Question, QuestionList, located, read_json, texts};
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct Questions {
    data_subtype: String,
    questions: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    image_id: u64,
    question: String,
    question_id: u64,
    #[serde(default)]
    multiple_choices: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Annotations {
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Annotation {
    question_id: u64,
    #[serde(default)]
    answer_type: Option<String>,
    answers: Vec<Person>,
}

pub(super) fn open(questions: &Path, annotations: Option<&Path>, images: &Path) -> Result<QuestionList> {
    let file: Questions = read_json(questions, "VQAv2's questions")?;
    let mut annotated = match annotations {
        Some(path) => {
            let file: Annotations = read_json(path, "VQAv2's annotations")?;
            Some(file.annotations.into_iter().map(|row| (row.question_id, row)).collect::<BTreeMap<_, _>>())
        }
        None => None,
    };
    let mut places = BTreeMap::<u64, usize>::new();
    let mut files: Vec<PathBuf> = Vec::new();
    let mut all = Vec::with_capacity(file.questions.len());
    for row in file.questions {
        let image = *places.entry(row.image_id).or_insert_with(|| {
            let name = format!("COCO_{}_{:012}.jpg", file.data_subtype, row.image_id);
            files.push(images.join(&file.data_subtype).join(name));
            files.len() - 1
        });
        let (answers, kind) = match (&mut annotated, annotations) {
            (Some(annotated), Some(path)) => {
                let annotation = annotated.remove(&row.question_id).ok_or_else(|| {
                    Error::malformed(
                        path,
                        format!("annotation of question {}", row.question_id),
                        "to be there",
                        "none",
                    )
                })?;
                (texts(annotation.answers), annotation.answer_type)
            }
            _ => (Vec::new(), None),
        };
        all.push(Question { image, text: row.question, answers, choices: row.multiple_choices, kind });
    }
    located(questions, QuestionList::new(files, all))
}
