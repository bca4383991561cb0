//! The same core in a browser on WebGPU, against the golden fixtures.
//!
//! Run with `wasm-pack test --headless --chrome core`. Tolerance 1e-3 relative, as for WGSL
//! natively: WebGPU may fuse and reorder, and its exp and division are inexact.
#![cfg(target_arch = "wasm32")]

use burn::tensor::Tensor;
use codingspot_core::Device;
use codingspot_core::ablate::Ablation;
use codingspot_core::checkpoint::{LoadedModel, MemorySource, SafetensorsSource, ShardIndex, load_model};
use codingspot_core::config::LlamaConfig;
use codingspot_core::generate::{GenerateOptions, forced_decode, generate};
use codingspot_core::kernels::packed::{Compute, Cpu, Gpu};
use codingspot_core::llama::RotaryTable;
use codingspot_core::packed::{
    Mask, PackedLlama, PackedLoader, RankingBuilder, Scored, Step, load_checkpoint,
};
use codingspot_core::sampling::Sampling;
use codingspot_core::score::{Estimator, LanguageScorer};
use codingspot_core::spot::{Ranked, Scope, Spot, SpotHeader};
use codingspot_pack::Encoding;
use safetensors::SafeTensors;
use std::cell::RefCell;
use std::ops::ControlFlow;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

const TOLERANCE: f64 = 1e-3;

struct Fixture {
    name: &'static str,
    config: &'static str,
    index: Option<&'static str>,
    shards: &'static [(&'static str, &'static [u8])],
    golden: &'static [u8],
}

const FIXTURES: [Fixture; 2] = [
    Fixture {
        name: "llama32-tiny",
        config: include_str!("../../tests/fixtures/llama32-tiny/config.json"),
        index: None,
        shards: &[(
            "model.safetensors",
            include_bytes!("../../tests/fixtures/llama32-tiny/model.safetensors"),
        )],
        golden: include_bytes!("../../tests/fixtures/llama32-tiny/golden.safetensors"),
    },
    Fixture {
        name: "codellama-tiny",
        config: include_str!("../../tests/fixtures/codellama-tiny/config.json"),
        index: Some(include_str!("../../tests/fixtures/codellama-tiny/model.safetensors.index.json")),
        shards: &[
            (
                "model-00001-of-00002.safetensors",
                include_bytes!("../../tests/fixtures/codellama-tiny/model-00001-of-00002.safetensors"),
            ),
            (
                "model-00002-of-00002.safetensors",
                include_bytes!("../../tests/fixtures/codellama-tiny/model-00002-of-00002.safetensors"),
            ),
        ],
        golden: include_bytes!("../../tests/fixtures/codellama-tiny/golden.safetensors"),
    },
];

thread_local! {
    static DEVICE: RefCell<Option<Device>> = const { RefCell::new(None) };
}

/// The browser's adapter, initialised once.
async fn device() -> Device {
    codingspot_core::run_constructors();
    if let Some(device) = DEVICE.with_borrow(Clone::clone) {
        return device;
    }
    let device = Device::wgpu_options().init_async().await.expect("a WebGPU adapter");
    DEVICE.with_borrow_mut(|slot| slot.replace(device.clone()));
    device
}

impl Fixture {
    async fn source(&self) -> SafetensorsSource<MemorySource<&'static [u8]>> {
        let shards = self.shards.iter().map(|(name, bytes)| MemorySource::new(*name, *bytes)).collect();
        SafetensorsSource::open(shards).await.unwrap()
    }

    async fn packed<C: Compute>(&self, compute: C, encoding: Encoding) -> PackedLlama<C> {
        let config = LlamaConfig::from_json(self.config).unwrap();
        let loader = PackedLoader::new(compute, &config, encoding, 64).unwrap();
        let go = async |_| ControlFlow::Continue(());
        load_checkpoint(loader, &self.source().await, go).await.unwrap().0
    }

    async fn load(&self) -> LoadedModel {
        let config = LlamaConfig::from_json(self.config).unwrap();
        let source = self.source().await;
        if let Some(index) = self.index {
            source.check_index("index", &ShardIndex::from_json("index", index).unwrap()).unwrap();
        }
        load_model(&source, &config, &device().await, async |_| ControlFlow::Continue(())).await.unwrap()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(self.golden).unwrap();
        let data = file.tensor(name).unwrap().data().to_vec();
        data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn ids(&self, name: &str) -> Vec<Vec<u32>> {
        let file = SafeTensors::deserialize(self.golden).unwrap();
        let tensor = file.tensor(name).unwrap();
        let cols = *tensor.shape().last().unwrap();
        let ids: Vec<u32> = tensor
            .data()
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| u32::try_from(i64::from_le_bytes(*bytes)).unwrap())
            .collect();
        ids.chunks(cols).map(<[u32]>::to_vec).collect()
    }
}

