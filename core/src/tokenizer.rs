//! `tokenizer.json`, with the special tokens that `config.json` names.
//!
//! What a document begins with is what transformers' `tokenizer(text)` puts there, and that is not
//! always `bos_token_id` of `config.json`: Qwen2 names one and begins with nothing.

use crate::config::{Family, LlamaConfig};
use crate::given::Given;
use serde::Deserialize;

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
    /// `tokenizer_config.json` can't be used.
    #[error("tokenizer_config.json can't be read: {0}")]
    Settings(#[from] serde_json::Error),
    /// Encoding or decoding failed.
    #[error("the tokenizer failed: {0}")]
    Failed(String),
}

/// A tokenizer bound to a model.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: Option<u32>,
    /// `bos_token_id` of the model's config.
    config_bos: Option<u32>,
    /// What the post-processor of `tokenizer.json` puts before a text.
    template_bos: Option<u32>,
    vocab_size: usize,
}

/// What `tokenizer_config.json` says about the beginning of a text.
#[derive(Deserialize)]
struct Settings {
    add_bos_token: Option<bool>,
    #[serde(default)]
    bos_token: Given<SpecialToken>,
    tokenizer_class: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Text(String),
    Added { content: String },
}

impl Tokenizer {
    /// From the bytes of a `tokenizer.json`.
    ///
    /// Documents of a Llama or a Mistral begin with the BOS of `config`, those of a Qwen2 with what
    /// the post-processor of `tokenizer.json` puts before a text, which is nothing as published.
    /// [`Self::with_settings`] knows better.
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
        let template_bos = before_text(&inner);
        let bos = match config.family {
            Family::Llama | Family::Mistral => config.bos_token_id.or(template_bos),
            Family::Qwen2 => template_bos,
        };
        let (config_bos, vocab_size) = (config.bos_token_id, config.vocab_size);
        Ok(Self { inner, bos, config_bos, template_bos, vocab_size })
    }

    /// The same with the text of the `tokenizer_config.json` beside it, which decides where the
    /// post-processor of `tokenizer.json` puts nothing before a text: `add_bos_token`, a `bos_token`
    /// that is null, or else the class (Llama's adds BOS by itself; of the others, GPT-2's of SmolLM
    /// and Qwen2's add none).
    ///
    /// # Errors
    /// [`TokenizerError::Settings`] when it is not JSON or a field has another type;
    /// [`TokenizerError::VocabularyMismatch`] when its BOS is no token of the model.
    pub fn with_settings(mut self, json: &str) -> Result<Self, TokenizerError> {
        let settings: Settings = serde_json::from_str(json)?;
        if self.template_bos.is_some() {
            return Ok(self);
        }
        let class = settings.tokenizer_class.as_deref();
        let class_adds = class.map(|name| name.contains("Llama"));
        let adds = match (settings.add_bos_token, &settings.bos_token) {
            (_, Given::Null) => Some(false),
            (Some(adds), _) => Some(adds),
            (None, _) => class_adds,
        };
        self.bos = match adds {
            Some(false) => None,
            Some(true) => {
                let named = match &settings.bos_token {
                    Given::Value(SpecialToken::Text(text) | SpecialToken::Added { content: text }) => {
                        self.inner.token_to_id(text)
                    }
                    _ => None,
                };
                let bos = named.or(self.config_bos);
                if let Some(token) = bos.filter(|&token| token as usize >= self.vocab_size) {
                    return Err(TokenizerError::VocabularyMismatch { token, vocab_size: self.vocab_size });
                }
                bos
            }
            // It says nothing about it.
            None => self.bos,
        };
        Ok(self)
    }

    /// The token that documents begin with; `None` where they are just text.
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

    /// BOS, if documents of the model begin with one, and the tokens of `text`.
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

    /// As [`Self::stream`], for what continues the text of `before`: some decoders leave out the space that a text
    /// begins with, which the first token of a continuation has to keep.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`].
    pub fn stream_after(&self, before: &[u32]) -> Result<TextStream<'_>, TokenizerError> {
        let ids = before[before.len().saturating_sub(TextStream::CONTEXT)..].to_vec();
        let emitted = self.decode(&ids)?.trim_end_matches('\u{FFFD}').len();
        Ok(TextStream { tokenizer: self, ids, settled: 0, emitted })
    }
}

