//! Training: optimizers against plain loops in f64, the trainer against itself in every way of cutting a
//! step or a training into parts, and that it learns.
//!
//! Tolerance: 1e-5 of a tensor's norm unless a comment says more; both sides add f32 in different orders.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that can't go on fails; shapes are small, and f32 is what is compared"
)]

use burn::tensor::{DType, Tensor, TensorData};
use codingspot_core::Device;
use codingspot_core::config::LlamaConfig;
use codingspot_core::kernels::adamw::{Coefficients, step, step_reference};
use codingspot_core::kernels::matmul;
use codingspot_core::kernels::sums::sum_of_squares;
use codingspot_core::llama::Llama;
use codingspot_core::optimizer::{AdamW, Muon};
use codingspot_core::train::{
    Decay, Precision, Schedule, StateBuffer, TrainError, TrainSettings, Trainer, random_llama,
};
use codingspot_tests::{Random, assert_close};
use pollster::block_on;

const TOLERANCE: f64 = 1e-5;

fn tensor(values: Vec<f32>, shape: [usize; 2]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), (&Device::flex(), DType::F32))
}

fn matrix(random: &mut Random, shape: [usize; 2], scale: f32) -> Tensor<2> {
    tensor(random.values(shape[0] * shape[1], scale), shape)
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().try_into_vec().unwrap()
}

