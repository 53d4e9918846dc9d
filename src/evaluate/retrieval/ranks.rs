use super::measures::{average_precision, map_at_r, ndcg_at, places, precision_at, reciprocal_rank};
use super::{DirectionReport, Hubness};
use crate::error::{Error, Result};
use crate::numerics::argmax;

/// Queries as they are scored, one after the other, and what they tell of a gallery.
///
/// No more than one row of scores is needed at once, so that a gallery of any size fits.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::retrieval::Ranks;
///
/// let mut ranks = Ranks::new(3);
/// ranks.add(&[0.9, 0.1, 0.2], &[0])?; // found first
/// ranks.add(&[0.9, 0.1, 0.2], &[1])?; // found last
/// let report = ranks.report()?;
/// assert_eq!((report.r1, report.r5, report.median_rank), (50.0, 100.0, 2.0));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Ranks {
    gallery: usize,
    /// Of each query, the place of the first relevant item.
    first: Vec<f64>,
    /// Of each gallery item, the queries that it is the first answer of.
    firsts: Vec<usize>,
    relevant: usize,
    reciprocal: f64,
    average_precision: f64,
    map_at_r: f64,
    precision: f64,
    ndcg: f64,
}

impl Ranks {
    /// Of a gallery of so many items.
    pub fn new(gallery: usize) -> Self {
        Self {
            gallery,
            first: Vec::new(),
            firsts: vec![0; gallery],
            relevant: 0,
            reciprocal: 0.0,
            average_precision: 0.0,
            map_at_r: 0.0,
            precision: 0.0,
            ndcg: 0.0,
        }
    }

    /// Adds a query by its scores with the whole gallery, and the items that answer it.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one score an item, a score is not finite, nothing is relevant, or a relevant
    /// item is not in the gallery or is named twice.
    pub fn add(&mut self, scores: &[f32], relevant: &[usize]) -> Result<()> {
        self.add_with(scores, &relevant.iter().map(|&item| (item, 1.0)).collect::<Vec<_>>(), None)
    }

