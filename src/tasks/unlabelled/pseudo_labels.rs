use super::check_images;
use crate::error::{Error, Result};
use crate::evaluate::Logits;
use crate::features::{Embeddings, FeatureSet, Support, TextClassifier};
use crate::numerics::{argmax, log_softmax};

/// UPL: takes the images that are surest to be of each class as its shots, for any method to learn from.
///
/// Of the images whose likeliest class is `c`, the `shots` with the highest probability become the shots of `c`
/// (Huang et al., 2022, <https://arxiv.org/abs/2204.03649>). So a classifier moves to a new domain
/// without a label. The logits are those of zero-shot, or of any method fitted elsewhere. A class that is no
/// image's likeliest gets none, which every method can do with.
///
/// 8 shots a class suit four data sets; more bring in wrong ones.
///
/// # Errors
/// [`Error::Data`] if there is no image, not one row of logits an image, or the classifier has another number
/// of classes; [`Error::Dim`] if it has another width; [`Error::Setting`] if `shots` is 0.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{Classifier, FeatureFile, Method, SsText, ZeroShot, tasks::unlabelled::pseudo_labels};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (unlabelled, test) = (file.split("train")?.embeddings(), file.test_set("test")?);
/// let zero_shot = ZeroShot::default().fit(&file.support(1, 1)?, file.classifier(), &device)?;
/// let support = pseudo_labels(&zero_shot.score(unlabelled)?, unlabelled, file.classifier(), 8)?;
/// let model = SsText::default().fit(&support, file.classifier(), &device)?;
/// assert!(model.evaluate(&test)?.accuracy > zero_shot.evaluate(&test)?.accuracy + 10.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn pseudo_labels(
    logits: &Logits,
    images: &Embeddings,
    classes: &TextClassifier,
    shots: usize,
) -> Result<Support> {
    check_images(logits, images)?;
    logits.check_classes(classes.class_names().len())?;
    classes.weights().check_dim("image features", images.dim())?;
    if shots == 0 {
        return Err(Error::setting("shots", "1 or more", shots));
    }
    let mut of_class = vec![Vec::new(); logits.classes()];
    for (image, row) in logits.rows().enumerate() {
        let class = argmax(row);
        of_class[class].push((image, log_softmax(row)[class]));
    }
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for (class, mut images) in of_class.into_iter().enumerate() {
        images.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (image, _) in images.into_iter().take(shots) {
            rows.push(image);
            labels.push(class);
        }
    }
    Support::new(FeatureSet::with_shared_names(images.select(&rows), labels, classes.shared_names())?)
}