fn bits<const D: usize>(tensor: &Tensor<D>) -> Vec<u32> {
    values(tensor).into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_step_of_adamw_equals_its_composed_form_and_leaves_shared_tensors_alone() {
    let mut random = Random::new(1);
    for shape in [[1, 1], [1, 320], [7, 131], [300, 257]] {
        let [weight, first, gradient] = [0, 1, 2].map(|_| matrix(&mut random, shape, 1.0));
        let second = matrix(&mut random, shape, 1.0).abs();
        let numbers = Coefficients {
            beta_1: 0.9,
            beta_2: 0.95,
            gradient_scale: 0.3,
            keep: 0.999,
            rate: 2e-3,
            root_scale: 1.7,
            epsilon: 1e-8,
        };
        let before = [bits(&weight), bits(&first), bits(&second), bits(&gradient)];
        let shared = step(weight.clone(), first.clone(), second.clone(), &gradient, numbers);
        let expected = step_reference(weight.clone(), first.clone(), second.clone(), &gradient, numbers);
        assert!(before == [bits(&weight), bits(&first), bits(&second), bits(&gradient)]);
        let own = |x: &Tensor<2>| tensor(values(x), shape);
        let in_place = step(own(&weight), own(&first), own(&second), &gradient, numbers);
        for ((shared, expected), in_place) in shared.iter().zip(&expected).zip(&in_place) {
            assert_close(&format!("{shape:?}"), &values(shared), &values(expected), TOLERANCE);
            assert!(bits(shared) == bits(in_place), "{shape:?}: in place gives other bits");
        }
    }
}

#[test]
fn adamw_follows_pytorchs_formulas() {
    let mut random = Random::new(2);
    let shape = [5, 9];
    let optimizer = AdamW { beta_1: 0.9, beta_2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };
    let mut weight = matrix(&mut random, shape, 1.0);
    let mut exact: Vec<f64> = values(&weight).into_iter().map(f64::from).collect();
    let (mut m, mut v) = (vec![0.0; exact.len()], vec![0.0; exact.len()]);
    let mut moments = None;
    for number in 1..=20 {
        let (gradient, lr, scale) = (matrix(&mut random, shape, 1.0), 0.05 / f64::from(number), 0.5);
        weight = optimizer.step(weight, &gradient, &mut moments, number, lr, scale);
        for (i, g) in values(&gradient).into_iter().enumerate() {
            let g = f64::from(g) * scale;
            exact[i] *= 1.0 - lr * 0.1;
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.95 * v[i] + 0.05 * g * g;
            let (m_hat, v_hat) = (m[i] / (1.0 - 0.9_f64.powi(number)), v[i] / (1.0 - 0.95_f64.powi(number)));
            exact[i] -= lr * m_hat / (v_hat.sqrt() + 1e-8);
        }
    }
    let exact: Vec<f32> = exact.into_iter().map(|x| x as f32).collect();
    assert_close("weights", &values(&weight), &exact, TOLERANCE);
}

/// `a · b` of `[n, k]` and `[k, m]` in f64.
fn product(a: &[f64], b: &[f64], [n, k, m]: [usize; 3]) -> Vec<f64> {
    let mut out = vec![0.0; n * m];
    for i in 0..n {
        for j in 0..k {
            for l in 0..m {
                out[i * m + l] += a[i * k + j] * b[j * m + l];
            }
        }
    }
    out
}

fn transposed(x: &[f64], [rows, cols]: [usize; 2]) -> Vec<f64> {
    (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect()
}

#[test]
fn muon_makes_matrices_orthogonal_as_its_polynomial_says() {
    let mut random = Random::new(3);
    for [rows, cols] in [[12, 30], [30, 12], [16, 16], [1, 9]] {
        let gradient = matrix(&mut random, [rows, cols], 1.0);
        // From zero and with a rate of 1 the weights are the direction alone.
        let mut momentum = None;
        let zeros = tensor(vec![0.0; rows * cols], [rows, cols]);
        let muon = Muon { momentum: 0.95, weight_decay: 0.1 };
        let moved = muon.step(zeros.clone(), &gradient, &mut momentum, 1.0, 1.0, DType::F32);
        // In bf16 it is as near as five steps with 8 bits can be: an update needs no more.
        let rough = muon.step(zeros, &gradient, &mut None, 1.0, 1.0, DType::BF16);
        assert_close("direction in bf16", &values(&rough), &values(&moved), 0.05);
        let size = -0.2 * (rows.max(cols) as f64).sqrt();
        let direction: Vec<f64> = values(&moved).into_iter().map(|x| f64::from(x) / size).collect();

        let wide = rows <= cols;
        let shape @ [n, m] = if wide { [rows, cols] } else { [cols, rows] };
        let g: Vec<f64> = values(&gradient).into_iter().map(f64::from).collect();
        let g = if wide { g } else { transposed(&g, [rows, cols]) };
        let norm = g.iter().map(|x| x * x).sum::<f64>().sqrt();
        let mut x: Vec<f64> = g.iter().map(|x| x / norm).collect();
        for _ in 0..5 {
            let a = product(&x, &transposed(&x, shape), [n, m, n]);
            let aa = product(&a, &a, [n, n, n]);
            let p: Vec<f64> = a.iter().zip(&aa).map(|(a, aa)| -4.7750 * a + 2.0315 * aa).collect();
            let px = product(&p, &x, [n, n, m]);
            x = x.iter().zip(&px).map(|(x, px)| 3.4445 * x + px).collect();
        }
        let expected = if wide { x.clone() } else { transposed(&x, shape) };
        let f32s = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        // Five cubes of f32 products; the polynomial multiplies small errors by up to 3.4 each time.
        assert_close("direction", &f32s(&direction), &f32s(&expected), 1e-3);
        // All singular values are near 1: so is the mean of their squares.
        let squares = direction.iter().map(|x| x * x).sum::<f64>() / n as f64;
        assert!((0.4..1.5).contains(&squares), "{rows} × {cols}: {squares}");
        assert_close("momentum", &values(&momentum.unwrap()), &values(&gradient), TOLERANCE);
    }
}

#[test]
fn squares_are_summed_whole() {
    let mut random = Random::new(4);
    for shape in [[1, 1], [3, 17], [700, 131]] {
        let x = matrix(&mut random, shape, 2.0);
        let exact: f64 = values(&x).into_iter().map(|x| f64::from(x).powi(2)).sum();
        let found = f64::from(values(&sum_of_squares(&x))[0]);
        assert!((found / exact - 1.0).abs() < 1e-6, "{shape:?}: {found} for {exact}");
    }
}

#[test]
fn products_of_weights_in_bf16_round_both_operands_and_sum_in_f32() {
    let mut random = Random::new(5);
    let round = |x: &Tensor<2>| x.clone().cast(DType::BF16).cast(DType::F32);
    for [n, outputs, inputs] in [[1, 1, 1], [9, 33, 47], [200, 96, 131], [130, 129, 320]] {
        let (x, y) = (matrix(&mut random, [n, inputs], 1.0), matrix(&mut random, [n, outputs], 1.0));
        let weight = matrix(&mut random, [outputs, inputs], 1.0).cast(DType::BF16);
        let plain = weight.clone().cast(DType::F32);
        let sum = matrix(&mut random, [n, inputs], 1.0);
        let total = matrix(&mut random, [outputs, inputs], 1.0);
        let out = matrix(&mut random, [n, outputs], 1.0);
        let pairs = [
            (matmul::product_nt(&x, &weight), matmul::product_nt(&round(&x), &plain)),
            (matmul::add_product_nt(&out, &x, &weight), matmul::add_product_nt(&out, &round(&x), &plain)),
            (matmul::product_nn(&y, &weight), matmul::product_nn(&round(&y), &plain)),
            (
                matmul::add_product_nn(sum.clone(), &y, &weight),
                matmul::add_product_nn(sum.clone(), &round(&y), &plain),
            ),
            (matmul::product_tn_in(&y, &x, DType::BF16), matmul::product_tn(&round(&y), &round(&x))),
            (
                matmul::add_product_tn_in(total.clone(), &y, &x, DType::BF16),
                matmul::add_product_tn(total.clone(), &round(&y), &round(&x)),
            ),
        ];
        for (index, (found, expected)) in pairs.into_iter().enumerate() {
            let what = format!("form {index}, {n} × {outputs} × {inputs}");
            assert_eq!(found.dtype(), DType::F32, "{what}");
            assert_close(&what, &values(&found), &values(&expected), TOLERANCE);
        }
    }
}

const VOCABULARY: usize = 64;

fn config(tied: bool) -> LlamaConfig {
    let json = format!(
        r#"{{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_act":"silu","hidden_size":32,
        "intermediate_size":48,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,
        "head_dim":8,"vocab_size":{VOCABULARY},"max_position_embeddings":32,"rms_norm_eps":1e-5,
        "tie_word_embeddings":{tied},"bos_token_id":0,"eos_token_id":1}}"#
    );
    LlamaConfig::from_json(&json).unwrap()
}

