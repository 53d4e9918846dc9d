//! The parts of the page that tell of single things: words, units, images.

use std::path::Path;

use clip_adapter::{
    explain::{Decision, HeatMap, Kind, Neighbour, Unit, Word},
    input::readable,
};

use crate::{
    data::Data,
    outcome::{Heat, Outcome},
    page::{escape, none, wide},
    pictures,
};

/// Units, suspects and duplicates that are shown.
const UNITS: usize = 12;
const SUSPECTS: usize = 15;
const DUPLICATES: usize = 12;

/// What every part draws from.
pub struct Parts<'a> {
    pub outcome: &'a Outcome,
    pub data: &'a Data,
}

pub fn tiles(outcome: &Outcome) -> String {
    let changes = &outcome.changes;
    let mut tiles = vec![
        (format!("{:.1} %", changes.before), "zero-shot".to_owned()),
        (format!("{:.1} %", changes.after), outcome.method.clone()),
        (format!("{}", changes.fixed), "corrected".to_owned()),
        (format!("{}", changes.broken), "spoiled".to_owned()),
    ];
    if let Some(estimate) = outcome.held_out.found() {
        tiles.push((format!("≥ {:.1} %", estimate.lower_95), "from the shots alone, 95 %".to_owned()));
    }
    let tiles = tiles.iter().map(|(value, words)| {
        format!("<div class=\"tile\"><b>{value}</b><span>{}</span></div>", escape(words))
    });
    format!("<div class=\"tiles\">{}</div>", tiles.collect::<String>())
}

