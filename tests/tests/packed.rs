//! The packed model: equal to the plain one in f32, the same on every device, and a mask that leaves no trace.

use burn::tensor::DeviceKind;
use codingspot_core::Device;
use codingspot_core::config::LlamaConfig;
use codingspot_core::corpus::Document;
use codingspot_core::generate::{GenerateOptions, forced_decode, generate};
use codingspot_core::kernels::packed::{Compute, Cpu, Gpu};
use codingspot_core::layout::ParameterLayout;
use codingspot_core::packed::{
    GenerationEnd, Mask, PackedLlama, PackedLoader, RankingBuilder, Scored, Step, load_checkpoint,
};
use codingspot_core::sampling::Sampling;
use codingspot_core::score::Estimator;
use codingspot_core::spot::{Ranked, Scope, Spot, SpotHeader, matched_random};
use codingspot_core::tokenizer::Tokenizer;
use codingspot_pack::{Encoding, pack_rows, unpack_rows};
use codingspot_tests::{FIXTURES, Fixture, GPU_FIXTURES, open_directory};
use pollster::block_on;
use rand::{Rng as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

const ENCODINGS: [Encoding; 4] = [Encoding::F32, Encoding::F16, Encoding::Q8, Encoding::Q4];

fn gpu() -> Gpu {
    Gpu::of(&Device::wgpu(DeviceKind::Cpu), true).expect("a wgpu device")
}

/// As [`gpu`], with the shares of work that real adapters get.
fn gpu_shared_out() -> Gpu {
    Gpu::of(&Device::wgpu(DeviceKind::Cpu), false).expect("a wgpu device")
}

fn load<C: Compute>(compute: C, fixture: &Fixture, encoding: Encoding) -> PackedLlama<C> {
    let source = open_directory(&fixture.path).unwrap();
    let loader = PackedLoader::new(compute, &fixture.config, encoding, 64).unwrap();
    let loaded = block_on(load_checkpoint(loader, &source, async |_| ControlFlow::Continue(())));
    loaded.unwrap().0
}

fn score<C: Compute>(model: &PackedLlama<C>, tokens: &[u32]) -> Vec<Step> {
    match block_on(model.score(tokens, 1, async |_| ControlFlow::Continue(()))).unwrap() {
        Scored::All(steps) => steps,
        Scored::Cancelled => unreachable!("nothing broke"),
    }
}

fn write<C: Compute>(model: &PackedLlama<C>, prompt: &[u32], max: usize, sampling: Sampling) -> Vec<Step> {
    let mut steps = Vec::new();
    let go = async || ControlFlow::Continue(());
    let end = block_on(model.generate(prompt, max, &sampling, 7, go, async |step| {
        steps.push(*step);
        ControlFlow::Continue(())
    }));
    assert!(matches!(end.unwrap(), GenerationEnd::Eos | GenerationEnd::Length));
    steps
}

#[track_caller]
fn assert_steps_close(what: &str, actual: &[Step], expected: &[Step], tolerance: f32) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert_eq!(a.token, e.token, "{what} at {i}");
        assert!((a.logprob - e.logprob).abs() <= tolerance, "{what} at {i}: {} {}", a.logprob, e.logprob);
        for (a, e) in a.candidates.logprobs.iter().zip(e.candidates.logprobs) {
            assert!((a - e).abs() <= tolerance, "{what} at {i}: {a} {e}");
        }
    }
}

/// Tokens of a fixture's first batch.
fn tokens(fixture: &Fixture) -> Vec<u32> {
    let language = fixture.languages().remove(0);
    let mut rows = fixture.ids(&format!("ids/{language}/0"));
    rows.truncate(1);
    rows.remove(0)
}

