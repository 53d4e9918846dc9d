//! Character references of HTML: as ftfy resolves them, and as Python's `html.unescape` does.
//!
//! The second follows Python 3.11, PSF License. The names are those of the HTML standard.

use std::{collections::HashMap, sync::LazyLock};

use super::codecs::{is_c1, windows_1252};

/// HTML's names with their code points; a star marks those that are known without a semicolon too.
const ENTITIES: &str = include_str!("entities.txt");

/// By name without semicolon: what it stands for, and whether it may go without.
static NAMED: LazyLock<HashMap<&str, (String, bool)>> = LazyLock::new(|| {
    let entity = |entry: &'static str| {
        let (name, codes) = entry.split_once('=')?;
        let text = codes.split(',').filter_map(|code| char::from_u32(u32::from_str_radix(code, 16).ok()?));
        let plain = name.trim_end_matches('*');
        Some((plain, (text.collect(), plain != name)))
    };
    ENTITIES.split_whitespace().filter_map(entity).collect()
});

#[cfg(test)]
pub(super) fn names() -> Vec<&'static str> {
    NAMED.keys().copied().collect()
}

/// The longest name that is known without a semicolon.
const LONGEST_BARE: usize = 6;

/// The longest run that may hold a name.
const LONGEST: usize = 32;

/// Replaces every reference, with a semicolon or without.
pub(super) fn unescape(text: &str) -> String {
    replace(text, |rest| {
        if rest.starts_with('#') {
            let (number, length) = number(rest)?;
            return Some((scalar(number).map(String::from).unwrap_or_default(), semicolon(rest, length)));
        }
        let ends = |c: char| matches!(c, '\t' | '\n' | '\u{c}' | ' ' | '<' | '&' | '#' | ';');
        let length: usize = rest.chars().take(LONGEST).take_while(|&c| !ends(c)).map(char::len_utf8).sum();
        let name = &rest[..length];
        if let (Some((text, _)), true) = (NAMED.get(name), rest[length..].starts_with(';')) {
            return Some((text.clone(), length + 1));
        }
        let (text, length) = bare(name)?;
        Some((text.to_owned(), length))
    })
}

/// Replaces references that end in a semicolon, and names that were put in capitals with what they stand for.
pub(super) fn unescape_strict(text: &str) -> String {
    replace(text, |rest| {
        let digits = rest.strip_prefix('#').unwrap_or(rest);
        let length = digits.bytes().take(25).take_while(u8::is_ascii_alphanumeric).count();
        if !(1..=24).contains(&length) || !digits[length..].starts_with(';') {
            return None;
        }
        let whole = rest.len() - digits.len() + length;
        if rest.starts_with('#') {
            // A semicolon by its number stays, as it does there.
            let (number, length) = number(rest).filter(|&(number, _)| number != u32::from(';'))?;
            let text = scalar(number).map(String::from).unwrap_or_default();
            return (length == whole).then_some((text, length + 1));
        }
        let name = &rest[..length];
        let capitals = !name.bytes().any(|byte| byte.is_ascii_lowercase());
        let text = match NAMED.get(name) {
            Some((text, _)) => text.clone(),
            None if capitals && bare(name).is_none() => {
                NAMED.get(name.to_ascii_lowercase().as_str())?.0.to_uppercase()
            }
            None => return None,
        };
        Some((text, length + 1))
    })
}

/// Puts in what `resolve` makes of the text behind an ampersand, and how many bytes of that it took.
fn replace(text: &str, resolve: impl Fn(&str) -> Option<(String, usize)>) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        replaced.push_str(before);
        rest = match resolve(after) {
            Some((text, length)) => {
                replaced.push_str(&text);
                &after[length..]
            }
            None => {
                replaced.push('&');
                after
            }
        };
    }
    replaced.push_str(rest);
    replaced
}

/// The longest beginning that is a name known without a semicolon.
fn bare(name: &str) -> Option<(&str, usize)> {
    let known = |length: usize| match NAMED.get(name.get(..length)?)? {
        (text, true) => Some((text.as_str(), length)),
        _ => None,
    };
    (2..=LONGEST_BARE).rev().find_map(known)
}

/// The number behind `#`, at most one that is too large for a code point, and its bytes with the sign.
fn number(text: &str) -> Option<(u32, usize)> {
    let (radix, start) = if text[1..].starts_with(['x', 'X']) { (16, 2) } else { (10, 1) };
    let digits = text[start..].chars().map_while(|c| c.to_digit(radix));
    let (number, count) = digits
        .fold((0, 0), |(number, count), digit| (u32::min(number * radix + digit, 0x11_0000), count + 1));
    (count > 0).then_some((number, start + count))
}

/// Bytes with the semicolon, if there is one.
fn semicolon(text: &str, length: usize) -> usize {
    length + usize::from(text[length..].starts_with(';'))
}

/// The character of a number. Windows-1252's are meant by those of C1; controls and what is no character are none.
fn scalar(number: u32) -> Option<char> {
    match number {
        0x01..=0x08 | 0x0b | 0x0e..=0x1f | 0x7f | 0xfdd0..=0xfdef => None,
        _ if number <= 0x10_ffff && number & 0xfffe == 0xfffe => None,
        0 => Some('\u{fffd}'),
        _ => Some(char::from_u32(number).map_or('\u{fffd}', |c| if is_c1(c) { windows_1252(c) } else { c })),
    }
}
