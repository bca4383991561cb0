//! Scoring by the hand-written backward pass: against whole-graph autodiff, against finite
//! differences of a Llama in f64 that is written out below, against the estimators' formulas, and
//! against itself in every way of keeping less in memory, where it has to give the same bits.
//!
//! Tolerance: 1e-5 of a tensor's norm, unless a comment says more. Both sides are f32 and add in
//! different orders.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that can't go on fails; shapes are small, and f32 is what is compared"
)]

use burn::tensor::DType;
use codingspot_core::Device;
use codingspot_core::checkpoint::{
    CheckpointError, LoadedModel, MemorySource, SafetensorsSource, load_model,
};
use codingspot_core::config::LlamaConfig;
use codingspot_core::kernels::sums::Reduction;
use codingspot_core::layout::{Module, ParameterLayout};
use codingspot_core::llama::{Llama, RotaryTable};
use codingspot_core::score::{
    Collect, Estimator, HostSums, LanguageScorer, LanguageScores, NonFinite, Residency, ScoreError, Scorer,
    StreamedWeights, SumKey, SumPart, Sums, WeightReader, Weights, WholeGraph, add_parts, band_elements,
    bands, has_inputs,
};
use codingspot_tests::{FIXTURES, Fixture, Random, assert_close};
use pollster::block_on;
use rand::{RngCore as _, SeedableRng as _};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

const TOLERANCE: f64 = 1e-5;

/// A batch: rows of one length.
type Rows = Vec<Vec<u32>>;

/// Weights by tensor of the layout.
type Values = Vec<Vec<f32>>;

fn rows(ids: &Rows) -> Vec<&[u32]> {
    ids.iter().map(Vec::as_slice).collect()
}

/// What a test may choose of a model.
#[derive(Debug, Clone, Copy)]
struct Shape {
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    hidden: usize,
    inner: usize,
    vocabulary: usize,
    tied: bool,
    kind: Kind,
}

/// What a model has that the plainest Llama has not.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Llama,
    /// A Llama with biases of q, k, v and o.
    BiasedLlama,
    /// Biases of q, k and v.
    Qwen2,
    /// A window of so many tokens.
    Mistral(usize),
}

impl Shape {
    fn config(self) -> LlamaConfig {
        let Self { layers, heads, kv_heads, head_dim, hidden, inner, vocabulary, tied, kind } = self;
        let (family, window) = match kind {
            Kind::Llama | Kind::BiasedLlama => ("llama", None),
            Kind::Qwen2 => ("qwen2", None),
            Kind::Mistral(window) => ("mistral", Some(window)),
        };
        let json = serde_json::json!({
            "model_type": family, "sliding_window": window,
            "attention_bias": matches!(kind, Kind::BiasedLlama), "vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": inner,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
            "head_dim": head_dim, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 1000.0,
            "tie_word_embeddings": tied,
        });
        LlamaConfig::from_json(&json.to_string()).unwrap()
    }

    /// Weights that keep activations at about 1, so that every part of the model matters.
    fn weights(self, random: &mut Random) -> Values {
        let layout = ParameterLayout::new(&self.config());
        let of = |spec: &codingspot_core::layout::TensorSpec| {
            let n = usize::try_from(spec.numel()).unwrap();
            if spec.module.is_norm() {
                return random.values(n, 0.5).into_iter().map(|value| 1.0 + value).collect();
            }
            if spec.module.is_bias() {
                return random.values(n, 0.7);
            }
            let inputs = if spec.module == Module::EmbedTokens { 3.0 } else { spec.shape[1] as f32 };
            random.values(n, (3.0 / inputs).sqrt())
        };
        layout.tensors().iter().map(of).collect()
    }
}

/// Layers 1 to 3, groups of 1, 2 and 4 heads, odd sizes, tied and not, every kind.
const SHAPES: [Shape; 9] = [
    Shape {
        layers: 1,
        heads: 1,
        kv_heads: 1,
        head_dim: 2,
        hidden: 7,
        inner: 5,
        vocabulary: 19,
        tied: true,
        kind: Kind::Llama,
    },
    Shape {
        layers: 1,
        heads: 4,
        kv_heads: 1,
        head_dim: 6,
        hidden: 13,
        inner: 21,
        vocabulary: 37,
        tied: false,
        kind: Kind::Llama,
    },
    Shape {
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        hidden: 17,
        inner: 11,
        vocabulary: 53,
        tied: true,
        kind: Kind::Llama,
    },
    Shape {
        layers: 2,
        heads: 3,
        kv_heads: 3,
        head_dim: 10,
        hidden: 31,
        inner: 47,
        vocabulary: 29,
        tied: false,
        kind: Kind::Llama,
    },
    Shape {
        layers: 3,
        heads: 8,
        kv_heads: 2,
        head_dim: 8,
        hidden: 45,
        inner: 33,
        vocabulary: 101,
        tied: true,
        kind: Kind::Llama,
    },
    Shape {
        layers: 3,
        heads: 2,
        kv_heads: 1,
        head_dim: 16,
        hidden: 33,
        inner: 65,
        vocabulary: 67,
        tied: false,
        kind: Kind::Llama,
    },
    Shape {
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        hidden: 19,
        inner: 23,
        vocabulary: 41,
        tied: true,
        kind: Kind::Qwen2,
    },
    Shape {
        layers: 2,
        heads: 6,
        kv_heads: 2,
        head_dim: 4,
        hidden: 21,
        inner: 17,
        vocabulary: 43,
        tied: false,
        kind: Kind::Mistral(4),
    },
    Shape {
        layers: 1,
        heads: 2,
        kv_heads: 2,
        head_dim: 8,
        hidden: 15,
        inner: 19,
        vocabulary: 31,
        tied: false,
        kind: Kind::BiasedLlama,
    },
];

