use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Embeddings, Pairs, TestPairs};
use crate::archive::{Archive, ArchiveWriter};
use crate::error::Result;

/// The format a file of pairs declares in its metadata.
pub const PAIR_FORMAT: &str = "clip-pairs/1";

const IMAGES: &str = "pairs.image_features";
const TEXTS: &str = "pairs.text_features";
const IMAGE_OF_TEXT: &str = "pairs.text_to_image";
const IMAGE_NAMES: &str = "pairs.image_names";
const CAPTIONS: &str = "pairs.captions";

/// What cosines are multiplied with where a file does not say: CLIP's.
const LOGIT_SCALE: f64 = 100.0;

/// Cached CLIP features of images and their texts: a safetensors file of the format `clip-pairs/1`.
///
/// | Tensor | Type, shape | Meaning |
/// | --- | --- | --- |
/// | `pairs.image_features` | f16, bf16 or f32 `[images, dim]` | image embeddings |
/// | `pairs.text_features` | f16, bf16 or f32 `[texts, dim]` | text embeddings, one or more an image |
/// | `pairs.text_to_image` | i64 `[texts]` | the image of each text |
/// | `train.seed{S}`, `test.seed{S}` | i64 | optional: the images to learn from and to score on in draw S |
/// | `pairs.image_names`, `pairs.captions` | bytes | optional: JSON arrays of strings |
///
/// The metadata hold `format` and `backbone`, and optionally `logit_scale` (100 where there is none), `dataset` and
/// `source`.
///
/// # Examples
/// ```
/// use clip_adapter::features::{Embeddings, PairFile, Pairs};
///
/// let images = Embeddings::new(vec![1.0, 0.0, 0.0, 1.0], 2)?;
/// let texts = Embeddings::new(vec![0.8, 0.6, 0.6, 0.8, 0.0, 2.0], 2)?;
/// let pairs = Pairs::new(images, texts, vec![0, 1, 1], 100.0, "tiny")?;
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("tiny.safetensors");
///
/// PairFile::new("two pets", pairs).with_draw(1, 7)?.write(&path)?;
/// let (train, test) = PairFile::read(&path)?.split(7)?;
/// assert_eq!((train.len(), test.len()), (1, 1));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PairFile {
    dataset: String,
    source: String,
    pairs: Pairs,
    draws: BTreeMap<u64, Draw>,
}

#[derive(Debug, Clone, PartialEq)]
struct Draw {
    train: Vec<usize>,
    test: Vec<usize>,
}

impl PairFile {
    /// A file of these pairs, without a draw.
    pub fn new(dataset: impl Into<String>, pairs: Pairs) -> Self {
        Self { dataset: dataset.into(), source: String::new(), pairs, draws: BTreeMap::new() }
    }

    /// Records where the features came from.
    pub fn with_source(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }

    /// Records a draw of `train` images to learn from, all others being for the test, so that other programs use the
    /// same.
    ///
    /// # Errors
    /// As [`Pairs::split`].
    pub fn with_draw(mut self, train: usize, seed: u64) -> Result<Self> {
        let (train, test) = self.pairs.split_rows(train, seed)?;
        self.draws.insert(seed, Draw { train, test });
        Ok(self)
    }

    /// The data set's name, or nothing.
    pub fn dataset(&self) -> &str {
        &self.dataset
    }

    /// Where the features came from, or nothing.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// All pairs, whatever the draw.
    pub fn pairs(&self) -> &Pairs {
        &self.pairs
    }

    /// The seeds of the recorded draws, sorted.
    pub fn seeds(&self) -> impl Iterator<Item = u64> {
        self.draws.keys().copied()
    }

