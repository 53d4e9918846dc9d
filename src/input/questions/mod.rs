//! Questions about images, as public data sets write them.

mod easy_vqa;
mod viz_wiz;
mod vqa_v2;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The kind of a question that is answered by yes or no.
pub const YES_NO: &str = "yes/no";

/// A question about an image, and what people answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The image, by its place in a list.
    pub image: usize,
    /// The question.
    pub text: String,
    /// What people answered: one answer, or one a person; none where it is not told.
    pub answers: Vec<String>,
    /// The answers to choose from, where the question has its own.
    pub choices: Option<Vec<String>>,
    /// Its kind, such as `yes/no` or `number`, where the data set says so.
    pub kind: Option<String>,
}

impl Question {
    /// The answer that most people gave, the first of those that as many gave; none where there is no answer.
    pub fn answer(&self) -> Option<&str> {
        let mut counts = BTreeMap::<&str, usize>::new();
        for answer in &self.answers {
            *counts.entry(answer).or_default() += 1;
        }
        let most = counts.values().copied().max()?;
        self.answers.iter().map(String::as_str).find(|answer| counts.get(answer) == Some(&most))
    }
}

/// Questions about images, of which each is a file.
///
/// | Data set | What [`open`](Self::open) finds in a folder, of a split such as `train` |
/// | --- | --- |
/// | easy-VQA | `train/questions.json` and `train/images/0.png` |
/// | VizWiz | `train.json` or `Annotations/train.json`, and `train/` with the images |
/// | VQAv2 | one file `*train*_questions.json`, perhaps `*train*_annotations.json`, and `train2014/` with the images |
///
/// # Examples
/// ```
/// use clip_adapter::input::QuestionList;
///
/// let folder = tempfile::tempdir().unwrap();
/// std::fs::create_dir_all(folder.path().join("train/images")).unwrap();
/// std::fs::write(
///     folder.path().join("train/questions.json"),
///     r#"[["what color is the shape?", "red", 0], ["is there a circle?", "no", 0]]"#,
/// ).unwrap();
/// let list = QuestionList::open(folder.path(), "train")?;
/// assert_eq!((list.images().len(), list.questions().len()), (1, 2));
/// assert_eq!(list.questions()[1].kind.as_deref(), Some("yes/no"));
/// assert!(QuestionList::open(folder.path(), "test").is_err());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionList {
    images: Vec<PathBuf>,
    questions: Vec<Question>,
}

impl QuestionList {
    /// Takes images and questions about them.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no question, one has no text, or one is about an image that is not there.
    pub fn new(images: Vec<PathBuf>, questions: Vec<Question>) -> Result<Self> {
        check(images.len(), &questions)?;
        Ok(Self { images, questions })
    }

    /// Opens whichever of the data sets above a folder holds.
    ///
    /// # Errors
    /// [`Error::Data`] if it holds none of them; as [`easy_vqa`](Self::easy_vqa), [`viz_wiz`](Self::viz_wiz) and
    /// [`vqa_v2`](Self::vqa_v2).
    pub fn open(folder: impl AsRef<Path>, split: &str) -> Result<Self> {
        let folder = folder.as_ref();
        if folder.join(split).join("questions.json").is_file() {
            return Self::easy_vqa(folder, split);
        }
        let lists = [folder.join(format!("{split}.json")), folder.join(format!("Annotations/{split}.json"))];
        if let Some(list) = lists.iter().find(|list| list.is_file()) {
            return Self::viz_wiz(list, folder.join(split));
        }
        let entries = fs::read_dir(folder).map_err(|source| Error::read(folder, source))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        let ends = |ending: &str| {
            files.iter().find(|file| {
                let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                name.contains(split) && name.ends_with(ending)
            })
        };
        match ends("_questions.json") {
            Some(questions) => Self::vqa_v2(questions, ends("_annotations.json"), folder),
            None => {
                let expected =
                    format!("`{split}/questions.json`, `{split}.json` or `*{split}*_questions.json`");
                Err(Error::data(format!("questions in {}", folder.display()), expected, "none of them"))
            }
        }
    }

    /// Opens a split of easy-VQA: its images are numbered PNGs, and a question has one answer.
    ///
    /// Its kinds, which it does not write down, are `yes/no`, `color` and `shape`: by the first word, and by whether
    /// the question names colours.
    ///
    /// # Errors
    /// [`Error::Read`] if the file cannot be read, [`Error::Malformed`] if it is no list of
    /// `[question, answer, image]`.
    pub fn easy_vqa(folder: impl AsRef<Path>, split: &str) -> Result<Self> {
        easy_vqa::open(folder.as_ref(), split)
    }

    /// Opens VQAv2's questions (v2_OpenEnded_mscoco_*_questions.json) and what people answered. The images are
    /// `COCO_train2014_000000000009.jpg` and so on in the folder `train2014` of `images`, after the file's
    /// `data_subtype`.
    ///
    /// # Errors
    /// [`Error::Read`] if a file cannot be read, [`Error::Malformed`] if it is not of this kind or a question has no
    /// annotation.
    pub fn vqa_v2(
        questions: impl AsRef<Path>,
        annotations: Option<impl AsRef<Path>>,
        images: impl AsRef<Path>,
    ) -> Result<Self> {
        vqa_v2::open(questions.as_ref(), annotations.as_ref().map(AsRef::as_ref), images.as_ref())
    }

    /// Opens a list of VizWiz, of which each question has an image of its own in the folder `images`.
    ///
    /// # Errors
    /// [`Error::Read`] if the file cannot be read, [`Error::Malformed`] if it is not of this kind.
    pub fn viz_wiz(list: impl AsRef<Path>, images: impl AsRef<Path>) -> Result<Self> {
        viz_wiz::open(list.as_ref(), images.as_ref())
    }

    /// The images.
    pub fn images(&self) -> &[PathBuf] {
        &self.images
    }

    /// The questions.
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// The given questions, in the given order, and the images that they are about.
    ///
    /// # Panics
    /// If there is no such question.
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut questions: Vec<Question> = rows.iter().map(|&row| self.questions[row].clone()).collect();
        let (mut places, mut images) = (BTreeMap::new(), Vec::new());
        for question in &mut questions {
            question.image = *places.entry(question.image).or_insert_with(|| {
                images.push(self.images[question.image].clone());
                images.len() - 1
            });
        }
        Self { images, questions }
    }
}

/// There are questions, each with words and an image.
pub(crate) fn check(images: usize, questions: &[Question]) -> Result<()> {
    if questions.is_empty() {
        return Err(Error::data("questions", "at least one", "none"));
    }
    for (at, question) in questions.iter().enumerate() {
        if question.text.trim().is_empty() {
            return Err(Error::data(format!("question {at}"), "words", "none"));
        }
        if question.image >= images {
            let expected = format!("one of {images} images");
            return Err(Error::data(format!("question {at}"), expected, format!("image {}", question.image)));
        }
    }
    Ok(())
}

/// Puts a file's name in front of what is wrong with its questions.
fn located(path: &Path, list: Result<QuestionList>) -> Result<QuestionList> {
    list.map_err(|error| match error {
        Error::Data { what, expected, found } => Error::malformed(path, what, expected, found),
        other => other,
    })
}

fn read_json<T: DeserializeOwned>(path: &Path, expected: &str) -> Result<T> {
    let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::malformed(path, "JSON", expected, &error).because(error))
}

/// A person's answer, as VQAv2 and VizWiz write it.
#[derive(Deserialize)]
struct Person {
    answer: String,
}

fn texts(people: Vec<Person>) -> Vec<String> {
    people.into_iter().map(|person| person.answer).collect()
}
