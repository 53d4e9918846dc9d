//! Reading questions, and what statements that fit so well say about them.

use super::answers::{AnswerScores, NEVER};
use super::rules::{find, is_yes_no, singular, tokens};
use super::{Asked, Claim, Statements};
use crate::backbone::ClipBackbone;
use crate::error::{Error, Result};
use crate::evaluate::{Logits, Ranked};
use crate::numerics::log_softmax;

/// A probability is no nearer to 1 than this.
pub(super) const SURE: f64 = 1e-6;

impl Statements {
    /// What a question asks, or nothing where no rule reads it.
    ///
    /// Templates come first. A yes/no question is about the members that it names; if it names several, all must hold.
    /// Any other is about the family whose name it says first.
    pub fn read(&self, question: &str) -> Option<Claim> {
        let words = tokens(question);
        if let Some(claim) = self.templates.iter().find_map(|template| {
            let family = self.family(&template.family)?;
            let x = matched(&tokens_with_slot(&template.question), &words)?;
            let statement = template.statement.as_ref().map(|statement| statement.replace("{x}", &x));
            Some(Claim::Open { family, statement })
        }) {
            return Some(claim);
        }
        if !is_yes_no(&words) {
            let named = |word: &String| self.family(&singular(word));
            let family = words.iter().find_map(named).or_else(|| {
                let many = words.first().is_some_and(|word| word == "how") && words.get(1)? == "many";
                if many { self.family(super::rules::NUMBER) } else { None }
            });
            return family.map(Claim::open);
        }
        let members = self.named(&words);
        let turns = |word: &&String| self.negations.contains(word) || word.ends_with("n't");
        let negated = words.iter().filter(turns).count() % 2 == 1;
        (!members.is_empty()).then_some(Claim::Holds { members, negated })
    }

    /// The members that a text names; of two in one place the longer: `dark red` is not `red`.
    fn named(&self, words: &[String]) -> Vec<(usize, usize)> {
        let mut found: Vec<(usize, usize, (usize, usize))> = Vec::new();
        for (family, of) in self.families.iter().enumerate() {
            for (member, name) in of.members.iter().enumerate() {
                let name = tokens(name);
                if let Some(at) = find(words, &name) {
                    found.push((at, at + name.len(), (family, member)));
                }
            }
        }
        let within = |one: &(usize, usize, (usize, usize))| {
            found
                .iter()
                .any(|other| other.0 <= one.0 && one.1 <= other.1 && other.1 - other.0 > one.1 - one.0)
        };
        found.iter().filter(|one| !within(one)).map(|one| one.2).collect()
    }

    /// Answers every question by how well the statements fit its picture, without having learned anything. An open
    /// question takes the member that fits best; a yes/no question is yes if its statement fits better than every other of
    /// its family. Questions that no rule reads have all answers alike; [`read`](Self::read) tells them.
    ///
    /// # Errors
    /// As [`ClipBackbone::encode_texts`].
    pub fn answer(&self, clip: &ClipBackbone, asked: &Asked) -> Result<AnswerScores> {
        let texts = clip.encode_texts(&self.texts())?.normalised();
        let cosine = |image: &[f32], text: &[f32]| image.iter().zip(text).map(|(a, b)| a * b).sum::<f32>();
        let scale = asked.logit_scale() as f32;
        let (answers, mut logits) = (self.answers(), Vec::new());
        for (row, question) in asked.questions().iter().enumerate() {
            let image = asked.image(row);
            let fits = |family: usize| -> Vec<f32> {
                let (first, count) = self.place(family);
                (first..first + count).map(|place| scale * cosine(image, texts.row(place))).collect()
            };
            logits.extend(match self.read(&question.text) {
                Some(Claim::Open { family, statement: Some(statement) }) => {
                    let own: Vec<String> =
                        self.families[family].members.iter().map(|m| statement.replace("{}", m)).collect();
                    let own = clip.encode_texts(&own)?.normalised();
                    let fits: Vec<f32> =
                        (0..own.rows()).map(|place| scale * cosine(image, own.row(place))).collect();
                    self.open_row(&answers, family, &log_softmax(&fits))
                }
                Some(Claim::Open { family, statement: None }) => {
                    self.open_row(&answers, family, &log_softmax(&fits(family)))
                }
                Some(Claim::Holds { members, negated }) => {
                    let margin = |(family, member): &(usize, usize)| {
                        let fits = fits(*family);
                        let others = fits.iter().enumerate().filter(|(other, _)| other != member);
                        fits[*member] - others.map(|(_, fit)| *fit).fold(f32::NEG_INFINITY, f32::max)
                    };
                    let margin = members.iter().map(margin).fold(f32::INFINITY, f32::min);
                    let yes = if negated { -margin } else { margin };
                    yes_no_row(&answers, yes, 0.0)
                }
                None => vec![0.0; answers.len()],
            });
        }
        let classes = answers.len();
        AnswerScores::new(answers, Logits::new(logits, classes)?)
    }

