//! Rungs 1 and 3 of the correctness ladder: the golden fixtures on the CPU and on a GPU adapter.
//!
//! Tolerances: 1e-4 on flex, 1e-3 through WGSL. A plain f32 run of PyTorch agrees with the float64
//! golden values to 1.2e-6; WGSL may fuse and reorder, and its exp and division are inexact.

use burn::tensor::DeviceKind;
use codingspot_core::Device;
use codingspot_core::ablate::Ablation;
use codingspot_core::checkpoint::LoadedModel;
use codingspot_core::generate::{GenerateOptions, forced_decode, generate};
use codingspot_core::llama::RotaryTable;
use codingspot_core::score::{Estimator, LanguageScorer, LanguageScores, TotalScores};
use codingspot_core::spot::{Ranked, Scope, Spot, SpotHeader, count_of, select_top};
use codingspot_tests::{FIXTURES, Fixture, GPU_FIXTURES, assert_close};
use pollster::block_on;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ops::ControlFlow;

const FLEX: f64 = 1e-4;
const WGSL: f64 = 1e-3;

/// The software adapter; a hardware one where that is all there is.
fn wgpu() -> Device {
    Device::wgpu(DeviceKind::Cpu)
}

fn rows(ids: &[Vec<u32>]) -> Vec<&[u32]> {
    ids.iter().map(Vec::as_slice).collect()
}

fn logits(loaded: &LoadedModel, ids: &[Vec<u32>]) -> Vec<f32> {
    let rope = RotaryTable::new(loaded.model.config(), ids[0].len(), loaded.model.device());
    let hidden = loaded.model.hidden_states(&rows(ids), &rope).unwrap();
    let [batch, seq, width] = hidden.dims();
    loaded.model.logits(hidden.reshape([batch * seq, width])).into_data().try_into_vec().unwrap()
}

fn check_logits(names: &[&str], device: &Device, tolerance: f64) {
    for &name in names {
        let fixture = Fixture::open(name);
        let loaded = fixture.load(device);
        let actual = logits(&loaded, &fixture.ids("logits/ids"));
        assert_close(&format!("{name} logits"), &actual, &fixture.floats("logits/full"), tolerance);
        let long = logits(&loaded, &fixture.ids("logits/long_ids"));
        let last = &long[long.len() - fixture.config.vocab_size..];
        assert_close(&format!("{name} long"), last, &fixture.floats("logits/long_last"), tolerance);
    }
}

#[test]
fn logits_equal_transformers_on_flex() {
    check_logits(&FIXTURES, &Device::flex(), FLEX);
}

#[test]
fn logits_equal_transformers_on_wgsl() {
    check_logits(&GPU_FIXTURES, &wgpu(), WGSL);
}

fn score(fixture: &Fixture, loaded: &LoadedModel, estimator: Estimator, language: &str) -> LanguageScores {
    let batches: Vec<Vec<Vec<u32>>> = (0..3).map(|b| fixture.ids(&format!("ids/{language}/{b}"))).collect();
    let mut scorer = LanguageScorer::new(&loaded.model, estimator, batches[0][0].len(), 0);
    for batch in &batches {
        block_on(scorer.add_batch(&rows(batch))).unwrap();
    }
    block_on(scorer.finish()).unwrap()
}

fn check_scores(names: &[&str], device: &Device, tolerance: f64) {
    for &name in names {
        let fixture = Fixture::open(name);
        let loaded = fixture.load(device);
        for (estimator, prefix, total_prefix) in
            [(Estimator::Signed, "score", "total"), (Estimator::Abs, "score_abs", "total_abs")]
        {
            let mut total = TotalScores::default();
            for language in fixture.languages() {
                let scores = score(&fixture, &loaded, estimator, &language);
                for (batch, loss) in scores.losses_nats.iter().enumerate() {
                    let expected = fixture.golden["loss"][&language][batch].as_f64().unwrap();
                    assert!(
                        (loss - expected).abs() <= tolerance * expected,
                        "{name} {language}: {loss} {expected}"
                    );
                }
                for (spec, actual) in loaded.model.layout().tensors().iter().zip(&scores.scores) {
                    let what = format!("{prefix}/{language}/{}", spec.name);
                    assert_close(&format!("{name} {what}"), actual, &fixture.floats(&what), tolerance);
                }
                total.add(&scores);
            }
            for (spec, actual) in loaded.model.layout().tensors().iter().zip(total.tensors()) {
                let what = format!("{total_prefix}/{}", spec.name);
                assert_close(&format!("{name} {what}"), actual, &fixture.floats(&what), tolerance);
            }
            if estimator == Estimator::Signed {
                check_top_k(&fixture, &loaded, &total, tolerance);
            }
        }
    }
}

