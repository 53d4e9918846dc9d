use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::answers::{AnswerScores, NEVER};
use super::{AnswerVocabulary, Asked};
use crate::backbone::ClipBackbone;
use crate::error::{Error, Result};
use crate::evaluate::Logits;

/// Question and answer as one text, compared with the picture: `score(a) = s <v, text("question a")>`.
///
/// A baseline, hardly better than chance on questions; for questions with choices of their own it is all there is without
/// training. A question's own choices are its only answers; else they are those of the vocabulary that its kind had.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `template` | {question} {answer} | | the text; `{question}` may be left out |
///
/// # Examples
/// ```
/// use clip_adapter::input::{Question, QuestionList};
/// use clip_adapter::prelude::*;
/// use clip_adapter::tasks::questions::{Asked, Prompts};
///
/// let clip = ClipBackbone::from_pretrained("examples/pocket/model", &Device::flex())?;
/// let apple = "examples/pocket/images/icon-colour/food/apple.png".into();
/// let choices = Some(vec!["an apple".to_owned(), "a car".to_owned()]);
/// let question = Question { text: "what is it?".into(), choices, ..Default::default() };
/// let asked = Asked::encode(&clip, &QuestionList::new(vec![apple], vec![question])?)?;
/// let prompts = Prompts { template: "an icon of {answer}".into() };
/// assert_eq!(prompts.answer(&clip, &asked, None)?.predictions().next(), Some("an apple"));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prompts {
    /// The text, with `{answer}` and perhaps `{question}`.
    pub template: String,
}

impl Default for Prompts {
    fn default() -> Self {
        Self { template: "{question} {answer}".to_owned() }
    }
}

impl Prompts {
    /// Scores every answer to every question.
    ///
    /// # Errors
    /// [`Error::Setting`] if the template has no `{answer}`; [`Error::Data`] if a question has no choices and there is
    /// no vocabulary; as [`ClipBackbone::encode_texts`].
    pub fn answer(
        &self,
        clip: &ClipBackbone,
        asked: &Asked,
        vocabulary: Option<&AnswerVocabulary>,
    ) -> Result<AnswerScores> {
        if !self.template.contains("{answer}") {
            return Err(Error::setting("template", "`{answer}` in it", format!("`{}`", self.template)));
        }
        let mut answers: Vec<String> = vocabulary.map_or_else(Vec::new, |all| all.answers().to_vec());
        let mut places: HashMap<String, usize> =
            answers.iter().enumerate().map(|(at, answer)| (answer.clone(), at)).collect();
        let mut candidates = Vec::with_capacity(asked.len()); // places of each question's answers
        for (row, question) in asked.questions().iter().enumerate() {
            candidates.push(match (&question.choices, vocabulary) {
                (Some(choices), _) if !choices.is_empty() => {
                    let place = |choice: &String| {
                        *places.entry(choice.clone()).or_insert_with(|| {
                            answers.push(choice.clone());
                            answers.len() - 1
                        })
                    };
                    choices.iter().map(place).collect::<Vec<usize>>()
                }
                (_, Some(all)) => (0..all.answers().len()).filter(|&at| all.admits(question, at)).collect(),
                (_, None) => {
                    let expected = "choices, or a vocabulary of answers";
                    return Err(Error::data(format!("question {row}"), expected, "neither"));
                }
            });
        }
        let (mut texts, mut known) = (Vec::new(), HashMap::new()); // each text once
        let of: Vec<Vec<usize>> = (asked.questions().iter().zip(&candidates))
            .map(|(question, candidates)| {
                let text = |&place: &usize| {
                    let text = self.template.replace("{question}", &question.text);
                    let text = text.replace("{answer}", &answers[place]);
                    *known.entry(text.clone()).or_insert_with(|| {
                        texts.push(text);
                        texts.len() - 1
                    })
                };
                candidates.iter().map(text).collect()
            })
            .collect();
        let rows = clip.encode_texts(&texts)?.normalised();
        let scale = asked.logit_scale() as f32;
        let mut logits = vec![NEVER; asked.len() * answers.len()];
        for (row, (places, texts)) in candidates.iter().zip(&of).enumerate() {
            for (&place, &text) in places.iter().zip(texts) {
                let cosine: f32 = asked.image(row).iter().zip(rows.row(text)).map(|(a, b)| a * b).sum();
                logits[row * answers.len() + place] = scale * cosine;
            }
        }
        let classes = answers.len();
        AnswerScores::new(answers, Logits::new(logits, classes)?)
    }
}