impl Parts<'_> {
    pub fn concepts(&self) -> String {
        let change = match &self.outcome.concepts.0 {
            Ok(change) => change,
            Err(why) => return none("change of concepts", why) + &self.concept_deletion(),
        };
        const HEAD: &str = "<tr><th scope=\"col\">class</th><th scope=\"col\">seen before</th><th scope=\"col\">added</th><th \
                            scope=\"col\">taken away</th></tr>\n";
        let rows: String = change
            .classes
            .iter()
            .map(|class| {
                format!(
                    "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"plus\">{}</td><td class=\"minus\">{}</td></tr>\n",
                    escape(&class.name),
                    words(&class.before, 3),
                    words(&class.added, 4),
                    words(&class.removed, 4)
                )
            })
            .collect();
        format!(
            "<p>Features as sums of words: {:.1} of {} words make up a feature to a cosine of {:.2}, after adapting {:.1} to \
             {:.2}. Over all images the adapter added <span class=\"plus\">{}</span> and took away <span class=\"minus\">{}\
             </span>.</p>\n{}{}",
            change.words[0],
            self.data.concepts.words().len(),
            change.cosines[0],
            change.words[1],
            change.cosines[1],
            words(&change.added, 4),
            words(&change.removed, 4),
            self.concept_deletion(),
            table("Mean weights of words, by class", &(HEAD.to_owned() + &rows)),
        )
    }

    fn concept_deletion(&self) -> String {
        match &self.outcome.concept_deletion.0 {
            Ok(found) => format!(
                "<p>Without the {} words that weigh most in it an image gets another answer in {:.1} % of all cases, without as \
                 many random words in {:.1} %.</p>\n",
                found.removed, found.flips, found.random_flips
            ),
            Err(why) => none("test of the concepts", why),
        }
    }

    pub fn units(&self) -> String {
        let units = match &self.outcome.units.0 {
            Ok(units) => units,
            Err(why) => return none("table of units", why),
        };
        const HEAD: &str = "<tr><th scope=\"col\">unit</th><th scope=\"col\">reads</th><th scope=\"col\">holds</th><th \
                            scope=\"col\">fires</th><th scope=\"col\">share</th><th scope=\"col\">raises</th><th \
                            scope=\"col\">lowers</th><th scope=\"col\">best images</th></tr>\n";
        let dead = units.iter().filter(|unit| unit.fires == 0.0).count();
        let named = units.iter().filter(|unit| unit.name.is_some()).count();
        let faithful = match &self.outcome.unit_deletion.0 {
            Ok(found) => format!(
                " Without the {} units that speak most for an answer {:.1} % of the answers flip, without as many random ones of \
                 those that fire {:.1} %; the mean margin of {:.2} falls to {:.2} and {:.2}.",
                found.silenced,
                found.flips,
                found.random_flips,
                found.margin,
                found.margin_left,
                found.random_margin_left
            ),
            Err(why) => format!(" {}", escape(why)),
        };
        let rows: String = units.iter().take(UNITS).map(|unit| self.unit(unit)).collect();
        format!(
            "<p>{} units, of which {named} follow the word that they read on images that it was not made of, and {dead} never \
             fire.{faithful}</p>\n{}",
            units.len(),
            table(
                &format!("The {} units with the largest shares in the answers", units.len().min(UNITS)),
                &(HEAD.to_owned() + &rows)
            )
        )
    }

    fn unit(&self, unit: &Unit) -> String {
        let reads = match &unit.name {
            Some(_) => words(&unit.reads, 3),
            None => format!("<span class=\"hushed\">no name holds ({})</span>", words(&unit.reads, 1)),
        };
        let images: String = unit.images.iter().map(|&row| self.picture(row, false)).collect();
        format!(
            "<tr><th scope=\"row\">{}</th><td>{reads}</td><td class=\"number\">{}</td><td class=\"number\">{:.0} %</td><td \
             class=\"number\">{:+.3}</td><td>{}</td><td>{}</td><td class=\"images\">{images}</td></tr>\n",
            unit.unit,
            unit.faithfulness.map_or("–".to_owned(), |value| format!("{value:.2}")),
            unit.fires,
            unit.share,
            names(&unit.raises, 2),
            names(&unit.lowers, 2),
        )
    }

    /// The changed decisions of a kind: how many, and some of them, spread over all.
    pub fn decisions(&self, kind: Kind, title: &str, most: usize) -> String {
        let all: Vec<(usize, &Decision)> = self
            .outcome
            .changes
            .decisions
            .iter()
            .enumerate()
            .filter(|(_, decision)| decision.kind == kind)
            .collect();
        let shown = all.len().min(most);
        let some = if shown < all.len() { format!(", {shown} of them") } else { String::new() };
        let cards: String = (0..shown).map(|at| self.decision(all[at * all.len() / shown])).collect();
        format!("<h3>{title}: {}{some}</h3>\n{}", all.len(), list(&cards))
    }

    fn decision(&self, (at, decision): (usize, &Decision)) -> String {
        let name = |class: usize| escape(&self.data.asked.class_names()[class]);
        let share = self.outcome.shares.found().map_or_else(String::new, |shares| {
            let share = &shares.all[at];
            let top = share.top(1).first().copied().unwrap_or((0, 0.0));
            // Only units of the image side read words.
            let named =
                self.outcome.units.found().and_then(|units| units.iter().find(|unit| unit.unit == top.0));
            let named = named.and_then(|unit| unit.name.as_deref());
            let named = named.map(|name| format!(", which reads {}", escape(name))).unwrap_or_default();
            format!(
                "<br>of {:+.2}: kept {:+.2}, {} units {:+.2}, most from unit {}{named}",
                share.margin,
                share.kept,
                shares.side,
                share.units.iter().sum::<f64>(),
                top.0
            )
        });
        format!(
            "<li class=\"card\"><div class=\"head\">{}<div><strong>{} → {}</strong>it is {}; from {:+.2} to {:+.2}{share}</div></div>{}\
             </li>\n",
            self.picture(decision.row, true),
            name(decision.before),
            name(decision.after),
            name(decision.truth),
            decision.margin_before,
            decision.margin_after,
            self.shots(&self.outcome.nearest[at])
        )
    }

    /// Maps of what speaks for the new answer, over the images.
    pub fn heat(&self) -> String {
        let Some(files) = &self.data.files else { return String::new() };
        let map = |row: usize, picture: &str, heat: &HeatMap, how: &str| {
            let name = escape(&self.data.asked.class_names()[heat.class]);
            let part = |(at, scaled): (usize, f64)| {
                let (x, y) = (at % heat.side, at / heat.side);
                format!(
                    "<rect x=\"{x}\" y=\"{y}\" width=\"1\" height=\"1\" fill-opacity=\"{:.2}\"/>",
                    0.75 * scaled
                )
            };
            let parts: String = heat.scaled().into_iter().enumerate().map(part).collect();
            format!(
                "<figure class=\"heat\"><div><img src=\"{picture}\" alt=\"\" width=\"120\" height=\"120\"><svg viewBox=\"0 0 {0} \
                 {0}\" role=\"img\" aria-label=\"what speaks for {name} in image {row}, {how}\">{parts}</svg></div><figcaption>\
                 {name}, {how}</figcaption></figure>",
                heat.side
            )
        };
        let card = |heat: &Heat| -> Option<String> {
            let picture = pictures::square(&files.asked[heat.row], files.clip.preprocess())?;
            let patches = heat.patches.as_ref().map(|map_of| map(heat.row, &picture, map_of, "patches"));
            let covered = map(heat.row, &picture, &heat.covered, "covered");
            Some(format!("<div class=\"pictures\">{covered}{}</div>", patches.unwrap_or_default()))
        };
        let cards: String = self.outcome.heat.iter().filter_map(card).collect();
        if cards.is_empty() {
            return String::new();
        }
        format!(
            "<h3>What speaks for the new answer</h3><p>The redder, the more: where covering a part costs most of it, and what the \
             patches of the image say by themselves. A map is a hint, no proof.</p>\n<div class=\"panels\">{cards}</div>\n"
        )
    }

    pub fn suspects(&self) -> String {
        let suspects = match &self.outcome.suspects.0 {
            Ok(suspects) => suspects,
            Err(why) => return none("list of doubtful images", why),
        };
        let against = suspects.iter().filter(|suspect| suspect.margin < 0.0).count();
        let name = |class: usize| escape(&self.data.asked.class_names()[class]);
        let cards: String = suspects
            .iter()
            .filter(|suspect| suspect.margin < 0.0)
            .take(SUSPECTS)
            .map(|suspect| {
                format!(
                    "<li class=\"card\"><div class=\"head\">{}<div><strong>labelled {}</strong>the others say {} by {:.1}{}</div></div>{}\
                     </li>\n",
                    self.shot_picture(suspect.row),
                    name(suspect.label),
                    name(suspect.answer),
                    -suspect.margin,
                    if suspect.agreed { ", and so does zero-shot CLIP" } else { "" },
                    self.shots(&suspect.nearest)
                )
            })
            .collect();
        format!(
            "<p>What was fitted without it calls {against} of {} shots something else than their label. Some are mislabelled, \
             others odd pictures of their class: look at them.</p>\n{}",
            suspects.len(),
            list(&cards)
        )
    }

    pub fn duplicates(&self) -> String {
        let found = &self.outcome.duplicates;
        if found.is_empty() {
            return "<p>No image that was asked about is nearly one of the shots.</p>".to_owned();
        }
        let name = |class: usize| escape(&self.data.asked.class_names()[class]);
        let cards: String = found
            .iter()
            .take(DUPLICATES)
            .map(|pair| {
                format!(
                    "<li class=\"card\"><div class=\"head\">{}{}<div><strong>cosine {:.4}</strong>{}, and a shot of {}</div></div></li>\n",
                    self.picture(pair.image, true),
                    self.shot_picture(pair.shot),
                    pair.cosine,
                    name(self.data.asked.labels()[pair.image]),
                    name(self.data.support.set().labels()[pair.shot])
                )
            })
            .collect();
        format!(
            "<p>{} pairs of an image that was asked about and a shot are nearly the same. Where they are the same picture, the \
             test is too easy.</p>\n{}",
            found.len(),
            list(&cards)
        )
    }

    /// The shots that something is like, as evidence.
    fn shots(&self, nearest: &[Neighbour]) -> String {
        let shots: String = nearest
            .iter()
            .map(|shot| {
                let name = escape(&self.data.asked.class_names()[shot.label]);
                match &self.data.files {
                    Some(_) => format!(
                        "<span class=\"pair\">{}{name} {:.2}</span>",
                        self.shot_picture(shot.shot),
                        shot.cosine
                    ),
                    None => format!("<span>{name} {:.2}</span>", shot.cosine),
                }
            })
            .collect();
        format!("<div class=\"shots\">like shots of{shots}</div>")
    }

    /// An image that was asked about: a picture where there is a file, else its number where that is wanted.
    fn picture(&self, row: usize, always: bool) -> String {
        let number = format!("<span class=\"hushed\">{}{row}</span> ", if always { "image " } else { "" });
        match &self.data.files {
            Some(files) => self.thumb(&files.asked[row]).unwrap_or(number),
            None => number,
        }
    }

    fn shot_picture(&self, row: usize) -> String {
        let number = format!("<span class=\"hushed\">shot {row}</span> ");
        match &self.data.files {
            Some(files) => self.thumb(&files.shots[row]).unwrap_or(number),
            None => number,
        }
    }

    fn thumb(&self, file: &Path) -> Option<String> {
        let preprocess = self.data.files.as_ref()?.clip.preprocess();
        let name = escape(&readable(file.file_name().unwrap_or_default()));
        Some(format!(
            "<img src=\"{}\" alt=\"{name}\" width=\"56\" height=\"56\">",
            pictures::address(file, preprocess)?
        ))
    }
}

/// Cards, if there are any.
fn list(cards: &str) -> String {
    if cards.is_empty() { String::new() } else { format!("<ul class=\"cards\">{cards}</ul>\n") }
}

/// A table that may be wider than the page.
fn table(name: &str, rows: &str) -> String {
    wide(name, &format!("<table><caption>{name}</caption>{rows}</table>"))
}

/// Words with their numbers.
fn words(words: &[Word], most: usize) -> String {
    if words.is_empty() {
        return "nothing".to_owned();
    }
    let word =
        |word: &Word| format!("<span class=\"word\">{} <i>{:+.3}</i></span>", escape(&word.word), word.value);
    words.iter().take(most).map(word).collect()
}

fn names(words: &[Word], most: usize) -> String {
    words.iter().take(most).map(|word| escape(&word.word)).collect::<Vec<_>>().join(", ")
}
