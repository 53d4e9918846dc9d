//! What the words of an English question tell about its kind.

use crate::input::{Question, YES_NO};

/// Words that begin a question which is answered by yes or no.
const ASKING: [&str; 22] = [
    "is", "are", "was", "were", "am", "does", "do", "did", "can", "could", "has", "have", "had", "will",
    "would", "should", "may", "might", "isn't", "aren't", "doesn't", "don't",
];

/// What may follow `what` without being what is asked for.
const NO_NOUNS: [&str; 8] = ["the", "a", "an", "this", "that", "these", "those", "it"];

/// Words after which a noun is over.
const PLACES: [&str; 10] = ["in", "on", "at", "of", "behind", "under", "near", "with", "that", "to"];

/// The kind of a question that asks for how many.
pub(super) const NUMBER: &str = "number";

/// Small words without the marks around them.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace('\u{2019}', "'");
    let words = text.split(|letter: char| !(letter.is_alphanumeric() || letter == '\''));
    words.map(|word| word.trim_matches('\'')).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A question as it sounds: two of one sound are one.
pub(super) fn spoken(text: &str) -> String {
    tokens(text).join(" ")
}

pub(super) fn is_yes_no(tokens: &[String]) -> bool {
    tokens.first().is_some_and(|first| ASKING.contains(&first.as_str()))
        && !tokens.iter().skip(2).any(|word| word == "or") // "is it red or blue?"
}

/// What the data set says, or else what the words say: yes/no, number, an attribute such as `color`, or `other`.
pub(super) fn kind_of(question: &Question) -> String {
    if let Some(kind) = &question.kind {
        return kind.clone();
    }
    let tokens = tokens(&question.text);
    match is_yes_no(&tokens) {
        true => YES_NO.to_owned(),
        false => asked_for(&tokens).unwrap_or_else(|| "other".to_owned()),
    }
}

/// What an open question asks for: `color` of "what color is it" and "what is the color of it", `shape` of "what is the
/// red shape", `animal` of "what kind of animal is it", `number` of "how many".
pub(super) fn asked_for(tokens: &[String]) -> Option<String> {
    let word = |at: usize| tokens.get(at).map(String::as_str).unwrap_or_default();
    let noun = match (word(0), word(1)) {
        ("how", "many") => return Some(NUMBER.to_owned()),
        ("what" | "which", "kind" | "type" | "sort") if word(2) == "of" => word(3),
        ("what" | "which", second) if ASKING.contains(&second) => {
            let rest = tokens.get(2..)?;
            let end = rest.iter().position(|word| PLACES.contains(&word.as_str())).unwrap_or(rest.len());
            rest[..end].last().map(String::as_str).unwrap_or_default()
        }
        ("what" | "which", second) => second,
        _ => "",
    };
    let noun = singular(noun);
    (!noun.is_empty() && !NO_NOUNS.contains(&noun.as_str()) && !ASKING.contains(&noun.as_str()))
        .then_some(noun)
}

/// One of several, in American spelling.
pub(super) fn singular(noun: &str) -> String {
    let one = match noun.strip_suffix('s') {
        Some(one) if one.len() > 2 && !one.ends_with(['s', 'u', 'i']) => one,
        _ => noun,
    };
    if one == "colour" { "color".to_owned() } else { one.to_owned() }
}

/// The places of `words` one after the other within `text`.
pub(super) fn find(text: &[String], words: &[String]) -> Option<usize> {
    if words.is_empty() {
        return None;
    }
    text.windows(words.len()).position(|window| window == words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_what_is_asked_for() {
        for (text, expected) in [
            ("what color is the shape?", Some("color")),
            ("What is the COLOUR of the circle?", Some("color")),
            ("what is the red shape?", Some("shape")),
            ("what shape does the image contain?", Some("shape")),
            ("What kind of animals are in the picture?", Some("animal")),
            ("How many dogs are there?", Some("number")),
            ("Which glass is full?", Some("glass")),
            ("what is this?", None),
            ("what is in the picture?", None),
            ("why is it wet?", None),
            ("", None),
        ] {
            assert_eq!(asked_for(&tokens(text)).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_choice_between_two_is_no_yes_or_no() {
        assert!(is_yes_no(&tokens("Isn\u{2019}t there a dog?")));
        assert!(!is_yes_no(&tokens("Is it red or blue?")));
        assert!(!is_yes_no(&tokens("what is it?")) && !is_yes_no(&[]));
        assert_eq!(tokens("'Stop!', it's a man-made sign"), ["stop", "it's", "a", "man", "made", "sign"]);
    }
}
