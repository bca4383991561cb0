//! Rung 5: a really trained Llama says what its authors published.

use codingspot_core::Device;
use codingspot_core::config::LlamaConfig;
use codingspot_core::generate::{GenerateOptions, generate};
use codingspot_core::tokenizer::Tokenizer;
use codingspot_tests::{load_directory, shared};
use pollster::block_on;
use std::fs;
use std::ops::ControlFlow;

/// The text that llama2.c's documentation gives for temperature 0.
fn published(text: &str) -> &str {
    let start = text.find("Once upon a time, there was a little girl named Lily.").unwrap();
    text[start..].split("\n```").next().unwrap()
}

#[test]
fn stories260k_greedy_text_equals_the_published_one() {
    let Some(path) = shared("models/stories260K") else { return };
    let config = LlamaConfig::from_json(&fs::read_to_string(path.join("config.json")).unwrap()).unwrap();
    let tokenizer = Tokenizer::from_bytes(&fs::read(path.join("tokenizer.json")).unwrap(), &config).unwrap();
    let loaded = load_directory(&path, &config, &Device::flex()).unwrap();
    let prompt = tokenizer.encode_document("").unwrap();
    assert_eq!(prompt, [1], "an empty prompt is BOS alone");
    // llama2.c's `run` makes 256 steps, the first of which feeds BOS.
    let options = GenerateOptions { max_tokens: 256, ..Default::default() };
    let mut streamed = String::new();
    let generation = block_on(generate(&loaded.model, Some(&tokenizer), &prompt, &options, async |token| {
        streamed.push_str(&token.text);
        ControlFlow::Continue(())
    }))
    .unwrap();
    let expected = fs::read_to_string(path.join("stories260K.md")).unwrap();
    let expected = published(&expected);
    assert_eq!(generation.text.trim(), expected.trim());
    assert_eq!(streamed.trim(), expected.trim(), "what was streamed");
}
