//! What every unit does, image by image, on the host in f64.

use faer::Mat;

use crate::error::Result;
use crate::explain::adapted::{adapted_images, adapted_texts};
use crate::features::{Embeddings, TextClassifier};
use crate::model::{FeatureMap, Units};

/// A map as its units, beside the texts that its features are compared with. For units of the text side the roles are swapped:
/// `images` are the texts and `texts` the images.
pub(super) struct Forward {
    units: Units,
    reads: Mat<f64>,      // [units, dim]
    pub writes: Mat<f64>, // [units, dim]
    pub texts: Mat<f64>,  // W*, [classes, dim]
    raw_texts: Mat<f64>,  // W
    pub scale: f64,
}

/// What the units make of some images.
pub(super) struct Activity {
    pub features: Mat<f64>,    // f, [images, dim]
    pub activations: Mat<f64>, // h, [images, units]
    written: Mat<f64>,         // before the last ReLU, [images, dim]
    lengths: Vec<f64>,         // |z|
    pub logits: Mat<f64>,      // [images, classes]
}

impl Forward {
    pub fn new(map: &dyn FeatureMap, classes: &TextClassifier) -> Result<Self> {
        let texts = adapted_texts(map, classes.weights())?;
        Self::between(map.units()?, &texts, classes.weights(), classes.logit_scale())
    }

    /// The units of the text side, beside images.
    pub fn of_texts(map: &dyn FeatureMap, classes: &TextClassifier, images: &Embeddings) -> Result<Self> {
        let units = map.text_units()?;
        images.check_dim("units of an adapter", units.dim())?;
        Self::between(units, &adapted_images(map, images)?, images, classes.logit_scale())
    }

    fn between(units: Units, adapted: &Embeddings, raw: &Embeddings, scale: f64) -> Result<Self> {
        raw.check_dim("units of an adapter", units.dim())?;
        let rows = |of: &dyn Fn(usize) -> Vec<f32>| {
            let rows: Vec<Vec<f32>> = (0..units.len()).map(of).collect();
            Mat::from_fn(units.len(), units.dim(), |row, column| f64::from(rows[row][column]))
        };
        Ok(Self {
            reads: rows(&|unit| units.read(unit).to_vec()),
            writes: rows(&|unit| units.written(unit).to_vec()),
            texts: adapted.unit_rows(),
            raw_texts: raw.unit_rows(),
            scale,
            units,
        })
    }

    pub fn len(&self) -> usize {
        self.units.len()
    }

    pub fn of(&self, images: &Embeddings) -> Result<Activity> {
        images.check_dim("units of an adapter", self.units.dim())?;
        let features = images.unit_rows();
        let activations = self.cut(&features * self.reads.transpose());
        Ok(self.written(features, activations))
    }

    /// The same images, of which some units are silent: a list for each.
    pub fn without(&self, activity: &Activity, silent: &[Vec<usize>]) -> Activity {
        let mut activations = activity.activations.clone();
        for (row, units) in silent.iter().enumerate() {
            units.iter().for_each(|&unit| activations[(row, unit)] = 0.0);
        }
        self.written(activity.features.clone(), activations)
    }

    fn written(&self, features: Mat<f64>, activations: Mat<f64>) -> Activity {
        let written = &activations * &self.writes;
        let adapted = self.cut(written.clone());
        let (keep, ratio) = (self.units.keep(), self.units.ratio());
        let blend = Mat::from_fn(features.nrows(), features.ncols(), |row, column| {
            keep * features[(row, column)] + ratio * adapted[(row, column)]
        });
        let square = |row: usize| (0..blend.ncols()).map(|column| blend[(row, column)].powi(2)).sum::<f64>();
        let lengths: Vec<f64> = (0..blend.nrows()).map(|row| square(row).sqrt().max(1e-12)).collect();
        let cosines = &blend * self.texts.transpose();
        let logits = Mat::from_fn(cosines.nrows(), cosines.ncols(), |row, class| {
            self.scale * cosines[(row, class)] / lengths[row]
        });
        Activity { features, activations, written, lengths, logits }
    }

    fn cut(&self, values: Mat<f64>) -> Mat<f64> {
        match self.units.is_rectified() {
            true => {
                Mat::from_fn(values.nrows(), values.ncols(), |row, column| values[(row, column)].max(0.0))
            }
            false => values,
        }
    }

    /// What of the logit of one class over another is left of the feature itself, and what each unit adds.
    pub fn contributions(
        &self,
        activity: &Activity,
        row: usize,
        class: usize,
        over: usize,
    ) -> (f64, Vec<f64>) {
        let difference: Vec<f64> =
            (0..self.texts.ncols()).map(|at| self.texts[(class, at)] - self.texts[(over, at)]).collect();
        self.along(activity, row, &difference)
    }

    /// How far an adapted feature points along a direction, times the scale: what of it is left of the feature itself, and
    /// what each unit adds.
    pub fn along(&self, activity: &Activity, row: usize, direction: &[f64]) -> (f64, Vec<f64>) {
        let rectified = self.units.is_rectified();
        let kept: f64 = (0..direction.len()).map(|at| activity.features[(row, at)] * direction[at]).sum();
        // Where the last ReLU is closed nothing comes through.
        let open = |at: usize| !rectified || activity.written[(row, at)] > 0.0;
        let through: Vec<(usize, f64)> =
            direction.iter().copied().enumerate().filter(|(at, _)| open(*at)).collect();
        let unit = self.scale / activity.lengths[row];
        let contribution = |unit_at: usize| {
            let activation = activity.activations[(row, unit_at)];
            if activation == 0.0 {
                return 0.0;
            }
            let along: f64 = through.iter().map(|&(at, value)| self.writes[(unit_at, at)] * value).sum();
            unit * self.units.ratio() * activation * along
        };
        (unit * self.units.keep() * kept, (0..self.len()).map(contribution).collect())
    }

    /// The logit of one class over another before adapting.
    pub fn before(&self, activity: &Activity, row: usize, class: usize, over: usize) -> f64 {
        self.raw(activity, row, class) - self.raw(activity, row, over)
    }

    /// The same where what is adapted are the texts, and an image is asked about.
    pub fn before_swapped(&self, activity: &Activity, image: usize, class: usize, over: usize) -> f64 {
        self.raw(activity, class, image) - self.raw(activity, over, image)
    }

    fn raw(&self, activity: &Activity, row: usize, text: usize) -> f64 {
        let along = |at: usize| activity.features[(row, at)] * self.raw_texts[(text, at)];
        self.scale * (0..self.raw_texts.ncols()).map(along).sum::<f64>()
    }

    /// The likeliest class of an image and the one after it.
    pub fn first_two(&self, activity: &Activity, row: usize) -> (usize, usize) {
        let logits = &activity.logits;
        let mut order: Vec<usize> = (0..logits.ncols()).collect();
        order.sort_by(|&one, &other| {
            logits[(row, other)].total_cmp(&logits[(row, one)]).then(one.cmp(&other))
        });
        (order[0], order.get(1).copied().unwrap_or(order[0]))
    }
}
