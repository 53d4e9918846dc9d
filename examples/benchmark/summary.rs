//! What outcomes say together: means and standard deviations over seeds, and ranks.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{cli::distinct::distinct, trial::Outcome};

/// The name of the block and panel that averages over data sets.
pub const MEAN: &str = "mean over data sets";

/// Accuracies less than this apart are the same: their means were only rounded differently.
const TIE: f64 = 1e-9;

/// Mean and standard deviation over seeds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Spread {
    pub mean: f64,
    pub deviation: f64,
}

/// A method on a data set, or on all of them, at some shots.
#[derive(Debug, Serialize)]
pub struct Cell {
    pub dataset: String,
    pub method: String,
    pub shots: usize,
    pub accuracy: Spread,
    pub macro_f1: Spread,
    pub ece: Spread,
    pub fit_seconds: Spread,
}

/// The place a method takes by mean accuracy, on average over data sets and shots; 1 is the best of the methods.
#[derive(Debug, Serialize)]
pub struct Rank {
    pub method: String,
    pub rank: f64,
}

pub struct Summary {
    pub cells: Vec<Cell>,
    pub ranks: Vec<Rank>,
}

impl Summary {
    pub fn new(outcomes: &[Outcome]) -> Self {
        let (methods, shots) = (methods(outcomes), shots(outcomes));
        let mut cells = Vec::new();
        for dataset in blocks(outcomes) {
            for &shots in &shots {
                cells.extend(methods.iter().map(|method| cell(outcomes, dataset, method, shots)));
            }
        }
        let ranks = ranks(&methods, &cells);
        Self { cells, ranks }
    }

    pub fn cell(&self, dataset: &str, method: &str, shots: usize) -> Option<&Cell> {
        let mut cells = self.cells.iter();
        cells.find(|cell| cell.dataset == dataset && cell.method == method && cell.shots == shots)
    }
}

fn cell(outcomes: &[Outcome], dataset: &str, method: &str, shots: usize) -> Cell {
    let spread = |measure: fn(&Outcome) -> f64| spread(&by_seed(outcomes, dataset, method, shots, measure));
    Cell {
        dataset: dataset.to_owned(),
        method: method.to_owned(),
        shots,
        accuracy: spread(|outcome| outcome.accuracy),
        macro_f1: spread(|outcome| outcome.macro_f1),
        ece: spread(|outcome| outcome.ece),
        fit_seconds: spread(|outcome| outcome.fit_seconds),
    }
}

/// Methods that tie share the mean of the places they take.
fn ranks(methods: &[&str], cells: &[Cell]) -> Vec<Rank> {
    let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.dataset != MEAN).collect();
    let place = |cell: &Cell| {
        let rivals = cells.iter().filter(|other| other.dataset == cell.dataset && other.shots == cell.shots);
        let place = rivals.map(|other| match other.accuracy.mean - cell.accuracy.mean {
            ahead if ahead > TIE => 1.0,
            behind if behind < -TIE => 0.0,
            _ => 0.5, // its own half among them
        });
        place.sum::<f64>() + 0.5
    };
    let rank = |&method: &&str| {
        let places: Vec<f64> =
            cells.iter().filter(|cell| cell.method == method).map(|cell| place(cell)).collect();
        Rank { method: method.to_owned(), rank: spread(&places).mean }
    };
    methods.iter().map(rank).collect()
}

pub fn spread(values: &[f64]) -> Spread {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    Spread { mean, deviation: variance.sqrt() }
}

pub fn methods(outcomes: &[Outcome]) -> Vec<&str> {
    distinct(outcomes.iter().map(|outcome| outcome.method.as_str()))
}

pub fn shots(outcomes: &[Outcome]) -> Vec<usize> {
    distinct(outcomes.iter().map(|outcome| outcome.shots))
}

/// The data sets, followed by their mean if there are several.
pub fn blocks(outcomes: &[Outcome]) -> Vec<&str> {
    let mut blocks = distinct(outcomes.iter().map(|outcome| outcome.dataset.as_str()));
    if blocks.len() > 1 {
        blocks.push(MEAN);
    }
    blocks
}

/// Accuracies of one method at some shots, one a seed.
pub fn accuracies(outcomes: &[Outcome], dataset: &str, method: &str, shots: usize) -> Vec<f64> {
    by_seed(outcomes, dataset, method, shots, |outcome| outcome.accuracy)
}

/// A measure of one method at some shots, one a seed. For the mean, each seed's is averaged over the data sets.
fn by_seed(
    outcomes: &[Outcome],
    dataset: &str,
    method: &str,
    shots: usize,
    measure: fn(&Outcome) -> f64,
) -> Vec<f64> {
    let seeds: BTreeSet<u64> = outcomes.iter().map(|outcome| outcome.seed).collect();
    let of_seed = |seed: u64| {
        let values: Vec<f64> = outcomes
            .iter()
            .filter(|outcome| outcome.method == method && outcome.shots == shots && outcome.seed == seed)
            .filter(|outcome| dataset == MEAN || outcome.dataset == dataset)
            .map(measure)
            .collect();
        (!values.is_empty()).then(|| spread(&values).mean)
    };
    seeds.into_iter().filter_map(of_seed).collect()
}
