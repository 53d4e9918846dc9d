use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};
use serde::Serialize;

use super::Histories;
use crate::error::{Error, Result};

/// How a table of choices is read: `user,item,timestamp` with a heading, and a column `rating` where there is one.
///
/// A file whose name ends in `.parquet` is read as such, by the crate feature `parquet`: the same columns, of which names
/// are strings or integers, and times and ratings any numbers; not compressed, or by Snappy. Every other file is CSV.
///
/// Of a user's equal times the later row is the later choice, and without the column `timestamp` rows are in the order of
/// time. Of a user's rows with the same item the last one counts. What is left out is counted in [`LeftOut`], and nothing
/// else is: a row that cannot be read is an error.
///
/// # Examples
/// ```
/// use clip_adapter::tasks::recommendation::Reading;
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("clicks.csv");
/// std::fs::write(&path, "user,item,timestamp\nann,mug,3\nann,vase,1\nann,mug,2\nben,pan,9\n").unwrap();
///
/// let (histories, left_out) = Reading::default().among(["mug", "vase"]).read(&path)?;
/// assert_eq!((histories.users(), histories.of(0)), (&["ann".to_owned()][..], &[1, 0][..]));
/// assert_eq!((left_out.repeated, left_out.unknown, &left_out.unknown_items[..]), (1, 1, &["pan".to_owned()][..]));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    catalogue: Option<Vec<String>>,
    least_rating: Option<f64>,
}

/// What a table holds that histories do not, and who cannot be scored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeftOut {
    /// Rows of the table.
    pub rows: usize,
    /// Rows with too low a rating.
    pub low: usize,
    /// Rows with an item that is in no catalogue.
    pub unknown: usize,
    /// Some of these items.
    pub unknown_items: Vec<String>,
    /// Rows with an item that the same user has again later.
    pub repeated: usize,
    /// Users of a single choice, who are learned from and cannot be scored.
    pub single: usize,
    /// Whether there are ratings which were not looked at: every row is a choice.
    pub ratings_unused: bool,
    /// Whether the order of the rows stands for the time.
    pub untimed: bool,
}

/// Unknown items that are named.
const NAMED: usize = 5;

impl Reading {
    /// Takes these items for the catalogue, in this order. Without it, the items are those of the table.
    pub fn among<N: Into<String>>(self, items: impl IntoIterator<Item = N>) -> Self {
        Self { catalogue: Some(items.into_iter().map(Into::into).collect()), ..self }
    }

    /// Leaves out rows with a lower rating. Without it every row is a choice, whatever its rating.
    pub fn with_least_rating(self, rating: f64) -> Self {
        Self { least_rating: Some(rating), ..self }
    }

    /// Reads a table.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read; [`Error::Malformed`] naming the line, or the row of a Parquet file, if it lacks
    /// a column, or a row has too few or many, an empty name, or a time or rating that is no number; [`Error::Unsupported`]
    /// for a Parquet file without the feature, or one that is compressed otherwise; [`Error::Data`] if the catalogue has an
    /// item twice, or no choice is left.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<(Histories, LeftOut)> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| Error::read(path, source))?;
        let is_parquet = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"));
        let read = if is_parquet { read_parquet } else { read_csv };
        let mut rows = Rows::new(self.catalogue.as_deref());
        let (rated, least) = (self.least_rating.is_some(), self.least_rating);
        let columns = read(path, file, rated, &mut |row| rows.add(row, least))?;
        rows.left_out.ratings_unused = columns.rating.is_some() && !rated;
        rows.left_out.untimed = columns.time.is_none();
        rows.histories().map_err(|error| match error {
            Error::Data { what, expected, found } => Error::malformed(path, what, expected, found),
            other => other,
        })
    }
}

#[cfg(feature = "parquet")]
use super::parquet::read as read_parquet;

