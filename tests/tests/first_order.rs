//! First-order predictions against autodiff, against scoring, and against what the loss does; and the
//! losses that they are measured with against the composed forward pass.
//!
//! Tolerance: 1e-5 of a tensor's norm, unless a comment says more. Both sides are f32 and add in
//! different orders.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that can't go on fails; shapes are small, and f32 is what is compared"
)]

use codingspot_core::Device;
use codingspot_core::ablate::{Ablation, Replacement};
use codingspot_core::checkpoint::{LoadedModel, MemorySource, SafetensorsSource, load_model};
use codingspot_core::config::LlamaConfig;
use codingspot_core::eval::{document_losses, mean_loss, token_losses};
use codingspot_core::layout::{Module, ParameterLayout};
use codingspot_core::llama::{Llama, RotaryTable};
use codingspot_core::score::{Estimator, LanguageScorer, ScoreError, WholeGraph, first_order};
use codingspot_core::spot::{Ranked, Scope, Spot, SpotHeader};
use codingspot_tests::{FIXTURES, Fixture, Random, assert_close};
use pollster::block_on;
use safetensors::tensor::{Dtype, TensorView};
use std::ops::ControlFlow;

const TOLERANCE: f64 = 1e-5;

/// θ · ∂L/∂θ by tensor of the layout.
type Contributions = Vec<Vec<f32>>;

fn views(rows: &[Vec<u32>]) -> Vec<&[u32]> {
    rows.iter().map(Vec::as_slice).collect()
}

