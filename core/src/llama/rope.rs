//! Rotary position embedding, rotate-half form.

use crate::config::{Llama3RopeScaling, LlamaConfig};
use crate::kernels::rotary::Angles;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use std::f64::consts::TAU;

/// cos and sin of every position and frequency, `[length, head_dim / 2]` each.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    cos: Tensor<2>,
    sin: Tensor<2>,
    length: usize,
}

/// Angular frequencies in radians per position, `head_dim / 2` of them, in f64.
fn frequencies(config: &LlamaConfig) -> Vec<f64> {
    (0..config.head_dim / 2)
        .map(|i| {
            let frequency = config.rope_theta.powf(-2.0 * i as f64 / config.head_dim as f64);
            config.rope_scaling.map_or(frequency, |scaling| scale_llama3(frequency, &scaling))
        })
        .collect()
}

/// transformers `_compute_llama3_parameters`, one frequency.
fn scale_llama3(frequency: f64, scaling: &Llama3RopeScaling) -> f64 {
    let wavelength = TAU / frequency;
    let original = scaling.original_max_position_embeddings;
    if wavelength < original / scaling.high_freq_factor {
        frequency
    } else if wavelength > original / scaling.low_freq_factor {
        frequency / scaling.factor
    } else {
        let smooth = (original / wavelength - scaling.low_freq_factor)
            / (scaling.high_freq_factor - scaling.low_freq_factor);
        (1.0 - smooth) * frequency / scaling.factor + smooth * frequency
    }
}

/// For each of `length` positions, the cosines of its angles and then as many sines: `[length, head_dim]`. Angles are
/// computed in f64.
pub(crate) fn angles(config: &LlamaConfig, length: usize) -> Vec<f32> {
    let frequencies = frequencies(config);
    let row = |position: usize, f: fn(f64) -> f64| {
        frequencies.iter().map(move |w| f(position as f64 * w) as f32).collect::<Vec<_>>()
    };
    (0..length).flat_map(|position| [row(position, f64::cos), row(position, f64::sin)].concat()).collect()
}

impl RotaryTable {
    /// For positions `0..length`. Angles are computed in f64 and stored in f32.
    pub fn new(config: &LlamaConfig, length: usize, device: &Device) -> Self {
        let frequencies = frequencies(config);
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = (0..length)
                .flat_map(|position| frequencies.iter().map(move |w| f(position as f64 * w) as f32))
                .collect();
            Tensor::from_data(TensorData::new(values, [length, frequencies.len()]), (device, DType::F32))
        };
        Self { cos: table(f64::cos), sin: table(f64::sin), length }
    }

    /// Number of positions.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The table as rows of sequences of `seq` tokens read it.
    pub(crate) fn angles(&self, seq: usize) -> Angles<'_> {
        debug_assert!(seq <= self.length);
        Angles { cos: &self.cos, sin: &self.sin, seq }
    }

    /// The table of tokens at `positions`, one after the other, wherever these are.
    ///
    /// # Panics
    /// When a position is beyond the table.
    pub(crate) fn at(&self, positions: &[usize]) -> Self {
        assert!(positions.iter().all(|&position| position < self.length), "a position beyond the table");
        let index: Vec<i32> = positions
            .iter()
            .map(|&position| i32::try_from(position).expect("a context is below 2^31"))
            .collect();
        let index = Tensor::<1, Int>::from_data(TensorData::from(index.as_slice()), &self.cos.device());
        let rows = |table: &Tensor<2>| table.clone().select(0, index.clone());
        Self { cos: rows(&self.cos), sin: rows(&self.sin), length: positions.len() }
    }

    /// Rotates `x` of `[batch, heads, seq, head_dim]`, whose first row is at position `start`.
    pub fn rotate(&self, x: Tensor<4>, start: usize) -> Tensor<4> {
        let [_, _, seq, head_dim] = x.dims();
        let half = head_dim / 2;
        let cos = self.cos.clone().narrow(0, start, seq).reshape([1, 1, seq, half]);
        let sin = self.sin.clone().narrow(0, start, seq).reshape([1, 1, seq, half]);
        let first = x.clone().narrow(3, 0, half);
        let second = x.narrow(3, half, half);
        Tensor::cat(
            vec![first.clone() * cos.clone() - second.clone() * sin.clone(), second * cos + first * sin],
            3,
        )
    }
}
