use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Item, LeftOut};
use crate::archive::{Archive, ArchiveWriter};
use crate::error::{Error, Result};
use crate::features::{Embeddings, FeatureFile};
use crate::fingerprint::require_backbone;
use crate::tasks::search::{Hit, Index, Rows};

/// The format that the file of an index declares in its metadata.
pub const INDEX_FORMAT: &str = "clip-index/1";

/// An index of images by their CLIP features, kept in one file: a safetensors file of the format `clip-index/1`.
///
/// | Tensor | Type, shape | Meaning |
/// | --- | --- | --- |
/// | `rows` | f16 `[n, dim]` | image embeddings of unit length, in the order of the paths |
/// | `items` | u8 | JSON: `images`, an [`Item`] a row, and `left_out`, the [`LeftOut`] |
///
/// The metadata hold `format` and `backbone`. [`Indexer`](super::Indexer) builds it from a folder and brings it up to
/// date. Its bytes depend on the images, their paths and times of change, and on the backbone: not on the folder's own
/// place, nor on whether a run was interrupted.
///
/// # Examples
/// ```
/// use clip_adapter::prelude::*;
/// use clip_adapter::tasks::search::{Indexer, PhotoIndex};
///
/// let clip = ClipBackbone::from_pretrained("examples/pocket/model", &Device::flex())?;
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("icons.index");
/// let (_, changes) = Indexer::new(&clip).run("examples/pocket/images/icon-line/food", &path)?;
/// assert_eq!(changes.encoded, changes.added.len());
///
/// let index = PhotoIndex::open(&path, clip.identity())?;
/// let found = index.search_text(&clip, "an icon of an apple", 3)?;
/// assert_eq!(found.len(), 3);
/// assert!(found[0].score >= found[1].score && found[0].path.ends_with(".png"));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PhotoIndex {
    backbone: String,
    items: Vec<Item>,
    left_out: Vec<LeftOut>,
    rows: Rows,
}

impl PhotoIndex {
    /// Opens an index of this backbone's features, [`ClipBackbone::identity`](crate::ClipBackbone::identity), and holds
    /// its rows in memory.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] with both sides if it is of another backbone; [`Error::Read`] if it cannot be read;
    /// [`Error::Malformed`] if it is no index or is damaged.
    pub fn open(path: impl AsRef<Path>, backbone: &str) -> Result<Self> {
        let index = Self::open_on_disk(path, backbone)?;
        let rows = index.rows.into_memory()?;
        Ok(Self { rows, ..index })
    }

    /// The same with rows that stay on disk: every search reads the file, a block a thread at a time.
    ///
    /// # Errors
    /// As [`open`](Self::open); damaged rows are found by who reads them.
    pub fn open_on_disk(path: impl AsRef<Path>, backbone: &str) -> Result<Self> {
        let index = Self::read(path.as_ref())?;
        require_backbone("backbones of the index", backbone, &index.backbone)?;
        Ok(index)
    }

    /// As [`open_on_disk`](Self::open_on_disk), of whatever backbone: to export it, or to see what it is of.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let archive = Arc::new(Archive::open(path.as_ref())?);
        archive.require_format(INDEX_FORMAT)?;
        let backbone = archive.text("backbone")?.to_owned();
        let listed: Listed<'_> = serde_json::from_slice(&archive.bytes("items")?)
            .map_err(|error| archive.malformed("items", "the images of an index as JSON", error))?;
        let rows = Rows::stored(archive.clone(), "rows")?;
        if rows.len() != listed.images.len() {
            return Err(archive.malformed("rows", format!("{} of them", listed.images.len()), rows.len()));
        }
        if let Some(at) = listed.images.windows(2).position(|pair| pair[0].path >= pair[1].path) {
            let expected = format!("a path after `{}`", listed.images[at].path);
            let found = format!("`{}`", listed.images[at + 1].path);
            return Err(archive.malformed(format!("item {} of `items`", at + 1), expected, found));
        }
        Ok(Self { backbone, items: listed.images.into_owned(), left_out: listed.left_out.into_owned(), rows })
    }

    /// An index of all images of a feature file, which are called `split/row`. It can be searched and exported; of a
    /// folder it cannot be brought up to date.
    ///
    /// # Errors
    /// [`Error::Data`] if it has no images.
    pub fn of_features(file: &FeatureFile) -> Result<Self> {
        let (mut items, mut values) = (Vec::new(), Vec::new());
        for split in file.split_names() {
            let rows = file.split(split)?.embeddings();
            let digits = rows.rows().to_string().len();
            let item = |row| Item { path: format!("{split}/{row:0digits$}"), ..Item::default() };
            items.extend((0..rows.rows()).map(item));
            values.extend_from_slice(rows.normalised().values());
        }
        if items.is_empty() {
            return Err(Error::data(format!("images of `{}`", file.dataset()), "some", "none"));
        }
        let rows = Rows::halves(&Embeddings::new(values, file.classifier().dim())?)?;
        // Names of splits may be in another order with `/` behind them.
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by(|&a, &b| items[a].path.cmp(&items[b].path));
        let backbone = file.classifier().backbone();
        match order.is_sorted() {
            true => Ok(Self::new(backbone, items, Vec::new(), rows)),
            false => {
                let rows = rows.select(&order)?;
                let items = order.iter().map(|&at| items[at].clone()).collect();
                Ok(Self::new(backbone, items, Vec::new(), rows))
            }
        }
    }

    /// Items sorted by path, and as many rows.
    pub(super) fn new(backbone: &str, items: Vec<Item>, left_out: Vec<LeftOut>, rows: Rows) -> Self {
        Self { backbone: backbone.to_owned(), items, left_out, rows }
    }

    /// Writes the index, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Write`] if it cannot be written; what was there is then untouched.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut archive = ArchiveWriter::new(INDEX_FORMAT);
        archive.text("backbone", &self.backbone);
        let listed = Listed { images: Cow::Borrowed(&self.items), left_out: Cow::Borrowed(&self.left_out) };
        let listed = serde_json::to_vec(&listed).map_err(|error| Error::write(&path, error.into()))?;
        archive.bytes("items", listed);
        archive.halves_from("rows", &[self.len(), self.dim()], |put| self.rows.each(put));
        archive.write(path.as_ref())
    }

    /// The images, one a row, in the order of their paths.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The images that have no row.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The identity of the backbone whose features these are.
    pub fn backbone(&self) -> &str {
        &self.backbone
    }

    /// The rows, of unit length.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The row of an image, by its path.
    pub fn row_of(&self, path: &str) -> Option<usize> {
        self.items.binary_search_by(|item| item.path.as_str().cmp(path)).ok()
    }

    /// The embedding of an image, of unit length.
    ///
    /// # Errors
    /// As [`Rows::row`].
    pub fn embedding(&self, row: usize) -> Result<Vec<f32>> {
        self.rows.row(row)
    }

    /// A row of each content.
    pub(super) fn contents(&self) -> HashMap<&str, usize> {
        self.items.iter().enumerate().map(|(row, item)| (item.digest.as_str(), row)).collect()
    }
}

impl Index for PhotoIndex {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn search(&self, queries: &Embeddings, k: usize) -> Result<Vec<Vec<Hit>>> {
        self.rows.search(queries, k)
    }
}

/// What the tensor `items` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed<'a> {
    images: Cow<'a, [Item]>,
    left_out: Cow<'a, [LeftOut]>,
}