    /// What to learn from and what to score on: the recorded draw of this seed if the file has one, else half of the
    /// images each, drawn by it.
    ///
    /// # Errors
    /// As [`Pairs::split`], where there is a single image.
    pub fn split(&self, seed: u64) -> Result<(Pairs, TestPairs)> {
        match self.draws.get(&seed) {
            Some(Draw { train, test }) => {
                Ok((self.pairs.select(train), self.pairs.select(test).into_test_pairs()))
            }
            None => self.pairs.split(self.pairs.len() / 2, seed),
        }
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Error::Read`](crate::Error::Read) if it cannot be read; [`Error::Malformed`](crate::Error::Malformed) naming the tensor and row if it is truncated, of
    /// another format, has a value that is not finite, a zero row, widths or numbers of rows that disagree, a text of
    /// no image, an image without a text, or a draw that is not of its images or has one on both sides.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let archive = Archive::open(path.as_ref())?;
        archive.require_format(PAIR_FORMAT)?;
        let logit_scale = match archive.metadata().contains_key("logit_scale") {
            true => archive.json("logit_scale")?,
            false => LOGIT_SCALE,
        };
        let rows = |name: &str| {
            let (values, [_, dim]) = archive.floats(name)?;
            Embeddings::new(values, dim).map_err(|error| archive.locate(name, error))
        };
        let (images, texts, of) = (rows(IMAGES)?, rows(TEXTS)?, archive.indices(IMAGE_OF_TEXT)?);
        let mut pairs = Pairs::new(images, texts, of, logit_scale, archive.text("backbone")?)
            .map_err(|error| archive.locate("pairs", error))?;
        if let Some(names) = strings(&archive, IMAGE_NAMES)? {
            pairs = pairs.with_image_names(names).map_err(|error| archive.locate(IMAGE_NAMES, error))?;
        }
        if let Some(captions) = strings(&archive, CAPTIONS)? {
            pairs = pairs.with_captions(captions).map_err(|error| archive.locate(CAPTIONS, error))?;
        }
        let mut file = Self::new(archive.text("dataset").unwrap_or_default(), pairs);
        file.source = archive.text("source").unwrap_or_default().to_owned();
        for name in archive.names() {
            let side = ["train.seed", "test.seed"].into_iter().find_map(|side| name.strip_prefix(side));
            if let Some(seed) = side.and_then(|seed| seed.parse().ok())
                && !file.draws.contains_key(&seed)
            {
                let draw = read_draw(&archive, seed, file.pairs.len())?;
                file.draws.insert(seed, draw);
            }
        }
        Ok(file)
    }

    /// Writes the file as f32, whole or not at all; what was there before is replaced.
    ///
    /// # Errors
    /// [`Error::Write`](crate::Error::Write) if it cannot be written; the file that was there is then untouched.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let pairs = &self.pairs;
        let mut archive = ArchiveWriter::new(PAIR_FORMAT);
        archive.text("dataset", &self.dataset);
        archive.text("source", &self.source);
        archive.text("backbone", pairs.backbone());
        archive.text("logit_scale", pairs.logit_scale());
        for (name, rows) in [(IMAGES, pairs.images()), (TEXTS, pairs.texts())] {
            archive.floats_from(name, &[rows.rows(), rows.dim()], move |put| put(rows.values()));
        }
        archive.indices(IMAGE_OF_TEXT, pairs.text_to_image());
        for (name, strings) in [(IMAGE_NAMES, pairs.image_names()), (CAPTIONS, pairs.captions())] {
            if let Some(strings) = strings {
                archive.bytes(name, serde_json::json!(strings).to_string().into_bytes());
            }
        }
        for (seed, Draw { train, test }) in &self.draws {
            archive.indices(format!("train.seed{seed}"), train);
            archive.indices(format!("test.seed{seed}"), test);
        }
        archive.write(path.as_ref())
    }
}

/// A JSON array of strings, if there is one.
fn strings(archive: &Archive, name: &str) -> Result<Option<Vec<String>>> {
    if archive.place(name).is_none() {
        return Ok(None);
    }
    serde_json::from_slice(&archive.bytes(name)?)
        .map(Some)
        .map_err(|error| archive.malformed(name, "a JSON array of strings", error))
}

/// Both sides of a draw: rows of images, none of them twice.
fn read_draw(archive: &Archive, seed: u64, images: usize) -> Result<Draw> {
    let mut seen = BTreeSet::new();
    let mut side = |name: String| -> Result<Vec<usize>> {
        let rows = archive.indices(&name)?;
        if rows.is_empty() {
            return Err(archive.malformed(name, "at least one image", "none"));
        }
        for (at, &row) in rows.iter().enumerate() {
            if row >= images {
                let expected = format!("an image below {images}");
                return Err(archive.malformed(format!("row {at} of `{name}`"), expected, row));
            }
            if !seen.insert(row) {
                let expected = "every image once, on one side of the draw";
                return Err(archive.malformed(
                    format!("row {at} of `{name}`"),
                    expected,
                    format!("{row} again"),
                ));
            }
        }
        Ok(rows)
    };
    Ok(Draw { train: side(format!("train.seed{seed}"))?, test: side(format!("test.seed{seed}"))? })
}
