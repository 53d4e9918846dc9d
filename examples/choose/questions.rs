//! Pairs on the terminal: which of two pictures is better.

use std::{
    io::{self, BufRead, Write},
    path::Path,
};

use clip_adapter::{
    Error, Result,
    tasks::generation::{Pair, Preference},
};

use crate::{candidates::Candidates, cli::files};

/// Asks, and writes every answer at once, so that none is lost.
pub fn ask(
    path: &Path,
    candidates: &Candidates,
    pairs: &mut Vec<Pair>,
    questions: usize,
    seed: u64,
) -> Result<()> {
    let preference = Preference::default();
    let mut answers = io::stdin().lock().lines();
    println!("1 or 2 for the better picture, = for neither, q to end");
    for question in 0..questions {
        let head = preference.fit(&candidates.rows, pairs, None, candidates.clip.identity())?;
        let next =
            preference.next_pair(&candidates.rows, pairs, &head, seed + (pairs.len() + question) as u64)?;
        let Some((one, other)) = next else {
            println!("all pairs were asked");
            break;
        };
        let pair = loop {
            print!("1 {}   2 {}   ? ", candidates.files[one].display(), candidates.files[other].display());
            io::stdout().flush().map_err(|source| Error::write("the terminal", source))?;
            let Some(answer) = answers.next() else { return Ok(()) };
            match answer.map_err(|source| Error::read("the terminal", source))?.trim() {
                "1" => break Pair::won(one, other),
                "2" => break Pair::won(other, one),
                "=" => break Pair::tied(one, other),
                "q" => return Ok(()),
                _ => println!("1, 2, = or q"),
            }
        };
        pairs.push(pair);
        write(path, &candidates.names, pairs)?;
    }
    Ok(())
}

fn write(path: &Path, names: &[String], pairs: &[Pair]) -> Result<()> {
    let quoted = |at: usize| format!("\"{}\"", names[at].replace('"', "\"\""));
    let row =
        |pair: &Pair| format!("{},{},{}\n", quoted(pair.winner), quoted(pair.loser), u8::from(pair.tie));
    let rows: String = pairs.iter().map(row).collect();
    files::write(path, format!("winner,loser,tie\n{rows}"))
}