fn settings(muon: bool, precision: Precision) -> TrainSettings {
    TrainSettings {
        adamw: AdamW { beta_2: 0.95, weight_decay: 0.1, ..AdamW::default() },
        muon: muon.then(Muon::default),
        schedule: Schedule { peak: 1e-2, warmup_steps: 5, steps: 60, final_share: 0.1, decay: Decay::Cosine },
        clip_norm: Some(1.0),
        precision,
    }
}

/// Rows that count upwards from a random token: what follows can be known.
fn counting(random: &mut Random, rows: usize) -> Vec<Vec<u32>> {
    let row = |first: usize| (0..16).map(|i| ((first + i) % VOCABULARY) as u32).collect();
    (0..rows).map(|_| row(random.below(VOCABULARY))).collect()
}

fn views(rows: &[Vec<u32>]) -> Vec<&[u32]> {
    rows.iter().map(Vec::as_slice).collect()
}

fn weights(model: &Llama) -> Vec<Vec<f32>> {
    (0..model.layout().tensors().len()).map(|index| block_on(model.read_weight(index)).unwrap()).collect()
}

fn train(trainer: &mut Trainer, random: &mut Random, steps: usize) -> Vec<f64> {
    let mut losses = Vec::new();
    for _ in 0..steps {
        let rows = counting(random, 8);
        losses.push(block_on(trainer.step(&[&views(&rows)])).unwrap().loss_nats);
    }
    losses
}

#[test]
fn models_learn_what_can_be_known() {
    for tied in [true, false] {
        for (muon, precision) in [
            (false, Precision::F32),
            (true, Precision::F32),
            (false, Precision::Bf16),
            (true, Precision::Bf16),
        ] {
            let mut random = Random::new(6);
            let model = random_llama(&config(tied), 7, 0.05, &Device::flex());
            let mut trainer = Trainer::new(model, settings(muon, precision), 16);
            let losses = train(&mut trainer, &mut random, 60);
            // A first loss of about ln 64, and then a count that is certain but for nothing.
            let (first, last) = (losses[0], losses[59]);
            assert!((first - (VOCABULARY as f64).ln()).abs() < 0.3, "tied {tied}, muon {muon}: {first}");
            assert!(last < 0.6, "tied {tied}, muon {muon}, {precision:?}: {first} to {last}");
        }
    }
}

#[test]
fn batches_that_are_added_up_are_one_large_batch() {
    let mut random = Random::new(8);
    let rows = counting(&mut random, 12);
    let rows = views(&rows);
    // Unequal parts: what counts are targets, not batches.
    let cuts: [&[&[&[u32]]]; 3] =
        [&[&rows], &[&rows[..5], &rows[5..]], &[&rows[..1], &rows[1..4], &rows[4..]]];
    let mut found = Vec::new();
    for batches in cuts {
        let model = random_llama(&config(true), 9, 0.05, &Device::flex());
        let mut trainer = Trainer::new(model, settings(false, Precision::F32), 16);
        let step = block_on(trainer.step(batches)).unwrap();
        assert_eq!(step.tokens, 12 * 15);
        found.push((step, weights(trainer.model())));
    }
    let (whole, expected) = &found[0];
    for (step, actual) in &found[1..] {
        assert!((step.loss_nats / whole.loss_nats - 1.0).abs() < 1e-6);
        assert!((step.gradient_norm / whole.gradient_norm - 1.0).abs() < 1e-5);
        for (actual, expected) in actual.iter().zip(expected) {
            // The first step of Adam has the size of the rate wherever a gradient's sign is sure; where it is
            // all rounding it may turn, so a part of a tensor may differ by twice the rate.
            assert_close("weights", actual, expected, 1e-3);
        }
    }
}

