//! The page: how well each way finds the last choices, and what is recommended to one user, with pictures where there are.

use clip_adapter::{
    Result,
    input::Preprocess,
    tasks::recommendation::{Histories, Recommendation},
};

use crate::{
    Arguments,
    cli::{data_uri, html},
    items::Items,
    study::Row,
};

/// Choices that are shown, the last ones.
const CHOICES: usize = 8;

pub fn render(
    arguments: &Arguments,
    items: Option<&Items>,
    histories: &Histories,
    user: usize,
    rows: &[Row],
    found: &[Recommendation],
) -> Result<String> {
    let picture = |name: &str| -> Result<Option<String>> {
        match items.and_then(|items| items.files.get(name)) {
            Some(file) => Ok(Some(data_uri::of(&Preprocess::default().decode(file)?, file)?)),
            None => Ok(None),
        }
    };
    let card = |name: &str, words: String| -> Result<String> {
        let words = format!("<strong>{}</strong>{words}", html::escape(name));
        Ok(html::card(picture(name)?.as_deref(), &words))
    };
    let name = |item: usize| &histories.items()[item];
    let chosen: Vec<String> = (histories.of(user).iter().rev().take(CHOICES))
        .map(|&item| card(name(item), String::new()))
        .collect::<Result<_>>()?;
    let advised: Vec<String> = (found.iter())
        .map(|found| {
            let names: Vec<String> =
                found.because.iter().map(|reason| html::escape(name(reason.item))).collect();
            let because =
                if names.is_empty() { String::new() } else { format!("because of {}", names.join(", ")) };
            card(&found.name, format!("<span>{:.3} {because}</span>", found.score))
        })
        .collect::<Result<_>>()?;
    let cells = |row: &Row| {
        let new = row.cold.map_or("–".to_owned(), |report| format!("{:.2}", report.hit_rate));
        let numbers =
            [row.warm.hit_rate, row.warm.ndcg, row.warm.coverage].map(|value| format!("{value:.2}"));
        let seconds = format!("{:.2}", row.fit_seconds);
        [&[row.name.to_owned()][..], &numbers, &[new, seconds]].concat()
    };
    let heading = ["", "HR@10 %", "NDCG@10 %", "coverage %", "HR@10 of new items %", "seconds to fit"];
    let user = html::escape(&histories.users()[user]);
    let body = format!(
        "<p>{choices} choices of {users} users among {items} items of <code>{file}</code>. The last choice of each user \
         was kept apart and sought among all that the user had not seen.</p>\n{table}\n\
         <h2>What {user} chose last</h2>\n{chosen}\n<h2>What {user} may like</h2>\n{advised}",
        choices = histories.choices(),
        users = histories.users().len(),
        items = histories.items().len(),
        file = html::escape(&arguments.interactions.display().to_string()),
        table = html::table(&heading, &rows.iter().map(cells).collect::<Vec<_>>()),
        chosen = html::cards(&chosen),
        advised = html::cards(&advised),
    );
    Ok(html::page("What users may like", &body))
}
