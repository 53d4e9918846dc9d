//! Which neighbours hardly ever stand together but where UTF-8 was read in another encoding.

use std::sync::LazyLock;

use regex::Regex;

/// Kinds of characters that misread UTF-8 is made of, as the inside of a regular expression's class.
const COMMON: &str = "\u{a0}\u{ad}·´–—―…’";
const C1: &str = r"\x80-\x9f";
const BAD: &str = "¦¤¨¬¯¸ƒˆˇ˘˛˜†‡‰⌐◊\u{fffd}ªº";
const LAW: &str = "¶§";
const CURRENCY: &str = "¢£¥₧€";
const START: &str = "¡«¿©΄΅‘‚“„•‹\u{f8ff}";
const END: &str = "®»˝”›™";
const NUMERIC: &str = "²³¹±¼½¾×µ÷⁄∂∆∏∑√∞∩∫≈≠≡≤≥№";
const KAOMOJI: &str = "Ò-ÖÙ-Üò-öø-üŐŌŪŲ°";
const UPPER: &str = "À-ÑØÜÝĂĀĄĆČĎĐĘĚĒĖĞĢİĪĶĹĽŁĻŃŇŅŒŘŚŞŠŢŤŮŰŸŹŻŽҐ";
const LOWER: &str = "ßà-ñăąāćčďđęěēėğģįīķĺľłļœŕśşšťüźżžґﬁﬂ";
const UPPER_COMMON: &str = "ÞΑ-ΩΆΈΉΊΌΎΏΪΫЁ-Я";
const LOWER_COMMON: &str = "α-ωάέήίΰа-џ";
const BOX: &str = "│┌┐┘├┤┬┼═-╬▀▄█▌▐░▒▓";

static BADNESS: LazyLock<Regex> = LazyLock::new(|| {
    // Python's white space has four separators more than Rust's, and its words have no marks.
    let (space, word) = (r"[\s\x1c-\x1f]", r"[\p{L}\p{N}_]");
    let any = format!("{LOWER}{UPPER}{BOX}{START}{END}{CURRENCY}{NUMERIC}{LAW}");
    let arabic = format!("[ØÙ][{COMMON}{CURRENCY}{BAD}{NUMERIC}{START}ŸŠ®°µ»]");
    let patterns = [
        format!("[{C1}]"),
        format!("[{BAD}{any}][{BAD}]"),
        format!("[a-zA-Z][{LOWER_COMMON}{UPPER_COMMON}][{BAD}]"),
        format!("[{BAD}][{any}]"),
        format!("[{LOWER}{LOWER_COMMON}{BOX}{END}{CURRENCY}{NUMERIC}][{UPPER}]"),
        format!("[{BOX}{END}{CURRENCY}{NUMERIC}][{LOWER}]"),
        format!("[{LOWER}{BOX}{END}][{CURRENCY}]"),
        format!("{space}[{UPPER}][{CURRENCY}]"),
        format!("[{UPPER}{BOX}][{NUMERIC}{LAW}]"),
        format!("[{LOWER}{UPPER}{BOX}{CURRENCY}{END}][{START}][{NUMERIC}]"),
        format!("[{LOWER}{UPPER}{CURRENCY}{NUMERIC}{BOX}{LAW}][{END}][{START}]"),
        format!("[{CURRENCY}{NUMERIC}{BOX}][{START}]"),
        format!("[a-z][{UPPER}][{START}{CURRENCY}]"),
        format!("[{BOX}][{KAOMOJI}]"),
        format!("[{LOWER}{UPPER}{CURRENCY}{NUMERIC}{START}{END}{LAW}][{BOX}]"),
        format!("[{BOX}][{END}]"),
        format!("[{LOWER}{UPPER}][{START}{END}]{word}"),
        // A ligature or a capital before what never follows it.
        "[Œœ][^A-Za-z]".into(),
        format!("[{UPPER}]°"),
        // Windows-1252: two characters, four of Arabic, and the scripts of South Asia.
        format!("[ÂÃÎÐ][€œŠš¢£Ÿž\u{a0}\u{ad}®©°·»{START}{END}–—´]"),
        "×[²³]".into(),
        format!("{arabic}{arabic}"),
        "à[²µ¹¼½¾]".into(),
        // Mac Roman.
        "√[±∂†≠®™´≤≥¥µø]|≈[°¢]|‚Ä[ìîïòôúùû†°¢π]|‚[âó][àä°ê]".into(),
        // Windows-1251, also on top of another misreading; then 1253 and 1257.
        "вЂ".into(),
        format!("[ВГРС][{C1}{BAD}{START}{END}{CURRENCY}°µ][ВГРС]"),
        "ГўВЂВ.[A-Za-z ]".into(),
        "β€[™\u{a0}Ά\u{ad}®°]".into(),
        format!("[ΒΓΞΟ][{C1}{BAD}{START}{END}{CURRENCY}°][ΒΓΞΟ]"),
        "ā€".into(),
        // The letter à and a space that does not break, and a character that stands for itself.
        format!("Ã[\u{a0}¡]|[a-z]{space}?[ÃÂ] |^[ÃÂ] |[a-z.,?!{END}]Â[ {START}{END}]"),
    ];
    Regex::new(&patterns.join("|")).expect("a pattern that compiles")
});

/// Whether the text holds what looks misread.
pub(super) fn is_bad(text: &str) -> bool {
    BADNESS.is_match(text)
}
