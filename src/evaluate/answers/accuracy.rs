use super::Normalise;
use crate::error::{Error, Result};

/// The accuracy of an answer against those of several people, 0..=1: `mean_i min(1, #{j != i: a_j = answer} / 3)`.
///
/// Each person is left out in turn and the others judge. Of ten people, 0, 1, 2, 3 and 4 or more who gave the answer
/// make 0, 0.3, 0.6, 0.9 and 1. With [`Normalise::Official`] these are the numbers of the official evaluator: the
/// people's answers lose their punctuation and nothing else, and not even that where all of them are alike.
/// With one person use [`exact_match`]: here nobody would be left to judge, and the accuracy is 0.
///
/// # Errors
/// [`Error::Data`] if there is no human answer.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::answers::{Normalise, vqa_accuracy};
///
/// let people = ["2", "2", "two cats", "3", "4", "5", "6", "7", "8", "9"];
/// let accuracy = vqa_accuracy("Two", &people, Normalise::Official)?;
/// approx::assert_abs_diff_eq!(accuracy, 0.6, epsilon = 1e-12);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn vqa_accuracy(answer: &str, people: &[impl AsRef<str>], normalise: Normalise) -> Result<f64> {
    if people.is_empty() {
        return Err(Error::data("human answers", "at least one", "none"));
    }
    let (answer, people) = (normalise.answer(answer), normalise.people(people));
    let right = people.iter().filter(|given| **given == answer).count();
    let judged = |others: usize| (others as f64 / 3.0).min(1.0);
    let (agree, differ) = (right as f64, (people.len() - right) as f64);
    Ok((agree * judged(right.saturating_sub(1)) + differ * judged(right)) / people.len() as f64)
}

/// Whether an answer is the one expected, once both are normalised: the measure where a question has one answer.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::answers::{Normalise, exact_match};
///
/// assert!(exact_match("The circle.", "circle", Normalise::Clean));
/// assert!(!exact_match("circle", "square", Normalise::Clean));
/// ```
pub fn exact_match(answer: &str, expected: &str, normalise: Normalise) -> bool {
    normalise.answer(answer) == normalise.answer(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_form() {
        for (right, expected) in
            [0.0, 0.3, 0.6, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0].into_iter().enumerate()
        {
            let people: Vec<String> =
                (0..10).map(|at| if at < right { "cat".into() } else { format!("other {at}") }).collect();
            for normalise in [Normalise::Official, Normalise::Clean] {
                let found = vqa_accuracy("cat", &people, normalise).unwrap();
                approx::assert_abs_diff_eq!(found, expected, epsilon = 1e-12);
            }
        }
        assert!(matches!(vqa_accuracy("cat", &[""; 0], Normalise::Official), Err(Error::Data { .. })));
    }
}
