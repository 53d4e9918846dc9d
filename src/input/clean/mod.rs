//! Texts as open_clip's own tokenizer cleans and splits them before its byte-level BPE.

mod badness;
mod codecs;
mod encoding;
mod fix;
mod html;
mod pieces;

pub(crate) use pieces::{Piece, byte_character, pieces};

/// What open_clip's `SimpleTokenizer` makes of a text by default: ftfy, character references resolved twice, single
/// spaces, small letters.
pub(crate) fn clean(text: &str) -> String {
    let text = html::unescape(&html::unescape(&fix::fix_text(text)));
    let words: Vec<&str> = text.split(is_space).filter(|word| !word.is_empty()).collect();
    words.join(" ").to_lowercase()
}

/// Python's white space, which has four separators more than Rust's.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{clean, html};

    fn golden() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/words.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// As `fnv` in `tests/golden/export_words.py`.
    fn hash(text: impl Iterator<Item = char>) -> String {
        let hash = text.fold(0x811c_9dc5, |hash: u32, c| (hash ^ c as u32).wrapping_mul(0x0100_0193));
        format!("{hash:08x}")
    }

    #[test]
    fn texts_are_cleaned_as_by_open_clip() {
        let golden = golden();
        let texts = golden["texts"].as_array().unwrap();
        assert!(texts.len() >= 600);
        for row in texts {
            let text = row[0].as_str().unwrap();
            assert_eq!(clean(text), row[1].as_str().unwrap_or(text), "{text:?}");
        }
    }

    #[test]
    fn every_character_is_cleaned_as_by_open_clip() {
        let codes = (0..0x700).chain(0x1e00..0x3400).chain(0xfb00..0x10000);
        let cleaned = codes.filter_map(char::from_u32).map(|c| clean(&format!("a{c}b")) + "\n");
        assert_eq!(hash(cleaned.collect::<String>().chars()), golden()["characters"]);
    }

    #[test]
    fn every_name_of_html_is_resolved_as_by_python() {
        let mut names = html::names();
        names.sort_unstable();
        assert_eq!(names.len(), 2125);
        let resolved = names.iter().flat_map(|name| [format!("&{name};"), format!("&{name} ")]);
        let resolved = resolved.map(|text| html::unescape(&text) + "\n");
        assert_eq!(hash(resolved.collect::<String>().chars()), golden()["entities"]);
    }

    /// Each of these loses a character a pass, so that time would grow with the square of its length.
    #[test]
    fn long_texts_come_to_an_end() {
        for (first, again) in [("Ã", "ƒ"), ("Ã", "\u{83}"), ("&", "amp;"), ("&", "#38;")] {
            let short = format!("{first}{}", again.repeat(100));
            assert_eq!(clean(&short), first.to_lowercase(), "{first}{again}");
            assert!(!clean(&format!("{first}{}", again.repeat(200_000))).is_empty());
        }
        let mut nested = "é€".to_owned();
        while nested.len() < 100_000 {
            nested = nested.bytes().map(char::from).collect();
        }
        assert_eq!(clean(&format!("✔ {nested}")), "✔ é€");
    }
}