#[test]
fn in_f32_it_is_the_plain_model() {
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        let plain = fixture.load(&Device::flex()).model;
        let packed = load(Cpu, &fixture, Encoding::F32);
        let tokens = tokens(&fixture);
        let expected = block_on(forced_decode(&plain, &tokens[..1], &tokens[1..])).unwrap();
        for (step, (logprob, likeliest)) in score(&packed, &tokens).iter().zip(&expected) {
            assert!((step.logprob - logprob).abs() < 1e-4, "{name}: {} {logprob}", step.logprob);
            assert_eq!(step.candidates.tokens[0], *likeliest, "{name}");
        }
        // Prompts of every length modulo a pass.
        for len in [1, 7, 8, 9, 17] {
            let options = GenerateOptions { max_tokens: 12, ..GenerateOptions::default() };
            let plain = block_on(generate(&plain, None, &tokens[..len], &options, async |_| {
                ControlFlow::Continue(())
            }));
            let written = write(&packed, &tokens[..len], 12, Sampling::GREEDY);
            let ids: Vec<u32> = written.iter().map(|step| step.token).collect();
            assert_eq!(ids, plain.unwrap().ids, "{name} after {len}");
        }
    }
}

#[test]
fn a_gpu_gives_what_the_cpu_gives() {
    for name in GPU_FIXTURES {
        let fixture = Fixture::open(name);
        let tokens = tokens(&fixture);
        let cpu = load(Cpu, &fixture, Encoding::F32);
        for compute in [gpu(), gpu_shared_out()] {
            let gpu = load(compute, &fixture, Encoding::F32);
            assert_steps_close(name, &score(&gpu, &tokens), &score(&cpu, &tokens), 1e-3);
            for sampling in [Sampling::GREEDY, Sampling { temperature: 0.8, top_p: 0.9 }] {
                let (a, b) = (write(&gpu, &tokens[..9], 8, sampling), write(&cpu, &tokens[..9], 8, sampling));
                assert_steps_close(name, &a, &b, 1e-3);
            }
        }
    }
}

/// Widths that every encoding holds, an odd vocabulary, untied, with a window and a group of three.
fn config() -> LlamaConfig {
    LlamaConfig::from_json(
        r#"{"model_type":"mistral","vocab_size":131,"hidden_size":96,"intermediate_size":160,
        "num_hidden_layers":2,"num_attention_heads":6,"num_key_value_heads":2,"head_dim":32,"sliding_window":11,
        "max_position_embeddings":256,"rms_norm_eps":1e-5,"tie_word_embeddings":false,"eos_token_id":null}"#,
    )
    .unwrap()
}

/// A random model, in pieces of an odd number of rows where the encoding allows it; `held` of the codes is `encoding`'s.
fn random<C: Compute>(compute: C, encoding: Encoding, held: Encoding) -> PackedLlama<C> {
    let config = config();
    let layout = ParameterLayout::new(&config);
    let mut loader = PackedLoader::new(compute, &config, held, 200).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (index, spec) in layout.tensors().iter().enumerate() {
        let cols = if spec.shape.len() == 2 { spec.shape[1] } else { 1 };
        let rows = spec.shape[0];
        let values: Vec<f32> = (0..rows * cols)
            .map(
                |_| if cols == 1 { 1.0 + 0.1 * rng.random::<f32>() } else { rng.random_range(-0.3_f32..0.3) },
            )
            .collect();
        let to = loader.encoding_of(index);
        let step = if encoding.has_scales() { 6 } else { 5 };
        for piece in values.chunks(step * cols) {
            let fitting = if cols == 1 { Encoding::F32 } else { encoding.for_cols(cols as u64) };
            let packed = pack_rows(piece, cols, fitting);
            let packed = if fitting == to {
                packed
            } else {
                pack_rows(&unpack_rows(&packed.words, &packed.scales, cols, fitting), cols, to)
            };
            loader.push(index, &packed, to).unwrap();
        }
    }
    loader.finish().unwrap()
}

#[test]
fn codes_are_the_numbers_that_they_stand_for() {
    let tokens: Vec<u32> = (0..40).map(|i| i * 37 % 131).collect();
    for encoding in ENCODINGS {
        let packed = score(&random(Cpu, encoding, encoding), &tokens);
        let unpacked = score(&random(Cpu, encoding, Encoding::F32), &tokens);
        assert_steps_close(encoding.name(), &packed, &unpacked, 2e-5);
    }
}