fn rows(ids: &[Vec<u32>]) -> Vec<&[u32]> {
    ids.iter().map(Vec::as_slice).collect()
}

async fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data_async().await.unwrap().try_into_vec().unwrap()
}

fn assert_close(what: &str, actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    assert!(actual.iter().all(|value| value.is_finite()), "{what} is not finite");
    let difference: f64 =
        actual.iter().zip(expected).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    let norm: f64 = expected.iter().map(|value| f64::from(*value).powi(2)).sum();
    let error = (difference / norm).sqrt();
    assert!(norm > 0.0 && error <= TOLERANCE, "{what}: relative error {error:.2e}");
}

async fn logits(loaded: &LoadedModel, ids: &[Vec<u32>]) -> Vec<f32> {
    let rope = RotaryTable::new(loaded.model.config(), ids[0].len(), loaded.model.device());
    let hidden = loaded.model.hidden_states(&rows(ids), &rope).unwrap();
    let [batch, seq, width] = hidden.dims();
    read(loaded.model.logits(hidden.reshape([batch * seq, width]))).await
}

#[wasm_bindgen_test]
async fn logits_equal_transformers() {
    for fixture in &FIXTURES {
        let loaded = fixture.load().await;
        let actual = logits(&loaded, &fixture.ids("logits/ids")).await;
        assert_close(fixture.name, &actual, &fixture.floats("logits/full"));
    }
}

#[wasm_bindgen_test]
async fn one_backward_pass_equals_autograd() {
    // `score_abs` over three batches and `score` differ; one batch's gradient is checked through
    // the whole language, which is three passes on a tiny model.
    let fixture = &FIXTURES[0];
    let loaded = fixture.load().await;
    let mut scorer = LanguageScorer::new(&loaded.model, Estimator::Signed, 24, 0);
    for batch in 0..3 {
        scorer.add_batch(&rows(&fixture.ids(&format!("ids/rust/{batch}")))).await.unwrap();
    }
    let scores = scorer.finish().await.unwrap();
    for (spec, actual) in loaded.model.layout().tensors().iter().zip(&scores.scores) {
        assert_close(&spec.name, actual, &fixture.floats(&format!("score/rust/{}", spec.name)));
    }
}

#[wasm_bindgen_test]
async fn greedy_and_forced_decoding_equal_transformers() {
    for fixture in &FIXTURES {
        let loaded = fixture.load().await;
        let prompt = fixture.ids("generate/prompt").remove(0);
        let greedy = fixture.ids("generate/greedy").remove(0);
        let continuation = greedy.strip_prefix(prompt.as_slice()).unwrap_or(&greedy);
        let ends = |id: &u32| loaded.model.config().eos_token_ids.contains(id);
        let expected: Vec<u32> = continuation.iter().copied().take_while(|id| !ends(id)).collect();
        let options = GenerateOptions { max_tokens: continuation.len(), ..Default::default() };
        let generation =
            generate(&loaded.model, None, &prompt, &options, async |_| ControlFlow::Continue(()))
                .await
                .unwrap();
        assert_eq!(generation.ids, expected, "{}", fixture.name);
        let forced = forced_decode(&loaded.model, &prompt, &expected).await.unwrap();
        let top: Vec<u32> = forced.into_iter().map(|(_, top)| top).collect();
        assert_eq!(top, expected, "{}: top-1 at every position", fixture.name);
    }
}

#[wasm_bindgen_test]
async fn ablation_equals_golden_and_undo_restores_every_bit() {
    let fixture = &FIXTURES[0];
    let mut loaded = fixture.load().await;
    let layout = loaded.model.layout().clone();
    let ranked: Vec<Ranked> = fixture.ids("topk/1.0")[0]
        .iter()
        .map(|&position| {
            let (tensor, offset) = layout.locate(u64::from(position)).unwrap();
            Ranked { score: 1.0, tensor: tensor.try_into().unwrap(), offset: offset.try_into().unwrap() }
        })
        .collect();
    let header =
        SpotHeader::new(&layout, loaded.fingerprint, Scope::All, 100.0, Estimator::Signed, Vec::new());
    let before = logits(&loaded, &fixture.ids("logits/ids")).await;
    let mut ablation =
        Ablation::new(&loaded.model, &loaded.fingerprint, Spot::new(header, &ranked)).await.unwrap();
    ablation.set(&mut loaded.model, ranked.len() / 2);
    ablation.set(&mut loaded.model, ranked.len());
    let after = logits(&loaded, &fixture.ids("logits/ids")).await;
    assert_close("ablated logits", &after, &fixture.floats("ablated/1.0/logits"));
    ablation.set(&mut loaded.model, 0);
    let restored = logits(&loaded, &fixture.ids("logits/ids")).await;
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert!(bits(&restored) == bits(&before), "undo changed the logits");
}

