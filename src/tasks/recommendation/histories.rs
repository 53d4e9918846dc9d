use std::collections::{BTreeSet, HashSet};

use crate::error::{Error, Result};

/// Who chose what, in the order of time.
///
/// # Examples
/// ```
/// use clip_adapter::tasks::recommendation::Histories;
///
/// let histories = Histories::new(["ann", "ben"], ["mug", "vase", "bowl"], vec![vec![0, 2], vec![1]])?;
/// assert_eq!((histories.of(0), histories.popularity()), (&[0, 2][..], vec![1, 1, 1]));
/// let (earlier, last) = histories.leave_last_out();
/// assert_eq!((earlier.of(0), last), (&[0][..], vec![Some(2), None])); // of a single choice none is left out
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histories {
    users: Vec<String>,
    items: Vec<String>,
    of: Vec<Vec<usize>>,
}

impl Histories {
    /// Takes the names of users and items, and the items that each user chose, oldest first.
    ///
    /// # Errors
    /// [`Error::Data`] if a name comes twice, there is not one history a user, or an item is in no catalogue or comes twice
    /// in one history.
    pub fn new<U: Into<String>, I: Into<String>>(
        users: impl IntoIterator<Item = U>,
        items: impl IntoIterator<Item = I>,
        of: Vec<Vec<usize>>,
    ) -> Result<Self> {
        let users: Vec<String> = users.into_iter().map(Into::into).collect();
        let items: Vec<String> = items.into_iter().map(Into::into).collect();
        check_names("users", &users)?;
        check_names("items", &items)?;
        if of.len() != users.len() {
            return Err(Error::data("histories", format!("one for each of {} users", users.len()), of.len()));
        }
        for (user, history) in users.iter().zip(&of) {
            let what = || format!("history of `{user}`");
            if let Some(item) = history.iter().find(|&&item| item >= items.len()) {
                return Err(Error::data(what(), format!("items below {}", items.len()), item));
            }
            if history.iter().collect::<BTreeSet<_>>().len() < history.len() {
                return Err(Error::data(what(), "each item once", "one again"));
            }
        }
        Ok(Self { users, items, of })
    }

    /// The users' names.
    pub fn users(&self) -> &[String] {
        &self.users
    }

    /// The items' names.
    pub fn items(&self) -> &[String] {
        &self.items
    }

    /// The items that a user chose, oldest first.
    ///
    /// # Panics
    /// If there is no such user.
    pub fn of(&self, user: usize) -> &[usize] {
        &self.of[user]
    }

    /// All histories, user by user.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[usize]> {
        self.of.iter().map(Vec::as_slice)
    }

    /// Choices of all users together.
    pub fn choices(&self) -> usize {
        self.of.iter().map(Vec::len).sum()
    }

    /// How many users chose each item.
    pub fn popularity(&self) -> Vec<usize> {
        let mut counts = vec![0; self.items.len()];
        self.of.iter().flatten().for_each(|&item| counts[item] += 1);
        counts
    }

    /// The histories without the last choice of every user who has two or more, and those choices: what a recommender is
    /// scored by. A user with a single choice keeps it and has nothing to be scored by.
    pub fn leave_last_out(&self) -> (Self, Vec<Option<usize>>) {
        let mut earlier = self.clone();
        let last = |history: &mut Vec<usize>| if history.len() < 2 { None } else { history.pop() };
        let last = earlier.of.iter_mut().map(last).collect();
        (earlier, last)
    }

    pub(super) fn put_back(&mut self, user: usize, item: usize) {
        self.of[user].push(item);
    }
}

fn check_names(what: &str, names: &[String]) -> Result<()> {
    let mut seen = HashSet::with_capacity(names.len());
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Error::data(what, "names that differ", format!("`{name}` twice"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named() {
        for (users, items, of, sentence) in [
            (
                vec!["a", "a"],
                vec!["x"],
                vec![vec![], vec![]],
                "users: expected names that differ, found `a` twice",
            ),
            (vec!["a"], vec!["x", "x"], vec![vec![]], "items: expected names that differ, found `x` twice"),
            (vec!["a"], vec!["x"], vec![], "histories: expected one for each of 1 users, found 0"),
            (vec!["a"], vec!["x"], vec![vec![1]], "history of `a`: expected items below 1, found 1"),
            (
                vec!["a"],
                vec!["x"],
                vec![vec![0, 0]],
                "history of `a`: expected each item once, found one again",
            ),
        ] {
            assert_eq!(Histories::new(users, items, of).unwrap_err().to_string(), sentence);
        }
    }
}
