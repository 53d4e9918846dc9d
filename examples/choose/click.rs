//! A page on which pairs are clicked: one file, no server. It gives the table that `--pairs` takes.

use clip_adapter::{
    Result,
    tasks::generation::{Pair, Preference},
};
use serde_json::json;

use crate::{
    candidates::Candidates,
    cli::{data_uri, html},
};

/// Asks what differs most from all that was asked: with every answer open, each question counts as a tie.
pub fn render(
    candidates: &Candidates,
    pairs: &[Pair],
    questions: usize,
    prompt: &str,
    seed: u64,
) -> Result<String> {
    let preference = Preference::default();
    let mut asked = pairs.to_vec();
    let head = preference.fit(&candidates.rows, pairs, None, candidates.clip.identity())?;
    for question in 0..questions {
        match preference.next_pair(&candidates.rows, &asked, &head, seed + question as u64)? {
            Some((one, other)) => asked.push(Pair::tied(one, other)),
            None => break,
        }
    }
    let mut shown: Vec<usize> = Vec::new();
    let mut place = |at: usize| {
        shown.iter().position(|&known| known == at).unwrap_or_else(|| {
            shown.push(at);
            shown.len() - 1
        })
    };
    let open: Vec<[usize; 2]> =
        asked[pairs.len()..].iter().map(|pair| [place(pair.winner), place(pair.loser)]).collect();
    let pictures: Vec<String> = (shown.iter())
        .map(|&at| {
            let file = &candidates.files[at];
            data_uri::of(&candidates.clip.preprocess().decode(file)?, file)
        })
        .collect::<Result<_>>()?;
    let names: Vec<&String> = shown.iter().map(|&at| &candidates.names[at]).collect();
    let known: Vec<[String; 3]> = (pairs.iter())
        .map(|pair| {
            let name = |at: usize| candidates.names[at].clone();
            [name(pair.winner), name(pair.loser), u8::from(pair.tie).to_string()]
        })
        .collect();
    // In a script, nothing may look like its end.
    let data = json!({ "questions": open, "names": names, "pictures": pictures, "known": known });
    let data = data.to_string().replace('<', "\\u003c");
    let body = format!(
        "<p>Made for <b>{prompt}</b>. Click the picture that you like better, or press 1 or 2; 0 where neither is better, \
         Backspace to take an answer back.</p>\n{page}\n<script>\nconst data = {data};\n{script}</script>",
        prompt = html::escape(prompt),
        page = include_str!("click.html"),
        script = include_str!("click.js"),
    );
    Ok(html::page("Which is better?", &body))
}
