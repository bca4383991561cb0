//! `tokenizer.json`, with the special tokens that `config.json` names.

use crate::config::LlamaConfig;

/// Why a text could not be turned into tokens or back.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file can't be used.
    #[error("tokenizer.json can't be used: {0}")]
    Malformed(String),
    /// The tokenizer knows tokens that the model has no embedding for.
    #[error(
        "tokenizer.json has token {token}, but the model's vocabulary ends at {vocab_size}: they don't belong together"
    )]
    VocabularyMismatch {
        /// The largest token of the tokenizer.
        token: u32,
        /// The model's vocabulary.
        vocab_size: usize,
    },
    /// Encoding or decoding failed.
    #[error("the tokenizer failed: {0}")]
    Failed(String),
}

/// A tokenizer bound to a model.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: Option<u32>,
}

impl Tokenizer {
    /// From the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Malformed`] or [`TokenizerError::VocabularyMismatch`].
    pub fn from_bytes(bytes: &[u8], config: &LlamaConfig) -> Result<Self, TokenizerError> {
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|error| TokenizerError::Malformed(error.to_string()))?;
        let largest = inner.get_vocab(true).into_values().max().unwrap_or(0);
        if largest as usize >= config.vocab_size {
            return Err(TokenizerError::VocabularyMismatch { token: largest, vocab_size: config.vocab_size });
        }
        // Lengths are ours to decide: a tokenizer.json may carry its own truncation or padding.
        inner
            .with_truncation(None)
            .map_err(|error| TokenizerError::Malformed(error.to_string()))?
            .with_padding(None);
        Ok(Self { inner, bos: config.bos_token_id })
    }

    /// The beginning-of-sequence token.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The tokens of `text`, without special ones.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding =
            self.inner.encode_fast(text, false).map_err(|error| TokenizerError::Failed(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// BOS, if the model has one, and the tokens of `text`.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`].
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids: Vec<u32> = self.bos.into_iter().collect();
        ids.extend(self.encode(text)?);
        Ok(ids)
    }

    /// The text of `ids`, special tokens left out.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`].
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.inner.decode(ids, true).map_err(|error| TokenizerError::Failed(error.to_string()))
    }

    /// Decodes token by token, holding back incomplete characters.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, ids: Vec::new(), settled: 0, emitted: 0 }
    }
}

/// Text of a growing list of tokens: each step returns what is new and will not change.
///
/// The tokens since the last settled point are decoded again together with the ones before, as a
/// byte-level token can be a part of a character and a word-initial space depends on its neighbour.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    /// Tokens before this one are emitted whole.
    settled: usize,
    /// Bytes of the decoded window (`ids[window..]`) that were emitted.
    emitted: usize,
}

impl TextStream<'_> {
    /// Tokens of context that a window keeps: enough for the longest character in byte tokens.
    const CONTEXT: usize = 8;

    /// Adds `id` and returns the text that it completes, which may be empty.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`].
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids[self.settled..])?;
        let complete = text.trim_end_matches('\u{FFFD}');
        // A decoder may take back nothing that was emitted: byte pieces only ever complete.
        let new = complete.get(self.emitted..).unwrap_or_default().to_owned();
        self.emitted += new.len();
        if complete.len() == text.len() && self.ids.len() - self.settled > 4 * Self::CONTEXT {
            self.settled = self.ids.len() - Self::CONTEXT;
            self.emitted = self.tokenizer.decode(&self.ids[self.settled..])?.len();
        }
        Ok(new)
    }

    /// What was held back at the end, replacement characters included.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`].
    pub fn finish(self) -> Result<String, TokenizerError> {
        let text = self.tokenizer.decode(&self.ids[self.settled..])?;
        Ok(text.get(self.emitted..).unwrap_or_default().to_owned())
    }
}
