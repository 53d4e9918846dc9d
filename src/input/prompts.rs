use std::path::Path;

use super::prompt_sets::SETS;
use super::read_texts;
use crate::error::{Error, Result};

/// Templates that make a sentence of a class name, which goes where `{}` stands.
///
/// | Set | Templates | Source |
/// | --- | ---: | --- |
/// | `single` (default) | 1 | Radford et al., 2021, section 3.1.4, <https://arxiv.org/abs/2103.00020> |
/// | `imagenet-80`, `imagenet-7` | 80, 7 | OpenAI's [notebook], all of its templates and the seven that its search kept |
/// | `caltech101`, `oxford-pets`, `stanford-cars`, `flowers102`, `food101`, `fgvc-aircraft`, `sun397`, `dtd`, `eurosat`, `ucf101` | 1 each | CoOp (Zhou et al., 2022, <https://arxiv.org/abs/2109.01134>), its [zero-shot trainer] |
/// | `aerial`, `emoji` | 8, 6 | our own wording |
///
/// [notebook]: https://github.com/openai/CLIP/blob/main/notebooks/Prompt_Engineering_for_ImageNet.ipynb
/// [zero-shot trainer]: https://github.com/KaiyangZhou/CoOp/blob/main/trainers/zsclip.py
///
/// # Examples
/// ```
/// use clip_adapter::input::Prompts;
///
/// assert_eq!(Prompts::default().templates(), ["a photo of a {}."]);
/// assert_eq!(Prompts::named("imagenet-80")?.templates().len(), 80);
/// let prompts = Prompts::new(["a sketch of a {}.", "a {}, drawn."])?;
/// assert_eq!(prompts.sentences(&["cat"]), ["a sketch of a cat.", "a cat, drawn."]);
/// assert!(Prompts::new(["a photo."]).is_err());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompts {
    templates: Vec<String>,
}

impl Default for Prompts {
    /// `a photo of a {}.` alone.
    fn default() -> Self {
        Self { templates: vec!["a photo of a {}.".into()] }
    }
}

impl Prompts {
    /// The names of the sets that [`named`](Self::named) knows.
    pub const NAMES: [&'static str; SETS.len()] = {
        let (mut names, mut index) = ([""; SETS.len()], 0);
        while index < SETS.len() {
            names[index] = SETS[index].0;
            index += 1;
        }
        names
    };

    /// Takes templates of the caller's own.
    ///
    /// # Errors
    /// [`Error::Data`] if there is none, or for the first one without `{}`.
    pub fn new<T: Into<String>>(templates: impl IntoIterator<Item = T>) -> Result<Self> {
        let templates: Vec<String> = templates.into_iter().map(Into::into).collect();
        if templates.is_empty() {
            return Err(Error::data("prompt templates", "at least one", "none"));
        }
        match templates.iter().find(|template| !template.contains("{}")) {
            None => Ok(Self { templates }),
            Some(template) => {
                let expected = "`{}` where the class name goes";
                Err(Error::data("prompt template", expected, format!("`{template}`")))
            }
        }
    }

    /// One of the published sets.
    ///
    /// # Errors
    /// [`Error::Setting`] with the names there are.
    pub fn named(name: &str) -> Result<Self> {
        match SETS.iter().find(|(known, _)| *known == name) {
            Some((_, templates)) => Self::new(templates.iter().copied()),
            None => {
                let expected = format!("one of {}", Self::NAMES.join(", "));
                Err(Error::setting("prompts", expected, format!("`{name}`")))
            }
        }
    }

    /// The set of this name or, where there is none, the templates of this file: what a command line takes.
    ///
    /// # Errors
    /// As [`read`](Self::read); as [`named`](Self::named) if there is no such file either.
    pub fn find(name_or_file: &str) -> Result<Self> {
        match Self::named(name_or_file) {
            Err(_) if Path::new(name_or_file).exists() => Self::read(name_or_file),
            named => named,
        }
    }

    /// Reads templates from a file: a JSON array if it ends in `.json`, else one a line, without blank ones.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read; [`Error::Malformed`] if there is no template, one has no `{}`, or it
    /// is no JSON array of strings.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let templates = read_texts(path)?.into_iter().map(|text| text.trim().to_owned());
        Self::new(templates.filter(|template| !template.is_empty())).map_err(|error| match error {
            Error::Data { what, expected, found } => Error::malformed(path, what, expected, found),
            other => other,
        })
    }

    /// The templates.
    pub fn templates(&self) -> &[String] {
        &self.templates
    }

    /// Every template with every class name, class by class within a template.
    pub fn sentences(&self, class_names: &[impl AsRef<str>]) -> Vec<String> {
        let filled = |template: &String| -> Vec<String> {
            class_names.iter().map(|name| template.replace("{}", name.as_ref())).collect()
        };
        self.templates.iter().flat_map(filled).collect()
    }
}
