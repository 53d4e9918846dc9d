//! The pieces of a cleaned text that open_clip's byte-level BPE takes one by one, as of open_clip 3.3.0, MIT License.

use std::sync::LazyLock;

use regex::Regex;

static PIECE: LazyLock<Regex> = LazyLock::new(|| {
    // U+0345, a mark that has a letter for its capital, is in none of the reference's classes: it is left out.
    let special = "(?i:<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d)";
    let pattern = format!(r"{special}|\p{{L}}+|\p{{N}}|[^\s\p{{L}}\p{{N}}\x{{345}}]+");
    Regex::new(&pattern).expect("a pattern that compiles")
});

/// Part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// `<start_of_text>`, spelled out.
    Start,
    /// `<end_of_text>`, spelled out.
    End,
    /// A word, a digit or a run of signs: a character for each of its bytes.
    Bytes(String),
}

/// Splits a cleaned text.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = Piece> {
    PIECE.find_iter(text).map(|piece| match piece.as_str() {
        "<start_of_text>" => Piece::Start,
        "<end_of_text>" => Piece::End,
        piece => Piece::Bytes(piece.bytes().map(byte_character).collect()),
    })
}

/// The character that stands for a byte: itself if it can be seen in Latin-1, else one from U+0100 on.
pub(crate) fn byte_character(byte: u8) -> char {
    let unseen = match byte {
        0x00..=0x20 => u32::from(byte),
        0x7f..=0xa0 => u32::from(byte) - 0x7f + 0x21,
        0xad => 0x43,
        _ => return char::from(byte),
    };
    char::from_u32(0x100 + unseen).unwrap_or_default()
}
