use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::rules::{asked_for, is_yes_no, tokens};
use super::vocabulary::normalised;
use crate::error::{Error, Result};
use crate::input::Question;

/// Words that turn a question round.
const NEGATIONS: [&str; 4] = ["not", "no", "never", "without"];

/// What is said of things rather than what they are: a statement about it needs a noun.
const ADJECTIVES: [&str; 8] =
    ["color", "size", "material", "texture", "pattern", "condition", "mood", "style"];

/// Answers to one open question that exclude each other, such as colours, and how one of them is stated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// What is asked for: `color`.
    pub name: String,
    /// The answers: `red`, `blue`.
    pub members: Vec<String>,
    /// What is seen where an answer is right, with `{}` where it goes: `a {} shape`.
    pub statement: String,
}

impl Family {
    /// Joins a name, answers and a statement.
    pub fn new(
        name: impl Into<String>,
        members: impl IntoIterator<Item = impl Into<String>>,
        statement: impl Into<String>,
    ) -> Self {
        let members = members.into_iter().map(Into::into).collect();
        Self { name: name.into(), members, statement: statement.into() }
    }
}

/// A question of a form of its own: `what is {x} painted in?` asks for `color`, and `the {x} is {}` is how it is stated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionTemplate {
    /// The question, with `{x}` where words go that differ.
    pub question: String,
    /// The family that it asks for.
    pub family: String,
    /// Replaces the family's statement; `{x}` is what stood there in the question.
    pub statement: Option<String>,
}

/// How questions become statements: TAP-C's way (Song et al., 2022, <https://arxiv.org/abs/2203.07190>) with rules in
/// the place of a language model.
///
/// "What color is it?" is answered by the member of the family `color` whose statement fits the picture best. "Is there
/// a red shape?" is answered by yes if the statement about red fits better than that about every other colour: with
/// the absence of red it is never compared, for CLIP takes no notice of *not*. A word of `negations` turns the answer
/// round. A question that the rules do not read is not guessed at: [`read`](Self::read) says so.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `families` | [] | | the answers that exclude each other |
/// | `templates` | [] | | questions of forms that the rules do not know; tried first |
/// | `negations` | not, no, never, without | | words that turn a yes/no question round, beside those that end in `n't` |
///
/// # Examples
/// ```
/// use clip_adapter::tasks::questions::{Claim, Family, Statements};
///
/// let statements = Statements::new([
///     Family::new("color", ["red", "blue"], "a {} shape"),
///     Family::new("shape", ["circle", "square"], "a {}"),
/// ])?;
/// assert_eq!(statements.texts(), ["a red shape", "a blue shape", "a circle", "a square"]);
/// assert_eq!(statements.read("What is the color of the circle?"), Some(Claim::open(0)));
/// let claim = Claim::Holds { members: vec![(0, 1)], negated: true };
/// assert_eq!(statements.read("Is no blue shape present?"), Some(claim));
/// assert_eq!(statements.read("Why?"), None);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Statements {
    /// The answers that exclude each other.
    pub families: Vec<Family>,
    /// Questions of forms that the rules do not know.
    pub templates: Vec<QuestionTemplate>,
    /// Words that turn a yes/no question round.
    pub negations: Vec<String>,
}

/// What a question asks of statements.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim {
    /// Which member of a family it is.
    Open {
        /// The family.
        family: usize,
        /// A statement of the question's own, with `{}` where a member goes.
        statement: Option<String>,
    },
    /// Whether all of these hold: families and members of them.
    Holds {
        /// Family and member.
        members: Vec<(usize, usize)>,
        /// Whether yes means that they do not.
        negated: bool,
    },
}

impl Claim {
    /// Which member of a family it is, by the family's own statement.
    pub fn open(family: usize) -> Self {
        Self::Open { family, statement: None }
    }
}

impl Default for Statements {
    fn default() -> Self {
        let negations = NEGATIONS.map(str::to_owned).to_vec();
        Self { families: Vec::new(), templates: Vec::new(), negations }
    }
}

