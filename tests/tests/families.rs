//! What the families add to a Llama, biases and windows, by itself: decoding through the cache, what
//! a window keeps out, and what scopes take in.
//!
//! Tolerance: 1e-5 of the norm; both sides are f32 and add in different orders.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use codingspot_core::Device;
use codingspot_core::config::{Family, LlamaConfig};
use codingspot_core::layout::{Module, ParameterLayout};
use codingspot_core::llama::{KvCache, Llama, RotaryTable};
use codingspot_core::spot::{Scope, parameters_in_scope};
use codingspot_tests::{FIXTURES, Fixture, Random, assert_close, load_directory};
use std::collections::BTreeSet;

/// Last hidden states of `tokens`, row-major.
fn whole(model: &Llama, tokens: &[u32]) -> Vec<f32> {
    let rope = RotaryTable::new(model.config(), tokens.len(), model.device());
    model.hidden_states(&[tokens], &rope).unwrap().into_data().try_into_vec().unwrap()
}

#[test]
fn decoding_through_the_cache_equals_a_whole_forward_pass() {
    let mut random = Random::new(1);
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        let model = fixture.load(&Device::flex()).model;
        let tokens = &fixture.ids("logits/long_ids")[0];
        let expected = whole(&model, tokens);
        // Pieces of one token, of a window, of more than a bucket of the cache.
        for longest in [2, 9, 100] {
            let mut cache = KvCache::new(&model, 1, tokens.len());
            let mut actual: Vec<f32> = Vec::new();
            while cache.length() < tokens.len() {
                let start = cache.length();
                let piece = (1 + random.below(longest)).min(tokens.len() - start);
                let hidden = model.extend(&tokens[start..start + piece], &mut cache).unwrap();
                actual.extend(hidden.into_data().try_into_vec::<f32>().unwrap());
            }
            assert_close(&format!("{name} in pieces up to {longest}"), &actual, &expected, 1e-5);
            // Back a little and on again.
            cache.truncate(250);
            let again = model.extend(&tokens[250..], &mut cache).unwrap();
            let again: Vec<f32> = again.into_data().try_into_vec().unwrap();
            let rest = &expected[250 * fixture.config.hidden_size..];
            assert_close(&format!("{name} after {longest} and back"), &again, rest, 1e-5);
        }
    }
}

/// Through 2 layers with a window of 7 a token hears of the 12 before it, and of no other.
#[test]
fn a_window_keeps_out_what_is_before_it() {
    let fixture = Fixture::open("mistral-tiny");
    let reach = fixture.config.num_hidden_layers * (fixture.config.sliding_window.unwrap() - 1);
    let tokens = fixture.ids("logits/ids").remove(0);
    assert!(reach + 2 < tokens.len());
    let wide = LlamaConfig { sliding_window: None, ..fixture.config.clone() };
    for (config, reach) in [(&fixture.config, reach), (&wide, tokens.len())] {
        let model = load_directory(&fixture.path, config, &Device::flex()).unwrap().model;
        let last = |tokens: &[u32]| {
            let hidden = whole(&model, tokens);
            hidden[hidden.len() - config.hidden_size..]
                .iter()
                .map(|value| value.to_bits())
                .collect::<Vec<_>>()
        };
        let expected = last(&tokens);
        for back in 1..tokens.len() {
            let mut other = tokens.clone();
            let place = tokens.len() - 1 - back;
            other[place] = if other[place] == 5 { 6 } else { 5 };
            assert_eq!(last(&other) == expected, back > reach, "{back} tokens back, window {reach}");
        }
    }
}

#[test]
fn the_fixtures_cover_every_family_and_scopes_know_biases() {
    let mut families = BTreeSet::new();
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        families.insert(fixture.config.family.name());
        let layout = ParameterLayout::new(&fixture.config);
        let of = |keep: fn(Module) -> bool| -> u64 {
            layout.tensors().iter().filter(|spec| keep(spec.module)).map(|spec| spec.numel()).sum()
        };
        let [norms, biases, vocabulary] =
            [of(Module::is_norm), of(Module::is_bias), of(Module::is_vocabulary)];
        let all = layout.num_parameters();
        assert_eq!(biases > 0, fixture.config.family == Family::Qwen2, "{name}");
        assert_eq!(parameters_in_scope(&layout, Scope::All), all);
        assert_eq!(parameters_in_scope(&layout, Scope::NoNorm), all - norms);
        assert_eq!(parameters_in_scope(&layout, Scope::NoEmbedding), all - vocabulary);
        assert_eq!(parameters_in_scope(&layout, Scope::Blocks), all - norms - vocabulary - biases);
        // Positions are those of transformers' tensors in the order that golden.json has.
        let names: Vec<&str> = layout.tensors().iter().map(|spec| spec.name.as_str()).collect();
        let golden = fixture.golden["tensor_order"].as_array().unwrap();
        assert!(golden.iter().map(|name| name.as_str().unwrap()).eq(names), "{name}");
    }
    assert_eq!(families.len(), Family::ALL.len(), "{families:?}");
}