#[cfg(not(feature = "parquet"))]
fn read_parquet(path: &Path, _: File, _: bool, _: &mut dyn FnMut(Row<'_>)) -> Result<Columns> {
    let what = format!("table of choices {}", path.display());
    Err(Error::unsupported(what, "CSV", "Parquet, which needs the crate feature `parquet`"))
}

fn read_csv(path: &Path, file: File, rated: bool, each: &mut dyn FnMut(Row<'_>)) -> Result<Columns> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(file);
    let failed = |error: csv::Error| {
        Error::malformed(path, "table", "rows of as many columns as the heading", &error).because(error)
    };
    let names: Vec<String> = reader.headers().map_err(failed)?.iter().map(str::to_owned).collect();
    let columns = Columns::of(path, &names, rated)?;
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(failed)? {
        let line = record.position().map_or(0, csv::Position::line);
        let field = |at: usize| record.get(at).unwrap_or_default();
        let number = |at: usize| field(at).parse::<f64>().map_err(|_| field(at).to_owned());
        let row = columns.row(&mut |at| field(at), &mut |at| number(at));
        each(row.map_err(|fault| fault.error(path, format!("line {line}")))?);
    }
    Ok(columns)
}

/// Where the columns are.
#[derive(Debug)]
pub(super) struct Columns {
    pub user: usize,
    pub item: usize,
    pub time: Option<usize>,
    pub rating: Option<usize>,
}

/// A choice as it stands in a table.
pub(super) struct Row<'r> {
    user: &'r str,
    item: &'r str,
    time: f64,
    rating: f64,
}

/// A cell that is not what its column holds.
pub(super) struct Fault {
    column: &'static str,
    expected: &'static str,
    found: String,
}

impl Fault {
    pub fn error(self, path: &Path, place: String) -> Error {
        let Self { column, expected, found } = self;
        Error::malformed(path, format!("{place}: {column}"), expected, format!("`{found}`"))
    }
}

impl Columns {
    pub fn of(path: &Path, heading: &[String], rated: bool) -> Result<Self> {
        // Some programs begin a table with the mark of their byte order.
        let name = |column: &str| column.trim_start_matches('\u{feff}').to_lowercase();
        let place = |wanted: &str| heading.iter().position(|column| name(column) == wanted);
        let lacking = |wanted: &str| {
            let found = format!("`{}`", heading.join(","));
            Error::malformed(path, "heading", format!("a column `{wanted}`"), found)
        };
        let rating = place("rating");
        if rated && rating.is_none() {
            return Err(lacking("rating"));
        }
        Ok(Self {
            user: place("user").ok_or_else(|| lacking("user"))?,
            item: place("item").ok_or_else(|| lacking("item"))?,
            time: place("timestamp"),
            rating,
        })
    }

    /// A row of what stands in a column: a text, empty where there is none, and a number, or what stands there instead.
    pub fn row<'r>(
        &self,
        text: &mut dyn FnMut(usize) -> &'r str,
        number: &mut dyn FnMut(usize) -> std::result::Result<f64, String>,
    ) -> std::result::Result<Row<'r>, Fault> {
        let mut name = |column, at| match text(at) {
            "" => Err(Fault { column, expected: "a name", found: String::new() }),
            name => Ok(name),
        };
        let mut value = |column, at: Option<usize>| match at.map(&mut *number) {
            None => Ok(0.0),
            Some(Ok(value)) if value.is_finite() => Ok(value),
            Some(Ok(value)) => Err(Fault { column, expected: "a finite number", found: value.to_string() }),
            Some(Err(found)) => Err(Fault { column, expected: "a finite number", found }),
        };
        Ok(Row {
            user: name("user", self.user)?,
            item: name("item", self.item)?,
            time: value("timestamp", self.time)?,
            rating: value("rating", self.rating)?,
        })
    }
}

/// Rows as they are read.
struct Rows {
    users: Names,
    items: Names,
    fixed: bool,
    doubled: Option<String>,
    choices: Vec<Vec<(f64, usize)>>,
    left_out: LeftOut,
}

/// Names in the order they first come, and the place of each.
#[derive(Default)]
struct Names {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

impl Names {
    fn place(&mut self, name: &str) -> usize {
        if let Some(&place) = self.places.get(name) {
            return place;
        }
        self.places.insert(name.to_owned(), self.names.len());
        self.names.push(name.to_owned());
        self.names.len() - 1
    }
}

impl Rows {
    fn new(catalogue: Option<&[String]>) -> Self {
        let (mut items, mut doubled) = (Names::default(), None);
        for (at, name) in catalogue.unwrap_or_default().iter().enumerate() {
            if items.place(name) < at && doubled.is_none() {
                doubled = Some(name.clone());
            }
        }
        let left_out = LeftOut::default();
        Self {
            users: Names::default(),
            items,
            fixed: catalogue.is_some(),
            doubled,
            choices: vec![],
            left_out,
        }
    }