/// The special token that the post-processor of a tokenizer puts before a text, if it does and if a
/// text of one letter can be encoded at all.
fn before_text(inner: &tokenizers::Tokenizer) -> Option<u32> {
    let encoding = inner.encode_fast("a", true).ok()?;
    let added = encoding.get_special_tokens_mask();
    // Without a token of the text, nobody knows whether what is there stands before or after it.
    (added.first() == Some(&1) && added.contains(&0)).then(|| encoding.get_ids()[0])
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

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    fn config(family: Family, bos: &str) -> LlamaConfig {
        LlamaConfig::from_json(&format!(
            r#"{{"model_type":"{}","vocab_size":8,"hidden_size":8,"intermediate_size":12,
            "num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,
            "max_position_embeddings":32,"rms_norm_eps":1e-5,"bos_token_id":{bos}}}"#,
            family.model_type()
        ))
        .unwrap()
    }

    /// A tokenizer of words; `template` is what stands around a text.
    fn tokenizer(template: &[&str]) -> Vec<u8> {
        let piece = |piece: &&str| match *piece {
            "A" => serde_json::json!({"Sequence": {"id": "A", "type_id": 0}}),
            token => serde_json::json!({"SpecialToken": {"id": token, "type_id": 0}}),
        };
        let pieces: Vec<_> = template.iter().map(piece).collect();
        let special = |token: &str, id: u32| serde_json::json!({"id": token, "ids": [id], "tokens": [token]});
        let post_processor = if pieces.is_empty() {
            serde_json::json!({
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
            })
        } else {
            serde_json::json!({
                "type": "TemplateProcessing", "single": pieces, "pair": [
                    {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
                ],
                "special_tokens": {"<s>": special("<s>", 1), "</s>": special("</s>", 2)},
            })
        };
        let added = |id: u32, content: &str| {
            serde_json::json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        };
        let json = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [added(1, "<s>"), added(2, "</s>")],
            "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": post_processor,
            "decoder": null,
            "model": {
                "type": "WordLevel", "unk_token": "?",
                "vocab": {"?": 0, "<s>": 1, "</s>": 2, "fn": 3, "main": 4, "let": 5},
            },
        });
        json.to_string().into_bytes()
    }

    fn document(tokenizer: &Tokenizer) -> Vec<u32> {
        tokenizer.encode_document("fn main").unwrap()
    }

    #[test]
    fn documents_begin_as_the_family_has_it() {
        for (family, bos, template, expected) in [
            // Llama as ever: what the config says, whatever the post-processor does.
            (Family::Llama, "1", &["<s>", "A"][..], &[1, 3, 4][..]),
            (Family::Llama, "1", &["A"], &[1, 3, 4]),
            (Family::Llama, "1", &[], &[1, 3, 4]),
            (Family::Llama, "null", &["A"], &[3, 4]),
            (Family::Mistral, "1", &["<s>", "A"], &[1, 3, 4]),
            // Qwen2 names a token and doesn't begin with it.
            (Family::Qwen2, "1", &[], &[3, 4]),
            (Family::Qwen2, "1", &["A"], &[3, 4]),
            (Family::Qwen2, "2", &["<s>", "A"], &[1, 3, 4]),
            // What comes after a text is no beginning.
            (Family::Qwen2, "1", &["A", "</s>"], &[3, 4]),
            (Family::Qwen2, "1", &["<s>", "A", "</s>"], &[1, 3, 4]),
        ] {
            let tokenizer = Tokenizer::from_bytes(&tokenizer(template), &config(family, bos)).unwrap();
            assert_eq!(document(&tokenizer), expected, "{family:?} {bos} {template:?}");
            assert_eq!(tokenizer.encode("fn main").unwrap(), [3, 4]);
            let begin = tokenizer.bos().map_or_else(Vec::new, |bos| vec![bos]);
            assert_eq!(tokenizer.encode_document("").unwrap(), begin);
        }
    }

    #[test]
    fn settings_decide_where_the_post_processor_is_silent() {
        for (family, template, settings, expected) in [
            (Family::Llama, &[][..], r#"{"tokenizer_class":"LlamaTokenizer"}"#, Some(1)),
            (Family::Llama, &["A"], r#"{"tokenizer_class":"LlamaTokenizer","bos_token":"</s>"}"#, Some(2)),
            // SmolLM.
            (Family::Llama, &[], r#"{"tokenizer_class":"GPT2Tokenizer","bos_token":"<s>"}"#, None),
            (Family::Llama, &[], "{}", Some(1)),
            (Family::Llama, &[], r#"{"add_bos_token":false,"tokenizer_class":"LlamaTokenizer"}"#, None),
            (Family::Llama, &["<s>", "A"], r#"{"tokenizer_class":"PreTrainedTokenizerFast"}"#, Some(1)),
            // Qwen2.5's own words.
            (
                Family::Qwen2,
                &[],
                r#"{"add_bos_token":false,"bos_token":null,"tokenizer_class":"Qwen2Tokenizer"}"#,
                None,
            ),
            (Family::Qwen2, &[], "{}", None),
            // A distilled Qwen2 with another tokenizer.
            (
                Family::Qwen2,
                &[],
                r#"{"add_bos_token":true,"bos_token":{"content":"<s>","lstrip":false},"tokenizer_class":"LlamaTokenizerFast"}"#,
                Some(1),
            ),
        ] {
            let tokenizer = Tokenizer::from_bytes(&tokenizer(template), &config(family, "1")).unwrap();
            let tokenizer = tokenizer.with_settings(settings).unwrap();
            assert_eq!(tokenizer.bos(), expected, "{family:?} {template:?} {settings}");
        }
        let plain = Tokenizer::from_bytes(&tokenizer(&[]), &config(Family::Llama, "1")).unwrap();
        for bad in ["", "[", r#"{"add_bos_token":"yes"}"#, r#"{"bos_token":7}"#] {
            let error = plain.clone().with_settings(bad).unwrap_err().to_string();
            assert!(error.contains("tokenizer_config.json"), "{error}");
        }
    }
}