fn select(loaded: &LoadedModel, total: &TotalScores, count: u64) -> Vec<Ranked> {
    select_top(loaded.model.layout(), Scope::All, count, |tensor, sink| {
        sink(&total.tensors()[tensor]);
        Ok::<_, Infallible>(())
    })
    .unwrap()
}

/// The chosen sets equal the golden ones, but for parameters whose scores lie within rounding of
/// the threshold.
fn check_top_k(fixture: &Fixture, loaded: &LoadedModel, total: &TotalScores, tolerance: f64) {
    let layout = loaded.model.layout();
    assert_eq!(fixture.golden["num_parameters"].as_u64(), Some(layout.num_parameters()));
    for (k, golden) in fixture.golden["topk"].as_object().unwrap() {
        let count = count_of(layout.num_parameters(), k.parse().unwrap());
        assert_eq!(golden["k"].as_u64(), Some(count), "count of {k} %");
        let chosen = select(loaded, total, count);
        let threshold = f64::from(chosen.last().unwrap().score);
        let actual: BTreeSet<u64> = chosen
            .iter()
            .map(|r| layout.tensors()[usize::from(r.tensor)].start + u64::from(r.offset))
            .collect();
        let expected: BTreeSet<u64> =
            fixture.ids(&format!("topk/{k}"))[0].iter().map(|&position| u64::from(position)).collect();
        for position in actual.symmetric_difference(&expected) {
            let (tensor, offset) = layout.locate(*position).unwrap();
            let score = f64::from(total.tensors()[tensor][usize::try_from(offset).unwrap()]);
            assert!(
                (score - threshold).abs() <= 10.0 * tolerance * threshold,
                "k {k}: position {position} has {score:e}, the threshold is {threshold:e}"
            );
        }
    }
}

#[test]
fn scores_and_spots_equal_autograd_on_flex() {
    check_scores(&FIXTURES, &Device::flex(), FLEX);
}

#[test]
fn scores_and_spots_equal_autograd_on_wgsl() {
    check_scores(&GPU_FIXTURES, &wgpu(), WGSL);
}

fn golden_spot(fixture: &Fixture, loaded: &LoadedModel, k: &str) -> Spot {
    let layout = loaded.model.layout();
    let ranked: Vec<Ranked> = fixture.ids(&format!("topk/{k}"))[0]
        .iter()
        .map(|&position| {
            let (tensor, offset) = layout.locate(u64::from(position)).unwrap();
            Ranked { score: 1.0, tensor: tensor.try_into().unwrap(), offset: offset.try_into().unwrap() }
        })
        .collect();
    let header =
        SpotHeader::new(layout, loaded.fingerprint, Scope::All, 100.0, Estimator::Signed, Vec::new());
    Spot::new(header, &ranked)
}

fn weight_bits(loaded: &LoadedModel) -> Vec<u32> {
    (0..loaded.model.layout().tensors().len())
        .flat_map(|index| block_on(loaded.model.read_weight(index)).unwrap())
        .map(f32::to_bits)
        .collect()
}

fn check_ablation(names: &[&str], device: &Device, tolerance: f64) {
    for &name in names {
        let fixture = Fixture::open(name);
        let mut loaded = fixture.load(device);
        let before = weight_bits(&loaded);
        for (k, golden) in fixture.golden["topk"].as_object().unwrap() {
            let spot = golden_spot(&fixture, &loaded, k);
            let count = spot.len();
            let mut ablation = block_on(Ablation::new(&loaded.model, &loaded.fingerprint, spot)).unwrap();
            // By a detour, so that moves in both directions are part of what is compared.
            for step in [count / 2, count, count / 3, count] {
                ablation.set(&mut loaded.model, step);
            }
            let zeroed =
                weight_bits(&loaded).iter().zip(&before).filter(|(after, before)| after != before).count();
            assert_eq!(zeroed, count, "{name} k {k}: parameters that changed");
            // Everything at 5 % is zero logits in these fixtures, which has no relative error.
            let expected = fixture.floats(&format!("ablated/{k}/logits"));
            let actual = logits(&loaded, &fixture.ids("logits/ids"));
            if expected.iter().any(|value| *value != 0.0) {
                assert_close(&format!("{name} ablated {k}"), &actual, &expected, tolerance);
            } else {
                assert!(actual.iter().all(|value| *value == 0.0), "{name} ablated {k}: expected zeros");
            }
            for language in fixture.languages() {
                for batch in 0..3 {
                    let ids = fixture.ids(&format!("ids/{language}/{batch}"));
                    let rope = RotaryTable::new(&fixture.config, ids[0].len(), device);
                    let loss: Vec<f32> = loaded
                        .model
                        .mean_loss(&rows(&ids), &rope)
                        .unwrap()
                        .into_data()
                        .try_into_vec()
                        .unwrap();
                    let expected = golden["loss_after"][&language][batch].as_f64().unwrap();
                    let error = (f64::from(loss[0]) - expected).abs() / expected;
                    assert!(error <= tolerance, "{name} k {k} {language} {batch}: {} {expected}", loss[0]);
                }
            }
            ablation.set(&mut loaded.model, 0);
            assert!(weight_bits(&loaded) == before, "{name} k {k}: undo is not byte-identical");
        }
    }
}

