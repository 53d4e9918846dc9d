//! Answers to questions, as the official evaluator of VQA takes them.

use std::fs;

use clip_adapter::evaluate::answers::{Normalise, vqa_accuracy};
use serde_json::Value;

use crate::backbone::golden;

fn rows(key: &str) -> Vec<Value> {
    let answers: Value = serde_json::from_str(&fs::read_to_string(golden("answers.json")).unwrap()).unwrap();
    answers[key].as_array().unwrap().clone()
}

#[test]
fn answers_are_normalised_as_officially() {
    let rows = rows("normalised");
    assert!(rows.len() >= 200, "{}", rows.len());
    for row in rows {
        let (answer, expected) = (row[0].as_str().unwrap(), row[1].as_str().unwrap());
        assert_eq!(Normalise::Official.answer(answer), expected, "{answer:?}");
    }
}

#[test]
fn peoples_answers_lose_their_marks_as_officially() {
    for row in rows("people") {
        let (answer, expected) = (row[0].as_str().unwrap(), row[1].as_str().unwrap());
        let found = Normalise::Official.people(&[answer, "another", "\u{0}"]);
        assert_eq!(found[0], expected, "{answer:?}");
        assert_eq!(Normalise::Official.people(&[answer; 10])[0], answer, "where all are alike");
    }
}

#[test]
fn accuracies_are_the_official_ones() {
    let rows = rows("questions");
    assert!(rows.len() >= 200, "{}", rows.len());
    let mut right = 0;
    for row in &rows {
        let people: Vec<&str> =
            row[1].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        let found = vqa_accuracy(row[0].as_str().unwrap(), &people, Normalise::Official).unwrap();
        let expected = row[2].as_f64().unwrap(); // percent, of six decimals
        approx::assert_abs_diff_eq!(100.0 * found, expected, epsilon = 1e-5);
        right += usize::from(found > 0.0);
    }
    assert!(right >= 30 && right < rows.len(), "{right}");
}
