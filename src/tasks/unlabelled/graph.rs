use faer::Mat;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

/// Rows compared at once: the cosines of a block fit into the cache, those of all pairs may not fit into
/// memory.
const BLOCK: usize = 256;

/// Rows that a row points at, with the weights of the edges.
pub(super) type Edges = Vec<Vec<(usize, f64)>>;

/// The `count` nearest rows of `to` for every row of `from`, with their cosines, nearest first and of
/// equally near ones the one that comes first.
pub(super) fn nearest(from: &Mat<f64>, to: &Mat<f64>, count: usize) -> Edges {
    search(from, to, count, false)
}

/// The `count` nearest other rows for every row.
pub(super) fn nearest_others(rows: &Mat<f64>, count: usize) -> Edges {
    search(rows, rows, count, true)
}

fn search(from: &Mat<f64>, to: &Mat<f64>, count: usize, others: bool) -> Edges {
    let starts: Vec<usize> = (0..from.nrows()).step_by(BLOCK).collect();
    let blocks: Vec<Edges> = (starts.into_par_iter())
        .map(|start| {
            let rows = BLOCK.min(from.nrows() - start);
            let cosines = to * from.subrows(start, rows).transpose(); // [to, block]
            let of_row = |row: usize| best(cosines.col_as_slice(row), count, others.then_some(start + row));
            (0..rows).map(of_row).collect()
        })
        .collect();
    blocks.into_iter().flatten().collect()
}

/// The largest values with their places, but not the one at `but`.
fn best(values: &[f64], count: usize, but: Option<usize>) -> Vec<(usize, f64)> {
    let mut best: Vec<(usize, f64)> = Vec::with_capacity(count + 1);
    for (at, &value) in values.iter().enumerate() {
        if Some(at) != but && (best.len() < count || best.last().is_some_and(|(_, least)| value > *least)) {
            let place = best.partition_point(|(_, better)| *better >= value);
            best.insert(place, (at, value));
            best.truncate(count);
        }
    }
    best
}

/// `W + W^T`: every edge in both directions. One that is there in both counts twice.
pub(super) fn both_ways(edges: &Edges) -> Edges {
    let mut both = edges.clone();
    for (from, edges) in edges.iter().enumerate() {
        for &(to, weight) in edges {
            both[to].push((from, weight));
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_and_of_equals_the_first() {
        let values = [0.1, 0.9, 0.5, 0.9, 0.7];
        assert_eq!(best(&values, 3, None), [(1, 0.9), (3, 0.9), (4, 0.7)]);
        assert_eq!(best(&values, 2, Some(1)), [(3, 0.9), (4, 0.7)]);
        assert_eq!(best(&values[..2], 3, Some(1)), [(0, 0.1)]);
        assert!(best(&values, 0, None).is_empty());
    }

    #[test]
    fn blocks_do_not_show() {
        let rows = BLOCK + 3;
        let angle = |row: usize| (row * row) as f64;
        let points = Mat::from_fn(
            rows,
            2,
            |row, column| if column == 0 { angle(row).cos() } else { angle(row).sin() },
        );
        let found = nearest_others(&points, 2);
        let cosine = |a: usize, b: usize| points[(a, 0)] * points[(b, 0)] + points[(a, 1)] * points[(b, 1)];
        for row in [0, BLOCK - 1, BLOCK, rows - 1] {
            let mut others: Vec<usize> = (0..rows).filter(|&other| other != row).collect();
            others.sort_by(|&a, &b| cosine(row, b).total_cmp(&cosine(row, a)));
            approx::assert_abs_diff_eq!(found[row][0].1, cosine(row, others[0]), epsilon = 1e-12);
            approx::assert_abs_diff_eq!(found[row][1].1, cosine(row, others[1]), epsilon = 1e-12);
            assert!(found[row].iter().all(|&(other, _)| other != row));
        }
        assert_eq!(
            both_ways(&vec![vec![(1, 0.5)], vec![(0, 0.5)]]),
            [[(1, 0.5), (1, 0.5)], [(0, 0.5), (0, 0.5)]]
        );
    }
}
