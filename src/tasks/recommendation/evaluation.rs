use std::fmt::Debug;

use rayon::prelude::*;

use super::Histories;
use crate::error::{Error, Result};
use crate::evaluate::ranking::{Lists, RankingReport};

/// What gives every item of a catalogue a score for a user.
pub trait Recommender: Debug + Send + Sync {
    /// The name in reports.
    fn name(&self) -> &'static str;

    /// The scores of all items for a user of the histories that were learned from, and the items that this user chose
    /// until now, oldest first. Only what learns a vector a user looks at `user`.
    ///
    /// # Panics
    /// If `user` or an item is not among those that were learned from.
    fn scores(&self, user: usize, history: &[usize]) -> Vec<f32>;
}

/// Scores lists of `k` items by what each user chose next, `sought`. Nothing that a user has chosen before is in a list,
/// nor anything of `hidden`, such as all items that nobody has chosen.
///
/// # Errors
/// [`Error::Data`] if there is not one `sought` a user, none has any, or an item sought is hidden; [`Error::Setting`] if
/// `k` is 0.
///
/// # Examples
/// ```
/// use clip_adapter::tasks::recommendation::{Histories, Popularity, evaluate};
///
/// let of = vec![vec![0, 1], vec![0, 2, 1], vec![1, 0]];
/// let (earlier, last) = Histories::new(["a", "b", "c"], ["x", "y", "z"], of)?.leave_last_out();
/// let report = evaluate(&Popularity::fit(&earlier), &earlier, &last, &[], 1)?;
/// assert_eq!((report.users, report.hit_rate), (3, 2.0 / 3.0 * 100.0)); // y and z are as popular for a
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn evaluate(
    model: &dyn Recommender,
    histories: &Histories,
    sought: &[Option<usize>],
    hidden: &[usize],
    k: usize,
) -> Result<RankingReport> {
    /// Users at once, for which a row of scores is held.
    const PART: usize = 64;
    let (users, items) = (histories.users().len(), histories.items().len());
    if sought.len() != users {
        return Err(Error::data("choices to find", format!("one for each of {users} users"), sought.len()));
    }
    let empty = Lists::new(items, k)?;
    let of_part = |(part, sought): (usize, &[Option<usize>])| -> Result<Lists> {
        let mut lists = empty.clone();
        for (at, sought) in sought.iter().enumerate() {
            let user = part * PART + at;
            if let Some(item) = *sought {
                let history = histories.of(user);
                let unseen = [hidden, history].concat();
                lists.add(&model.scores(user, history), &[item], &unseen)?;
            }
        }
        Ok(lists)
    };
    // Collected in order before they are joined, so that sums have the same last bits however the work was shared.
    let parts: Vec<Result<Lists>> = sought.par_chunks(PART).enumerate().map(of_part).collect();
    parts.into_iter().try_fold(empty, |all, part| Ok(all.join(part?)))?.report()
}
