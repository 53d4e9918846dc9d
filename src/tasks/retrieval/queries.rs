//! Other questions than a text for its image: an image with a text, and an image for others of its class.

use crate::error::{Error, Result, not_negative};
use crate::evaluate::retrieval::{DirectionReport, Ranks, each_row};
use crate::features::{Embeddings, TestSet};

/// Queries made of an image and a text, "this, but red": `q = normalise(f + w t)` of unit rows `f` and `t`.
///
/// | Name | Range | Meaning |
/// | --- | --- | --- |
/// | `images`, `texts` | one text an image | `[queries, dim]`, of any length |
/// | `weight` | 0 or more, about 1 | what the text weighs; 0 is the image alone |
///
/// No parameter is learned: that would take triplets of image, text and target, of which this crate has none to test on.
///
/// # Errors
/// [`Error::Dim`] if the widths differ, [`Error::Data`] if there is not one text an image or the two cancel out,
/// [`Error::Setting`] for a weight out of range.
///
/// # Examples
/// ```
/// use clip_adapter::{features::Embeddings, tasks::retrieval::composed};
///
/// let (image, text) = (Embeddings::new(vec![2.0, 0.0], 2)?, Embeddings::new(vec![0.0, 5.0], 2)?);
/// approx::assert_abs_diff_eq!(composed(&image, &text, 0.75)?.row(0), &[0.8, 0.6][..], epsilon = 1e-6);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn composed(images: &Embeddings, texts: &Embeddings, weight: f64) -> Result<Embeddings> {
    not_negative("weight", weight)?;
    images.check_dim("texts of composed queries", texts.dim())?;
    if images.rows() != texts.rows() {
        let expected = format!("one for each of {} images", images.rows());
        return Err(Error::data("texts of composed queries", expected, texts.rows()));
    }
    let (images, texts) = (images.normalised(), texts.normalised());
    let sum = images.values().iter().zip(texts.values()).map(|(f, t)| f + weight as f32 * t);
    Ok(Embeddings::new(sum.collect(), images.dim())?.normalised())
}

/// How well images find others of their class, by the cosine of their features: each image is sought in turn among all
/// others. An image without another of its class is no query. [`DirectionReport::map`] and [`DirectionReport::p10`] are
/// what is usually told.
///
/// # Errors
/// [`Error::Data`] if no class has two images.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, tasks::retrieval::evaluate_images};
///
/// let report = evaluate_images(&FeatureFile::synthetic(0)?.test_set("test")?)?;
/// assert_eq!((report.queries, report.gallery, report.relevant), (400, 400, 49.0));
/// assert!(report.map > 25.0 && report.r1 > report.p10 - 20.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn evaluate_images(test: &TestSet) -> Result<DirectionReport> {
    let set = test.set();
    let mut of_class = vec![Vec::new(); set.class_names().len()];
    for (image, &label) in set.labels().iter().enumerate() {
        of_class[label].push((image, 1.0));
    }
    let images = set.embeddings().normalised();
    let mut ranks = Ranks::new(images.rows());
    each_row(&images, &images, |image, scores| {
        let relevant = &of_class[set.labels()[image]];
        match relevant.len() {
            1 => Ok(()),
            _ => ranks.add_with(scores, relevant, Some(image)),
        }
    })?;
    ranks.report()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureSet;

    #[test]
    fn an_image_finds_its_class_and_never_itself() {
        let rows = Embeddings::new(vec![1.0, 0.0, 1.0, 0.1, 0.9, 0.2, 0.0, 1.0], 2).unwrap();
        let set = FeatureSet::new(rows, vec![0, 1, 0, 2], ["a", "b", "c"]).unwrap().into_test_set();
        let report = evaluate_images(&set).unwrap();
        // The two of class `a` are nearer to the one of `b` than to each other.
        assert_eq!(
            (report.queries, report.gallery, report.r1, report.r5, report.map),
            (2, 4, 0.0, 100.0, 50.0)
        );
        let alone = FeatureSet::new(Embeddings::new(vec![1.0], 1).unwrap(), vec![0], ["a"]).unwrap();
        assert!(matches!(evaluate_images(&alone.into_test_set()), Err(Error::Data { .. })));
    }

    #[test]
    fn composed_queries_that_do_not_fit_are_refused() {
        let rows = |values: &[f32], dim: usize| Embeddings::new(values.to_vec(), dim).unwrap();
        let image = rows(&[1.0, 0.0], 2);
        assert_eq!(composed(&image, &rows(&[0.0, 1.0], 2), 0.0).unwrap(), image);
        assert!(matches!(composed(&image, &rows(&[1.0], 1), 1.0), Err(Error::Dim { .. })));
        assert!(matches!(composed(&image, &rows(&[1.0; 4], 2), 1.0), Err(Error::Data { .. })));
        assert!(matches!(composed(&image, &rows(&[-1.0, 0.0], 2), 1.0), Err(Error::Data { .. })));
        assert!(matches!(composed(&image, &image, -1.0), Err(Error::Setting { .. })));
    }
}
