use serde::{Deserialize, Serialize};

use super::{FittedTaste, Gallery};
use crate::error::{Error, Result, not_negative, positive};
use crate::features::Embeddings;
use crate::model::Settings;
use crate::numerics::{LogisticRidge, dot};

/// How a few thumbs become a taste: logistic regression around the query, in milliseconds.
///
/// `w = argmin sum_i log(1 + exp(-y_i (o_i + w x_i))) + lambda/2 |w|^2`, with `y_i` 1 for a thumb up and -1 for one
/// down, and `x_i` of [`Gallery`]. `o_i` is what the search says already: `query` times the cosine with the query,
/// relative to its mean over the gallery and in its standard deviations; 0 without a query. Without thumbs `w` is 0,
/// and the order is that of the plain search. All is computed on the host in f64: the same thumbs give the same bits.
///
/// The objective is strictly convex, so that the order of the thumbs has no effect but on last bits.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `lambda` | 0.3 | above 0 | the pull back to what is known without thumbs |
/// | `query` | 0.05 | 0 or more | weight of the query beside the thumbs |
///
/// [`fit_around`](Self::fit_around) pulls to the taste of others, `w0`, in the place of 0.
///
/// The default is that of one person's taste over a whole gallery. [`search`](Self::search) has what was found best for
/// thumbs on the results of a query.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, tasks::taste::{Gallery, Taste}};
///
/// let file = FeatureFile::synthetic(0)?;
/// let photos = file.split("train")?;
/// let gallery = Gallery::new(photos.embeddings(), file.classifier().backbone())?;
/// let of_class = |class: usize| (0..photos.len()).filter(move |&row| photos.labels()[row] == class);
/// let liked: Vec<usize> = of_class(3).take(3).collect();
/// let disliked: Vec<usize> = of_class(5).take(3).collect();
///
/// let images = photos.embeddings();
/// let taste = Taste::default().fit(&gallery, &images.select(&liked), &images.select(&disliked), None)?;
/// let others = |class| images.select(&of_class(class).skip(3).collect::<Vec<_>>());
/// let mean = |scores: Vec<f32>| scores.iter().sum::<f32>() / scores.len() as f32;
/// assert!(mean(taste.scores(&others(3))?) > 0.3 && mean(taste.scores(&others(5))?) < -0.3);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Taste {
    /// The pull back to what is known without thumbs.
    pub lambda: f64,
    /// Weight of the query beside the thumbs.
    pub query: f64,
}

impl Default for Taste {
    fn default() -> Self {
        Self { lambda: 0.3, query: 0.05 }
    }
}

impl Settings for Taste {
    const NAME: &'static str = "taste";
}

