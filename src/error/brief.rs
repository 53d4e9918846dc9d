//! Messages that a person reads: a few lines, whatever was found.

/// Letters of one part of a message.
const LETTERS: usize = 500;

/// Things of a list that are named.
const NAMED: usize = 4;

/// A part of a message, without its middle where it is long.
pub(crate) fn brief(part: impl ToString) -> String {
    let text = part.to_string();
    let count = text.chars().count();
    if count <= LETTERS {
        return text;
    }
    let start: String = text.chars().take(LETTERS / 2).collect();
    let end: String = text.chars().skip(count - LETTERS / 4).collect();
    format!("{start} .. ({} letters) .. {end}", count - LETTERS / 2 - LETTERS / 4)
}

/// The first of some names, and how many more there are.
pub(crate) fn listed(names: &[impl AsRef<str>]) -> String {
    let first: Vec<&str> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_message_is_short_whatever_was_found() {
        assert_eq!(brief("a".repeat(500)), "a".repeat(500));
        for length in [501, 10_000, 1_000_000] {
            let (letters, found) = ("é".repeat(length), "x\n".repeat(length));
            let error = Error::malformed(&letters[..200], &letters, &letters, found);
            assert!(error.to_string().chars().count() < 2_000, "{error}");
        }
        let names: Vec<String> = (0..1000).map(|at| format!("class {at}")).collect();
        assert_eq!(listed(&names), "class 0, class 1, class 2, class 3 and 996 more");
        assert_eq!(listed(&names[..2]), "class 0, class 1");
    }
}
