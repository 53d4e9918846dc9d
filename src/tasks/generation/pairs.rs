use std::fs::File;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};

use crate::error::{Error, Result};

/// Two candidates that a person compared.
///
/// # Examples
/// ```
/// use clip_adapter::tasks::generation::Pair;
///
/// assert!(!Pair::won(3, 1).tie && Pair::tied(3, 1).tie);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The one chosen, or of a tie either.
    pub winner: usize,
    /// The other.
    pub loser: usize,
    /// Whether neither was better.
    pub tie: bool,
}

impl Pair {
    /// The first is better.
    pub fn won(winner: usize, loser: usize) -> Self {
        Self { winner, loser, tie: false }
    }

    /// Neither is.
    pub fn tied(one: usize, other: usize) -> Self {
        Self { winner: one, loser: other, tie: true }
    }
}

/// Reads pairs from a table with the columns `winner` and `loser`, and `tie` where there is one: `1` or `true`, `0`,
/// `false` or nothing. `names` are those of the candidates.
///
/// # Errors
/// [`Error::Read`] if it cannot be read; [`Error::Malformed`] naming the line if it lacks a column, names what is no
/// candidate, compares one with itself, or has a tie that is neither.
///
/// # Examples
/// ```
/// use clip_adapter::tasks::generation::{Pair, read_pairs};
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("pairs.csv");
/// std::fs::write(&path, "winner,loser,tie\nb.png,a.png,\nc.png,b.png,1\n").unwrap();
/// assert_eq!(read_pairs(&path, &["a.png", "b.png", "c.png"])?, [Pair::won(1, 0), Pair::tied(2, 1)]);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn read_pairs(path: impl AsRef<Path>, names: &[impl AsRef<str>]) -> Result<Vec<Pair>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|source| Error::read(path, source))?;
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(file);
    let failed = |error: csv::Error| {
        Error::malformed(path, "table", "rows of as many columns as the heading", &error).because(error)
    };
    let heading = reader.headers().map_err(failed)?.clone();
    let place = |wanted: &str| heading.iter().position(|column| column == wanted);
    let column = |wanted: &str| {
        place(wanted).ok_or_else(|| {
            let found = heading.iter().collect::<Vec<_>>().join(",");
            Error::malformed(path, "heading", format!("a column `{wanted}`"), format!("`{found}`"))
        })
    };
    let (winner, loser, tie) = (column("winner")?, column("loser")?, place("tie"));
    let (mut pairs, mut record) = (Vec::new(), StringRecord::new());
    while reader.read_record(&mut record).map_err(failed)? {
        let line = record.position().map_or(0, csv::Position::line);
        let fault = |what: &str, expected: &str, found: &str| {
            Error::malformed(path, format!("line {line}: {what}"), expected, format!("`{found}`"))
        };
        let candidate = |what: &str, at: usize| {
            let name = record.get(at).unwrap_or_default();
            let known = names.iter().position(|known| known.as_ref() == name);
            known.ok_or_else(|| fault(what, "one of the candidates", name))
        };
        let (winner, loser) = (candidate("winner", winner)?, candidate("loser", loser)?);
        if winner == loser {
            return Err(fault("loser", "another than the winner", names[loser].as_ref()));
        }
        let tie = match tie.and_then(|at| record.get(at)).unwrap_or_default() {
            "" | "0" | "false" => false,
            "1" | "true" => true,
            other => return Err(fault("tie", "1 or true, 0, false or nothing", other)),
        };
        pairs.push(Pair { winner, loser, tie });
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_names_its_line() {
        for (table, sentence) in [
            ("winner,other\na,b\n", "heading: expected a column `loser`, found `winner,other`"),
            ("winner,loser\na,b\na,x\n", "line 3: loser: expected one of the candidates, found `x`"),
            ("winner,loser\na,a\n", "line 2: loser: expected another than the winner, found `a`"),
            ("winner,loser,tie\na,b,maybe\n", "line 2: tie: expected 1 or true, 0, false or nothing"),
            ("winner,loser\na\n", "table: expected rows of as many columns as the heading"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("pairs.csv");
            std::fs::write(&path, table).unwrap();
            let error = read_pairs(&path, &["a", "b"]).unwrap_err().to_string();
            assert!(error.contains(sentence), "{error}");
        }
    }
}