    fn add(&mut self, row: Row<'_>, least_rating: Option<f64>) {
        self.left_out.rows += 1;
        if least_rating.is_some_and(|least| row.rating < least) {
            self.left_out.low += 1;
            return;
        }
        if self.fixed && !self.items.places.contains_key(row.item) {
            self.left_out.unknown += 1;
            let named = &mut self.left_out.unknown_items;
            if named.len() < NAMED && !named.iter().any(|name| name == row.item) {
                named.push(row.item.to_owned());
            }
            return;
        }
        let (user, item) = (self.users.place(row.user), self.items.place(row.item));
        self.choices.resize_with(self.users.names.len(), Vec::new);
        self.choices[user].push((row.time, item));
    }

    fn histories(mut self) -> Result<(Histories, LeftOut)> {
        if let Some(name) = self.doubled {
            return Err(Error::data("items", "names that differ", format!("`{name}` twice")));
        }
        if self.choices.is_empty() {
            let LeftOut { rows, low, unknown, .. } = self.left_out;
            let found = format!("none of {rows} rows ({low} rated too low, {unknown} with unknown items)");
            return Err(Error::data("choices", "at least one", found));
        }
        let mut of = Vec::with_capacity(self.choices.len());
        let mut last = vec![usize::MAX; self.items.names.len()];
        for (user, mut choices) in self.choices.into_iter().enumerate() {
            choices.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable
            let all = choices.len();
            let mut history: Vec<usize> = (choices.iter().rev().map(|&(_, item)| item))
                .filter(|&item| std::mem::replace(&mut last[item], user) != user)
                .collect();
            history.reverse();
            self.left_out.repeated += all - history.len();
            self.left_out.single += usize::from(history.len() == 1);
            of.push(history);
        }
        Ok((Histories::new(self.users.names, self.items.names, of)?, self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reading: &Reading, table: &str) -> Result<(Histories, LeftOut)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clicks.csv");
        std::fs::write(&path, table).unwrap();
        reading.read(&path)
    }

    #[test]
    fn equal_times_keep_the_order_of_the_rows_and_repetitions_the_last() {
        let table = "\u{feff}Timestamp,User,Item,rating\n5,a,x,1\n5,a,y,5\n1,a,z,3\n9,a,x,2\n0,b,y,4\n";
        let (histories, left_out) = read(&Reading::default(), table).unwrap();
        assert_eq!(histories.items(), ["x", "y", "z"]);
        assert_eq!((histories.of(0), histories.of(1)), (&[2, 1, 0][..], &[1][..]));
        let expected =
            LeftOut { rows: 5, repeated: 1, single: 1, ratings_unused: true, ..LeftOut::default() };
        assert_eq!(left_out, expected);
        let (histories, left_out) = read(&Reading::default().with_least_rating(3.0), table).unwrap();
        assert_eq!((histories.of(0), histories.of(1), left_out.low), (&[1, 0][..], &[0][..], 2));
        assert_eq!(histories.items(), ["y", "z"]);
    }

    #[test]
    fn every_fault_names_its_line() {
        for (table, sentence) in [
            ("user,thing\na,x\n", "heading: expected a column `item`, found `user,thing`"),
            ("user,item,timestamp\na,x,noon\n", "line 2: timestamp: expected a finite number, found `noon`"),
            ("user,item,timestamp\na,x,1\na,,1\n", "line 3: item: expected a name, found ``"),
            ("user,item,rating\na,x,NaN\n", "line 2: rating: expected a finite number, found `NaN`"),
            ("user,item\na,x,3\n", "expected rows of as many columns as the heading"),
            ("user,item\n", "choices: expected at least one, found none of 0 rows"),
        ] {
            let error = read(&Reading::default(), table).unwrap_err().to_string();
            assert!(error.contains(sentence), "{error}");
        }
        let error = read(&Reading::default().with_least_rating(1.0), "user,item\na,x\n").unwrap_err();
        assert!(error.to_string().contains("a column `rating`"), "{error}");
        let error = read(&Reading::default().among(["y", "y"]), "user,item\na,y\n").unwrap_err();
        assert!(error.to_string().contains("`y` twice"), "{error}");
        let error = read(&Reading::default().among(["y"]), "user,item\na,x\n").unwrap_err();
        assert!(error.to_string().contains("1 with unknown items"), "{error}");
    }
}
