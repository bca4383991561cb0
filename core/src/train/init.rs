//! Weights to begin a training with.

use crate::config::LlamaConfig;
use crate::layout::{Module, ParameterLayout};
use crate::llama::{Llama, LlamaParts, Weight};
use crate::score::bands;
use crate::synth::{CHUNK, RandomWeights};
use burn::tensor::Device;

/// A Llama of random weights, as GPT-2 begins (Radford et al. 2019, section 2.3): normal with standard
/// deviation `std_dev`, the projections that write to the stream of residuals scaled by `1/√(2·layers)`,
/// gains 1 and biases 0. The seed decides every bit, on any machine.
pub fn random_llama(config: &LlamaConfig, seed: u64, std_dev: f32, device: &Device) -> Llama {
    let layout = ParameterLayout::new(config);
    let random = RandomWeights { seed, std_dev };
    let residual = (2.0 * config.num_hidden_layers as f32).sqrt().recip();
    let mut parts = LlamaParts::new(config, &layout);
    for (index, spec) in layout.tensors().iter().enumerate() {
        let mut values = vec![if spec.module.is_norm() { 1.0 } else { 0.0 }; numel(spec.numel())];
        if !spec.module.is_norm() && !spec.module.is_bias() {
            let tensor = u32::try_from(index).expect("a layout has fewer than 2^16 tensors");
            for (chunk, values) in (0..).zip(values.chunks_mut(CHUNK)) {
                random.fill(tensor, chunk, false, values);
            }
        }
        if matches!(spec.module, Module::OProj | Module::DownProj) {
            for value in &mut values {
                *value *= residual;
            }
        }
        let cols = spec.shape.last().copied().unwrap_or(0);
        if let [_, _] = *spec.shape.as_slice() {
            for rows in bands(spec) {
                let band = values[rows.start * cols..rows.end * cols].to_vec();
                parts.push(index, Weight::upload(band, Some(rows.len()), cols, device));
            }
        } else {
            parts.push(index, Weight::upload(values, None, cols, device));
        }
    }
    parts.assemble(device)
}

fn numel(elements: u64) -> usize {
    usize::try_from(elements).expect("a tensor that is trained fits into memory")
}
