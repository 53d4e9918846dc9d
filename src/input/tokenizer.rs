use std::{fs, path::Path};

use crate::error::{Error, Result};

/// CLIP's byte-level BPE, from a `tokenizer.json`.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    context: usize,
    pad: u32,
    pooling: EndOfText,
}

/// Which token's feature stands for the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndOfText {
    /// The first token with this id.
    Id(u32),
    /// The first token with the largest id: what the legacy `eos_token_id` 2 means, and what open_clip does.
    LargestId,
}

/// Texts as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokenized {
    /// `[texts, context]`: start, tokens, end, padding.
    pub ids: Vec<Vec<u32>>,
    /// For each text the position of the token whose feature stands for it.
    pub ends: Vec<usize>,
}

impl Tokenized {
    /// Some of the texts, in the order of `texts`.
    pub(crate) fn select(&self, texts: &[usize]) -> Self {
        Self {
            ids: texts.iter().map(|&text| self.ids[text].clone()).collect(),
            ends: texts.iter().map(|&text| self.ends[text]).collect(),
        }
    }
}

impl Tokenizer {
    /// Opens a CLIP `tokenizer.json` by itself, for texts of `context` tokens: padding is `<|endoftext|>`, which
    /// has the largest id and stands for the text.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::Malformed`] for a file that is absent or damaged; [`Error::Setting`] for a
    /// context below 2.
    pub fn from_file(path: impl AsRef<Path>, context: usize) -> Result<Self> {
        Self::open(path.as_ref(), context, Some("<|endoftext|>"), EndOfText::LargestId)
    }

    /// Opens a `tokenizer.json` for texts of `context` tokens.
    pub(crate) fn open(path: &Path, context: usize, pad: Option<&str>, pooling: EndOfText) -> Result<Self> {
        let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
        let malformed =
            |part: &str, expected: &str, found: String| Error::malformed(path, part, expected, found);
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| {
            malformed("tokenizer", "a tokenizer that Hugging Face writes", error.to_string()).because(error)
        })?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| {
            malformed("truncation", "settings that can be switched off", error.to_string())
        })?;
        if context < 2 {
            return Err(Error::setting("context_length", "2 or more tokens", context));
        }
        let pad = match pad {
            None => 0,
            Some(token) => inner
                .token_to_id(token)
                .ok_or_else(|| malformed("padding token", "one of the vocabulary", format!("`{token}`")))?,
        };
        Ok(Self { inner, context, pad, pooling })
    }

    /// The number of ids in the vocabulary, with those that it leaves out between others.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
    }

    /// The id of a token of the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Tokenises texts. One that is too long keeps its first tokens and ends with the end token all the same.
    ///
    /// # Errors
    /// [`Error::Data`] if the tokenizer refuses a text.
    pub fn encode(&self, texts: &[impl AsRef<str>]) -> Result<Tokenized> {
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let encodings = self
            .inner
            .encode_batch_fast(texts, true)
            .map_err(|error| Error::data("texts", "ones the tokenizer takes", error.to_string()))?;
        let mut tokenized = Tokenized { ids: Vec::new(), ends: Vec::new() };
        for encoding in encodings {
            let mut ids = encoding.get_ids().to_vec();
            if let (true, Some(&end)) = (ids.len() > self.context, ids.last()) {
                ids.truncate(self.context);
                ids[self.context - 1] = end;
            }
            ids.resize(self.context, self.pad);
            tokenized.ends.push(self.end(&ids));
            tokenized.ids.push(ids);
        }
        Ok(tokenized)
    }

    fn end(&self, ids: &[u32]) -> usize {
        let end = match self.pooling {
            EndOfText::Id(end) => end,
            EndOfText::LargestId => ids.iter().copied().max().unwrap_or(0),
        };
        ids.iter().position(|&id| id == end).unwrap_or(0)
    }
}
