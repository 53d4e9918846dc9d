use std::path::Path;

use super::Catalogue;
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::features::{Embeddings, FORMAT};

impl Catalogue {
    /// Reads the images of a feature file (`clip-features/1`) as a catalogue. No text classifier is needed.
    ///
    /// The images are those of its split `all`, or else of its only split. Their names are the JSON array `item_ids` of
    /// the metadata, or else the rows, `0`, `1` and so on. With `texts.features`, one row an item, each item has its text
    /// beside its image.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read; [`Error::Malformed`] naming the part if it is of another format, has several
    /// splits of which none is `all`, not one name or text an item, or values that are not finite.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let archive = Archive::open(path.as_ref())?;
        archive.require_format(FORMAT)?;
        let splits: Vec<String> = (archive.names())
            .filter_map(|name| name.strip_suffix(".features"))
            .filter(|split| !["text", "texts"].contains(split))
            .map(str::to_owned)
            .collect();
        let split = match &splits[..] {
            [only] => only,
            several => several.iter().find(|split| *split == "all").ok_or_else(|| {
                let expected = "a split `all`, or one alone";
                archive.malformed("splits", expected, format!("`{}`", several.join("`, `")))
            })?,
        };
        let name = format!("{split}.features");
        let images = embeddings(&archive, &name)?;
        let ids = match archive.metadata().contains_key("item_ids") {
            true => archive.json("item_ids")?,
            false => (0..images.rows()).map(|row| row.to_string()).collect::<Vec<_>>(),
        };
        let located = |error: Error| archive.locate("items", error);
        let catalogue = Self::new(ids, &images, archive.text("backbone")?).map_err(located)?;
        match archive.place("texts.features") {
            None => Ok(catalogue),
            Some(_) => catalogue.with_texts(&embeddings(&archive, "texts.features")?).map_err(located),
        }
    }
}

fn embeddings(archive: &Archive, name: &str) -> Result<Embeddings> {
    let (values, [_, dim]) = archive.floats(name)?;
    Embeddings::new(values, dim).map_err(|error| archive.locate(name, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::ArchiveWriter;
    use crate::features::FeatureFile;

    fn read(fill: &dyn Fn(&mut ArchiveWriter<'_>)) -> Result<Catalogue> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("items.safetensors");
        let mut archive = ArchiveWriter::new(FORMAT);
        archive.text("backbone", "b");
        fill(&mut archive);
        archive.write(&path).unwrap();
        Catalogue::read(&path)
    }

    #[test]
    fn names_are_those_of_the_file_or_its_rows() {
        let two = [1.0, 0.0, 0.0, 1.0];
        let catalogue = read(&|archive| archive.floats("shop.features", &[2, 2], &two)).unwrap();
        assert_eq!((catalogue.names(), catalogue.backbone()), (&["0".to_owned(), "1".to_owned()][..], "b"));
        let catalogue = read(&|archive| {
            archive.floats("all.features", &[2, 2], &two);
            archive.floats("new.features", &[1, 2], &[1.0, 1.0]);
            archive.floats("texts.features", &[2, 2], &[0.6, 0.8, 0.6, 0.8]);
            archive.text("item_ids", r#"["mug", "vase"]"#);
        });
        let catalogue = catalogue.unwrap();
        assert_eq!(catalogue.place("vase"), Some(1));
        assert!(catalogue.features().row(0)[1] > 0.4);
    }

    #[test]
    fn every_fault_names_the_part() {
        let two = [1.0, 0.0, 0.0, 1.0];
        let message = |fill: &dyn Fn(&mut ArchiveWriter<'_>)| read(fill).unwrap_err().to_string();
        assert!(message(&|_| ()).contains("splits: expected a split `all`"));
        let found = message(&|archive| {
            archive.floats("one.features", &[2, 2], &two);
            archive.floats("two.features", &[2, 2], &two);
        });
        assert!(found.contains("found `one`, `two`"), "{found}");
        let found = message(&|archive| {
            archive.floats("all.features", &[2, 2], &two);
            archive.text("item_ids", r#"["mug"]"#);
        });
        assert!(found.contains("items: features of items: expected one for each of 1 names"), "{found}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("minerals.safetensors");
        FeatureFile::synthetic(0).unwrap().write(&path).unwrap();
        let found = Catalogue::read(&path).unwrap_err().to_string();
        assert!(found.contains("splits: expected a split `all`"), "{found}");
    }
}