#[test]
fn every_encoding_is_decoded_alike_on_a_gpu() {
    let tokens: Vec<u32> = (0..40).map(|i| i * 37 % 131).collect();
    for encoding in ENCODINGS {
        let cpu = random(Cpu, encoding, encoding);
        let expected = score(&cpu, &tokens);
        let written = write(&cpu, &tokens[..13], 24, Sampling::GREEDY);
        for compute in [gpu(), gpu_shared_out()] {
            let gpu = random(compute, encoding, encoding);
            assert_steps_close(encoding.name(), &score(&gpu, &tokens), &expected, 1e-3);
            let own = write(&gpu, &tokens[..13], 24, Sampling::GREEDY);
            assert_steps_close(encoding.name(), &own, &written, 1e-3);
        }
    }
}

/// A spot of random parameters of the random model.
fn spot(model: &PackedLlama<impl Compute>) -> Spot {
    let layout = model.layout();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut positions: Vec<u64> = (0..layout.num_parameters()).collect();
    positions.shuffle(&mut rng);
    let ranked: Vec<Ranked> = positions[..20_000]
        .iter()
        .map(|&position| {
            let (tensor, offset) = layout.locate(position).unwrap();
            Ranked { score: 1.0, tensor: tensor as u16, offset: offset as u32 }
        })
        .collect();
    let fingerprint = "ab".repeat(32).parse().unwrap();
    let header = SpotHeader::new(layout, fingerprint, Scope::All, 100.0, Estimator::Signed, vec![]);
    Spot::new(header, &ranked)
}

fn check_mask<C: Compute + Clone>(compute: &C) {
    let tokens: Vec<u32> = (0..24).map(|i| i * 37 % 131).collect();
    for encoding in ENCODINGS {
        let model = random(compute.clone(), encoding, encoding);
        let spot = spot(&model);
        let ranks = RankingBuilder::ranks(&model, &spot).unwrap();
        let random_ranks = ranks.matched_random(&model, 3).unwrap();
        let control = RankingBuilder::ranks(&model, &matched_random(&spot, 3)).unwrap();
        let mut masks = [ranks, random_ranks, control].map(|ranking| Mask::new(&model, ranking));
        let before = score(&model, &tokens);
        let mut by_count = Vec::new();
        for mask in &mut masks {
            let mut last = 0;
            for count in [1, 20_000, 700, 701, 0, 5_000, 20_001] {
                let change = mask.set(&model, count);
                let count = count.min(20_000);
                assert_eq!((change.count, change.changed), (count, count.abs_diff(last)));
                assert_eq!(change.by_tensor.iter().sum::<u64>(), count);
                last = count;
                if count == 5_000 {
                    by_count.push((change.by_tensor, score(&model, &tokens)));
                }
            }
            mask.set(&model, 0);
            // To the bit: the same kernels on the same codes.
            assert_eq!(score(&model, &tokens), before, "{encoding:?}");
        }
        let [spot, random, control] = by_count.try_into().unwrap();
        assert_ne!(spot.1, before);
        assert_eq!(spot.0, random.0, "the control is matched by tensor");
        assert_eq!(random, control, "the control is the one that the command line draws");
        assert_ne!(spot.1, random.1);
    }
}

#[test]
fn a_mask_switches_what_it_ranks_and_leaves_no_trace() {
    check_mask(&Cpu);
}

#[test]
fn a_mask_leaves_no_trace_on_a_gpu() {
    check_mask(&gpu());
}

#[test]
fn what_is_off_is_zero() {
    // The same as a model in which the parameters were zero before they were packed.
    let tokens: Vec<u32> = (0..24).map(|i| i * 37 % 131).collect();
    let model = random(Cpu, Encoding::F32, Encoding::F32);
    let spot = spot(&model);
    let mut mask = Mask::new(&model, RankingBuilder::ranks(&model, &spot).unwrap());
    mask.set(&model, 9_000);
    let off = score(&model, &tokens);
    let mut loader = PackedLoader::new(Cpu, model.config(), Encoding::F32, 200).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (index, spec) in model.layout().tensors().iter().enumerate() {
        let cols = if spec.shape.len() == 2 { spec.shape[1] } else { 1 };
        let mut values: Vec<f32> = (0..spec.numel())
            .map(
                |_| if cols == 1 { 1.0 + 0.1 * rng.random::<f32>() } else { rng.random_range(-0.3_f32..0.3) },
            )
            .collect();
        for (&tensor, &offset) in spot.tensor()[..9_000].iter().zip(spot.offset()) {
            if usize::from(tensor) == index {
                values[offset as usize] = 0.0;
            }
        }
        loader.push(index, &pack_rows(&values, cols, Encoding::F32), Encoding::F32).unwrap();
    }
    assert_eq!(score(&loader.finish().unwrap(), &tokens), off);
}

