//! One question about images of the user's own.

use clip_adapter::{
    ClipBackbone, Error, Result,
    input::{Question, QuestionList},
    tasks::questions::{Answerer, Asked, Prompts},
};
use serde_json::json;

use crate::{Arguments, cli};

/// Answers shown of each image.
const TOP: usize = 5;

pub fn ask(arguments: &Arguments, clip: &ClipBackbone, question: &str) -> Result<()> {
    let answers: Vec<String> = arguments
        .answers
        .iter()
        .map(|answer| answer.trim().to_owned())
        .filter(|answer| !answer.is_empty())
        .collect();
    if arguments.model.is_none() && answers.len() < 2 {
        return Err(Error::setting("answers", "two or more, or --model", answers.len()));
    }
    let choices = (!answers.is_empty()).then_some(answers);
    let ask = |image: usize| Question {
        image,
        text: question.to_owned(),
        choices: choices.clone(),
        ..Default::default()
    };
    let questions = (0..arguments.images.len()).map(ask).collect();
    let asked = Asked::encode(clip, &QuestionList::new(arguments.images.clone(), questions)?)?;
    let scores = match &arguments.model {
        Some(path) => Answerer::open(path, clip, &arguments.device.open()?)?.answer(&asked)?,
        None => Prompts::default().answer(clip, &asked, None)?,
    };
    let mut all = Vec::new();
    for (file, top) in arguments.images.iter().zip(scores.top(TOP)) {
        all.push(cli::labels::tell(file, &top));
    }
    if let Some(path) = &arguments.json {
        cli::files::write_json(path, &json!({ "question": question, "images": all }))?;
    }
    Ok(())
}
