use super::RankingReport;
use crate::error::{Error, Result};
use crate::evaluate::retrieval::{ndcg_at, places, reciprocal_rank};

/// Whether a relevant item stands among the first `k`: 1 or 0. `places` are sorted and counted from 0.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::ranking::hit_rate_at;
///
/// assert_eq!((hit_rate_at(&[9.5, 30.0], 10), hit_rate_at(&[10.0], 10), hit_rate_at(&[], 10)), (1.0, 0.0, 0.0));
/// ```
pub fn hit_rate_at(places: &[f64], k: usize) -> f64 {
    f64::from(u8::from(places.first().is_some_and(|&place| place < k as f64)))
}

/// The part of the relevant items that stands among the first `k`; 0 without one.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::ranking::recall_at;
///
/// assert_eq!(recall_at(&[0.0, 3.0, 9.0, 10.0], 10), 0.75);
/// ```
pub fn recall_at(places: &[f64], k: usize) -> f64 {
    places.iter().filter(|&&place| place < k as f64).count() as f64 / places.len().max(1) as f64
}

/// The `k` items of the highest scores that are not hidden, best first; of equal ones the first.
///
/// # Panics
/// If a hidden item is not below the number of scores.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::ranking::best;
///
/// assert_eq!(best(&[0.1, 0.9, 0.5, 0.5], &[1], 2), [2, 3]);
/// ```
pub fn best(scores: &[f32], hidden: &[usize], k: usize) -> Vec<usize> {
    let mut left: Vec<usize> = unhidden(scores.len(), hidden);
    let before = |&a: &usize, &b: &usize| scores[b].total_cmp(&scores[a]).then(a.cmp(&b));
    if k < left.len() {
        left.select_nth_unstable_by(k, before);
        left.truncate(k);
    }
    left.sort_unstable_by(before);
    left
}

fn unhidden(items: usize, hidden: &[usize]) -> Vec<usize> {
    let mut is_hidden = vec![false; items];
    hidden.iter().for_each(|&item| is_hidden[item] = true);
    (0..items).filter(|&item| !is_hidden[item]).collect()
}

/// Lists as they are scored, one user after the other, and what they tell.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::ranking::Lists;
///
/// let mut lists = Lists::new(4, 1)?; // lists of one of four items
/// lists.add(&[0.9, 0.5, 0.2, 0.1], &[1], &[0])?; // item 0 was seen before, and so 1 comes first
/// lists.add(&[0.3, 0.3, 0.3, 0.3], &[2], &[])?; // one of four that share a rank
/// let report = lists.report()?;
/// assert_eq!((report.hit_rate, report.mrr, report.coverage), (50.0, (1.0 + 1.0 / 2.5) / 2.0, 50.0));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Lists {
    k: usize,
    users: usize,
    hits: f64,
    ndcg: f64,
    recall: f64,
    reciprocal: f64,
    shown: Vec<bool>,
}

impl Lists {
    /// Of the first `k` of so many items.
    ///
    /// # Errors
    /// [`Error::Setting`] if `k` is 0.
    pub fn new(catalogue: usize, k: usize) -> Result<Self> {
        if k == 0 {
            return Err(Error::setting("k", "1 or more", k));
        }
        let shown = vec![false; catalogue];
        Ok(Self { k, users: 0, hits: 0.0, ndcg: 0.0, recall: 0.0, reciprocal: 0.0, shown })
    }

    /// Adds a user by the scores of the whole catalogue, the items that were chosen, and those that are not shown, such
    /// as what the user has seen.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one score an item, a score is not finite, nothing is relevant, or a relevant item
    /// is hidden, named twice or in no catalogue.
    pub fn add(&mut self, scores: &[f32], relevant: &[usize], hidden: &[usize]) -> Result<()> {
        self.check(scores, relevant, hidden)?;
        let left = unhidden(scores.len(), hidden);
        let mut at = vec![usize::MAX; scores.len()];
        left.iter().enumerate().for_each(|(place, &item)| at[item] = place);
        let sought: Vec<usize> = relevant.iter().map(|&item| at[item]).collect();
        let shown: Vec<f32> = left.iter().map(|&item| scores[item]).collect();
        let places = places(&shown, &sought, None);
        let gained: Vec<(f64, f64)> = places.iter().map(|&place| (place, 1.0)).collect();
        self.users += 1;
        self.hits += hit_rate_at(&places, self.k);
        self.ndcg += ndcg_at(&gained, self.k);
        self.recall += recall_at(&places, self.k);
        self.reciprocal += reciprocal_rank(&places);
        best(&shown, &[], self.k).into_iter().for_each(|place| self.shown[left[place]] = true);
        Ok(())
    }

    /// Takes the lists of another part of the users.
    ///
    /// # Panics
    /// If they are of another catalogue or length.
    pub fn join(mut self, other: Self) -> Self {
        assert_eq!((self.k, self.shown.len()), (other.k, other.shown.len()), "lists of one kind");
        self.users += other.users;
        self.hits += other.hits;
        self.ndcg += other.ndcg;
        self.recall += other.recall;
        self.reciprocal += other.reciprocal;
        self.shown.iter_mut().zip(other.shown).for_each(|(shown, other)| *shown |= other);
        self
    }