impl Taste {
    /// What thumbs on the results of a search are taken with: `lambda` 4 and `query` 0.05.
    ///
    /// Weaker pulls, which a taste without a query is better with, forget a query that was right: see the page
    /// [`teaching`](crate::guide::teaching) of the guide.
    pub fn search() -> Self {
        Self { lambda: 4.0, query: 0.05 }
    }

    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        positive("lambda", self.lambda)?;
        not_negative("query", self.query)
    }

    /// Learns from the features of images with a thumb up and of those with a thumb down, of which there may be none,
    /// and from the embedding of what was searched for, a sentence or an image.
    ///
    /// # Shapes
    /// - `liked`, `disliked`: `[images, dim]`, of any length
    /// - `query`: `[1, dim]`
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range; [`Error::Dim`] if a width is not the gallery's; [`Error::Data`]
    /// if the query is not one row, or an image is both liked and disliked.
    pub fn fit(
        &self,
        gallery: &Gallery,
        liked: &Embeddings,
        disliked: &Embeddings,
        query: Option<&Embeddings>,
    ) -> Result<FittedTaste> {
        let start = vec![0.0; gallery.dim()];
        self.fit_from(gallery, liked, disliked, query, &start)
    }

    /// The same around the taste of others, such as the [`mean`](FittedTaste::mean) of many: `lambda/2 |w - w0|^2` is
    /// minimised with the rest, so that where nothing is known of a person, it is `w0` that speaks.
    ///
    /// It helps with a few thumbs where people agree in part, and costs a little where they do not.
    ///
    /// # Errors
    /// As [`fit`](Self::fit); [`Error::Fingerprint`] if the others' taste is of another backbone than the gallery.
    pub fn fit_around(
        &self,
        gallery: &Gallery,
        liked: &Embeddings,
        disliked: &Embeddings,
        query: Option<&Embeddings>,
        others: &FittedTaste,
    ) -> Result<FittedTaste> {
        let start = others.weights_on(gallery)?;
        self.fit_from(gallery, liked, disliked, query, &start)
    }

    fn fit_from(
        &self,
        gallery: &Gallery,
        liked: &Embeddings,
        disliked: &Embeddings,
        query: Option<&Embeddings>,
        start: &[f64],
    ) -> Result<FittedTaste> {
        self.validate()?;
        let mut images = gallery.centred("liked images", liked)?;
        images.extend(gallery.centred("disliked images", disliked)?);
        let both =
            (0..liked.rows()).find(|&row| (0..disliked.rows()).any(|no| disliked.row(no) == liked.row(row)));
        if let Some(row) = both {
            return Err(Error::data(format!("liked image {row}"), "one thumb, up or down", "both"));
        }
        let standardised = query.map(|query| gallery.standardised(query)).transpose()?.flatten();
        let known = |x: &Vec<f64>| {
            let asked = match &standardised {
                // The gallery's mean is 0 in x, and so is the query's there.
                Some(direction) => self.query * gallery.spread() * dot(direction, x),
                None => 0.0,
            };
            asked + dot(start, x)
        };
        let thumbs = LogisticRidge {
            offsets: images.iter().map(known).collect(),
            signs: (0..images.len()).map(|row| if row < liked.rows() { 1.0 } else { -1.0 }).collect(),
            weights: vec![1.0; images.len()],
            rows: images,
            lambda: self.lambda,
        };
        let moved = thumbs.solve(gallery.dim());
        let weights: Vec<f64> = start.iter().zip(&moved).map(|(start, moved)| start + moved).collect();
        Ok(FittedTaste::new(*self, gallery, &weights, [liked.rows(), disliked.rows()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureFile;

    /// One thumb up without a query: `w = a x`, where `a lambda = 1 / (1 + exp(a |x|^2))`.
    #[test]
    fn one_thumb_has_a_closed_form() {
        let file = FeatureFile::synthetic(0).unwrap();
        let images = file.split("train").unwrap().embeddings();
        let gallery = Gallery::new(images, "synthetic").unwrap();
        let (one, none) = (images.select(&[7]), images.select(&[]));
        let taste = Taste::default().fit(&gallery, &one, &none, None).unwrap();
        let x = &gallery.centred("", &one).unwrap()[0];
        let square = dot(x, x);
        let margin = f64::from(taste.scores(&one).unwrap()[0]);
        let a = margin / square;
        approx::assert_abs_diff_eq!(0.3 * a, 1.0 / (1.0 + margin.exp()), epsilon = 1e-6);
    }

    #[test]
    fn every_fault_is_named() {
        let file = FeatureFile::synthetic(0).unwrap();
        let images = file.split("train").unwrap().embeddings();
        let gallery = Gallery::new(images, "synthetic").unwrap();
        let (some, none) = (images.select(&[1, 2]), images.select(&[]));
        let fit = |taste: Taste, liked: &Embeddings, disliked: &Embeddings, query: Option<&Embeddings>| {
            taste.fit(&gallery, liked, disliked, query).map(|_| ()).unwrap_err()
        };
        for taste in [Taste { lambda: 0.0, query: 1.0 }, Taste { lambda: 1.0, query: f64::NAN }] {
            assert!(matches!(fit(taste, &some, &none, None), Error::Setting { .. }));
        }
        let wide = Embeddings::new(vec![1.0; 3], 3).unwrap();
        for (liked, disliked, query, what) in [
            (&wide, &none, None, "liked images"),
            (&some, &wide, None, "disliked images"),
            (&some, &none, Some(&wide), "query"),
        ] {
            let error = fit(Taste::default(), liked, disliked, query);
            assert!(
                matches!(&error, Error::Dim { what: found, expected: 64, found: 3 } if found == what),
                "{error}"
            );
        }
        let error = fit(Taste::default(), &some, &none, Some(&some));
        assert!(matches!(&error, Error::Data { what, .. } if what == "query"), "{error}");
        let error = fit(Taste::default(), &some, &images.select(&[5, 2]), None);
        assert!(matches!(&error, Error::Data { what, .. } if what == "liked image 1"), "{error}");
        let alike = images.select(&[4, 4, 4]);
        assert!(matches!(Gallery::new(&alike, "synthetic"), Err(Error::Data { .. })));
        assert!(matches!(Gallery::new(&none, "synthetic"), Err(Error::Data { .. })));
    }
}
