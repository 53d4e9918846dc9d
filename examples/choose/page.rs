//! The page: every candidate in its place, with the parts of its score.

use clip_adapter::{Result, tasks::generation::Choice};

use crate::{
    Arguments, Outcome,
    candidates::Candidates,
    cli::{data_uri, html},
};

pub fn render(arguments: &Arguments, candidates: &Candidates, outcome: &Outcome) -> Result<String> {
    let card = |place: Option<usize>, choice: &Choice| -> Result<String> {
        let file = &candidates.files[choice.index];
        let picture = data_uri::of(&candidates.clip.preprocess().decode(file)?, file)?;
        let parts: Vec<String> =
            (choice.parts.iter()).map(|(name, part)| format!("{} {part:+.2}", html::escape(name))).collect();
        let place = place.map_or(String::new(), |place| format!("{}. ", place + 1));
        let words = format!(
            "<strong>{place}{}</strong><span>{:.1} % the prompt<br>score {:.2}: {}</span>",
            html::escape(&candidates.names[choice.index]),
            100.0 * choice.parts[0].1.exp(),
            choice.score,
            parts.join(", ")
        );
        Ok(html::card(Some(&picture), &words))
    };
    let all: Vec<String> = (outcome.ranking.iter().enumerate())
        .map(|(place, choice)| card(Some(place), choice))
        .collect::<Result<_>>()?;
    let kept = match &outcome.kept {
        None => String::new(),
        Some(kept) => {
            let of = |&at: &usize| outcome.ranking.iter().find(|choice| choice.index == at);
            let kept: Vec<String> =
                kept.iter().filter_map(of).map(|choice| card(None, choice)).collect::<Result<_>>()?;
            format!("<h2>Kept: good and unlike each other</h2>\n{}\n", html::cards(&kept))
        }
    };
    let steered = match &outcome.steered {
        None => String::new(),
        Some(steered) => {
            let file = &candidates.files[steered.index];
            let sides = [(&steered.before, steered.scores.first()), (&steered.after, steered.scores.last())]
                .into_iter()
                .zip(["as it was", "steered"])
                .map(|((image, score), words)| {
                    let score = score.map_or(f32::NAN, |score| *score);
                    let words = format!("<strong>{words}</strong><span>score {score:.2}</span>");
                    Ok(html::card(Some(&data_uri::of(image, file)?), &words))
                })
                .collect::<Result<Vec<String>>>()?;
            format!("<h2>Steered towards the prompt</h2>\n{}\n", html::cards(&sides))
        }
    };
    let distractors: Vec<String> =
        candidates.distractors().into_iter().map(|text| html::escape(text)).collect();
    let body = format!(
        "<p>{count} candidates for <b>{prompt}</b>, by the probability that a picture shows it rather than one of \
         {others} other texts{pairs}.</p>\n{kept}{steered}<h2>The ranking</h2>\n{all}\n\
         <h2>What a picture might show instead</h2>\n<p>{distractors}</p>",
        count = candidates.names.len(),
        prompt = html::escape(&arguments.prompt),
        others = distractors.len(),
        pairs = match outcome.pairs.len() {
            0 => String::new(),
            pairs => format!(", and a taste learned from {pairs} pairs"),
        },
        all = html::cards(&all),
        distractors = distractors.join("; "),
    );
    Ok(html::page("What to keep", &body))
}
