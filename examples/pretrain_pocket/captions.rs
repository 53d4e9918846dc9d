//! Sentences about an emoji, and which emoji a sentence is true of.

use rand::{
    RngExt,
    seq::{IndexedRandom, SliceRandom},
};
use rand_chacha::ChaCha8Rng;

use crate::corpus::Emoji;

/// The part of captions that only say what kind of thing it is, so that names of kinds become classes.
const KIND: f64 = 0.2;

const TEMPLATES: [&str; 14] = [
    "{}",
    "{}",
    "{}",
    "{}",
    "a {}",
    "a {} emoji",
    "an emoji of a {}",
    "an icon of a {}",
    "a drawing of a {}",
    "a picture of a {}",
    "a photo of a {}",
    "a 3d icon of a {}",
    "a line drawing of a {}",
    "{} clip art",
];

/// A sentence, and whether it is true of everything in the emoji's sub-group rather than of the emoji alone.
pub struct Caption {
    pub text: String,
    pub of_kind: bool,
}

/// Draws a sentence about an emoji.
pub fn caption(emoji: &Emoji, random: &mut ChaCha8Rng) -> Caption {
    if random.random_bool(KIND) {
        return Caption { text: in_template(&emoji.subgroup, random), of_kind: true };
    }
    let text = match random.random_range(0..100) {
        0..50 => in_template(&emoji.name, random),
        50..60 => in_template(&format!("{}: {}", emoji.subgroup, emoji.name), random),
        60..68 => in_template(&format!("{}, {}", emoji.name, emoji.subgroup), random),
        68..87 => [vec![emoji.name.as_str()], keywords(emoji, random)].concat().join(", "),
        _ => match keywords(emoji, random) {
            words if words.is_empty() => emoji.name.clone(),
            words => words.join(", "),
        },
    };
    Caption { text, of_kind: false }
}

fn in_template(name: &str, random: &mut ChaCha8Rng) -> String {
    TEMPLATES.choose(random).map_or_else(|| name.to_owned(), |template| template.replace("{}", name))
}

/// Up to four keywords, in any order.
fn keywords<'a>(emoji: &'a Emoji, random: &mut ChaCha8Rng) -> Vec<&'a str> {
    let mut words: Vec<&str> = emoji.keywords.iter().map(String::as_str).collect();
    words.shuffle(random);
    words.truncate(random.random_range(1..=4));
    words
}
