//! Approximate search: most of what exact search finds, and no setting that makes it panic.

use clip_adapter::{
    Error,
    features::Embeddings,
    tasks::search::{Ann, Hit, Index, Rows},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::unit;

/// Unit rows around centres, of which each has about 50.
fn clustered(rows: usize, dim: usize, seed: u64) -> Embeddings {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let centres = unit(rows.div_ceil(50), dim, 100);
    let spread = 1.0 / (dim as f32).sqrt();
    let values = (0..rows)
        .flat_map(|_| {
            let centre = centres.row(random.random_range(0..centres.rows())).to_vec();
            let noise: Vec<f32> = (0..dim).map(|_| spread * random.random_range(-1.0f32..1.0)).collect();
            centre.into_iter().zip(noise).map(|(centre, noise)| centre + noise).collect::<Vec<_>>()
        })
        .collect();
    Embeddings::new(values, dim).unwrap().normalised()
}

/// The share of the exact hits that are found.
fn recall(exact: &[Vec<Hit>], near: &[Vec<Hit>]) -> f64 {
    let all: usize = exact.iter().map(Vec::len).sum();
    let found = exact
        .iter()
        .zip(near)
        .map(|(exact, near)| exact.iter().filter(|hit| near.iter().any(|near| near.row == hit.row)).count());
    found.sum::<usize>() as f64 / all as f64
}

#[test]
fn most_of_the_best_are_found_with_their_scores() {
    let (gallery, queries) = (clustered(5000, 64, 1), clustered(200, 64, 2));
    let rows = Rows::halves(&gallery).unwrap();
    let (exact, near) = (
        rows.search(&queries, 10).unwrap(),
        Ann::default().build(&rows).unwrap().search(&queries, 10).unwrap(),
    );
    let share = recall(&exact, &near);
    assert!(share >= 0.95, "{share}");
    for (exact, near) in exact.iter().zip(&near) {
        assert!(near.len() == 10 && near.is_sorted_by(|a, b| a.score >= b.score));
        for hit in near {
            if let Some(exact) = exact.iter().find(|exact| exact.row == hit.row) {
                approx::assert_abs_diff_eq!(hit.score, exact.score, epsilon = 1e-5);
            }
        }
    }
}

/// Rows of very different lengths, as a bias makes them: the largest product wins, not the smallest angle.
#[test]
fn the_inner_product_counts_also_of_rows_of_other_lengths() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let gallery = unit(3000, 24, 4);
    let values: Vec<f32> = (0..3000)
        .flat_map(|row| {
            let bias = -random.random_range(0.0f32..0.5);
            gallery.row(row).iter().copied().chain([bias]).collect::<Vec<_>>()
        })
        .collect();
    let rows = Rows::floats(&Embeddings::new(values, 25).unwrap());
    let queries = unit(100, 24, 5);
    let values = (0..100).flat_map(|row| queries.row(row).iter().copied().chain([1.0]).collect::<Vec<_>>());
    let queries = Embeddings::new(values.collect(), 25).unwrap();
    let exact = rows.search(&queries, 10).unwrap();
    let share = recall(&exact, &Ann::default().build(&rows).unwrap().search(&queries, 10).unwrap());
    assert!(share >= 0.95, "{share}");
}

#[test]
fn what_does_not_fit_is_named() {
    for (ann, name) in [
        (Ann { links: 1, ..Ann::default() }, "links"),
        (Ann { links: 257, ..Ann::default() }, "links"),
        (Ann { effort: 0, ..Ann::default() }, "effort"),
        (Ann { breadth: 0, ..Ann::default() }, "breadth"),
    ] {
        let refused = ann.build(&Rows::floats(&unit(3, 4, 1))).unwrap_err();
        assert!(matches!(&refused, Error::Setting { name: found, .. } if found == name), "{refused}");
    }
    let index = Ann::default().build(&Rows::floats(&unit(3, 4, 1))).unwrap();
    assert!(matches!(index.search(&unit(1, 5, 1), 1), Err(Error::Dim { expected: 4, found: 5, .. })));
    assert_eq!(index.search(&unit(2, 4, 2), 9).unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(index.search(&unit(1, 4, 2), 0).unwrap(), [vec![]]);
    let empty = Ann::default().build(&Rows::from_halves(Vec::new(), 4).unwrap()).unwrap();
    assert_eq!(empty.search(&unit(1, 4, 2), 3).unwrap(), [vec![]]);
    let equal = Embeddings::new([1.0f32, 0.0].repeat(300), 2).unwrap();
    let found = Ann::default().build(&Rows::floats(&equal)).unwrap().search(&equal.select(&[0]), 5).unwrap();
    assert_eq!((found[0].len(), found[0][0].score), (5, 1.0));
}
