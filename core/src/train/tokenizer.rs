//! Training of a tokenizer.

use crate::tokenizer::TokenizerError;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

/// What documents begin with; token 0.
pub const BEGIN_OF_TEXT: &str = "<|begin_of_text|>";
/// What they end with; token 1.
pub const END_OF_TEXT: &str = "<|end_of_text|>";

/// A `tokenizer.json` that knows no merges yet: text is cut as Llama 3's tokenizer cuts it, and every
/// byte is a token.
const UNTRAINED: &str = r#"{
  "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "behavior": "Isolated", "invert": false, "pattern": {"Regex":
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
    {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
  "post_processor": null,
  "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
    "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
    "vocab": {}, "merges": []}
}"#;

/// The text of a `tokenizer.json` with a byte-level BPE of `vocab_size` tokens (Sennrich et al. 2016),
/// learned from `texts`. Tokens 0 and 1 are [`BEGIN_OF_TEXT`], which is put before every text, and
/// [`END_OF_TEXT`].
///
/// # Errors
/// [`TokenizerError::Failed`] when `vocab_size` has no room for all bytes, or the texts are too few for it.
pub fn train_tokenizer(
    texts: impl Iterator<Item = impl AsRef<str> + Send> + Send,
    vocab_size: usize,
) -> Result<String, TokenizerError> {
    let failed = |error: tokenizers::Error| TokenizerError::Failed(error.to_string());
    let smallest = 256 + 2;
    if vocab_size < smallest {
        return Err(TokenizerError::Failed(format!(
            "a vocabulary of {vocab_size} tokens has no room for 256 bytes and two special tokens; take {smallest} or more"
        )));
    }
    let mut tokenizer = Tokenizer::from_bytes(UNTRAINED).map_err(failed)?;
    let special = [BEGIN_OF_TEXT, END_OF_TEXT].map(|token| AddedToken::from(token, true));
    let trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .special_tokens(special.to_vec())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    tokenizer.train(&mut TrainerWrapper::BpeTrainer(trainer), texts).map_err(failed)?;
    let found = tokenizer.get_vocab_size(true);
    if found != vocab_size {
        return Err(TokenizerError::Failed(format!(
            "the texts gave {found} tokens of the {vocab_size} that were asked for; give more text, or take a smaller vocabulary"
        )));
    }
    // The template is said in JSON too: its builder is generic over what the file format fixes.
    let mut json: serde_json::Value = serde_json::from_str(&tokenizer.to_string(false).map_err(failed)?)
        .map_err(TokenizerError::Settings)?;
    json["post_processor"] = serde_json::json!({
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": BEGIN_OF_TEXT, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [
            {"SpecialToken": {"id": BEGIN_OF_TEXT, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"Sequence": {"id": "B", "type_id": 1}},
        ],
        "special_tokens": {
            BEGIN_OF_TEXT: {"id": BEGIN_OF_TEXT, "ids": [0], "tokens": [BEGIN_OF_TEXT]},
        },
    });
    serde_json::to_string(&json).map_err(TokenizerError::Settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_learns_what_is_frequent_and_gives_every_text_back() {
        let texts = ["fn add(a: i32) -> i32 { a + 1 }\n", "fn sub(a: i32) -> i32 { a - 1 }\n"].repeat(20);
        let json = train_tokenizer(texts.iter(), 270).unwrap();
        let tokenizer = Tokenizer::from_bytes(&json).unwrap();
        assert_eq!(tokenizer.get_vocab_size(true), 270);
        for text in ["fn add", "héllo\tworld 12345\r\n", "日本", ""] {
            let encoded = tokenizer.encode(text, true).unwrap();
            assert_eq!(encoded.get_ids()[0], 0);
            assert_eq!(tokenizer.decode(&encoded.get_ids()[1..], true).unwrap(), text);
        }
        let ids = tokenizer.encode("fn i32", false).unwrap().len();
        assert!(ids < 6, "{ids} tokens for six frequent bytes");
        assert_eq!(tokenizer.token_to_id(END_OF_TEXT), Some(1));
        // The same texts give the same file.
        assert_eq!(train_tokenizer(texts.iter(), 270).unwrap(), json);
    }

    #[test]
    fn sizes_that_can_not_be_are_refused() {
        let refused = |size| train_tokenizer(["ab"].iter(), size).unwrap_err().to_string();
        assert!(refused(200).contains("258 or more"));
        assert!(refused(5000).contains("give more text"));
    }
}
