//! Contractions that are written without an apostrophe.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Words with one apostrophe, of which the official evaluator knows the spelling without it.
const SINGLE: &str = "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd \
    how'll how's isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't \
    should've shouldn't somebody'll somebody's someone'd someone'll someone's something'd something'll that's there'd \
    there're there's they'd they'll they're they've 'twas wasn't we've weren't what'll what're what's what've when's \
    where'd where's where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll \
    you're you've";

/// Words with several, of which it knows each spelling that lacks one of them.
const SEVERAL: &str = "couldn't've hadn't've he'd've it'd've mightn't've 'ow's'at she'd've shouldn't've somebody'd've \
    someone'd've something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll y'all'd've you'd've";

/// Where it is the other way round.
const REVERSED: (&str, &str) = ("somebody'd", "somebodyd");

static TABLE: LazyLock<BTreeMap<String, &'static str>> = LazyLock::new(|| {
    let single = SINGLE.split(' ').map(|word| (word.replace('\'', ""), word));
    let several = SEVERAL.split(' ').flat_map(|word| {
        let places = word.match_indices('\'').map(|(at, _)| at);
        places.map(move |at| (format!("{}{}", &word[..at], &word[at + 1..]), word))
    });
    single.chain(several).chain([(REVERSED.0.to_owned(), REVERSED.1)]).collect()
});

/// The word as it is written in full, if it is known to lack an apostrophe.
pub(super) fn mended(word: &str) -> Option<&'static str> {
    TABLE.get(word).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_lacks_one_apostrophe() {
        assert_eq!(mended("dont"), Some("don't"));
        assert_eq!([mended("couldnt've"), mended("couldn'tve")], [Some("couldn't've"); 2]);
        assert_eq!(["ow's'at", "'ows'at", "'ow'sat"].map(mended), [Some("'ow's'at"); 3]);
        assert_eq!([mended("cat"), mended("don't"), mended("couldntve")], [None; 3]);
        assert_eq!(mended("somebody'd"), Some("somebodyd"));
    }
}
