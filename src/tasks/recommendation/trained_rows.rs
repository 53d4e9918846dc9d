/// PyTorch's defaults of Adam.
const FIRST: f32 = 0.9;
const SECOND: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// A table whose rows train, of which a batch touches few: Adam (Kingma and Ba, 2015,
/// <https://arxiv.org/abs/1412.6980>) that moves only those, as PyTorch's `SparseAdam` does. A step then costs what the
/// batch holds, whatever the number of users and items.
#[derive(Debug, Clone)]
pub(super) struct TrainedRows {
    pub values: Vec<f32>,
    pub width: usize,
    gradients: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    touched: Vec<usize>,
    is_touched: Vec<bool>,
    steps: i32,
}

impl TrainedRows {
    pub fn new(values: Vec<f32>, width: usize) -> Self {
        let (all, rows) = (values.len(), values.len() / width);
        Self {
            values,
            width,
            gradients: vec![0.0; all],
            first: vec![0.0; all],
            second: vec![0.0; all],
            touched: Vec::new(),
            is_touched: vec![false; rows],
            steps: 0,
        }
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }

    /// Adds `scale direction + pull row` to the gradient of a row.
    pub fn add(&mut self, row: usize, scale: f32, direction: &[f32], pull: f32) {
        if !std::mem::replace(&mut self.is_touched[row], true) {
            self.touched.push(row);
        }
        let at = row * self.width..(row + 1) * self.width;
        let values = self.gradients[at.clone()].iter_mut().zip(&self.values[at]);
        for ((gradient, value), direction) in values.zip(direction) {
            *gradient += scale * direction + pull * value;
        }
    }

    /// Moves the touched rows, and forgets their gradients.
    pub fn step(&mut self, rate: f32) {
        self.steps += 1;
        let (first, second) = (1.0 - FIRST.powi(self.steps), 1.0 - SECOND.powi(self.steps));
        for row in self.touched.drain(..) {
            self.is_touched[row] = false;
            let at = row * self.width..(row + 1) * self.width;
            let moments = self.first[at.clone()].iter_mut().zip(&mut self.second[at.clone()]);
            let numbers = self.values[at.clone()].iter_mut().zip(&mut self.gradients[at]);
            for ((value, gradient), (m, v)) in numbers.zip(moments) {
                let slope = std::mem::take(gradient);
                *m = FIRST * *m + (1.0 - FIRST) * slope;
                *v = SECOND * *v + (1.0 - SECOND) * slope * slope;
                *value -= rate * *m / first / ((*v / second).sqrt() + EPSILON);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first step of Adam is the rate, whatever the length of the gradient.
    #[test]
    fn only_what_was_touched_moves() {
        let mut rows = TrainedRows::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2);
        rows.add(1, 2.0, &[1.0, -3.0], 0.0);
        rows.add(1, 2.0, &[1.0, -3.0], 0.0);
        rows.step(0.1);
        approx::assert_abs_diff_eq!(&rows.values[..], &[1.0, 2.0, 2.9, 4.1, 5.0, 6.0][..], epsilon = 1e-6);
        rows.step(0.1);
        assert_eq!(rows.row(0), [1.0, 2.0]);
        approx::assert_abs_diff_eq!(rows.row(1), &[2.9, 4.1][..], epsilon = 1e-6);
    }

    #[test]
    fn the_pull_goes_to_zero() {
        let mut rows = TrainedRows::new(vec![1.0, -1.0], 1);
        for _ in 0..50 {
            (0..2).for_each(|row| rows.add(row, 0.0, &[0.0], 0.5));
            rows.step(0.01);
        }
        assert!(rows.values[0] < 0.6 && rows.values[1] > -0.6);
    }
}
