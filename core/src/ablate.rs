//! Switching parameters off and on again, on the device.

use crate::checkpoint::Fingerprint;
use crate::llama::{ForwardError, Llama, gather_flat, read_f32};
use crate::spot::{Spot, SpotError};
use std::ops::Range;

/// Why a spot could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum AblateError {
    /// The spot does not belong to the model, or `k` is out of range.
    #[error(transparent)]
    Spot(#[from] SpotError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] ForwardError),
}

/// A spot bound to a loaded model, with the original value of every parameter in it.
///
/// Any prefix can be set to zero; moving between two prefixes writes only the parameters between
/// them, and going back restores the original bits.
#[derive(Debug)]
pub struct Ablation {
    spot: Spot,
    /// By rank.
    originals: Vec<f32>,
    active: usize,
}

impl Ablation {
    /// Binds `spot` to `model`, whose weights must be unablated: reads the originals back.
    ///
    /// # Errors
    /// [`AblateError::Spot`] when it was made from other weights, or a device that failed.
    pub async fn new(model: &Llama, fingerprint: &Fingerprint, spot: Spot) -> Result<Self, AblateError> {
        spot.check(model.layout(), fingerprint)?;
        let mut originals = vec![0.0; spot.len()];
        for group in by_tensor(&spot, 0..spot.len()) {
            let mut start = 0_u64;
            for piece in model.weight(group.tensor).flat_pieces() {
                let end = start + piece.dims()[0] as u64;
                let inside: Vec<usize> = (0..group.ranks.len())
                    .filter(|&i| (start..end).contains(&u64::from(group.offsets[i])))
                    .collect();
                if !inside.is_empty() {
                    let local: Vec<u32> = inside
                        .iter()
                        .map(|&i| {
                            u32::try_from(u64::from(group.offsets[i]) - start).expect("below the offset")
                        })
                        .collect();
                    let values = read_f32(gather_flat(piece, &local)).await?;
                    for (i, value) in inside.into_iter().zip(values) {
                        originals[group.ranks[i]] = value;
                    }
                }
                start = end;
            }
        }
        Ok(Self { spot, originals, active: 0 })
    }

    /// The spot.
    pub fn spot(&self) -> &Spot {
        &self.spot
    }

    /// Number of parameters that are zero now.
    pub fn active(&self) -> usize {
        self.active
    }

    /// Makes exactly the first `count` parameters (at most all) of the spot zero.
    ///
    /// `model` must be the one that [`Ablation::new`] saw, and edited through this alone.
    pub fn set(&mut self, model: &mut Llama, count: usize) {
        let count = count.min(self.spot.len());
        if count > self.active {
            for group in by_tensor(&self.spot, self.active..count) {
                model.weight_mut(group.tensor).assign(&group.offsets, &vec![0.0; group.ranks.len()]);
            }
        } else {
            for group in by_tensor(&self.spot, count..self.active) {
                let values: Vec<f32> = group.ranks.iter().map(|&rank| self.originals[rank]).collect();
                model.weight_mut(group.tensor).assign(&group.offsets, &values);
            }
        }
        self.active = count;
    }
}

/// The ranks of one tensor.
struct TensorGroup {
    tensor: usize,
    ranks: Vec<usize>,
    offsets: Vec<u32>,
}

fn by_tensor(spot: &Spot, ranks: Range<usize>) -> Vec<TensorGroup> {
    let mut groups: Vec<TensorGroup> = (0..spot.header().tensors.len())
        .map(|tensor| TensorGroup { tensor, ranks: Vec::new(), offsets: Vec::new() })
        .collect();
    for rank in ranks {
        let group = &mut groups[usize::from(spot.tensor()[rank])];
        group.ranks.push(rank);
        group.offsets.push(spot.offset()[rank]);
    }
    groups.retain(|group| !group.ranks.is_empty());
    groups
}