/// A model of random weights that keep activations at about 1.
fn random_model(vocabulary: usize, hidden: usize, tied: bool, random: &mut Random) -> LoadedModel {
    let json = serde_json::json!({
        "model_type": "llama", "vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": 11,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 1000.0, "tie_word_embeddings": tied,
    });
    let config = LlamaConfig::from_json(&json.to_string()).unwrap();
    let layout = ParameterLayout::new(&config);
    let values = layout.tensors().iter().map(|spec| {
        let n = usize::try_from(spec.numel()).unwrap();
        if spec.module.is_norm() {
            return random.values(n, 0.5).into_iter().map(|value| 1.0 + value).collect();
        }
        let inputs = if spec.module == Module::EmbedTokens { 3.0 } else { spec.shape[1] as f32 };
        random.values(n, (3.0 / inputs).sqrt())
    });
    let bytes: Vec<Vec<u8>> = values
        .map(|values: Vec<f32>| values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = layout.tensors().iter().zip(&bytes).map(|(spec, bytes)| {
        (spec.name.as_str(), TensorView::new(Dtype::F32, spec.shape.clone(), bytes).unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    let source = block_on(SafetensorsSource::open(vec![MemorySource::new("random", file)])).unwrap();
    block_on(load_model(&source, &config, &Device::flex(), async |_| ControlFlow::Continue(()))).unwrap()
}

/// Rows of these lengths.
fn random_rows(vocabulary: usize, lengths: &[usize], random: &mut Random) -> Vec<Vec<u32>> {
    lengths.iter().map(|&n| (0..n).map(|_| random.below(vocabulary) as u32).collect()).collect()
}

/// All fixtures and two random models, each with rows of different lengths.
fn cases() -> Vec<(String, LoadedModel, Vec<Vec<u32>>)> {
    let mut random = Random::new(11);
    let mut cases = Vec::new();
    for tied in [true, false] {
        let model = random_model(37, 9, tied, &mut random);
        let rows = random_rows(37, &[5, 2, 17, 9, 9, 31, 3], &mut random);
        cases.push((format!("random, tied: {tied}"), model, rows));
    }
    for name in FIXTURES {
        let model = Fixture::open(name).load(&Device::flex());
        let rows = random_rows(model.model.config().vocab_size, &[24, 7, 2, 13, 24], &mut random);
        cases.push((name.to_owned(), model, rows));
    }
    cases
}

/// What [`first_order`] says; checks that every value comes once and in order.
fn predicted(model: &Llama, rows: &[Vec<u32>], batch_size: usize) -> Contributions {
    let mut found: Contributions = vec![Vec::new(); model.layout().tensors().len()];
    let mut seen = Vec::new();
    let done = block_on(first_order(
        model,
        &views(rows),
        batch_size,
        async |done, total| {
            seen.push((done, total));
            ControlFlow::Continue(())
        },
        |tensor, first, values| {
            assert_eq!(found[tensor].len() as u64, first);
            found[tensor].extend(values);
            Ok::<_, ScoreError>(())
        },
    ));
    assert!(done.unwrap());
    assert_eq!(seen.last(), Some(&(rows.len(), rows.len())));
    for (spec, values) in model.layout().tensors().iter().zip(&found) {
        assert_eq!(values.len() as u64, spec.numel(), "{}", spec.name);
    }
    found
}

/// The token-weighted mean over rows of θ · ∂L/∂θ by whole-graph autodiff, in f64, each row by itself.
fn reference(model: &Llama, rows: &[Vec<u32>]) -> Contributions {
    let longest = rows.iter().map(Vec::len).max().unwrap();
    let engine =
        WholeGraph::new(model, RotaryTable::new(model.config(), longest, &Device::flex().autodiff()));
    let targets: usize = rows.iter().map(|row| row.len() - 1).sum();
    let mut sums: Vec<Vec<f64>> =
        model.layout().tensors().iter().map(|spec| vec![0.0; spec.numel() as usize]).collect();
    for row in rows {
        let (_, tensors) = block_on(engine.loss_and_gradients(&[row])).unwrap();
        let share = (row.len() - 1) as f64 / targets as f64;
        for (sums, pieces) in sums.iter_mut().zip(tensors) {
            let flat = pieces.iter().flat_map(|piece| piece.to_data().try_into_vec::<f32>().unwrap());
            sums.iter_mut().zip(flat).for_each(|(sum, value)| *sum += share * f64::from(value));
        }
    }
    let weights = |tensor| block_on(model.read_weight(tensor)).unwrap();
    let product = |(tensor, sums): (usize, Vec<f64>)| -> Vec<f32> {
        sums.iter().zip(weights(tensor)).map(|(sum, weight)| (sum * f64::from(weight)) as f32).collect()
    };
    sums.into_iter().enumerate().map(product).collect()
}

#[test]
fn padded_batches_give_the_token_weighted_gradient() {
    for (name, loaded, rows) in cases() {
        let expected = reference(&loaded.model, &rows);
        for batch_size in [1, 2, 3, 100] {
            let found = predicted(&loaded.model, &rows, batch_size);
            for ((spec, found), expected) in loaded.model.layout().tensors().iter().zip(&found).zip(&expected)
            {
                let what = format!("{name} {batch_size} {}", spec.name);
                assert_close(&what, found, expected, TOLERANCE);
            }
        }
    }
}

#[test]
fn one_batch_is_what_scoring_sums() {
    let mut random = Random::new(12);
    for name in FIXTURES {
        let model = Fixture::open(name).load(&Device::flex()).model;
        let rows = random_rows(model.config().vocab_size, &[19; 4], &mut random);
        let found = predicted(&model, &rows, 4);
        let mut scorer = LanguageScorer::new(&model, Estimator::Signed, 19, 0);
        block_on(scorer.add_batch(&views(&rows))).unwrap();
        let scores = block_on(scorer.finish()).unwrap().scores;
        for ((spec, found), scores) in model.layout().tensors().iter().zip(&found).zip(&scores) {
            let sizes: Vec<f32> = found.iter().map(|value| value.abs()).collect();
            assert_close(&format!("{name} {}", spec.name), &sizes, scores, TOLERANCE);
        }
    }
}

#[test]
fn rows_that_can_not_be_run_are_refused_and_a_break_visits_nothing() {
    let model = Fixture::open(FIXTURES[0]).load(&Device::flex()).model;
    let run = |rows: &[&[u32]], go_on: bool| {
        let mut visited = 0;
        let done = block_on(first_order(
            &model,
            rows,
            2,
            async |_, _| if go_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) },
            |_, _, values| {
                visited += values.len();
                Ok::<_, ScoreError>(())
            },
        ));
        (done, visited)
    };
    let bad: [&[&[u32]]; 5] = [&[], &[&[]], &[&[1]], &[&[1, 2], &[3]], &[&[1, 256]]];
    for rows in bad {
        let (done, visited) = run(rows, true);
        assert!(done.is_err() && visited == 0, "{rows:?}: {done:?}");
    }
    assert!(matches!(run(&[&[1, 2, 3]], false), (Ok(false), 0)));
    assert!(matches!(run(&[&[1, 2, 3]], true), (Ok(true), 73_968)));
}

/// Mean loss of rows, in f64 over tokens.
fn loss(loaded: &LoadedModel, rows: &[Vec<u32>]) -> f64 {
    let longest = rows.iter().map(Vec::len).max().unwrap();
    let rope = RotaryTable::new(loaded.model.config(), longest, loaded.model.device());
    let losses = document_losses(&loaded.model, rows, 3, &rope, async |_, _| ControlFlow::Continue(()));
    mean_loss(&block_on(losses).unwrap().unwrap()).value
}

/// A spot of these parameters, by position.
fn spot(loaded: &LoadedModel, positions: &[u64]) -> Spot {
    let layout = loaded.model.layout();
    let header =
        SpotHeader::new(layout, loaded.fingerprint, Scope::All, 100.0, Estimator::Signed, Vec::new());
    let entry = |&position: &u64| {
        let (tensor, offset) = layout.locate(position).unwrap();
        Ranked { score: 1.0, tensor: tensor as u16, offset: offset as u32 }
    };
    Spot::new(header, &positions.iter().map(entry).collect::<Vec<_>>())
}

/// What `of` says with these parameters times `factor`.
fn with_scaled<T>(
    loaded: &mut LoadedModel,
    positions: &[u64],
    factor: f32,
    of: impl FnOnce(&LoadedModel) -> T,
) -> T {
    let spot = spot(loaded, positions);
    let replacement = Replacement::Scale { factor };
    let ablation = Ablation::with_replacement(&loaded.model, &loaded.fingerprint, spot, replacement);
    let mut ablation = block_on(ablation).unwrap();
    ablation.set(&mut loaded.model, positions.len());
    let found = of(loaded);
    ablation.set(&mut loaded.model, 0);
    found
}

/// The loss with these parameters times `factor`.
fn scaled(loaded: &mut LoadedModel, rows: &[Vec<u32>], positions: &[u64], factor: f32) -> f64 {
    with_scaled(loaded, positions, factor, |loaded| loss(loaded, rows))
}

/// Losses of f32 differ by some 1e-7 from the ones of exact arithmetic, and a difference of two over
/// 2·0.05 by 1e-5; the cubic term adds less than 1 % here.
#[test]
fn contributions_are_slopes_of_the_loss() {
    for (name, mut loaded, rows) in cases() {
        let contributions: Vec<f64> =
            predicted(&loaded.model, &rows, 3).concat().into_iter().map(f64::from).collect();
        let slope = |loaded: &mut LoadedModel, positions: &[u64], step: f32| {
            let (up, down) =
                (scaled(loaded, &rows, positions, 1.0 + step), scaled(loaded, &rows, positions, 1.0 - step));
            (up - down) / (2.0 * f64::from(step))
        };
        // The largest of every tensor, alone.
        let layout = loaded.model.layout().clone();
        for spec in layout.tensors() {
            let range = spec.start..spec.start + spec.numel();
            let size = |position: &u64| contributions[*position as usize].abs();
            let largest = range.max_by(|a, b| size(a).total_cmp(&size(b))).unwrap();
            let (found, expected) = (slope(&mut loaded, &[largest], 0.05), contributions[largest as usize]);
            let what = format!("{name} {}", spec.name);
            assert!((found - expected).abs() <= 2e-5 + 0.02 * expected.abs(), "{what}: {found} {expected}");
            // Removed: what the sign says, to first order, where the effect is small enough for that.
            if (2e-5..2e-3).contains(&expected.abs()) {
                let removed = scaled(&mut loaded, &rows, &[largest], 0.0) - loss(&loaded, &rows);
                assert!(
                    (removed + expected).abs() <= 1e-6 + 0.5 * expected.abs(),
                    "{what}: {removed} {expected}"
                );
            }
        }
        // All together: Σ θ · ∂L/∂θ is the slope along the weights themselves.
        let all: Vec<u64> = (0..layout.num_parameters()).collect();
        let (found, expected) = (slope(&mut loaded, &all, 1e-3), contributions.iter().sum::<f64>());
        assert!((found - expected).abs() <= 1e-3 + 1e-3 * expected.abs(), "{name}: {found} {expected}");
        // And a random half of them.
        let mut random = Random::new(13);
        let half: Vec<u64> = all.into_iter().filter(|_| random.below(2) == 0).collect();
        let expected = half.iter().map(|&position| contributions[position as usize]).sum::<f64>();
        let found = slope(&mut loaded, &half, 1e-3);
        assert!((found - expected).abs() <= 1e-3 + 1e-3 * expected.abs(), "{name}: {found} {expected}");
    }
}

/// Losses by the composed forward pass of generation; rows of one length.
fn composed(model: &Llama, rows: &[Vec<u32>]) -> Vec<f32> {
    let seq = rows[0].len();
    let rope = RotaryTable::new(model.config(), seq, model.device());
    let hidden = model.hidden_states(&views(rows), &rope).unwrap();
    let [batch, seq, width] = hidden.dims();
    let hidden = hidden.slice([0..batch, 0..seq - 1, 0..width]).reshape([batch * (seq - 1), width]);
    let targets: Vec<u32> = rows.iter().flat_map(|row| row[1..].iter().copied()).collect();
    model.token_nll(hidden, &targets).to_data().try_into_vec::<f32>().unwrap()
}

fn by_kernels(model: &Llama, rows: &[Vec<u32>]) -> Vec<f32> {
    let seq = rows[0].len();
    let rope = RotaryTable::new(model.config(), seq, model.device());
    let losses = block_on(token_losses(model, &views(rows), &rope)).unwrap();
    assert_eq!(losses.len(), rows.len() * seq);
    // What stands at the last position has no meaning.
    losses.chunks(seq).flat_map(|row| row[..seq - 1].to_vec()).collect()
}

#[test]
fn token_losses_are_those_of_the_composed_pass() {
    let mut random = Random::new(14);
    for (name, loaded, _) in cases() {
        for [batch, seq] in [[1, 2], [3, 24], [5, 47]] {
            let rows = random_rows(37, &vec![seq; batch], &mut random);
            let (found, expected) = (by_kernels(&loaded.model, &rows), composed(&loaded.model, &rows));
            let what = format!("{name} {batch} × {seq}");
            assert_close(&what, &found, &expected, TOLERANCE);
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() <= 1e-5 * (1.0 + expected.abs()),
                    "{what}: {found} {expected}"
                );
            }
            // A document's loss does not depend on what it runs with.
            let mut cut = rows.clone();
            cut[0].truncate(2);
            let rope = RotaryTable::new(loaded.model.config(), seq, loaded.model.device());
            let going = async |_, _| ControlFlow::Continue(());
            let losses =
                block_on(document_losses(&loaded.model, &cut, batch, &rope, going)).unwrap().unwrap();
            assert_eq!(losses[0].tokens, 1);
            assert!(
                (losses[0].nats - f64::from(expected[0])).abs() <= 1e-5 * (1.0 + losses[0].nats),
                "{what}"
            );
        }
    }
    // Logits of a large vocabulary exist a few positions at a time.
    let loaded = random_model(200_000, 5, true, &mut random);
    let rows = random_rows(200_000, &[120, 120], &mut random);
    let (found, expected) = (by_kernels(&loaded.model, &rows), composed(&loaded.model, &rows));
    assert_close("200,000 tokens", &found, &expected, TOLERANCE);
}

