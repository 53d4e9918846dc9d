//! Pages with everything in them: no script, no other file.

/// A text as it stands on a page.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A whole page.
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>\n{css}</style></head><body><main>\n<h1>{title}</h1>\n{body}\n</main></body></html>\n",
        title = escape(title),
        css = include_str!("page.css"),
    )
}

/// A table: its heading, and rows of as many cells, which are HTML already.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| -> String {
        cells.map(|cell| format!("<{tag}>{cell}</{tag}>")).collect()
    };
    let heading = cells("th", &mut heading.iter().copied());
    let rows: String = (rows.iter())
        .map(|row| format!("<tr>{}</tr>\n", cells("td", &mut row.iter().map(String::as_str))))
        .collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\"><table><thead><tr>{heading}</tr></thead>\n<tbody>{rows}</tbody></table></div>"
    )
}

/// A picture with words below it.
pub fn card(picture: Option<&str>, words: &str) -> String {
    let picture = picture.map_or(String::new(), |uri| format!("<img src=\"{uri}\" alt=\"\">"));
    format!("<figure class=\"card\">{picture}<figcaption>{words}</figcaption></figure>")
}

/// Cards side by side.
pub fn cards(cards: &[String]) -> String {
    format!("<div class=\"cards\">{}</div>", cards.concat())
}