fn load(config: &LlamaConfig, values: &Values) -> LoadedModel {
    let layout = ParameterLayout::new(config);
    let bytes: Vec<Vec<u8>> =
        values.iter().map(|values| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = layout.tensors().iter().zip(&bytes).map(|(spec, bytes)| {
        (spec.name.as_str(), TensorView::new(Dtype::F32, spec.shape.clone(), bytes).unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    let source = block_on(SafetensorsSource::open(vec![MemorySource::new("random", file)])).unwrap();
    block_on(load_model(&source, config, &Device::flex(), async |_| ControlFlow::Continue(()))).unwrap()
}

fn read_weights(model: &Llama) -> Values {
    (0..model.layout().tensors().len()).map(|tensor| block_on(model.read_weight(tensor)).unwrap()).collect()
}

/// `count` batches of `batch` rows of `seq` random tokens.
fn random_batches(random: &mut Random, vocabulary: usize, [count, batch, seq]: [usize; 3]) -> Vec<Rows> {
    let mut row = || (0..seq).map(|_| random.below(vocabulary) as u32).collect();
    (0..count).map(|_| (0..batch).map(|_| row()).collect()).collect()
}

/// A model with batches to score it on.
struct Case {
    name: String,
    model: Llama,
    batches: Vec<Rows>,
}

/// The random models, and the fixtures with the batches of one of their languages.
fn cases() -> Vec<Case> {
    let mut random = Random::new(100);
    let mut cases: Vec<Case> = SHAPES
        .into_iter()
        .map(|shape| {
            let model = load(&shape.config(), &shape.weights(&mut random)).model;
            let [batch, seq] = [1 + random.below(3), 2 + random.below(70)];
            let batches = random_batches(&mut random, shape.vocabulary, [5, batch, seq]);
            Case { name: format!("{shape:?}"), model, batches }
        })
        .collect();
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        let model = fixture.load(&Device::flex()).model;
        let batches = (0..3).map(|batch| fixture.ids(&format!("ids/rust/{batch}"))).collect();
        cases.push(Case { name: name.to_owned(), model, batches });
    }
    cases
}

/// Losses, and gradients by tensor, of each batch by whole-graph autodiff.
fn whole_graph(model: &Llama, batches: &[Rows]) -> Vec<(f64, Values)> {
    let seq = batches[0][0].len();
    let engine = WholeGraph::new(model, RotaryTable::new(model.config(), seq, &Device::flex().autodiff()));
    let gradients = |batch: &Rows| {
        let (loss, tensors) = block_on(engine.loss_and_gradients(&rows(batch))).unwrap();
        let flat = |pieces: Vec<burn::tensor::Tensor<1>>| -> Vec<f32> {
            pieces.iter().flat_map(|piece| piece.to_data().try_into_vec::<f32>().unwrap()).collect()
        };
        (loss, tensors.into_iter().map(flat).collect())
    };
    batches.iter().map(gradients).collect()
}

/// How a scorer is to work.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Debug, Clone, Copy)]
struct Way {
    keep_activations: bool,
    stream_head: bool,
    host_sums: bool,
    streamed_weights: bool,
    batches_per_pass: usize,
    loss_scale: f32,
}

const PLAIN: Way = Way {
    keep_activations: true,
    stream_head: false,
    host_sums: false,
    streamed_weights: false,
    batches_per_pass: 1,
    loss_scale: 1.0,
};

/// Sums in memory; checks that the scorer keeps the promises of [`HostSums`].
#[derive(Default)]
struct MemorySums {
    sums: BTreeMap<SumKey, Vec<f32>>,
    /// Stored in this pass and not said to be complete.
    open: BTreeSet<SumKey>,
    complete: BTreeSet<SumKey>,
}

impl HostSums for MemorySums {
    fn load(&mut self, key: SumKey) -> Result<Option<Vec<f32>>, Box<dyn Error + Send + Sync>> {
        Ok(self.sums.get(&key).cloned())
    }

    fn store(&mut self, key: SumKey, sums: Vec<f32>, last: bool) -> Result<(), Box<dyn Error + Send + Sync>> {
        assert!(!self.complete.contains(&key), "{key:?} is stored after it was complete");
        self.sums.insert(key, sums);
        let _ = if last { self.complete.insert(key) } else { self.open.insert(key) };
        Ok(())
    }

    fn complete(&mut self, key: SumKey) -> Result<(), Box<dyn Error + Send + Sync>> {
        assert!(self.open.contains(&key), "{key:?} is complete before it was stored");
        assert!(self.complete.insert(key), "{key:?} is complete twice");
        Ok(())
    }
}

impl MemorySums {
    fn end_pass(&mut self, layout: &ParameterLayout, reductions: &[Reduction]) {
        for &reduction in reductions {
            for (tensor, spec) in layout.tensors().iter().enumerate() {
                for band in 0..bands(spec).len() {
                    let key = SumKey::main(reduction, tensor, band);
                    assert!(self.complete.remove(&key), "a pass left {key:?} incomplete");
                }
            }
        }
        self.open.clear();
        assert!(self.complete.is_empty(), "{:?}", self.complete);
    }
}

/// Weights in memory, read when they are asked for.
struct MemoryWeights(Arc<Values>);

impl WeightReader for MemoryWeights {
    fn read(&mut self, tensor: usize, range: Range<u64>) -> Result<Vec<f32>, CheckpointError> {
        Ok(self.0[tensor][usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
            .to_vec())
    }

    fn upcoming(&mut self, tensors: &[usize]) {
        assert!(tensors.iter().all(|&tensor| tensor < self.0.len()));
    }
}

/// Losses, and sums by reduction and tensor.
type Scored = (Vec<f64>, BTreeMap<Reduction, Values>);

fn score(model: &Llama, batches: &[Rows], reductions: &[Reduction], way: Way) -> Result<Scored, ScoreError> {
    let (config, layout, device) = (model.config(), model.layout(), Device::flex());
    let weights = if way.streamed_weights {
        let reader = Box::new(MemoryWeights(Arc::new(read_weights(model))));
        Weights::Streamed(StreamedWeights::new(config, &device, DType::F32, reader)?)
    } else {
        Weights::Resident(Box::new(model.clone()))
    };
    let residency = Residency { keep_activations: way.keep_activations, stream_head: way.stream_head };
    let collect = Collect { reductions: reductions.to_vec(), inputs: false };
    let longest = batches.iter().map(|batch| batch[0].len()).max().unwrap();
    let mut scorer = Scorer::new(weights, config, &device, longest, residency, &collect, way.loss_scale);
    let mut on_device = Sums::on_device(&device);
    let mut host = MemorySums::default();
    let mut losses = Vec::new();
    for pass in batches.chunks(way.batches_per_pass) {
        let pass: Vec<Vec<&[u32]>> = pass.iter().map(rows).collect();
        let pass: Vec<&[&[u32]]> = pass.iter().map(Vec::as_slice).collect();
        if way.host_sums {
            losses.extend(block_on(scorer.pass(&pass, &mut Sums::on_host(&device, &mut host)))?);
            host.end_pass(layout, reductions);
        } else {
            losses.extend(block_on(scorer.pass(&pass, &mut on_device))?);
        }
    }
    let empty: Values = layout.tensors().iter().map(|spec| vec![0.0; spec.numel() as usize]).collect();
    let mut out: BTreeMap<Reduction, Values> =
        reductions.iter().map(|&reduction| (reduction, empty.clone())).collect();
    let mut sink = |key: SumKey, values: Vec<f32>| {
        let range = band_elements(&layout.tensors()[key.tensor], key.band);
        let whole = &mut out.get_mut(&key.reduction).unwrap()[key.tensor];
        whole[range.start as usize..range.end as usize].copy_from_slice(&values);
    };
    if way.host_sums {
        for (key, main) in host.sums.iter().filter(|(key, _)| key.part == SumPart::Main) {
            let mut main = main.clone();
            if let Some(lookups) = host.sums.get(&key.lookup()) {
                add_parts(&mut main, lookups);
            }
            sink(*key, main);
        }
    } else {
        block_on(on_device.read_whole(async |key, values| {
            sink(key, values);
            Ok::<_, ScoreError>(())
        }))?;
    }
    Ok((losses, out))
}

/// `loss_scale` divided out of sums of gradients: a power of two, so no bit is lost.
fn unscale(scored: Scored, scale: f32) -> Scored {
    let (losses, mut sums) = scored;
    for (reduction, tensors) in &mut sums {
        let scale = if *reduction == Reduction::Square { scale * scale } else { scale };
        tensors.iter_mut().flatten().for_each(|value| *value /= scale);
    }
    (losses, sums)
}

fn same_bits(a: &Scored, b: &Scored) -> bool {
    let losses = |scored: &Scored| scored.0.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>();
    let sums = |(_, sums): &Scored| sums.values().flatten().map(Vec::len).collect::<Vec<_>>();
    let mut pairs = a.1.values().flatten().flatten().zip(b.1.values().flatten().flatten());
    losses(a) == losses(b) && sums(a) == sums(b) && pairs.all(|(a, b)| a.to_bits() == b.to_bits())
}

fn expect_close(what: &str, actual: &[f32], expected: &[f32]) {
    if expected.iter().all(|value| *value == 0.0) {
        assert!(actual.iter().all(|value| *value == 0.0), "{what}: expected zeros");
    } else {
        assert_close(what, actual, expected, TOLERANCE);
    }
}

const ALL: [Reduction; 3] = [Reduction::Signed, Reduction::Absolute, Reduction::Square];

#[test]
fn every_gradient_equals_whole_graph_autodiff() {
    for Case { name, model, batches } in cases() {
        for (number, (loss, expected)) in whole_graph(&model, &batches).into_iter().enumerate() {
            let batch = &batches[number..=number];
            // Products added in place, and gradients formed by themselves.
            for reductions in [&ALL[..1], &ALL[..2]] {
                let (losses, sums) = score(&model, batch, reductions, PLAIN).unwrap();
                // WholeGraph's loss is one f32.
                assert!((losses[0] - loss).abs() <= 1e-5 * loss, "{name}: {} {loss}", losses[0]);
                let actual = &sums[&Reduction::Signed];
                for ((spec, actual), expected) in model.layout().tensors().iter().zip(actual).zip(&expected) {
                    expect_close(&format!("{name} batch {number} {}", spec.name), actual, expected);
                }
            }
        }
    }
}

fn language(model: &Llama, estimator: Estimator, batches: &[Rows], seed: u64) -> LanguageScores {
    let mut scorer = LanguageScorer::new(model, estimator, batches[0][0].len(), seed);
    for batch in batches {
        block_on(scorer.add_batch(&rows(batch))).unwrap();
    }
    block_on(scorer.finish()).unwrap()
}

#[test]
fn estimators_of_gradients_equal_their_formulas() {
    for Case { name, model, batches } in cases() {
        let whole = whole_graph(&model, &batches);
        let weights = read_weights(&model);
        let count = batches.len() as f64;
        for estimator in [Estimator::Signed, Estimator::Abs, Estimator::Fisher] {
            let actual = language(&model, estimator, &batches, 0).scores;
            for (tensor, spec) in model.layout().tensors().iter().enumerate() {
                let expected: Vec<f32> = (0..weights[tensor].len())
                    .map(|i| {
                        let theta = f64::from(weights[tensor][i]);
                        let of_batches = whole.iter().map(|(_, gradients)| f64::from(gradients[tensor][i]));
                        let score = match estimator {
                            Estimator::Signed => (of_batches.sum::<f64>() / count).abs() * theta.abs(),
                            Estimator::Abs => of_batches.map(f64::abs).sum::<f64>() / count * theta.abs(),
                            _ => of_batches.map(|g| g * g).sum::<f64>() / count * theta * theta,
                        };
                        score as f32
                    })
                    .collect();
                expect_close(
                    &format!("{name} {} {}", estimator.name(), spec.name),
                    &actual[tensor],
                    &expected,
                );
            }
        }
    }
}

#[test]
fn magnitude_and_random_need_no_data_but_weights_or_positions() {
    for (number, Case { name, model, batches }) in cases().into_iter().enumerate() {
        let scores = language(&model, Estimator::Magnitude, &batches[..1], 0).scores;
        for (scores, weights) in scores.iter().zip(read_weights(&model)) {
            let expected: Vec<u32> = weights.iter().map(|weight| weight.abs().to_bits()).collect();
            assert!(scores.iter().map(|score| score.to_bits()).eq(expected), "{name}");
        }
        // One generator runs through all positions in order.
        let seed = number as u64;
        let mut generator = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let scores = language(&model, Estimator::Random, &batches[..1], seed).scores;
        for score in scores.iter().flatten() {
            let expected = f64::from(generator.next_u32() >> 8) / f64::from(1 << 24);
            assert_eq!(f64::from(*score).to_bits(), expected.to_bits(), "{name}");
        }
        assert!(scores != language(&model, Estimator::Random, &batches[..1], seed + 1).scores, "{name}");
        // Weights and data play no part.
        if let Some(shape) = SHAPES.get(number) {
            let other = load(&shape.config(), &shape.weights(&mut Random::new(9))).model;
            assert!(scores == language(&other, Estimator::Random, &batches[1..2], seed).scores, "{name}");
        }
    }
}

/// A Llama in f64, written for reading: the loss, and what linear layers read.
struct Plain<'a> {
    config: &'a LlamaConfig,
    weights: BTreeMap<String, Vec<f64>>,
}

impl<'a> Plain<'a> {
    fn new(model: &'a Llama) -> Self {
        assert!(model.config().rope_scaling.is_none(), "not written here");
        let names = model.layout().tensors().iter().map(|spec| spec.name.clone());
        let weights = names.zip(read_weights(model));
        let weights = weights.map(|(name, values)| (name, values.into_iter().map(f64::from).collect()));
        Self { config: model.config(), weights: weights.collect() }
    }

    fn weight(&self, name: &str) -> &[f64] {
        &self.weights[&format!("{name}.weight")]
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let dot = |row: &[f64]| row.iter().zip(x).map(|(w, x)| w * x).sum();
        let mut y: Vec<f64> = self.weight(name).chunks(x.len()).map(dot).collect();
        if let Some(bias) = self.weights.get(&format!("{name}.bias")) {
            y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
        y
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (mean + self.config.rms_norm_eps).sqrt();
        x.iter().zip(self.weight(name)).map(|(x, gain)| x * scale * gain).collect()
    }

    fn rotate(&self, x: &mut [f64], position: usize) {
        let dim = self.config.head_dim;
        for head in x.chunks_mut(dim) {
            for i in 0..dim / 2 {
                let angle = position as f64 * self.config.rope_theta.powf(-2.0 * i as f64 / dim as f64);
                let (a, b) = (head[i], head[i + dim / 2]);
                head[i] = a * angle.cos() - b * angle.sin();
                head[i + dim / 2] = b * angle.cos() + a * angle.sin();
            }
        }
    }

    /// Mean loss of `batch` in nats; `read(name, x)` is told what each linear layer of a block reads.
    fn loss(&self, batch: &Rows, mut read: impl FnMut(&str, &[f64])) -> f64 {
        let config = self.config;
        let (dim, hidden) = (config.head_dim, config.hidden_size);
        let group = config.num_attention_heads / config.num_key_value_heads;
        let (mut sum, mut count) = (0.0, 0);
        for row in batch {
            let embedding = self.weight("model.embed_tokens");
            let mut stream: Vec<Vec<f64>> = row
                .iter()
                .map(|&token| embedding[token as usize * hidden..(token as usize + 1) * hidden].to_vec())
                .collect();
            for layer in 0..config.num_hidden_layers {
                let name = |part: &str| format!("model.layers.{layer}.{part}");
                let (mut queries, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
                for (position, x) in stream.iter().enumerate() {
                    let x = self.norm(&name("input_layernorm"), x);
                    for reader in ["q_proj", "k_proj", "v_proj"] {
                        read(&name(&format!("self_attn.{reader}")), &x);
                    }
                    let mut q = self.linear(&name("self_attn.q_proj"), &x);
                    let mut k = self.linear(&name("self_attn.k_proj"), &x);
                    self.rotate(&mut q, position);
                    self.rotate(&mut k, position);
                    queries.push(q);
                    keys.push(k);
                    values.push(self.linear(&name("self_attn.v_proj"), &x));
                }
                for (position, x) in stream.iter_mut().enumerate() {
                    let mut mixed = vec![0.0; config.num_attention_heads * dim];
                    for (head, out) in mixed.chunks_mut(dim).enumerate() {
                        let of = |rows: &[Vec<f64>], at: usize, head: usize| {
                            rows[at][head * dim..(head + 1) * dim].to_vec()
                        };
                        let q = of(&queries, position, head);
                        // The first token that is fewer than a window's tokens back.
                        let first = config
                            .sliding_window
                            .map_or(0, |window| (0..=position).find(|at| position - at < window).unwrap());
                        let weights: Vec<f64> = (first..=position)
                            .map(|at| {
                                let k = of(&keys, at, head / group);
                                let score: f64 = q.iter().zip(&k).map(|(q, k)| q * k).sum();
                                (score / (dim as f64).sqrt()).exp()
                            })
                            .collect();
                        let total: f64 = weights.iter().sum();
                        for (at, weight) in (first..).zip(&weights) {
                            for (out, v) in out.iter_mut().zip(of(&values, at, head / group)) {
                                *out += weight / total * v;
                            }
                        }
                    }
                    read(&name("self_attn.o_proj"), &mixed);
                    let attended = self.linear(&name("self_attn.o_proj"), &mixed);
                    x.iter_mut().zip(attended).for_each(|(x, add)| *x += add);
                    let normed = self.norm(&name("post_attention_layernorm"), x);
                    read(&name("mlp.gate_proj"), &normed);
                    read(&name("mlp.up_proj"), &normed);
                    let gate = self.linear(&name("mlp.gate_proj"), &normed);
                    let up = self.linear(&name("mlp.up_proj"), &normed);
                    let inner: Vec<f64> =
                        gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
                    read(&name("mlp.down_proj"), &inner);
                    let down = self.linear(&name("mlp.down_proj"), &inner);
                    x.iter_mut().zip(down).for_each(|(x, add)| *x += add);
                }
            }
            for (x, &target) in stream.iter().zip(&row[1..]) {
                let head = if config.tie_word_embeddings { "model.embed_tokens" } else { "lm_head" };
                let logits = self.linear(head, &self.norm("model.norm", x));
                sum += logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[target as usize];
                count += 1;
            }
        }
        sum / f64::from(count)
    }
}

#[test]
fn gradients_equal_finite_differences_of_the_loss_in_f64() {
    let mut random = Random::new(200);
    let mut modules = BTreeSet::new();
    for shape in SHAPES {
        let model = load(&shape.config(), &shape.weights(&mut random)).model;
        let batch = random_batches(&mut random, shape.vocabulary, [1, 2, 9]);
        let (losses, sums) = score(&model, &batch, &ALL[..1], PLAIN).unwrap();
        let gradients = &sums[&Reduction::Signed];
        let mut plain = Plain::new(&model);
        let loss = plain.loss(&batch[0], |_, _| ());
        assert!((losses[0] - loss).abs() <= 1e-6 * loss, "{shape:?}: {} {loss}", losses[0]);
        // Three parameters of every tensor of one block, of the embedding, the norm and the head.
        let layer = random.below(shape.layers);
        for (tensor, spec) in model.layout().tensors().iter().enumerate() {
            if spec.layer.is_some_and(|other| other != layer) {
                continue;
            }
            modules.insert(spec.module);
            let largest = gradients[tensor].iter().fold(0.0_f64, |max, g| max.max(f64::from(g.abs())));
            assert!(largest > 0.0, "{shape:?} {}: no gradient at all", spec.name);
            for _ in 0..3 {
                // Of an embedding, of a token that was looked up.
                let index = if spec.module.is_vocabulary() {
                    let token = batch[0][0][random.below(8)] as usize;
                    token * shape.hidden + random.below(shape.hidden)
                } else {
                    random.below(gradients[tensor].len())
                };
                let mut at = |step: f64| {
                    plain.weights.get_mut(&spec.name).unwrap()[index] += step;
                    let loss = plain.loss(&batch[0], |_, _| ());
                    plain.weights.get_mut(&spec.name).unwrap()[index] -= step;
                    loss
                };
                let expected = (at(1e-4) - at(-1e-4)) / 2e-4;
                let actual = f64::from(gradients[tensor][index]);
                // The step's square, and f32 against the largest gradient of the tensor.
                assert!(
                    (actual - expected).abs() <= 1e-5 * largest,
                    "{shape:?} {} at {index}: {actual:e}, expected {expected:e}",
                    spec.name
                );
            }
        }
    }
    assert_eq!(modules.len(), 16, "every kind of tensor: {modules:?}");
}

#[test]
fn wanda_equals_weights_times_the_norm_of_what_they_read() {
    let mut random = Random::new(300);
    for shape in SHAPES {
        let model = load(&shape.config(), &shape.weights(&mut random)).model;
        let batches = random_batches(&mut random, shape.vocabulary, [3, 2, 11]);
        let plain = Plain::new(&model);
        let mut squares: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for batch in &batches {
            plain.loss(batch, |name, x| {
                let sums = squares.entry(format!("{name}.weight")).or_insert_with(|| vec![0.0; x.len()]);
                sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x * x);
            });
        }
        let scores = language(&model, Estimator::Wanda, &batches, 0).scores;
        for ((spec, weights), scores) in
            model.layout().tensors().iter().zip(read_weights(&model)).zip(&scores)
        {
            let what = format!("{shape:?} {}", spec.name);
            assert_eq!(has_inputs(spec.module), squares.contains_key(&spec.name), "{what}");
            let Some(squares) = squares.get(&spec.name) else {
                assert!(scores.iter().all(|score| *score == 0.0), "{what}");
                continue;
            };
            let rms = squares.iter().map(|sum| (sum / (3.0 * 2.0 * 11.0)).sqrt()).cycle();
            let expected: Vec<f32> =
                weights.iter().zip(rms).map(|(weight, rms)| (f64::from(weight.abs()) * rms) as f32).collect();
            assert_close(&what, scores, &expected, TOLERANCE);
        }
    }
}

/// The same model with a head of its own: a copy of the embedding.
fn untied(model: &Llama) -> Llama {
    let mut values = read_weights(model);
    values.push(values[0].clone());
    let config = LlamaConfig { tie_word_embeddings: false, ..model.config().clone() };
    load(&config, &values).model
}

/// `γ_i·∂L/∂γ_i = Σ_o W_oi·∂L/∂W_oi` over all linears that read the norm.
#[test]
fn the_norm_identity_holds_for_every_norm() {
    for Case { name, model, batches } in cases() {
        let (_, sums) = score(&model, &batches[..1], &ALL[..1], PLAIN).unwrap();
        let gradients = &sums[&Reduction::Signed];
        let weights = read_weights(&model);
        // Of tied embeddings only the head's part of the gradient counts, which an untied twin shows.
        let (head, head_gradient) = if model.config().tie_word_embeddings {
            let twin = untied(&model);
            let (_, sums) = score(&twin, &batches[..1], &ALL[..1], PLAIN).unwrap();
            let mut twin = sums[&Reduction::Signed].clone();
            let head = twin.pop().unwrap();
            let both: Vec<f32> = twin[0].iter().zip(&head).map(|(lookup, head)| lookup + head).collect();
            assert_close(&format!("{name}: both parts of the embedding"), &gradients[0], &both, TOLERANCE);
            (weights[0].clone(), head)
        } else {
            (weights.last().unwrap().clone(), gradients.last().unwrap().clone())
        };
        let hidden = model.config().hidden_size;
        let product = |weights: &[f32], gradients: &[f32]| -> Vec<f64> {
            weights.iter().zip(gradients).map(|(w, g)| f64::from(*w) * f64::from(*g)).collect()
        };
        let of = |tensor: &str| {
            let index = model.layout().index_of(tensor).unwrap();
            product(&weights[index], &gradients[index])
        };
        let mut norms: Vec<(String, Vec<Vec<f64>>)> =
            vec![("model.norm.weight".to_owned(), vec![product(&head, &head_gradient)])];
        for layer in 0..model.config().num_hidden_layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            let of = |part: &str| of(&name(part));
            let readers = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"].map(of);
            norms.push((name("input_layernorm"), readers.into()));
            norms.push((name("post_attention_layernorm"), ["mlp.gate_proj", "mlp.up_proj"].map(of).into()));
        }
        for (norm, readers) in norms {
            for (i, gain) in of(&norm).into_iter().enumerate() {
                let column = readers.iter().flat_map(|reader| reader.iter().skip(i).step_by(hidden));
                let (sum, size) =
                    column.fold((0.0, 0.0_f64), |(sum, size), term| (sum + term, size + term.abs()));
                assert!((gain - sum).abs() <= 1e-5 * size, "{name} {norm} {i}: {gain:e} {sum:e} of {size:e}");
            }
        }
    }
}

/// The ways to work: everything that a plan may choose, and a loss scale.
fn ways() -> Vec<Way> {
    let mut ways = Vec::new();
    for choices in 0..16 {
        for batches_per_pass in 1..=3 {
            let on = |bit: i32| choices >> bit & 1 == 1;
            ways.push(Way {
                keep_activations: on(0),
                stream_head: on(1),
                host_sums: on(2),
                streamed_weights: on(3),
                batches_per_pass,
                loss_scale: if batches_per_pass == 2 { 1024.0 } else { 1.0 },
            });
        }
    }
    ways
}

#[test]
fn whatever_stays_in_memory_the_bits_are_the_same() {
    for Case { name, model, batches } in cases() {
        for reductions in [&ALL[..1], &ALL[1..2], &ALL[2..], &ALL[..]] {
            let expected = score(&model, &batches, reductions, PLAIN).unwrap();
            for way in ways() {
                let actual = unscale(score(&model, &batches, reductions, way).unwrap(), way.loss_scale);
                assert!(same_bits(&actual, &expected), "{name} {reductions:?} {way:?}");
            }
        }
        // Several at once form the same gradients as each by itself, but for `signed` alone, which
        // adds products straight to its sums.
        let (_, all) = score(&model, &batches, &ALL, PLAIN).unwrap();
        for reduction in [Reduction::Absolute, Reduction::Square] {
            let (_, alone) = score(&model, &batches, &[reduction], PLAIN).unwrap();
            assert!(alone[&reduction] == all[&reduction], "{name} {reduction:?}");
        }
        let (_, alone) = score(&model, &batches, &ALL[..1], PLAIN).unwrap();
        for (alone, all) in alone[&Reduction::Signed].iter().zip(&all[&Reduction::Signed]) {
            expect_close(&name, alone, all);
        }
    }
}

/// Asserts that a model gives whole-graph gradients, and the same bits in several ways.
fn check_vocabulary(what: &str, model: &Llama, batches: &[Rows], of: &[&[Reduction]]) {
    let expected = whole_graph(model, &batches[..1]).remove(0);
    let (losses, sums) = score(model, &batches[..1], &ALL[..1], PLAIN).unwrap();
    assert!((losses[0] - expected.0).abs() <= 1e-5 * expected.0, "{what}: {} {}", losses[0], expected.0);
    for ((spec, actual), expected) in
        model.layout().tensors().iter().zip(&sums[&Reduction::Signed]).zip(&expected.1)
    {
        assert_close(&format!("{what} {}", spec.name), actual, expected, TOLERANCE);
    }
    drop((expected, sums));
    for reductions in of {
        let expected = score(model, batches, reductions, PLAIN).unwrap();
        for (stream_head, batches_per_pass) in [(true, 2), (false, 3)] {
            let way =
                Way { stream_head, batches_per_pass, host_sums: true, keep_activations: false, ..PLAIN };
            let actual = score(model, batches, reductions, way).unwrap();
            assert!(same_bits(&actual, &expected), "{what} {reductions:?} {way:?}");
        }
    }
}

/// A vocabulary of two bands, of 128 MiB each: tokens lie on both sides of the edge, and next to it.
#[test]
fn bands_of_the_vocabulary_make_no_difference() {
    for tied in [true, false] {
        let edge = 32_768;
        let shape = Shape { hidden: 1024, inner: 3, vocabulary: edge + 200, tied, ..SHAPES[0] };
        let mut random = Random::new(400);
        let model = load(&shape.config(), &shape.weights(&mut random)).model;
        assert_eq!(bands(&model.layout().tensors()[0]), [0..edge, edge..shape.vocabulary]);
        let last = shape.vocabulary - 1;
        let of = |tokens: &[usize]| vec![tokens.iter().map(|&token| token as u32).collect::<Vec<u32>>()];
        let batches = [
            of(&[edge - 1, edge, 5, edge + 1, 0, last, edge, 77]),
            // Nothing of the second band is looked up.
            of(&[9, 5, edge - 1, 5, 3, 0, 12_345, 20_000]),
        ];
        // These matrices take their time: of an untied model, one sum.
        let reductions: &[&[Reduction]] = if tied { &[&ALL[..1], &ALL[1..2]] } else { &[&ALL[..1]] };
        check_vocabulary(&format!("bands, tied {tied}"), &model, &batches, reductions);
    }
}

/// Logits that come in chunks of 64 positions, because a vocabulary is that large.
#[test]
fn chunks_of_positions_make_no_difference() {
    for tied in [true, false] {
        let shape = Shape { hidden: 5, vocabulary: 270_000, tied, ..SHAPES[0] };
        let mut random = Random::new(401);
        let model = load(&shape.config(), &shape.weights(&mut random)).model;
        // Chunks of 64, 64 and 2.
        let batches = random_batches(&mut random, shape.vocabulary, [3, 2, 65]);
        check_vocabulary(&format!("chunks, tied {tied}"), &model, &batches, &[&ALL[..1], &ALL]);
    }
}

/// Numbers that overflow are refused, by the name of what overflowed.
#[test]
fn what_is_not_finite_is_refused_by_name() {
    let shape = Shape {
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 4,
        hidden: 8,
        inner: 6,
        vocabulary: 20,
        tied: false,
        kind: Kind::Llama,
    };
    let config = shape.config();
    let layout = ParameterLayout::new(&config);
    let mut random = Random::new(500);
    let original = shape.weights(&mut random);
    let batches = random_batches(&mut random, 10, [3, 2, 7]);
    let index = |name: &str| layout.index_of(&format!("{name}.weight")).unwrap();
    let refused = |values: &Values, batches: &[Rows], reductions: &[Reduction], way: Way| {
        score(&load(&config, values).model, batches, reductions, way).expect_err("it overflows")
    };
    let ways: Vec<Way> = ways().into_iter().filter(|way| way.loss_scale < 2.0).collect();

    // The forward pass: the loss is named, with its batch.
    let mut values = original.clone();
    values[index("model.layers.1.mlp.up_proj")].iter_mut().for_each(|value| *value *= 1e30);
    values[index("model.layers.1.mlp.down_proj")].iter_mut().for_each(|value| *value *= 1e30);
    for way in &ways {
        let error = refused(&values, &batches, &ALL[..1], *way);
        assert!(
            matches!(error, ScoreError::NonFiniteLoss { batch: 0, loss } if !loss.is_finite()),
            "{way:?}: {error}"
        );
        assert!(error.to_string().contains("the loss of batch 0"), "{error}");
    }

    // A gradient alone: nothing attends, token 15 opens the gate by 1e20, what passes is 0, and
    // what it would be multiplied with is 1e30. Only the third batch has the token.
    let mut values = original.clone();
    for layer in 0..shape.layers {
        values[index(&format!("model.layers.{layer}.self_attn.o_proj"))].fill(0.0);
        values[index(&format!("model.layers.{layer}.mlp.up_proj"))].fill(0.0);
    }
    for (token, row) in values[0].chunks_mut(shape.hidden).enumerate() {
        row[0] = if token == 15 { 2.0 } else { 0.0 };
    }
    for row in values[index("model.layers.0.mlp.gate_proj")].chunks_mut(shape.hidden) {
        row[0] = 1e20;
    }
    values[index("model.layers.0.mlp.down_proj")].iter_mut().for_each(|value| *value *= 1e30);
    assert!(score(&load(&config, &values).model, &batches, &ALL[..1], PLAIN).is_ok());
    let mut with_token = batches.clone();
    with_token[2][1][3] = 15;
    for way in &ways {
        let error = refused(&values, &with_token, &ALL[..1], *way);
        let name = "model.layers.0.mlp.up_proj.weight".to_owned();
        // Batches are counted from the start of the pass; callers count on.
        let first = 2 / way.batches_per_pass * way.batches_per_pass;
        let error = error.in_batch(first);
        let ScoreError::NonFiniteGradient(found) = &error else { panic!("{way:?}: {error}") };
        assert_eq!(*found, NonFinite { batch: 2, tensor: name.clone() }, "{way:?}");
        let message = error.to_string();
        assert!(message.contains(&name) && message.contains("batch 2"), "{message}");
    }

    // A square that overflows where the gradient does not.
    let mut values = original;
    for layer in 0..shape.layers {
        values[index(&format!("model.layers.{layer}.mlp.up_proj"))].fill(0.0);
    }
    values[index("model.layers.1.mlp.down_proj")].iter_mut().for_each(|value| *value *= 1e25);
    assert!(score(&load(&config, &values).model, &batches, &ALL[..2], PLAIN).is_ok());
    for reductions in [&ALL[2..], &ALL[..]] {
        let error = refused(&values, &batches, reductions, PLAIN);
        let ScoreError::NonFiniteGradient(found) = &error else { panic!("{error}") };
        assert_eq!((found.batch, found.tensor.as_str()), (0, "model.layers.1.mlp.up_proj.weight"));
    }

    // Nothing to score, and rows that can't be scored.
    let model = load(&config, &shape.weights(&mut random)).model;
    let scorer = LanguageScorer::new(&model, Estimator::Signed, 7, 0);
    assert!(matches!(block_on(scorer.finish()), Err(ScoreError::NoBatches)));
    // Padding adds nothing to a gradient, but it would count among inputs.
    let unequal: &[&[u32]] = &[&[1, 2], &[1, 2, 3]];
    let bad: [&[&[u32]]; 5] = [&[&[1]], &[&[1, 2], &[3]], &[&[1, 20]], &[&[1; 8]], &[]];
    let refused = bad.map(|rows| (Estimator::Signed, rows)).into_iter().chain([(Estimator::Wanda, unequal)]);
    for (estimator, rows) in refused {
        let mut scorer = LanguageScorer::new(&model, estimator, 7, 0);
        let error = block_on(scorer.add_batch(rows)).expect_err("it can't be run");
        assert!(matches!(error, ScoreError::Forward(_)), "{rows:?}: {error}");
    }
    let mut scorer = LanguageScorer::new(&model, Estimator::Signed, 7, 0);
    assert!(block_on(scorer.add_batch(unequal)).unwrap().is_finite());
}