#[test]
fn ablated_logits_and_losses_equal_golden_and_undo_restores_every_bit_on_flex() {
    check_ablation(&FIXTURES, &Device::flex(), FLEX);
}

#[test]
fn ablated_logits_and_losses_equal_golden_and_undo_restores_every_bit_on_wgsl() {
    check_ablation(&GPU_FIXTURES, &wgpu(), WGSL);
}

fn check_generation(names: &[&str], device: &Device) {
    for &name in names {
        let fixture = Fixture::open(name);
        let loaded = fixture.load(device);
        let (prompt, greedy) =
            (fixture.ids("generate/prompt").remove(0), fixture.ids("generate/greedy").remove(0));
        // The golden ids may repeat the prompt before the continuation.
        let continuation = greedy.strip_prefix(prompt.as_slice()).unwrap_or(&greedy).to_vec();
        let options = GenerateOptions { max_tokens: continuation.len(), ..Default::default() };
        let generation =
            block_on(generate(&loaded.model, None, &prompt, &options, async |_| ControlFlow::Continue(())))
                .unwrap();
        let expected: Vec<u32> = continuation
            .iter()
            .copied()
            .take_while(|id| !fixture.config.eos_token_ids.contains(id))
            .collect();
        assert_eq!(generation.ids, expected, "{name}");
        let forced = block_on(forced_decode(&loaded.model, &prompt, &expected)).unwrap();
        for (i, ((logprob, top), id)) in forced.iter().zip(&expected).enumerate() {
            assert_eq!(top, id, "{name}: top-1 at {i}");
            assert!((logprob - generation.logprobs[i]).abs() < 1e-6, "{name}: log-probability at {i}");
        }
    }
}

#[test]
fn greedy_ids_equal_transformers_on_flex() {
    check_generation(&FIXTURES, &Device::flex());
}

#[test]
fn greedy_ids_equal_transformers_on_wgsl() {
    check_generation(&GPU_FIXTURES, &wgpu());
}

/// γ_i·∂L/∂γ_i = Σ_o W_oi·∂L/∂W_oi over all linears that read the norm: exact, and independent of
/// the golden values. Biases have no part in it.
#[test]
fn the_norm_identity_holds_for_every_block() {
    use codingspot_core::score::WholeGraph;
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        let device = Device::flex();
        let loaded = fixture.load(&device);
        let model = &loaded.model;
        let ids = fixture.ids("ids/rust/0");
        let rope = RotaryTable::new(model.config(), ids[0].len(), &device.autodiff());
        let engine = WholeGraph::new(model, rope);
        let (_, gradients) = block_on(engine.loss_and_gradients(&rows(&ids))).unwrap();
        let product = |tensor: &str| -> Vec<f64> {
            let index = model.layout().index_of(tensor).unwrap();
            let weight = block_on(model.read_weight(index)).unwrap();
            let gradient: Vec<f32> = gradients[index]
                .iter()
                .flat_map(|piece| piece.to_data().try_into_vec::<f32>().unwrap())
                .collect();
            weight.iter().zip(&gradient).map(|(w, g)| f64::from(*w) * f64::from(*g)).collect()
        };
        let hidden = fixture.config.hidden_size;
        for layer in 0..fixture.config.num_hidden_layers {
            for (norm, readers) in [
                ("input_layernorm", &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"][..]),
                ("post_attention_layernorm", &["mlp.gate_proj", "mlp.up_proj"][..]),
            ] {
                let gain = product(&format!("model.layers.{layer}.{norm}.weight"));
                let mut sums = vec![0.0; hidden];
                for reader in readers {
                    for (i, value) in
                        product(&format!("model.layers.{layer}.{reader}.weight")).iter().enumerate()
                    {
                        sums[i % hidden] += value;
                    }
                }
                let scale = gain.iter().fold(0.0_f64, |max, value| max.max(value.abs()));
                for (gain, sum) in gain.iter().zip(&sums) {
                    assert!((gain - sum).abs() <= 1e-4 * scale, "{name} layer {layer} {norm}: {gain} {sum}");
                }
            }
        }
    }
}
