use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::contractions::mended;
use crate::error::{Error, Result};

/// What the official evaluator takes out or replaces by a space, in its order.
const PUNCTUATION: &str = ";/[]\"{}()=+\\_-><@`,?!";

/// So many full stops it takes out at most: it hands a flag over where Python expects a count.
const FULL_STOPS: usize = 32;

static THOUSANDS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\d,\d").ok());

/// What makes two spellings one answer.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::answers::Normalise;
///
/// assert_eq!(Normalise::Official.answer("The two dogs!"), "2 dogs");
/// assert_eq!(Normalise::Official.answer("dont know"), "don't know");
/// // A digit, a comma and a digit anywhere let it take marks out that would else become spaces.
/// assert_eq!(Normalise::Official.answer("1,000 red/blue"), "1000 redblue");
/// assert_eq!(Normalise::Clean.answer("1,000 red/blue"), "1000 red blue");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Normalise {
    /// What the evaluator of VQA does (`vqaEval.py` of the repository GT-Vision-Lab/VQA), with its quirks, for numbers
    /// that can be compared.
    ///
    /// In this order: newlines and tabs become spaces, and those at the ends go; a mark of ``;/[]"{}()=+\_-><@`,?!``
    /// goes if it stands beside a space somewhere or the text has a comma between digits anywhere, else it becomes a
    /// space; the first 32 full stops go that no digit follows, also after a digit; letters become small; `none` and
    /// `zero` to `ten` become digits; `a`, `an` and `the` go; contractions get their apostrophe. Colons and
    /// apostrophes stay. Of people's answers only the marks and full stops go, and where all answers of a question are
    /// alike they stay as they are: `Yes` of all ten is then not `yes`.
    #[default]
    Official,
    /// What was meant: both sides alike, every mark a space but apostrophes within words, commas between digits gone
    /// and the points of numbers kept; then words as above.
    Clean,
}

impl Normalise {
    /// An answer that is judged.
    pub fn answer(self, text: &str) -> String {
        match self {
            Self::Official => {
                let line = text.replace(['\n', '\t'], " ");
                words(&without_marks(line.trim_matches(is_space)))
            }
            Self::Clean => words(&spaced(text)),
        }
    }

    /// The people's answers to one question.
    pub fn people(self, answers: &[impl AsRef<str>]) -> Vec<String> {
        let mut all = answers.iter().map(AsRef::as_ref);
        let alike = all.next().is_none_or(|first| all.all(|answer| answer == first));
        let one = |answer: &str| match self {
            Self::Official if alike => answer.to_owned(),
            Self::Official => without_marks(answer),
            Self::Clean => self.answer(answer),
        };
        answers.iter().map(|answer| one(answer.as_ref())).collect()
    }
}

/// What Python takes for a space: Unicode's, and four separators of ASCII.
fn is_space(letter: char) -> bool {
    letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter)
}

fn without_marks(text: &str) -> String {
    let thousands = THOUSANDS.as_ref().is_some_and(|thousands| thousands.is_match(text));
    let mut out = text.to_owned();
    for mark in PUNCTUATION.chars() {
        let beside = text.contains(&format!("{mark} ")) || text.contains(&format!(" {mark}"));
        out = out.replace(mark, if beside || thousands { "" } else { " " });
    }
    let mut stops = 0;
    let mut kept = String::with_capacity(out.len());
    let mut letters = out.chars().peekable();
    while let Some(letter) = letters.next() {
        let goes = letter == '.' && stops < FULL_STOPS && !letters.peek().is_some_and(|next| is_digit(*next));
        if goes { stops += 1 } else { kept.push(letter) }
    }
    kept
}

/// A decimal digit of any script, as `\d` of Python and of `regex`.
fn is_digit(letter: char) -> bool {
    static DIGIT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\d$").ok());
    match letter.is_ascii() {
        true => letter.is_ascii_digit(),
        false => DIGIT.as_ref().is_some_and(|digit| digit.is_match(letter.encode_utf8(&mut [0; 4]))),
    }
}

fn words(text: &str) -> String {
    let small = text.to_lowercase();
    let words = small.split(is_space).filter(|word| !word.is_empty());
    let words = words.map(number).filter(|word| !["a", "an", "the"].contains(word));
    words.map(|word| mended(word).unwrap_or(word)).collect::<Vec<_>>().join(" ")
}

fn number(word: &str) -> &str {
    match word {
        "none" | "zero" => "0",
        "one" => "1",
        "two" => "2",
        "three" => "3",
        "four" => "4",
        "five" => "5",
        "six" => "6",
        "seven" => "7",
        "eight" => "8",
        "nine" => "9",
        "ten" => "10",
        other => other,
    }
}

/// Marks as spaces, but for those within words and numbers.
fn spaced(text: &str) -> String {
    let letters: Vec<char> = text.replace(['\u{2019}', '\u{2018}'], "'").chars().collect();
    let near = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| letters.get(before)).copied().unwrap_or(' ');
        (before, letters.get(at + 1).copied().unwrap_or(' '))
    };
    let mut out = String::with_capacity(text.len());
    for (at, &letter) in letters.iter().enumerate() {
        let (before, after) = near(at);
        let in_number = is_digit(before) && is_digit(after);
        match letter {
            ',' if in_number => {}
            '.' if in_number || (is_digit(after) && !before.is_alphanumeric()) => out.push('.'),
            ':' if in_number => out.push(':'),
            '\'' if before.is_alphanumeric() || after.is_alphanumeric() => out.push('\''),
            letter if letter.is_alphanumeric() => out.push(letter),
            letter if letter.is_ascii() || is_space(letter) => out.push(' '),
            other => out.push(other), // marks of other scripts may be parts of letters
        }
    }
    out
}

impl fmt::Display for Normalise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Official => "official",
            Self::Clean => "clean",
        })
    }
}

impl FromStr for Normalise {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "official" => Ok(Self::Official),
            "clean" => Ok(Self::Clean),
            _ => Err(Error::setting("normalise", "official or clean", format!("`{name}`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_who_all_agree_are_taken_at_their_word() {
        let official = Normalise::Official;
        assert_eq!(official.people(&["Yes!", "Yes!"]), ["Yes!", "Yes!"]);
        assert_eq!(official.people(&["Yes!", "a dog."]), ["Yes ", "a dog"]);
        assert_eq!(Normalise::Clean.people(&["Yes!", "Yes!"]), ["yes", "yes"]);
    }

    #[test]
    fn clean_keeps_numbers_and_words_whole() {
        for (text, expected) in [
            ("It costs $1,234.50.", "it costs 1234.50"),
            ("t-shirt", "t shirt"),
            ("don\u{2019}t", "don't"),
            ("The  two\tcats, one dog", "2 cats 1 dog"),
            ("10:30", "10:30"),
            (".5", ".5"),
            ("", ""),
        ] {
            assert_eq!(Normalise::Clean.answer(text), expected, "{text}");
        }
    }
}