    /// What the answer to a question goes back to: the statements of the families that it is about, likeliest first, of a
    /// picture whose logits with all [`texts`](Self::texts) these are. The probabilities of a family sum to 1. A question
    /// that no rule reads has none, and a template's own statement is not among them.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one logit a statement.
    pub fn evidence(&self, question: &str, logits: &[f32]) -> Result<Vec<Ranked>> {
        let texts = self.texts();
        if logits.len() != texts.len() {
            let expected = format!("one for each of {} statements", texts.len());
            return Err(Error::data("logits of a picture", expected, logits.len()));
        }
        let mut families: Vec<usize> = match self.read(question) {
            Some(Claim::Open { family, .. }) => vec![family],
            Some(Claim::Holds { members, .. }) => members.into_iter().map(|(family, _)| family).collect(),
            None => Vec::new(),
        };
        families.dedup();
        let ranked = |family: usize| {
            let (first, count) = self.place(family);
            let fits = log_softmax(&logits[first..first + count]);
            let one = |(at, fit): (usize, f64)| Ranked {
                class: first + at,
                name: texts[first + at].clone(),
                probability: fit.exp() as f32,
            };
            fits.into_iter().enumerate().map(one).collect::<Vec<Ranked>>()
        };
        let mut all: Vec<Ranked> = families.into_iter().flat_map(ranked).collect();
        all.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        Ok(all)
    }

    /// The logits of all answers where a member of a family is asked for, of which these are the logarithms of their
    /// probabilities.
    pub(super) fn open_row(&self, answers: &[String], family: usize, members: &[f64]) -> Vec<f32> {
        let of = &self.families[family].members;
        let logit = |answer: &String| {
            of.iter().position(|member| member == answer).map_or(NEVER, |member| members[member] as f32)
        };
        answers.iter().map(logit).collect()
    }
}

/// The same of a yes/no question.
pub(super) fn yes_no_row(answers: &[String], yes: f32, no: f32) -> Vec<f32> {
    let logit = |answer: &String| match answer.as_str() {
        "yes" => yes,
        "no" => no,
        _ => NEVER,
    };
    answers.iter().map(logit).collect()
}

/// The words of a template, in which an empty one is where `{x}` stood.
fn tokens_with_slot(template: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (at, part) in template.split("{x}").enumerate() {
        if at > 0 {
            all.push(String::new());
        }
        all.extend(tokens(part));
    }
    all
}

/// What stands in the first slot if the words are of a template; a slot takes one word or more.
fn matched(template: &[String], words: &[String]) -> Option<String> {
    match template.split_first() {
        None => words.is_empty().then(String::new),
        Some((slot, rest)) if slot.is_empty() => (1..=words.len())
            .find(|&count| matched(rest, &words[count..]).is_some())
            .map(|count| words[..count].join(" ")),
        Some((word, rest)) => match words.split_first() {
            Some((first, others)) if first == word => matched(rest, others),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::questions::{Family, QuestionTemplate};

    fn statements() -> Statements {
        Statements::new([
            Family::new("color", ["red", "dark red", "blue"], "a {} thing"),
            Family::new("animal", ["cat", "dog"], "a {}"),
        ])
        .unwrap()
    }

    #[test]
    fn claims_are_read_from_words() {
        let holds = |members: &[(usize, usize)], negated: bool| {
            Some(Claim::Holds { members: members.to_vec(), negated })
        };
        for (text, expected) in [
            ("What colours are there?", Some(Claim::open(0))),
            ("which animal is red?", Some(Claim::open(1))),
            ("Is it red?", holds(&[(0, 0)], false)),
            ("Is it dark red?", holds(&[(0, 1)], false)),
            ("Is there a red dog?", holds(&[(0, 0), (1, 1)], false)),
            ("Isn't the cat blue?", holds(&[(0, 2), (1, 0)], true)),
            ("Is it not true that no cat is there?", holds(&[(1, 0)], false)),
            ("Is it nice?", None),
            ("Is the category clear?", None),
            ("How many cats?", None),
            ("", None),
        ] {
            assert_eq!(statements().read(text), expected, "{text}");
        }
    }

    #[test]
    fn evidence_is_of_the_families_that_are_asked_about() {
        let logits = [0.0, 3f32.ln(), 0.0, 1.0, 1.0];
        let told = |question: &str| -> Vec<(String, f32)> {
            let all = statements().evidence(question, &logits).unwrap();
            all.into_iter().map(|one| (one.name, (100.0 * one.probability).round())).collect()
        };
        let said = |pairs: &[(&str, f32)]| -> Vec<(String, f32)> {
            pairs.iter().map(|&(text, share)| (text.to_owned(), share)).collect()
        };
        let colours = said(&[("a dark red thing", 60.0), ("a red thing", 20.0), ("a blue thing", 20.0)]);
        assert_eq!(told("Is it dark red?"), colours);
        assert_eq!(told("which animal is it?"), said(&[("a cat", 50.0), ("a dog", 50.0)]));
        assert_eq!(told("Is there a red dog?").len(), 5);
        assert!(told("Is it nice?").is_empty());
        assert!(matches!(statements().evidence("Is it red?", &[0.0]), Err(Error::Data { .. })));
    }

    #[test]
    fn templates_come_first_and_keep_their_words() {
        let template = QuestionTemplate {
            question: "what is {x} painted in?".into(),
            family: "color".into(),
            statement: Some("{x} is {}".into()),
        };
        let statements = statements().with_template(template).unwrap();
        let claim = statements.read("What is the big dog painted in?");
        assert_eq!(claim, Some(Claim::Open { family: 0, statement: Some("the big dog is {}".into()) }));
        assert_eq!(statements.read("What is painted in?"), None);
    }

    #[test]
    fn families_that_cannot_be_used_are_refused() {
        for family in [
            Family::new("", ["a", "b"], "{}"),
            Family::new("color", ["red"], "{}"),
            Family::new("color", ["red", "?"], "{}"),
            Family::new("color", ["red", "blue"], "a color"),
            Family::new("color", ["red", "red"], "{}"),
        ] {
            let error = Statements::new([family.clone()]).unwrap_err();
            assert!(matches!(error, Error::Setting { .. }), "{family:?}");
        }
    }
}