    /// The same with a gain for each relevant item, which nDCG takes, and without the item that is the query itself.
    ///
    /// # Errors
    /// As [`add`](Self::add); [`Error::Data`] too if a gain is not above 0 and finite.
    pub fn add_with(&mut self, scores: &[f32], gains: &[(usize, f64)], itself: Option<usize>) -> Result<()> {
        self.check(scores, gains)?;
        let mut sorted: Vec<(usize, f64)> =
            gains.iter().copied().filter(|&(item, _)| Some(item) != itself).collect();
        if sorted.is_empty() {
            return Err(self.fault("relevant items", "at least one", "none"));
        }
        // As `places` sorts them, so that each gain has its place; of equal scores the lower gain first.
        sorted.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]).then(a.1.total_cmp(&b.1)));
        let items: Vec<usize> = sorted.iter().map(|&(item, _)| item).collect();
        let places = places(scores, &items, itself);
        let gained: Vec<(f64, f64)> =
            places.iter().zip(&sorted).map(|(&place, &(_, gain))| (place, gain)).collect();
        self.first.push(places[0]);
        self.relevant += places.len();
        self.reciprocal += reciprocal_rank(&places);
        self.average_precision += average_precision(&places);
        self.map_at_r += map_at_r(&places);
        self.precision += precision_at(&places, 10);
        self.ndcg += ndcg_at(&gained, 10);
        let best = match itself {
            None => argmax(scores),
            Some(itself) => {
                let mut others = scores.to_vec();
                others[itself] = f32::NEG_INFINITY;
                argmax(&others)
            }
        };
        self.firsts[best] += 1;
        Ok(())
    }

    fn check(&self, scores: &[f32], gains: &[(usize, f64)]) -> Result<()> {
        if scores.len() != self.gallery {
            let expected = format!("one for each of {} items", self.gallery);
            return Err(self.fault("scores", expected, scores.len()));
        }
        if let Some(at) = scores.iter().position(|score| !score.is_finite()) {
            return Err(self.fault(&format!("score of item {at}"), "a finite one", scores[at]));
        }
        let mut seen = vec![false; self.gallery];
        for &(item, gain) in gains {
            if item >= self.gallery {
                let expected = format!("one below {}", self.gallery);
                return Err(self.fault("relevant item", expected, item));
            }
            if std::mem::replace(&mut seen[item], true) {
                return Err(self.fault("relevant items", "each once", format!("{item} again")));
            }
            if !(gain.is_finite() && gain > 0.0) {
                return Err(self.fault(&format!("gain of item {item}"), "one above 0", gain));
            }
        }
        Ok(())
    }

    fn fault(&self, what: &str, expected: impl ToString, found: impl ToString) -> Error {
        Error::data(format!("query {}: {what}", self.first.len()), expected, found)
    }

    /// What all queries together tell.
    ///
    /// # Errors
    /// [`Error::Data`] if there was none.
    pub fn report(&self) -> Result<DirectionReport> {
        if self.first.is_empty() {
            return Err(Error::data("queries", "at least one", "none"));
        }
        let count = self.first.len() as f64;
        let percent = |sum: f64| 100.0 * sum / count;
        let recall = |k: f64| percent(self.first.iter().filter(|&&place| place < k).count() as f64);
        Ok(DirectionReport {
            queries: self.first.len(),
            gallery: self.gallery,
            relevant: self.relevant as f64 / count,
            r1: recall(1.0),
            r5: recall(5.0),
            r10: recall(10.0),
            median_rank: 1.0 + median(self.first.clone()),
            mrr: self.reciprocal / count,
            map: percent(self.average_precision),
            map_at_r: percent(self.map_at_r),
            p10: percent(self.precision),
            ndcg10: percent(self.ndcg),
            hubness: Hubness::of(&self.firsts),
        })
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_answers_count_once_in_recall_and_each_in_precision() {
        let mut ranks = Ranks::new(12);
        let scores: Vec<f32> = (0..12).map(|item| -(item as f32)).collect();
        ranks.add(&scores, &[3, 0, 11]).unwrap(); // places 0, 3, 11
        ranks.add(&scores, &[6]).unwrap();
        let report = ranks.report().unwrap();
        assert_eq!((report.queries, report.gallery, report.relevant), (2, 12, 2.0));
        assert_eq!((report.r1, report.r5, report.r10), (50.0, 50.0, 100.0));
        assert_eq!((report.median_rank, report.mrr), (4.0, (1.0 + 1.0 / 7.0) / 2.0));
        approx::assert_abs_diff_eq!(report.p10, 100.0 * (0.2 + 0.1) / 2.0, epsilon = 1e-12);
        let first = (1.0 + 2.0 / 4.0 + 3.0 / 12.0) / 3.0;
        approx::assert_abs_diff_eq!(report.map, 100.0 * (first + 1.0 / 7.0) / 2.0, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(report.map_at_r, 100.0 * (1.0 / 3.0) / 2.0, epsilon = 1e-12);
        assert_eq!((report.hubness.hubs, report.hubness.never), (0, 11));
    }

    /// CLIP4Clip's takes every position with the score of the truth, and so has more ranks than queries.
    #[test]
    fn a_tie_is_one_rank() {
        let mut ranks = Ranks::new(4);
        ranks.add(&[0.5, 0.5, 0.5, 0.1], &[1]).unwrap();
        let report = ranks.report().unwrap();
        assert_eq!((report.queries, report.median_rank, report.r1, report.r5), (1, 2.0, 0.0, 100.0));
    }

    #[test]
    fn a_query_is_not_its_own_answer() {
        let mut ranks = Ranks::new(3);
        ranks.add_with(&[1.0, 0.2, 0.7], &[(0, 1.0), (2, 1.0)], Some(0)).unwrap();
        let report = ranks.report().unwrap();
        assert_eq!((report.r1, report.relevant, report.map), (100.0, 1.0, 100.0));
        assert!(ranks.add_with(&[1.0, 0.2, 0.7], &[(0, 1.0)], Some(0)).is_err());
    }

    #[test]
    fn gains_go_with_their_items() {
        let mut ranks = Ranks::new(3);
        ranks.add_with(&[0.1, 0.3, 0.2], &[(0, 1.0), (1, 3.0)], None).unwrap(); // places 2 and 0
        let expected = (3.0 + 1.0 / 4f64.log2()) / (3.0 + 1.0 / 3f64.log2());
        approx::assert_abs_diff_eq!(ranks.report().unwrap().ndcg10, 100.0 * expected, epsilon = 1e-9);
    }

    #[test]
    fn what_is_no_query_is_refused() {
        let mut ranks = Ranks::new(2);
        let long = "query 0: scores: expected one for each of 2 items, found 1";
        assert_eq!(ranks.add(&[1.0], &[0]).unwrap_err().to_string(), long);
        for (scores, relevant) in
            [([1.0, f32::NAN], &[0][..]), ([1.0, 0.0], &[]), ([1.0, 0.0], &[2]), ([1.0, 0.0], &[1, 1])]
        {
            assert!(matches!(ranks.add(&scores, relevant), Err(Error::Data { .. })), "{relevant:?}");
        }
        for gain in [0.0, -1.0, f64::NAN] {
            assert!(ranks.add_with(&[1.0, 0.0], &[(0, gain)], None).is_err());
        }
        assert!(matches!(ranks.report(), Err(Error::Data { what, .. }) if what == "queries"));
    }
}
