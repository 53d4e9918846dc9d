//! Answers with what speaks for them.

use clip_adapter::{
    Result,
    evaluate::Logits,
    input::{Preprocess, QuestionList, readable},
    tasks::questions::{AnswerReport, AnswerScores, Asked, QuestionPrior, Statements},
};

use crate::cli::{
    data_uri,
    html::{self, escape},
};

/// Questions shown, and answers and earlier questions of each.
const SHOWN: usize = 60;
const TOP: usize = 3;

/// What an answer goes back to: how well each statement fits the images, and the questions that were learned from.
pub struct Evidence<'a> {
    pub statements: Option<&'a (Statements, Logits)>,
    pub learned: Option<&'a (QuestionList, Asked)>,
}

/// A page of the first questions.
pub fn page(
    list: &QuestionList,
    asked: &Asked,
    scores: &AnswerScores,
    prior: &QuestionPrior,
    report: &AnswerReport,
    evidence: &Evidence<'_>,
) -> Result<String> {
    let number = |share: f64| format!("{share:.1}");
    let kinds: Vec<Vec<String>> = (report.by_kind.iter())
        .map(|(kind, of)| {
            vec![
                escape(kind),
                of.questions.to_string(),
                number(of.accuracy),
                number(of.prior_accuracy),
                of.against.map_or("-".to_owned(), number),
                of.against_questions.to_string(),
            ]
        })
        .collect();
    let heading = ["kind", "questions", "right, %", "by the question alone, %", "against it, %", "of"];
    let top = scores.top(TOP);
    let mut cards = Vec::new();
    for (row, question) in list.questions().iter().enumerate().take(SHOWN) {
        let path = &list.images()[question.image];
        let picture = Preprocess::default().decode(path)?;
        let picture = data_uri::of(&picture, path)?;
        let given = top[row].first().map_or("", |first| first.name.as_str());
        let mut words = format!("<strong>{}</strong>", escape(&question.text));
        for ranked in top[row].iter().filter(|ranked| ranked.probability >= 0.005) {
            let name = escape(&ranked.name);
            words += &format!("<div>{name} {:.0} %</div>", 100.0 * ranked.probability);
        }
        if let Some(truth) = question.answer() {
            let mark = if truth == given { "right" } else { "wrong" };
            words += &format!("<div>{mark}; people say {}</div>", escape(truth));
        }
        words += &format!("<div>without the picture: {}</div>", escape(prior.answer(question)));
        if let Some((statements, logits)) = evidence.statements {
            let fits = logits.rows().nth(row).unwrap_or_default();
            let told = statements.evidence(&question.text, fits)?;
            let told: Vec<String> = (told.iter().take(TOP))
                .map(|ranked| format!("{} {:.0} %", escape(&ranked.name), 100.0 * ranked.probability))
                .collect();
            if !told.is_empty() {
                words += &format!("<div>statements: {}</div>", told.join("; "));
            }
        }
        if let Some((learned, earlier)) = evidence.learned {
            for similar in asked.nearest(row, earlier, TOP)? {
                let earlier = &learned.questions()[similar.question];
                let image = readable(&learned.images()[earlier.image]);
                let file = image.rsplit(['/', '\\']).next().unwrap_or_default();
                words += &format!(
                    "<div>learned: {} {} ({}, {:.2})</div>",
                    escape(&earlier.text),
                    escape(earlier.answer().unwrap_or_default()),
                    escape(file),
                    similar.similarity
                );
            }
        }
        cards.push(html::card(Some(&picture), &words));
    }
    let body = format!(
        "<p>{report}</p>\n{}\n<h2>Answers</h2>\n{}",
        html::table(&heading, &kinds),
        html::cards(&cards)
    );
    Ok(html::page("Questions about pictures", &body))
}
