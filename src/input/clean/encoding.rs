//! UTF-8 that was read in another encoding, read rightly.

use std::{str, sync::LazyLock};

use regex::bytes::{Captures, Regex};

use super::badness::is_bad;
use super::codecs::{
    CLUES, CODECS, CONTINUATION, FIRST_OF_2, FIRST_OF_3, FIRST_OF_4, Kind, STRICT_CONTINUATION, decode,
    is_c1, windows_1252,
};

/// UTF-8 in which a space took the place of byte 0xA0. Only sequences that make likely characters.
static SPACED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"[\xc2\xc3\xc5\xce\xd0\xd9]\x20|[\xe2\xe3]\x20[\x80-\x84\x86-\x9f\xa1-\xbf]
        |[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf]\x20
        |\xf0\x20[\x80-\xbf][\x80-\xbf]|\xf0[\x80-\xbf]\x20[\x80-\xbf]|\xf0[\x80-\xbf][\x80-\xbf]\x20",
    )
});

/// UTF-8 and CESU-8 of which bytes were lost, for which 0x1A or a question mark stands.
static LOSSY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"[\xc2-\xdf]\x1a|[\xc2-\xc3][?]
        |\xed[\xa0-\xaf][\x1a?]\xed[\xb0-\xbf][\x1a?\x80-\xbf]
        |\xed[\xa0-\xaf][\x1a?\x80-\xbf]\xed[\xb0-\xbf][\x1a?]
        |[\xe0-\xef][\x1a?][\x1a\x80-\xbf]|[\xe0-\xef][\x1a\x80-\xbf][\x1a?]
        |[\xf0-\xf4][\x1a?][\x1a\x80-\xbf][\x1a\x80-\xbf]|[\xf0-\xf4][\x1a\x80-\xbf][\x1a?][\x1a\x80-\xbf]
        |[\xf0-\xf4][\x1a\x80-\xbf][\x1a\x80-\xbf][\x1a?]|\x1a",
    )
});

fn pattern(pattern: &str) -> Regex {
    Regex::new(&format!("(?x-u){pattern}")).expect("a pattern that compiles")
}

/// How many bytes may still be gone over. Some texts, such as `Ã` before a million of `ƒ`, would lose one character in
/// each pass; the reference takes hours for them. Only they come to the end of this, and stay mended in part.
pub(super) struct Work(usize);

impl Work {
    pub(super) fn for_text(text: &str) -> Self {
        Self((1 << 25) + 16 * text.len())
    }

    /// Whether there is work left for one more pass.
    pub(super) fn spend(&mut self, text: &str) -> bool {
        let left = self.0.checked_sub(text.len());
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// Reads again until nothing changes: text may have been misread more than once.
pub(super) fn fix_encoding(mut text: String, work: &mut Work) -> String {
    while work.spend(&text)
        && let Some(fixed) = one_step(&text, work)
        && fixed != text
    {
        text = fixed;
    }
    text
}

fn one_step(text: &str, work: &mut Work) -> Option<String> {
    if text.is_ascii() || !is_bad(text) {
        return None;
    }
    for codec in CODECS.iter() {
        if let Some(fixed) = codec.encode(text).and_then(|bytes| read(bytes, codec.kind)) {
            return Some(fixed);
        }
    }
    let fixed = fix_parts(text, work);
    if fixed != text {
        return Some(fixed);
    }
    // What is left of C1 was Windows-1252 that was read as Latin-1.
    text.contains(is_c1).then(|| text.chars().map(windows_1252).collect())
}

/// Bytes as UTF-8, after what was lost on the way is put back.
fn read(mut bytes: Vec<u8>, kind: Kind) -> Option<String> {
    if kind != Kind::Mac && SPACED.is_match(&bytes) {
        bytes = restore_no_break_spaces(&bytes);
    }
    if kind == Kind::Sloppy {
        bytes = LOSSY.replace_all(&bytes, "\u{fffd}".as_bytes()).into_owned();
    }
    decode(&bytes)
}

/// A lone `à` misread is `Ã` and a no-break space: it keeps the space after it, but for Portuguese contractions.
fn restore_no_break_spaces(bytes: &[u8]) -> Vec<u8> {
    const CONTRACTED: [&[u8]; 5] = [b" ", b"quele", b"quela", b"quilo", b"s "];
    let mut words = Vec::with_capacity(bytes.len());
    for (at, &byte) in bytes.iter().enumerate() {
        let a = byte == b' ' && at > 0 && bytes[at - 1] == 0xc3;
        if a && !CONTRACTED.iter().any(|word| bytes[at + 1..].starts_with(word)) {
            words.push(0xa0);
        }
        words.push(byte);
    }
    let restored = |found: &Captures<'_>| -> Vec<u8> {
        found[0].iter().map(|&byte| if byte == b' ' { 0xa0 } else { byte }).collect()
    };
    SPACED.replace_all(&words, restored).into_owned()
}

/// Reads again only what looks misread: text that is put together of several encodings.
fn fix_parts(text: &str, work: &mut Work) -> String {
    let mut fixed = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(c) = rest.chars().next() {
        // In the midst of a longer garble a part would only make it worse.
        let inside = before.is_some_and(|c| CLUES.is(c, STRICT_CONTINUATION));
        let length = if inside { 0 } else { misread(rest) };
        let (part, after) = rest.split_at(if length == 0 { c.len_utf8() } else { length });
        // Shorter than the text, so this comes to an end. Each level within reads UTF-8 and so halves what is left.
        if length > 0 && part.len() < text.len() && is_bad(part) {
            fixed.push_str(&fix_encoding(part.to_owned(), work));
        } else {
            fixed.push_str(part);
        }
        before = part.chars().next_back();
        rest = after;
    }
    fixed
}

/// How many bytes of the text, from its start, look like UTF-8 misread.
fn misread(text: &str) -> usize {
    let mut rest = text;
    'sequences: loop {
        let mut chars = rest.chars();
        let Some(first) = chars.next() else { break };
        for (clue, more) in [(FIRST_OF_2, 1), (FIRST_OF_3, 2), (FIRST_OF_4, 3)] {
            let mut after = chars.clone();
            let continued = |c: Option<char>| c.is_some_and(|c| CLUES.is(c, CONTINUATION));
            if CLUES.is(first, clue) && (0..more).all(|_| continued(after.next())) {
                rest = after.as_str();
                continue 'sequences;
            }
        }
        break;
    }
    text.len() - rest.len()
}