async fn score<C: Compute>(model: &PackedLlama<C>, tokens: &[u32]) -> Vec<Step> {
    match model.score(tokens, 1, async |_| ControlFlow::Continue(())).await.unwrap() {
        Scored::All(steps) => steps,
        Scored::Cancelled => unreachable!("nothing broke"),
    }
}

fn assert_same(what: &str, actual: &[Step], expected: &[Step]) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert!((a.logprob - e.logprob).abs() < 1e-3, "{what} at {i}: {} {}", a.logprob, e.logprob);
        for (a, e) in a.candidates.logprobs.iter().zip(e.candidates.logprobs) {
            assert!((a - e).abs() < 1e-3, "{what} at {i}: {a} {e}");
        }
    }
}

#[wasm_bindgen_test]
async fn packed_kernels_equal_their_references() {
    for fixture in &FIXTURES {
        let tokens = fixture.ids("generate/greedy").remove(0);
        for encoding in [Encoding::F32, Encoding::F16, Encoding::Q8, Encoding::Q4] {
            let cpu = fixture.packed(Cpu, encoding).await;
            let expected = score(&cpu, &tokens).await;
            // The shares of work of emulated adapters, and those of real ones.
            for software in [true, false] {
                let gpu = Gpu::of(&device().await, software).expect("a GPU");
                let gpu = fixture.packed(gpu, encoding).await;
                let what = format!("{} {}", fixture.name, encoding.name());
                assert_same(&what, &score(&gpu, &tokens).await, &expected);
            }
        }
    }
}

#[wasm_bindgen_test]
async fn the_packed_model_writes_what_transformers_writes() {
    for fixture in &FIXTURES {
        let model = fixture.packed(Gpu::of(&device().await, true).expect("a GPU"), Encoding::F32).await;
        let prompt = fixture.ids("generate/prompt").remove(0);
        let greedy = fixture.ids("generate/greedy").remove(0);
        let continuation = greedy.strip_prefix(prompt.as_slice()).unwrap_or(&greedy);
        let ends = |id: &u32| model.config().eos_token_ids.contains(id);
        let expected: Vec<u32> = continuation.iter().copied().take_while(|id| !ends(id)).collect();
        let mut written = Vec::new();
        let go = async || ControlFlow::Continue(());
        model
            .generate(&prompt, continuation.len(), &Sampling::GREEDY, 0, go, async |step| {
                written.push(step.token);
                ControlFlow::Continue(())
            })
            .await
            .unwrap();
        assert_eq!(written, expected, "{}", fixture.name);
        let all = [prompt.as_slice(), &expected].concat();
        let top: Vec<u32> = score(&model, &all).await[prompt.len() - 1..]
            .iter()
            .map(|step| step.candidates.tokens[0])
            .collect();
        assert_eq!(top, expected, "{}: top-1 at every position", fixture.name);
    }
}

#[wasm_bindgen_test]
async fn a_mask_leaves_no_trace() {
    let fixture = &FIXTURES[0];
    let tokens = fixture.ids("generate/greedy").remove(0);
    for encoding in [Encoding::F32, Encoding::F16, Encoding::Q8, Encoding::Q4] {
        let model = fixture.packed(Gpu::of(&device().await, true).expect("a GPU"), encoding).await;
        let reference = fixture.packed(Cpu, encoding).await;
        let layout = model.layout().clone();
        let ranked: Vec<Ranked> = fixture.ids("topk/1.0")[0]
            .iter()
            .map(|&position| {
                let (tensor, offset) = layout.locate(u64::from(position)).unwrap();
                Ranked { score: 1.0, tensor: tensor.try_into().unwrap(), offset: offset.try_into().unwrap() }
            })
            .collect();
        let fingerprint = "00".repeat(32).parse().unwrap();
        let header = SpotHeader::new(&layout, fingerprint, Scope::All, 100.0, Estimator::Signed, Vec::new());
        let spot = Spot::new(header, &ranked);
        let before = score(&model, &tokens).await;
        let mut mask = Mask::new(&model, RankingBuilder::ranks(&model, &spot).unwrap());
        let mut expected = Mask::new(&reference, RankingBuilder::ranks(&reference, &spot).unwrap());
        for count in [ranked.len() as u64 / 2, ranked.len() as u64, 3] {
            assert_eq!(mask.set(&model, count), expected.set(&reference, count));
            let off = score(&reference, &tokens).await;
            assert_same(encoding.name(), &score(&model, &tokens).await, &off);
        }
        mask.set(&model, 0);
        assert_eq!(
            score(&model, &tokens).await,
            before,
            "{}: switching back changed something",
            encoding.name()
        );
    }
}