#[test]
fn levels_take_the_nearest_count() {
    let model = random(Cpu, Encoding::Q8, Encoding::Q8);
    let mut levels = RankingBuilder::levels(&model);
    let q_proj = 1;
    for (i, offsets) in [vec![3_u32], vec![10, 11, 500], vec![1, 2, 4, 6, 800, 900]].iter().enumerate() {
        levels.push(&model, q_proj, offsets).unwrap();
        if i == 1 {
            levels.push(&model, 0, &[7]).unwrap();
        }
        levels.end_level(&model);
    }
    assert!(levels.push(&model, q_proj, &[u32::MAX]).is_err());
    let random = levels.matched_random(&model, 1).unwrap();
    for ranking in [levels, random] {
        let mut mask = Mask::new(&model, ranking);
        assert_eq!(mask.levels(), [1, 5, 11]);
        for (asked, taken) in [(0, 0), (1, 1), (2, 1), (4, 5), (9, 11), (1_000, 11), (0, 0)] {
            assert_eq!(mask.set(&model, asked).count, taken, "{asked}");
        }
        assert_eq!(mask.set(&model, 5).by_tensor[..2], [1, 4]);
    }
}

#[test]
fn rows_that_are_not_the_next_ones_are_refused() {
    let config = config();
    let mut loader = PackedLoader::new(Cpu, &config, Encoding::Q4, 64).unwrap();
    let rows = |n: usize| pack_rows(&vec![0.5; n * 96], 96, Encoding::Q4);
    assert!(loader.push(0, &rows(132), Encoding::Q4).is_err(), "more than there are");
    assert!(loader.push(0, &rows(2), Encoding::Q8).is_err(), "in another encoding");
    loader.push(0, &rows(3), Encoding::Q4).unwrap();
    assert!(loader.push(0, &rows(2), Encoding::Q4).is_err(), "from the middle of a scale word");
    let error = loader.finish().unwrap_err().to_string();
    assert!(error.contains("3 of its 131 rows"), "{error}");
}

/// Of each encoding, how often the bundled model's likeliest token on held-out code is that of f32.
#[test]
fn encodings_agree_on_the_likeliest_token() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo");
    let text = fs::read_to_string(demo.join("model/config.json")).unwrap();
    let config = LlamaConfig::from_json(&text).unwrap();
    let tokenizer =
        Tokenizer::from_bytes(&fs::read(demo.join("model/tokenizer.json")).unwrap(), &config).unwrap();
    let mut documents = Vec::new();
    for language in ["rust", "go", "java", "english"] {
        let file = fs::read_to_string(demo.join(format!("corpus/eval/{language}.jsonl"))).unwrap();
        for document in Document::from_json_lines(&file).unwrap().into_iter().take(2) {
            let Document::Text(text) = document else { panic!("the bundled corpus is text") };
            let mut ids = tokenizer.encode_document(&text).unwrap();
            ids.truncate(128);
            documents.push(ids);
        }
    }
    let source = open_directory(&demo.join("model")).unwrap();
    let likeliest = |encoding| {
        let loader = PackedLoader::new(Cpu, &config, encoding, 128).unwrap();
        let go = async |_| ControlFlow::Continue(());
        let (model, _) = block_on(load_checkpoint(loader, &source, go)).unwrap();
        documents
            .iter()
            .flat_map(|ids| score(&model, ids))
            .map(|step| step.candidates.tokens[0])
            .collect::<Vec<u32>>()
    };
    let exact = likeliest(Encoding::F32);
    for (encoding, least) in [(Encoding::F16, 1.0), (Encoding::Q8, 0.98), (Encoding::Q4, 0.85)] {
        let found = likeliest(encoding);
        let same = exact.iter().zip(&found).filter(|(a, b)| a == b).count();
        let share = same as f64 / exact.len() as f64;
        println!("{}: {same} of {} likeliest tokens are f32's", encoding.name(), exact.len());
        assert!(share >= least, "{}: {share}", encoding.name());
    }
}
