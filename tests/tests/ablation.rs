//! Properties of ablation on weights of every kind, negative zeros and subnormals among them.

use codingspot_core::Device;
use codingspot_core::ablate::Ablation;
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
        let layout = loaded.model.layout().clone();
        let chosen = &order[..size];
        let ranked: Vec<Ranked> = chosen
            .iter()
            .map(|&position| {
                let (tensor, offset) = layout.locate(position as u64).unwrap();
                Ranked { score: 1.0, tensor: tensor as u16, offset: offset as u32 }
            })
            .collect();
        let header = SpotHeader::new(&layout, loaded.fingerprint, Scope::All, 100.0, Estimator::Signed, vec![]);
        let mut ablation =
            block_on(Ablation::new(&loaded.model, &loaded.fingerprint, Spot::new(header, &ranked))).unwrap();
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
}
