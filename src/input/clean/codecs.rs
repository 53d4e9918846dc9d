//! Encodings that UTF-8 is misread in, one byte a character, and the variants of UTF-8 that come out of it.

use std::{collections::HashMap, str, sync::LazyLock};

/// What bytes 0x80 to 0xFF stand for; a space where that is the code point of the byte's own number.
const HIGH: [(&str, Kind); 10] = [
    // Latin-1
    ("", Kind::Exact),
    // Windows-1252, -1251, -1250, -1253, -1254, -1257
    (
        "€ ‚ƒ„…†‡ˆ‰Š‹Œ Ž  ‘’“”•–—˜™š›œ žŸ ¡¢£¤¥¦§¨©ª«¬ ®¯°±²³´µ¶·¸¹º»¼½¾¿\
         ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ",
        Kind::Sloppy,
    ),
    (
        "ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–— ™љ›њќћџ ЎўЈ¤Ґ¦§Ё©Є«¬ ®Ї°±Ііґµ¶·ё№є»јЅѕї\
         АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя",
        Kind::Sloppy,
    ),
    (
        "€ ‚ „…†‡ ‰Š‹ŚŤŽŹ ‘’“”•–— ™š›śťžź ˇ˘Ł¤Ą¦§¨©Ş«¬ ®Ż°±˛ł´µ¶·¸ąş»Ľ˝ľż\
         ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
        Kind::Sloppy,
    ),
    (
        "€ ‚ƒ„…†‡ ‰ ‹     ‘’“”•–— ™ ›     ΅Ά£¤¥¦§¨©ª«¬ ®―°±²³΄µ¶·ΈΉΊ»Ό½ΎΏ\
         ΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡÒΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώÿ",
        Kind::Sloppy,
    ),
    (
        "€ ‚ƒ„…†‡ˆ‰Š‹Œ    ‘’“”•–—˜™š›œ  Ÿ ¡¢£¤¥¦§¨©ª«¬ ®¯°±²³´µ¶·¸¹º»¼½¾¿\
         ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ",
        Kind::Sloppy,
    ),
    (
        "€ ‚ „…†‡ ‰ ‹ ¨ˇ¸ ‘’“”•–— ™ › ¯˛  ¡¢£¤¥¦§Ø©Ŗ«¬ ®Æ°±²³´µ¶·ø¹ŗ»¼½¾æ\
         ĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁŚŪÜŻŽßąįāćäåęēčéźėģķīļšńņóōõö÷ųłśūüżž˙",
        Kind::Sloppy,
    ),
    // ISO-8859-2, Mac Roman and code page 437
    (
        "                                 Ą˘Ł¤ĽŚ§¨ŠŞŤŹ ŽŻ°ą˛ł´ľśˇ¸šşťź˝žż\
         ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
        Kind::Exact,
    ),
    (
        "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø\
         ¿¡¬√ƒ≈∆«»…\u{a0}ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\u{f8ff}ÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ",
        Kind::Mac,
    ),
    (
        "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
         └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
        Kind::Exact,
    ),
];

/// Encodings whose characters tell that text around them was once UTF-8: all but the last two.
const TELLING: usize = 8;

/// What an encoding does beside its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Exact,
    /// Byte 0x1A stands for U+FFFD, a character that was lost.
    Sloppy,
    /// Has a dash where others have what comes before a lost no-break space.
    Mac,
}

/// One of the encodings that are tried.
pub(super) struct Codec {
    pub kind: Kind,
    high: Vec<char>,
    /// Sorted by character.
    bytes: Vec<(char, u8)>,
}

/// All that are tried, in this order. The first is Latin-1, the second Windows-1252.
pub(super) static CODECS: LazyLock<Vec<Codec>> = LazyLock::new(|| {
    let codecs = HIGH.iter().map(|&(table, kind)| {
        let mut table = table.chars();
        let own = |byte| table.next().filter(|&c| c != ' ').unwrap_or(char::from(byte));
        let high: Vec<char> = (0x80..=0xff).map(own).collect();
        let mut bytes: Vec<(char, u8)> = high.iter().copied().zip(0x80..=0xff).collect();
        bytes.sort_unstable();
        Codec { kind, high, bytes }
    });
    codecs.collect()
});

