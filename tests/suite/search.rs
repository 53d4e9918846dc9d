//! Search: exactly what sorting all scores gives, and an index that follows its folder.

mod kept;
#[cfg(feature = "ann")]
mod near;

use clip_adapter::{
    Error,
    features::Embeddings,
    tasks::search::{Hit, Index, NpyType, Rows},
};
use half::f16;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// All scores in f64, sorted: higher first, and of equal ones the lower row.
fn sorted(gallery: &Embeddings, query: &[f32], k: usize) -> Vec<Hit> {
    let score = |row: usize| -> f64 {
        gallery.row(row).iter().zip(query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let mut all: Vec<Hit> = (0..gallery.rows()).map(|row| Hit { row, score: score(row) as f32 }).collect();
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
    all.truncate(k);
    all
}

/// Rows of small whole numbers, whose products and sums are exact in any order: many scores are equal.
fn whole_numbers(rows: usize, dim: usize, seed: u64) -> Embeddings {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut values: Vec<f32> = (0..rows * dim).map(|_| random.random_range(-2..=2) as f32).collect();
    values.iter_mut().step_by(dim).for_each(|value| *value = value.abs() + 1.0); // no row of zeros
    Embeddings::new(values, dim).unwrap()
}

fn unit(rows: usize, dim: usize, seed: u64) -> Embeddings {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let values = (0..rows * dim).map(|_| random.random_range(-1.0..1.0)).collect();
    Embeddings::new(values, dim).unwrap().normalised()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn exact_is_what_sorting_gives_also_where_scores_are_equal(
        rows in prop_oneof![0usize..20, 250usize..1200],
        count in prop_oneof![1usize..4, 120usize..140],
        dim in 1usize..20,
        k in prop_oneof![0usize..12, Just(5000usize)],
        seed in 0u64..1000,
    ) {
        let (gallery, queries) = (whole_numbers(rows, dim, seed), whole_numbers(count, dim, seed + 1));
        let expected: Vec<Vec<Hit>> = (0..count).map(|at| sorted(&gallery, queries.row(at), k)).collect();
        prop_assert_eq!(&Rows::floats(&gallery).search(&queries, k).unwrap(), &expected);
        prop_assert_eq!(&Rows::halves(&gallery).unwrap().search(&queries, k).unwrap(), &expected);
    }
}

#[test]
fn scores_are_cosines_to_the_precision_of_the_rows() {
    let (gallery, queries) = (unit(3000, 96, 1), unit(33, 96, 2));
    let floats = Rows::floats(&gallery).search(&queries, 20).unwrap();
    for (at, hits) in floats.iter().enumerate() {
        let expected = sorted(&gallery, queries.row(at), 20);
        for (hit, expected) in hits.iter().zip(&expected) {
            approx::assert_abs_diff_eq!(hit.score, expected.score, epsilon = 1e-6);
        }
    }
    // Of rows in 16 bits it is exact again, of what they were rounded to.
    let rounded: Vec<f32> = gallery.values().iter().map(|&value| f16::from_f32(value).to_f32()).collect();
    let rounded = Embeddings::new(rounded, 96).unwrap();
    let halves = Rows::halves(&gallery).unwrap();
    assert_eq!(halves.search(&queries, 20).unwrap(), Rows::floats(&rounded).search(&queries, 20).unwrap());
    assert_eq!(halves.row(2999).unwrap(), rounded.row(2999));
    for (half, float) in halves.search(&queries, 1).unwrap().iter().zip(&floats) {
        approx::assert_abs_diff_eq!(half[0].score, float[0].score, epsilon = 2e-4);
    }
}

/// A bias of each row is a column more, and a 1 in every query.
#[test]
fn a_column_more_is_a_bias() {
    let gallery = whole_numbers(400, 8, 3);
    let query = whole_numbers(1, 8, 4);
    let bias = |row: usize| -0.5 * (row % 7) as f32;
    let wider: Vec<f32> =
        (0..400).flat_map(|row| gallery.row(row).iter().copied().chain([bias(row)])).collect();
    let asked = Embeddings::new([query.values(), &[1.0]].concat(), 9).unwrap();
    let found = Rows::halves(&Embeddings::new(wider, 9).unwrap()).unwrap().search(&asked, 400).unwrap();
    let plain = Rows::halves(&gallery).unwrap().search(&query, 400).unwrap();
    for hit in &found[0] {
        let before = plain[0].iter().find(|plain| plain.row == hit.row).unwrap();
        assert_eq!(hit.score, before.score + bias(hit.row));
    }
    assert_ne!(found, plain);
}

#[test]
fn what_does_not_fit_is_named() {
    let gallery = Rows::floats(&unit(4, 8, 1));
    let found = gallery.search(&unit(1, 9, 1), 1).unwrap_err();
    assert!(matches!(found, Error::Dim { expected: 8, found: 9, .. }), "{found}");
    let large = Embeddings::new(vec![1.0, 0.0, 0.0, 1e6], 2).unwrap();
    let found = Rows::halves(&large).unwrap_err();
    assert!(matches!(&found, Error::Data { what, .. } if what == "row 1 of the gallery"), "{found}");
    assert!(matches!(Rows::from_halves(vec![f16::ONE; 3], 2), Err(Error::Data { .. })));
    assert!(matches!(Rows::from_halves(Vec::new(), 0), Err(Error::Data { .. })));
    assert!(matches!(gallery.row(4), Err(Error::Data { .. })));
}

#[test]
fn npy_is_what_numpy_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.npy");
    let rows = unit(300, 5, 7);
    // The bytes of numpy.save, checked with numpy 2.
    let header = |dtype: &str| {
        let text = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': (300, 5), }}");
        [b"\x93NUMPY\x01\x00\x76\x00", text.as_bytes(), " ".repeat(117 - text.len()).as_bytes(), b"\n"]
            .concat()
    };
    Rows::floats(&rows).write_npy(&path, NpyType::F32).unwrap();
    let values: Vec<u8> = rows.values().iter().flat_map(|value| value.to_le_bytes()).collect();
    assert!(std::fs::read(&path).unwrap() == [header("<f4"), values].concat());

    Rows::halves(&rows).unwrap().write_npy(&path, NpyType::F16).unwrap();
    let values: Vec<u8> =
        rows.values().iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
    assert!(std::fs::read(&path).unwrap() == [header("<f2"), values].concat());
    let nowhere = Rows::floats(&rows).write_npy(folder.path().join("no/such.npy"), NpyType::F32);
    assert!(matches!(nowhere, Err(Error::Write { .. })));
}
