//! Storage types of checkpoints and their conversion to `f32`.

use half::{bf16, f16};

/// A float type that weights are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointDtype {
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// Upper half of an IEEE single.
    Bf16,
}

impl CheckpointDtype {
    /// Bytes of one value.
    pub fn size_bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Name as safetensors writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }

    /// As safetensors' own enum.
    pub fn to_safetensors(self) -> safetensors::Dtype {
        match self {
            Self::F32 => safetensors::Dtype::F32,
            Self::F16 => safetensors::Dtype::F16,
            Self::Bf16 => safetensors::Dtype::BF16,
        }
    }

    /// From safetensors' own enum; `None` for types that are not weights of a Llama.
    pub(crate) fn from_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        match dtype {
            safetensors::Dtype::F32 => Some(Self::F32),
            safetensors::Dtype::F16 => Some(Self::F16),
            safetensors::Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Appends `bytes` (little endian, a whole number of values) to `out` as `f32`; exact.
    pub fn extend_f32(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::F32 => {
                let (values, _) = bytes.as_chunks::<4>();
                out.extend(values.iter().map(|b| f32::from_le_bytes(*b)));
            }
            Self::F16 => {
                let (values, _) = bytes.as_chunks::<2>();
                out.extend(values.iter().map(|b| f16::from_le_bytes(*b).to_f32()));
            }
            Self::Bf16 => {
                let (values, _) = bytes.as_chunks::<2>();
                out.extend(values.iter().map(|b| bf16::from_le_bytes(*b).to_f32()));
            }
        }
    }

    /// As [`Self::extend_f32`] into `out`, which has as many values as `bytes` has.
    pub fn convert(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F32 => {
                let (values, _) = bytes.as_chunks::<4>();
                out.iter_mut().zip(values).for_each(|(out, b)| *out = f32::from_le_bytes(*b));
            }
            Self::F16 => {
                let (values, _) = bytes.as_chunks::<2>();
                out.iter_mut().zip(values).for_each(|(out, b)| *out = f16::from_le_bytes(*b).to_f32());
            }
            Self::Bf16 => {
                let (values, _) = bytes.as_chunks::<2>();
                // The upper half of an f32, written so that the loop vectorises.
                out.iter_mut().zip(values).for_each(|(out, b)| {
                    *out = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
                });
            }
        }
    }

    /// Appends `values` to `out` in this type, rounding to nearest, little endian.
    pub fn extend_bytes(self, values: &[f32], out: &mut Vec<u8>) {
        fn extend<const SIZE: usize>(out: &mut Vec<u8>, values: &[f32], convert: impl Fn(f32) -> [u8; SIZE]) {
            let start = out.len();
            out.resize(start + SIZE * values.len(), 0);
            let (places, _) = out[start..].as_chunks_mut::<SIZE>();
            places.iter_mut().zip(values).for_each(|(place, &value)| *place = convert(value));
        }
        match self {
            Self::F32 => extend(out, values, f32::to_le_bytes),
            Self::F16 => extend(out, values, |value| f16::from_f32(value).to_le_bytes()),
            Self::Bf16 => extend(out, values, |value| bf16::from_f32(value).to_le_bytes()),
        }
    }

    /// Stores `value` in this type, rounding to nearest, little endian.
    pub fn push_bytes(self, value: f32, out: &mut Vec<u8>) {
        match self {
            Self::F32 => out.extend(value.to_le_bytes()),
            Self::F16 => out.extend(f16::from_f32(value).to_le_bytes()),
            Self::Bf16 => out.extend(bf16::from_f32(value).to_le_bytes()),
        }
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn half_types_round_trip_every_bit_pattern(bits: u16) {
            for dtype in [CheckpointDtype::F16, CheckpointDtype::Bf16] {
                let mut values = Vec::new();
                dtype.extend_f32(&bits.to_le_bytes(), &mut values);
                prop_assume!(!values[0].is_nan());
                let mut bytes = Vec::new();
                dtype.push_bytes(values[0], &mut bytes);
                prop_assert_eq!(bytes, bits.to_le_bytes().to_vec());
            }
        }

        #[test]
        fn singles_round_trip(value: f32) {
            let mut bytes = Vec::new();
            CheckpointDtype::F32.push_bytes(value, &mut bytes);
            for dtype in [CheckpointDtype::F32, CheckpointDtype::F16, CheckpointDtype::Bf16] {
                let (mut one, mut many) = (vec![7], vec![7]);
                dtype.push_bytes(value, &mut one);
                dtype.extend_bytes(&[value], &mut many);
                prop_assert_eq!(one, many);
            }
            let mut back = Vec::new();
            CheckpointDtype::F32.extend_f32(&bytes, &mut back);
            prop_assert_eq!(back[0].to_bits(), value.to_bits());
        }
    }
}
