//! Properties of ablation on weights of every kind, negative zeros and subnormals among them.

use codingspot_core::Device;
use codingspot_core::ablate::{Ablation, Replacement};
use codingspot_core::checkpoint::{LoadedModel, MemorySource, SafetensorsSource, load_model};
use codingspot_core::config::LlamaConfig;
use codingspot_core::layout::ParameterLayout;
use codingspot_core::score::Estimator;
use codingspot_core::spot::{Ranked, Scope, Spot, SpotHeader};
use pollster::block_on;
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use std::ops::ControlFlow;

fn config() -> LlamaConfig {
    LlamaConfig::from_json(
        r#"{"model_type":"llama","vocab_size":6,"hidden_size":4,"intermediate_size":3,
        "num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,
        "max_position_embeddings":8,"rms_norm_eps":1e-5,"tie_word_embeddings":false}"#,
    )
    .unwrap()
}

/// A model with these parameters, in layout order.
fn model(values: &[f32]) -> LoadedModel {
    let layout = ParameterLayout::new(&config());
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let views = layout.tensors().iter().map(|spec| {
        let (start, end) = (4 * spec.start as usize, 4 * (spec.start + spec.numel()) as usize);
        (spec.name.as_str(), TensorView::new(Dtype::F32, spec.shape.clone(), &bytes[start..end]).unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    let source = block_on(SafetensorsSource::open(vec![MemorySource::new("random", file)])).unwrap();
    block_on(load_model(&source, &config(), &Device::flex(), async |_| ControlFlow::Continue(()))).unwrap()
}

fn bits(loaded: &LoadedModel) -> Vec<u32> {
    (0..loaded.model.layout().tensors().len())
        .flat_map(|index| block_on(loaded.model.read_weight(index)).unwrap())
        .map(f32::to_bits)
        .collect()
}

fn parameters() -> usize {
    ParameterLayout::new(&config()).num_parameters() as usize
}

fn weight() -> impl Strategy<Value = f32> {
    prop_oneof![Just(-0.0_f32), Just(0.0_f32), Just(f32::MIN_POSITIVE / 8.0), Just(f32::MAX), -2.0_f32..2.0,]
}

/// These positions, in this order.
fn spot(loaded: &LoadedModel, positions: &[usize]) -> Spot {
    let layout = loaded.model.layout();
    let ranked: Vec<Ranked> = positions
        .iter()
        .map(|&position| {
            let (tensor, offset) = layout.locate(position as u64).unwrap();
            Ranked { score: 1.0, tensor: tensor as u16, offset: offset as u32 }
        })
        .collect();
    let header = SpotHeader::new(layout, loaded.fingerprint, Scope::All, 100.0, Estimator::Signed, vec![]);
    Spot::new(header, &ranked)
}

fn replacement() -> impl Strategy<Value = Replacement> {
    prop_oneof![
        Just(Replacement::Zero),
        Just(Replacement::Mean),
        Just(Replacement::Flip),
        (0_u64..4).prop_map(|seed| Replacement::Shuffle { seed }),
        prop_oneof![Just(0.0_f32), Just(0.5), Just(1.0), Just(2.0)]
            .prop_map(|factor| Replacement::Scale { factor }),
    ]
}

/// What a replacement should leave in `values`, by its definition.
fn replaced(
    values: &[f32],
    active: &[usize],
    layout: &ParameterLayout,
    replacement: Replacement,
) -> Vec<f32> {
    let mut out = values.to_vec();
    for (tensor, spec) in layout.tensors().iter().enumerate() {
        let range = spec.start as usize..(spec.start + spec.numel()) as usize;
        let here: Vec<usize> = active.iter().copied().filter(|position| range.contains(position)).collect();
        let originals: Vec<f32> = here.iter().map(|&position| values[position]).collect();
        let sum: f64 = values[range.clone()].iter().map(|&value| f64::from(value)).sum();
        let mean = (sum / range.len() as f64) as f32;
        let new: Vec<f32> = match replacement {
            Replacement::Zero => vec![0.0; here.len()],
            Replacement::Mean => vec![mean; here.len()],
            Replacement::Flip => originals.iter().map(|value| -value).collect(),
            Replacement::Scale { factor } => originals.iter().map(|value| value * factor).collect(),
            Replacement::Shuffle { .. } => replacement.values(tensor as u16, &originals, 0.0),
        };
        for (position, value) in here.into_iter().zip(new) {
            out[position] = value;
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn exactly_the_prefix_is_zero_and_every_way_back_restores_every_bit(
        values in proptest::collection::vec(weight(), parameters()),
        order in Just((0..parameters()).collect::<Vec<_>>()).prop_shuffle(),
        size in 0..=parameters(),
        path in proptest::collection::vec(any::<prop::sample::Index>(), 1..8),
    ) {
        let mut loaded = model(&values);
        let before = bits(&loaded);
        prop_assert_eq!(&before, &values.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
        let chosen = &order[..size];
        let mut ablation =
            block_on(Ablation::new(&loaded.model, &loaded.fingerprint, spot(&loaded, chosen))).unwrap();
        for step in path {
            let count = step.index(size + 1);
            ablation.set(&mut loaded.model, count);
            prop_assert_eq!(ablation.active(), count);
            let mut expected = before.clone();
            for &position in &chosen[..count] {
                expected[position] = 0;
            }
            prop_assert_eq!(bits(&loaded), expected);
        }
        ablation.set(&mut loaded.model, 0);
        prop_assert_eq!(bits(&loaded), before);
    }
    #[test]
    fn any_range_is_replaced_as_defined_and_every_way_back_restores_every_bit(
        values in proptest::collection::vec(weight(), parameters()),
        order in Just((0..parameters()).collect::<Vec<_>>()).prop_shuffle(),
        size in 0..=parameters(),
        replacement in replacement(),
        path in proptest::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 1..6),
    ) {
        let mut loaded = model(&values);
        let before = bits(&loaded);
        let layout = loaded.model.layout().clone();
        let chosen = &order[..size];
        let spot = spot(&loaded, chosen);
        let mut ablation =
            block_on(Ablation::with_replacement(&loaded.model, &loaded.fingerprint, spot, replacement)).unwrap();
        for (a, b) in path {
            let (a, b) = (a.index(size + 1), b.index(size + 1));
            let range = a.min(b)..a.max(b);
            ablation.set_range(&mut loaded.model, range.clone());
            prop_assert_eq!(ablation.active(), range.len());
            let expected = replaced(&values, &chosen[range], &layout, replacement);
            prop_assert_eq!(bits(&loaded), expected.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
        }
        ablation.set(&mut loaded.model, 0);
        prop_assert_eq!(bits(&loaded), before);
    }
}
