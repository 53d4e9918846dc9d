use std::{fs, panic, path::Path};

use rayon::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::{Model, ModelWrapper, PreTokenizerWrapper};

use super::clean::{Piece, byte_character, clean, pieces};
use crate::archive::stand_in;
use crate::error::{Error, Result};

/// CLIP's byte-level BPE, from a `tokenizer.json`.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    context: usize,
    pad: u32,
    pooling: EndOfText,
    vocabulary: usize,
    /// The ids of start and end, where open_clip's way comes before the BPE and not what the file says.
    open_clip: Option<[u32; 2]>,
    /// What stands for the tokens that a vocabulary with gaps was given beyond its own.
    gaps: Vec<Option<u32>>,
}

/// What comes before the BPE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cleaning {
    /// What the file says: transformers' way.
    AsWritten,
    /// What open_clip's own tokenizer does, whatever the file says: ftfy and HTML's references, and its own split.
    OpenClip,
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
        let pad = Some("<|endoftext|>");
        Self::open(path.as_ref(), context, pad, EndOfText::LargestId, Cleaning::AsWritten)
    }

    /// Opens a `tokenizer.json` for texts of `context` tokens.
    pub(crate) fn open(
        path: &Path,
        context: usize,
        pad: Option<&str>,
        pooling: EndOfText,
        cleaning: Cleaning,
    ) -> Result<Self> {
        let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
        let malformed =
            |part: &str, expected: &str, found: String| Error::malformed(path, part, expected, found);
        // `tokenizers` panics at some JSON that is none.
        serde_json::from_slice::<IgnoredAny>(&bytes).map_err(|error| {
            let found = stand_in(&bytes).map_or(error.to_string(), Into::into);
            malformed("tokenizer", "JSON", found).because(error)
        })?;
        let wanted = "a tokenizer that Hugging Face writes";
        let mut inner = panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(&bytes))
            .map_err(|_| malformed("tokenizer", wanted, "what makes the reader panic".into()))?
            .map_err(|error| malformed("tokenizer", wanted, error.to_string()).because(error))?;
        let vocabulary = inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        let mut gaps = Vec::new();
        if let Some((filled, stand_in)) = fill_gaps(&bytes, &inner, vocabulary) {
            (inner, gaps) = (filled, stand_in);
        }
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
        let open_clip = match cleaning {
            Cleaning::AsWritten => None,
            Cleaning::OpenClip => {
                byte_pairs(&inner)
                    .filter(|bpe| bpe.end_of_word_suffix.as_deref() == Some("</w>"))
                    .ok_or_else(|| {
                        malformed("model", "CLIP's byte-level BPE", "another kind of tokenizer".into())
                    })?;
                let bare =
                    inner.encode_fast("", true).map(|bare| bare.get_ids().to_vec()).unwrap_or_default();
                let ends = <[u32; 2]>::try_from(bare).map_err(|ids| {
                    malformed("post_processor", "a start and an end token", format!("{} tokens", ids.len()))
                })?;
                Some(ends)
            }
        };
        Ok(Self { inner, context, pad, pooling, vocabulary, open_clip, gaps })
    }

    /// The number of ids in the vocabulary, with those that it leaves out between others.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The id of a token of the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token).filter(|&id| (id as usize) < self.vocabulary)
    }

    /// Tokenises texts. One that is too long keeps its first tokens and ends with the end token all the same.
    ///
    /// A checkpoint in open_clip's layout cleans them first as open_clip does: quotes and widths as they are typed,
    /// misread encodings (`cafÃ©`) and HTML's references (`&amp;`) resolved.
    ///
    /// # Errors
    /// [`Error::Data`] if the tokenizer refuses a text. A byte-level one refuses none.
    pub fn encode(&self, texts: &[impl AsRef<str>]) -> Result<Tokenized> {
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let encoded = match self.open_clip {
            Some(ends) => texts.into_par_iter().map(|text| self.encode_cleaned(text, ends)).collect(),
            None => self
                .inner
                .encode_batch_fast(texts, true)
                .map(|encodings| encodings.into_iter().map(|encoding| encoding.get_ids().to_vec()).collect()),
        };
        let encoded: Vec<Vec<u32>> =
            encoded.map_err(|error| Error::data("texts", "ones the tokenizer takes", error.to_string()))?;
        let mut tokenized = Tokenized { ids: Vec::new(), ends: Vec::new() };
        for ids in encoded {
            let mut ids: Vec<u32> = ids.into_iter().filter_map(|id| self.own(id)).collect();
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

    /// The BPE of open_clip's pieces. Start and end by its own names are its tokens; by the file's names, which
    /// nobody writes in a text, they are signs and letters.
    fn encode_cleaned(&self, text: &str, [start, end]: [u32; 2]) -> tokenizers::Result<Vec<u32>> {
        let mut ids = vec![start];
        for piece in pieces(&clean(text)) {
            match piece {
                Piece::Start => ids.push(start),
                Piece::End => ids.push(end),
                Piece::Bytes(bytes) => {
                    ids.extend(self.inner.get_model().tokenize(&bytes)?.iter().map(|token| token.id));
                }
            }
        }
        ids.push(end);
        Ok(ids)
    }

    /// The id in the file's own vocabulary.
    fn own(&self, id: u32) -> Option<u32> {
        let beyond = (id as usize).checked_sub(self.vocabulary);
        beyond.map_or(Some(id), |gap| *self.gaps.get(gap)?)
    }

    fn end(&self, ids: &[u32]) -> usize {
        let end = match self.pooling {
            EndOfText::Id(end) => end,
            EndOfText::LargestId => ids.iter().copied().max().unwrap_or(0),
        };
        ids.iter().position(|&id| id == end).unwrap_or(0)
    }
}

fn byte_pairs(tokenizer: &tokenizers::Tokenizer) -> Option<&BPE> {
    match tokenizer.get_model() {
        ModelWrapper::BPE(bpe) => Some(bpe),
        _ => None,
    }
}

fn splits_into_bytes(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    match pre_tokenizer {
        PreTokenizerWrapper::ByteLevel(_) => true,
        PreTokenizerWrapper::Sequence(steps) => steps.as_ref().iter().any(splits_into_bytes),
        _ => false,
    }
}

/// Fills a byte-level vocabulary in which bytes are missing, alone or at the end of a word, and which cannot say that
/// they are unknown: every text that has one would be refused. Returns the tokenizer with ids for them from
/// `vocabulary` on, and what each of these stands for.
///
/// No merge takes them, so all other texts keep their ids. At the end of a word a byte stands for itself within one,
/// so that two texts that differ still do; a byte that is nowhere is left out. The unknown token of CLIP would be the
/// worst choice: it is the end of the text, and what comes after it would not count.
fn fill_gaps(
    file: &[u8],
    tokenizer: &tokenizers::Tokenizer,
    vocabulary: usize,
) -> Option<(tokenizers::Tokenizer, Vec<Option<u32>>)> {
    let bpe = byte_pairs(tokenizer)?;
    let refuses = bpe.unk_token.as_ref().is_some_and(|unknown| bpe.token_to_id(unknown).is_none());
    let prefixed = bpe.continuing_subword_prefix.as_ref().is_some_and(|prefix| !prefix.is_empty());
    if !refuses || prefixed || !tokenizer.get_pre_tokenizer().is_some_and(splits_into_bytes) {
        return None;
    }
    let suffix = bpe.end_of_word_suffix.clone().unwrap_or_default();
    let mut gaps: Vec<(String, Option<u32>)> = Vec::new();
    for byte in 0..=u8::MAX {
        let within = byte_character(byte).to_string();
        let (last, id) = (format!("{within}{suffix}"), bpe.token_to_id(&within));
        if bpe.token_to_id(&last).is_none() {
            gaps.push((last, id));
        }
        if id.is_none() && !suffix.is_empty() {
            gaps.push((within, None));
        }
    }
    if gaps.is_empty() {
        return None;
    }
    let mut file: Value = serde_json::from_slice(file).ok()?;
    let added = file["added_tokens"].as_array().cloned().unwrap_or_default();
    let words = file["model"]["vocab"].as_object_mut()?;
    // Added tokens that are no words take the next free ids, which would now be others.
    for token in &added {
        let content = token["content"].as_str()?;
        words.entry(content).or_insert(tokenizer.token_to_id(content)?.into());
    }
    for (at, (word, _)) in gaps.iter().enumerate() {
        words.insert(word.clone(), (vocabulary + at).into());
    }
    let filled = tokenizers::Tokenizer::from_bytes(serde_json::to_vec(&file).ok()?).ok()?;
    Some((filled, gaps.into_iter().map(|(_, stand_in)| stand_in).collect()))
}