    fn check(&self, scores: &[f32], relevant: &[usize], hidden: &[usize]) -> Result<()> {
        let items = self.shown.len();
        if scores.len() != items {
            return Err(self.fault("scores", format!("one for each of {items} items"), scores.len()));
        }
        if let Some(at) = scores.iter().position(|score| !score.is_finite()) {
            return Err(self.fault(&format!("score of item {at}"), "a finite one", scores[at]));
        }
        if relevant.is_empty() {
            return Err(self.fault("relevant items", "at least one", "none"));
        }
        if let Some(item) = relevant.iter().chain(hidden).find(|&&item| item >= items) {
            return Err(self.fault("item", format!("one below {items}"), item));
        }
        let mut state = vec![0u8; items];
        hidden.iter().for_each(|&item| state[item] = 1);
        for &item in relevant {
            match std::mem::replace(&mut state[item], 2) {
                0 => {}
                1 => return Err(self.fault("relevant items", "none that is hidden", item)),
                _ => return Err(self.fault("relevant items", "each once", format!("{item} again"))),
            }
        }
        Ok(())
    }

    fn fault(&self, what: &str, expected: impl ToString, found: impl ToString) -> Error {
        Error::data(format!("user {}: {what}", self.users), expected, found)
    }

    /// What all lists together tell.
    ///
    /// # Errors
    /// [`Error::Data`] if there was none.
    pub fn report(&self) -> Result<RankingReport> {
        if self.users == 0 {
            return Err(Error::data("users with something to find", "at least one", "none"));
        }
        let mean = |sum: f64| sum / self.users as f64;
        let shown = self.shown.iter().filter(|&&shown| shown).count();
        Ok(RankingReport {
            users: self.users,
            catalogue: self.shown.len(),
            k: self.k,
            hit_rate: 100.0 * mean(self.hits),
            ndcg: 100.0 * mean(self.ndcg),
            recall: 100.0 * mean(self.recall),
            mrr: mean(self.reciprocal),
            coverage: 100.0 * shown as f64 / self.shown.len() as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_item_at_each_place() {
        let scores: Vec<f32> = (0..20).map(|item| -(item as f32)).collect();
        let mut lists = Lists::new(20, 10).unwrap();
        for item in [0, 2, 9, 10] {
            lists.add(&scores, &[item], &[]).unwrap();
        }
        let report = lists.report().unwrap();
        assert_eq!((report.hit_rate, report.recall, report.coverage), (75.0, 75.0, 50.0));
        let ndcg = 100.0 * (1.0 + 0.5 + 1.0 / 11f64.log2()) / 4.0;
        approx::assert_abs_diff_eq!(report.ndcg, ndcg, epsilon = 1e-9);
        let mrr = (1.0 + 1.0 / 3.0 + 1.0 / 10.0 + 1.0 / 11.0) / 4.0;
        approx::assert_abs_diff_eq!(report.mrr, mrr, epsilon = 1e-12);
    }

    /// Twenty-one items share the ranks 1 to 21, whose mean is 11.
    #[test]
    fn ties_share_the_mean_rank() {
        let mut lists = Lists::new(22, 10).unwrap();
        lists.add(&[0.5; 22], &[0], &[7]).unwrap();
        let report = lists.report().unwrap();
        assert_eq!((report.hit_rate, report.ndcg, report.mrr), (0.0, 0.0, 1.0 / 11.0));
        let mut lists = Lists::new(22, 11).unwrap();
        lists.add(&[0.5; 22], &[0], &[7]).unwrap();
        assert_eq!(lists.report().unwrap().hit_rate, 100.0);
    }

    #[test]
    fn hidden_items_are_in_no_list() {
        let scores = [5.0, 4.0, 3.0, 2.0, 1.0];
        assert_eq!(best(&scores, &[0, 2], 9), [1, 3, 4]);
        assert_eq!(best(&scores, &[], 0), [0usize; 0]);
        let mut lists = Lists::new(5, 2).unwrap();
        lists.add(&scores, &[3, 4], &[0, 2]).unwrap(); // places 1 and 2
        let report = lists.report().unwrap();
        assert_eq!((report.hit_rate, report.recall, report.mrr, report.coverage), (100.0, 50.0, 0.5, 40.0));
    }

    #[test]
    fn parts_join_to_the_whole() {
        let scores: Vec<f32> = (0..9).map(|item| ((item * 5) % 9) as f32).collect();
        let (mut whole, mut one, mut two) =
            (Lists::new(9, 3).unwrap(), Lists::new(9, 3).unwrap(), Lists::new(9, 3).unwrap());
        for item in 0..9 {
            whole.add(&scores, &[item], &[]).unwrap();
            if item < 4 { &mut one } else { &mut two }.add(&scores, &[item], &[]).unwrap();
        }
        let (whole, parts) = (whole.report().unwrap(), one.join(two).report().unwrap());
        approx::assert_abs_diff_eq!(whole.mrr, parts.mrr, epsilon = 1e-12);
        assert_eq!((whole.users, whole.hit_rate, whole.coverage), (9, parts.hit_rate, parts.coverage));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let mut lists = Lists::new(2, 1).unwrap();
        for (scores, relevant, hidden) in [
            (&[1.0][..], &[0][..], &[][..]),
            (&[1.0, f32::NAN], &[0], &[]),
            (&[1.0, 0.0], &[], &[]),
            (&[1.0, 0.0], &[2], &[]),
            (&[1.0, 0.0], &[0], &[2]),
            (&[1.0, 0.0], &[1], &[1]),
            (&[1.0, 0.0], &[1, 1], &[]),
        ] {
            let error = lists.add(scores, relevant, hidden).unwrap_err();
            assert!(error.to_string().starts_with("user 0: "), "{error}");
        }
        assert!(matches!(lists.report(), Err(Error::Data { .. })));
        assert!(matches!(Lists::new(2, 0), Err(Error::Setting { name, .. }) if name == "k"));
    }
}
