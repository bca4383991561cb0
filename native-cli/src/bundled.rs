//! The model and the corpus inside the binary, so that `demo` needs nothing else.

use anyhow::Context as _;

/// Name of the bundled model.
pub(crate) const MODEL_NAME: &str = "codingspot-demo";
/// Its config.json.
pub(crate) const CONFIG: &str = include_str!("../../demo/model/config.json");
/// Its tokenizer.json.
pub(crate) const TOKENIZER: &[u8] = include_bytes!("../../demo/model/tokenizer.json");
/// Its weights.
pub(crate) const WEIGHTS: &[u8] = include_bytes!("../../demo/model/model.safetensors");

macro_rules! corpus {
    ($half:literal: $($language:literal),+) => {
        &[$(($language, include_str!(concat!("../../demo/corpus/", $half, "/", $language, ".jsonl")))),+]
    };
}

type Texts = &'static [(&'static str, &'static str)];

const SCORING: Texts = corpus!("score": "bash", "cpp", "csharp", "go", "java", "javascript", "julia",
    "ruby", "rust", "typescript", "python", "english");
const HELD_OUT: Texts = corpus!("eval": "bash", "cpp", "csharp", "go", "java", "javascript", "julia",
    "ruby", "rust", "typescript", "python", "english");

/// The languages that are bundled.
pub(crate) fn languages() -> Vec<String> {
    SCORING.iter().map(|(name, _)| (*name).to_owned()).collect()
}

fn find(texts: Texts, language: &str) -> anyhow::Result<&'static str> {
    let found = texts.iter().find(|(name, _)| *name == language);
    found.map(|(_, text)| *text).with_context(|| format!("no {language} is bundled"))
}

/// JSONL for scoring.
pub(crate) fn scoring(language: &str) -> anyhow::Result<&'static str> {
    find(SCORING, language)
}

/// JSONL held out for measuring.
pub(crate) fn held_out(language: &str) -> anyhow::Result<&'static str> {
    find(HELD_OUT, language)
}

#[cfg(test)]
mod tests {
    use super::*;
    use codingspot_core::corpus::Document;
    use std::collections::BTreeSet;

    #[test]
    fn every_language_has_enough_documents_and_the_halves_share_none() {
        for ((language, scoring), (other, held_out)) in SCORING.iter().zip(HELD_OUT) {
            assert_eq!(language, other);
            let (scoring, held_out) =
                (Document::from_json_lines(scoring).unwrap(), Document::from_json_lines(held_out).unwrap());
            let wanted = if *language == "english" { 20 } else { 12 };
            assert!(scoring.len() >= wanted && held_out.len() >= wanted, "{language}");
            let text = |d: &Document| match d {
                Document::Text(text) => text.clone(),
                Document::Ids(_) => panic!("{language} has ids"),
            };
            let all: BTreeSet<String> = scoring.iter().chain(&held_out).map(text).collect();
            assert_eq!(all.len(), scoring.len() + held_out.len(), "{language} has a text twice");
        }
    }
}