/// What is infinite or no number anywhere before the loss must not come out as a loss.
#[test]
fn overflows_give_no_finite_loss() {
    let mut random = Random::new(15);
    let (mut finite, mut not_finite) = (0, 0);
    for tied in [true, false] {
        for module in [
            Module::LmHead,
            Module::EmbedTokens,
            Module::Norm,
            Module::InputLayernorm,
            Module::QProj,
            Module::VProj,
            Module::OProj,
            Module::UpProj,
            Module::DownProj,
        ] {
            for factor in [1e19_f32, 1e30, 1e38, f32::INFINITY, f32::NAN] {
                let mut loaded = random_model(23, 9, tied, &mut random);
                let layout = loaded.model.layout().clone();
                let Some(tensor) = layout.tensors().iter().position(|spec| spec.module == module) else {
                    continue;
                };
                let rows = random_rows(23, &[13, 13], &mut random);
                // All of a tensor, or one row of it.
                for only_first in [false, true] {
                    let spec = &layout.tensors()[tensor];
                    let n = if only_first { spec.numel().min(9) } else { spec.numel() };
                    let positions: Vec<u64> = (spec.start..spec.start + n).collect();
                    let (found, expected) = with_scaled(&mut loaded, &positions, factor, |loaded| {
                        (by_kernels(&loaded.model, &rows), composed(&loaded.model, &rows))
                    });
                    for (position, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        let what = format!("{module:?} × {factor}, tied {tied}, {only_first}, {position}");
                        // Attention scores near the end of the range overflow in one order of their factors
                        // and not in the other, so the kernels may give none where the composed pass does.
                        assert!(expected.is_finite() || !found.is_finite(), "{what}: {found} {expected}");
                        if found.is_finite() {
                            finite += 1;
                            // Scores beyond the composed pass's mask of −10⁹ let it see what comes after;
                            // the kernels don't look there at all.
                            let scores = matches!(module, Module::QProj | Module::InputLayernorm);
                            let close = scores || (found - expected).abs() <= 1e-3 * (1.0 + expected.abs());
                            assert!(close, "{what}: {found} {expected}");
                        } else {
                            not_finite += 1;
                        }
                    }
                }
            }
        }
    }
    // Both happen.
    assert!(finite > 500 && not_finite > 500, "{finite} {not_finite}");
    // A head that no f32 holds the logits of: never a finite loss, of a document neither.
    let mut loaded = random_model(23, 9, false, &mut random);
    let head = loaded.model.layout().tensors().iter().find(|spec| spec.module == Module::LmHead).unwrap();
    let positions: Vec<u64> = (head.start..head.start + head.numel()).collect();
    let rows = random_rows(23, &[9, 5], &mut random);
    assert!(!scaled(&mut loaded, &rows, &positions, 1e38).is_finite());
}