impl Codec {
    /// The bytes that were misread as this text, if all of it can come of this encoding.
    pub(super) fn encode(&self, text: &str) -> Option<Vec<u8>> {
        let sloppy = self.kind == Kind::Sloppy;
        let byte = |c: char| match c {
            '\u{1a}' if sloppy => None,
            '\u{fffd}' if sloppy => Some(0x1a),
            _ if c.is_ascii() => Some(c as u8),
            _ => self.bytes.binary_search_by_key(&c, |&(c, _)| c).ok().map(|at| self.bytes[at].1),
        };
        text.chars().map(byte).collect()
    }
}

/// The control characters of Latin-1, which nobody writes.
pub(super) fn is_c1(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{9f}')
}

/// What Windows-1252 has in place of a C1 control character; any other character as it is.
pub(super) fn windows_1252(c: char) -> char {
    if is_c1(c) { CODECS[1].high[c as usize - 0x80] } else { c }
}

/// Which bytes of UTF-8 a character may have been, as bits.
pub(super) struct Clues(HashMap<char, u8>);

pub(super) const FIRST_OF_2: u8 = 1;
pub(super) const FIRST_OF_3: u8 = 2;
pub(super) const FIRST_OF_4: u8 = 4;
pub(super) const CONTINUATION: u8 = 8;
/// Also no punctuation that stands before sound text as often.
pub(super) const STRICT_CONTINUATION: u8 = 16;

pub(super) static CLUES: LazyLock<Clues> = LazyLock::new(|| {
    let mut clues: HashMap<char, u8> = HashMap::from([(' ', CONTINUATION)]);
    for codec in CODECS.iter().take(TELLING) {
        for &(c, byte) in &codec.bytes {
            let punctuation = matches!(c, '–'..='―' | '‘'..='‚' | '“'..='„' | '•' | '…');
            *clues.entry(c).or_default() |= match byte {
                0x80..=0xbf if punctuation => CONTINUATION,
                0x80..=0xbf => CONTINUATION | STRICT_CONTINUATION,
                0xc2..=0xdf => FIRST_OF_2,
                0xe0..=0xef => FIRST_OF_3,
                0xf0 | 0xf3 => FIRST_OF_4,
                _ => 0,
            };
        }
    }
    Clues(clues)
});

impl Clues {
    pub(super) fn is(&self, c: char, clue: u8) -> bool {
        self.0.get(&c).is_some_and(|&bits| bits & clue != 0)
    }
}

/// UTF-8, and for sequences that begin with 0xED or 0xC0 also CESU-8's pairs of surrogates and Java's NUL.
pub(super) fn decode(bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len());
    let (mut start, mut at) = (0, 0);
    while at < bytes.len() {
        let (c, length) = match bytes[at..] {
            // Where these bytes end the text, Python's `$` lets its last line break stand for the byte before.
            [0xc0, 0x80, ..] | [0xc0, b'\n'] => ('\0', 2),
            [0xed, b @ 0xa0..=0xaf, c @ 0x80..=0xbf, 0xed, e @ 0xb0..=0xbf, f @ 0x80..=0xbf, ..]
            | [0xed, b @ 0xa0..=0xaf, c @ 0x80..=0xbf, 0xed, e @ 0xb0..=0xbf, f @ b'\n'] => {
                let [b, c, e, f] = [b & 0xf, c & 0x3f, e & 0xf, f & 0x3f].map(u32::from);
                (char::from_u32(0x10000 + (b << 16) + (c << 10) + (e << 6) + f)?, 6)
            }
            _ => {
                at += 1;
                continue;
            }
        };
        text.push_str(str::from_utf8(&bytes[start..at]).ok()?);
        text.push(c);
        at += length;
        start = at;
    }
    text.push_str(str::from_utf8(&bytes[start..]).ok()?);
    Some(text)
}