#[test]
fn a_training_that_goes_on_gives_the_same_bits() {
    for (muon, precision) in [(false, Precision::F32), (true, Precision::F32), (true, Precision::Bf16)] {
        let begin = || {
            let model = random_llama(&config(true), 10, 0.05, &Device::flex());
            Trainer::new(model, settings(muon, precision), 16)
        };
        let mut random = Random::new(11);
        let mut whole = begin();
        train(&mut whole, &mut random, 12);

        let mut random = Random::new(11);
        let mut first = begin();
        assert!(block_on(first.state()).unwrap().is_empty());
        train(&mut first, &mut random, 7);
        let state: Vec<StateBuffer> = block_on(first.state()).unwrap();
        let mut second = Trainer::new(first.model().clone(), settings(muon, precision), 16);
        second.restore(7, first.loss_scale(), state).unwrap();
        drop(first);
        assert_eq!(second.steps(), 7);
        train(&mut second, &mut random, 5);
        let same = |a: &[Vec<f32>], b: &[Vec<f32>]| {
            a.iter().flatten().map(|x| x.to_bits()).eq(b.iter().flatten().map(|x| x.to_bits()))
        };
        assert!(same(&weights(whole.model()), &weights(second.model())), "muon {muon}, {precision:?}");
        assert_eq!(block_on(whole.state()).unwrap(), block_on(second.state()).unwrap());
    }
}

#[test]
fn a_state_of_another_model_or_optimizer_is_refused() {
    let mut random = Random::new(12);
    let model = random_llama(&config(true), 13, 0.05, &Device::flex());
    let mut trainer = Trainer::new(model.clone(), settings(false, Precision::F32), 16);
    train(&mut trainer, &mut random, 1);
    let state = block_on(trainer.state()).unwrap();
    let refused = |muon: bool, state: Vec<StateBuffer>| {
        let mut trainer = Trainer::new(model.clone(), settings(muon, Precision::F32), 16);
        match trainer.restore(1, 1.0, state).unwrap_err() {
            TrainError::State(reason) => reason,
            other => panic!("{other}"),
        }
    };
    assert!(refused(true, state.clone()).contains("momentum"));
    assert!(refused(false, state[1..].to_vec()).contains("embed_tokens"));
    let mut wrong = state.clone();
    wrong[3].shape = [1, 5];
    assert!(refused(false, wrong).contains("shape"));
    let mut extra = state;
    extra.push(StateBuffer { name: "other.first".to_owned(), shape: [1, 1], values: vec![0.0] });
    assert!(refused(false, extra).contains("other.first"));
}

#[test]
fn bf16_stays_close_to_f32() {
    let found = [Precision::F32, Precision::Bf16].map(|precision| {
        let mut random = Random::new(14);
        let model = random_llama(&config(true), 15, 0.05, &Device::flex());
        let mut trainer = Trainer::new(model, settings(false, precision), 16);
        train(&mut trainer, &mut random, 20)
    });
    for (f32, bf16) in found[0].iter().zip(&found[1]) {
        // A weight in bf16 is right to 2⁻⁹, and so are the logits that it makes, of a size of about 1.
        assert!((f32 - bf16).abs() < 0.05, "{f32} and {bf16}");
    }
    assert!(found[0] != found[1], "bf16 gave the bits of f32");
}

#[test]
fn initial_weights_depend_on_the_seed_and_have_their_sizes() {
    let config = config(true);
    let device = Device::flex();
    let [a, again, b] = [0, 0, 1].map(|seed| weights(&random_llama(&config, seed, 0.02, &device)));
    assert_eq!(a, again);
    assert_ne!(a, b);
    let model = random_llama(&config, 0, 0.02, &device);
    for (spec, values) in model.layout().tensors().iter().zip(&a) {
        let rms = (values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
        let expected = match spec.name.as_str() {
            name if name.contains("norm") => 1.0,
            // 1/√(2 · 2 layers)
            name if name.contains("o_proj") || name.contains("down_proj") => 0.01,
            _ => 0.02,
        };
        assert!((rms / expected - 1.0).abs() < 0.1, "{}: {rms}", spec.name);
    }
}