impl Statements {
    /// Takes families, and else what is default.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn new(families: impl IntoIterator<Item = Family>) -> Result<Self> {
        let statements = Self { families: families.into_iter().collect(), ..Self::default() };
        statements.validate()?;
        Ok(statements)
    }

    /// Adds a question of a form of its own.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn with_template(mut self, template: QuestionTemplate) -> Result<Self> {
        self.templates.push(template);
        self.validate()?;
        Ok(self)
    }

    /// Takes families from open questions and their answers: what is asked for by the rules, with the answers that it
    /// had, of which there are two or more. Pictures have no part in it. What is said *of* things, such as a colour, is
    /// stated with the noun that is asked about most and is no answer itself.
    ///
    /// # Errors
    /// [`Error::Data`] if no family is found.
    pub fn learn(questions: &[Question]) -> Result<Self> {
        let (mut members, mut nouns) =
            (BTreeMap::<String, BTreeSet<String>>::new(), BTreeMap::<(String, String), usize>::new());
        for question in questions {
            let words = tokens(&question.text);
            let (false, Some(name)) = (is_yes_no(&words), asked_for(&words)) else { continue };
            let Some(answer) = normalised(question).filter(|answer| answer != "yes" && answer != "no") else {
                continue;
            };
            if let Some(last) = words.last() {
                *nouns.entry((name.clone(), last.clone())).or_default() += 1;
            }
            members.entry(name).or_default().insert(answer);
        }
        members.retain(|_, members| members.len() > 1);
        let is_answer = |word: &str| members.values().any(|members| members.contains(word));
        let noun = |name: &str| {
            let of = nouns.iter().filter(|((of, noun), _)| of == name && noun != name && !is_answer(noun));
            let most = of.max_by_key(|(_, count)| **count);
            most.map_or("thing".to_owned(), |((_, noun), _)| noun.clone())
        };
        let family = |(name, members): (&String, &BTreeSet<String>)| {
            let statement = match ADJECTIVES.contains(&name.as_str()) {
                true => format!("a {{}} {}", noun(name)),
                false => "a {}".to_owned(),
            };
            Family::new(name, members, statement)
        };
        let families: Vec<Family> = members.iter().map(family).collect();
        if families.is_empty() {
            let expected = "an open question that the rules read, with two answers";
            return Err(Error::data("questions to take statements from", expected, "none"));
        }
        Self::new(families)
    }

    /// That families and templates can be used.
    ///
    /// # Errors
    /// [`Error::Setting`] for a family without a name, two members or `{}` in its statement, for a name or statement
    /// that comes twice, and for a template without words, `{}` or a family.
    pub fn validate(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for Family { name, members, statement } in &self.families {
            let setting = format!("family `{name}`");
            if tokens(name).is_empty() || !seen.insert(name.clone()) {
                return Err(Error::setting("families", "a name of its own for each", format!("`{name}`")));
            }
            if members.len() < 2 || members.iter().any(|member| tokens(member).is_empty()) {
                return Err(Error::setting(
                    setting,
                    "two members or more, each with a word",
                    listed(members),
                ));
            }
            if !statement.contains("{}") {
                return Err(Error::setting(setting, "`{}` in its statement", format!("`{statement}`")));
            }
        }
        let texts = self.texts();
        let mut once = BTreeSet::new();
        if let Some(twice) = texts.iter().find(|text| !once.insert(text.as_str())) {
            return Err(Error::setting("families", "a statement of its own for each member", twice));
        }
        for QuestionTemplate { question, family, statement } in &self.templates {
            if self.family(family).is_none() {
                let known: Vec<&str> = self.families.iter().map(|family| family.name.as_str()).collect();
                let expected = format!("one of the families {}", known.join(", "));
                return Err(Error::setting("templates", expected, format!("`{family}`")));
            }
            if tokens(&question.replace("{x}", "")).is_empty() {
                return Err(Error::setting("templates", "a question with words", format!("`{question}`")));
            }
            if let Some(statement) = statement.as_ref().filter(|statement| !statement.contains("{}")) {
                return Err(Error::setting("templates", "`{}` in a statement", format!("`{statement}`")));
            }
        }
        Ok(())
    }

    /// The statement about every member, family after family.
    pub fn texts(&self) -> Vec<String> {
        let of = |family: &Family| -> Vec<String> {
            family.members.iter().map(|member| family.statement.replace("{}", member)).collect()
        };
        self.families.iter().flat_map(of).collect()
    }

    /// The place of the first statement of a family among [`texts`](Self::texts), and how many it has.
    pub(super) fn place(&self, family: usize) -> (usize, usize) {
        let before = self.families[..family].iter().map(|family| family.members.len()).sum();
        (before, self.families[family].members.len())
    }

    pub(super) fn family(&self, name: &str) -> Option<usize> {
        self.families.iter().position(|family| family.name == name)
    }

    /// The answers: all members and `yes` and `no`, each once.
    pub(super) fn answers(&self) -> Vec<String> {
        let mut answers: Vec<String> = Vec::new();
        let members = self.families.iter().flat_map(|family| family.members.iter().cloned());
        for answer in members.chain(["yes".to_owned(), "no".to_owned()]) {
            if !answers.contains(&answer) {
                answers.push(answer);
            }
        }
        answers
    }
}

fn listed(members: &[String]) -> String {
    format!("{} ({})", members.len(), crate::error::listed(members))
}
