//! What ftfy makes of a text, line by line.
//!
//! The algorithm is that of [ftfy](https://github.com/rspeer/python-ftfy) 6.3.1 by Robyn Speer, Apache License 2.0,
//! with the defaults of its `fix_text`; tables and tests of ftfy's behaviour in this folder follow that version.

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::codecs::windows_1252;
use super::encoding::{Work, fix_encoding};
use super::html;

/// Code points of a line that are mended together.
const LONGEST: usize = 1_000_000;

/// A terminal's control sequences; digits are those of any script.
static TERMINAL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\x1b\[[\d;]*[a-zA-Z]").expect("a pattern that compiles"));

/// Mends misread encodings and character references, and plain forms for quotes, ligatures, widths and line breaks.
pub(super) fn fix_text(text: &str) -> String {
    let mut fixed = String::with_capacity(text.len());
    let mut rest = text;
    let mut unescape = true;
    let mut work = Work::for_text(text);
    while !rest.is_empty() {
        let line = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let (line, _) = rest.split_at(line);
        let end = if line.len() > LONGEST { line.char_indices().nth(LONGEST) } else { None };
        let (segment, after) = rest.split_at(end.map_or(line.len(), |(end, _)| end));
        // From the first tag on the text is taken for HTML, in which references are meant.
        unescape &= !segment.contains('<');
        fixed.push_str(&fix_segment(segment, unescape, &mut work));
        rest = after;
    }
    fixed
}

/// Repeats all steps until nothing changes.
fn fix_segment(segment: &str, unescape: bool, work: &mut Work) -> String {
    let mut text = segment.to_owned();
    while work.spend(&text) {
        let mut fixed = text.clone();
        if unescape && fixed.contains('&') {
            fixed = html::unescape_strict(&fixed);
        }
        fixed = fix_encoding(fixed, work);
        if !fixed.is_ascii() || fixed.contains('\r') {
            fixed = plain_forms(&fixed);
        }
        if fixed.contains('\u{1b}') {
            fixed = TERMINAL.replace_all(&fixed, "").into_owned();
        }
        fixed.retain(|c| !is_control(c));
        if !fixed.is_ascii() && !is_nfc(&fixed) {
            fixed = fixed.nfc().collect();
        }
        if fixed == text {
            break;
        }
        text = fixed;
    }
    text
}

/// Each character, or those of a ligature, in the form that is typed.
fn plain_forms(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars().map(windows_1252) {
        match ligature(c) {
            Some(letters) => plain.extend(letters.chars().map(typed)),
            // Full-width letters, half-width katakana and the like.
            None if matches!(c, '\u{ff01}'..='\u{ffef}') => plain.extend(c.nfkc().map(typed)),
            None => plain.push(typed(c)),
        }
    }
    plain
}

fn ligature(c: char) -> Option<&'static str> {
    Some(match c {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "ʼn",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        _ => return None,
    })
}

/// Straight quotes, one kind of line break, and a space for the ideographic one.
fn typed(c: char) -> char {
    match c {
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => '\'',
        '\u{201c}'..='\u{201f}' => '"',
        '\r' | '\u{2028}' | '\u{2029}' => '\n',
        '\u{3000}' => ' ',
        _ => c,
    }
}

/// Control characters that show nothing; those that may be white space or mojibake stay.
fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{206a}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffc}')
}
