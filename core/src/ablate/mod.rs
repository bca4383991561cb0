//! Switching parameters off and on again, on the device.

mod replacement;

pub use replacement::{Replacement, UnknownReplacement};

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
/// Any run of ranks can be replaced; moving between two of them writes only the parameters that
/// differ, and going back restores the original bits.
#[derive(Debug)]
pub struct Ablation {
    spot: Spot,
    replacement: Replacement,
    /// By rank.
    originals: Vec<f32>,
    /// By tensor; empty unless the replacement needs them.
    means: Vec<f32>,
    active: Range<usize>,
}

impl Ablation {
    /// Binds `spot` to `model`, whose weights must be unablated: reads the originals back. Parameters
    /// become zero.
    ///
    /// # Errors
    /// [`AblateError::Spot`] when it was made from other weights, or a device that failed.
    pub async fn new(model: &Llama, fingerprint: &Fingerprint, spot: Spot) -> Result<Self, AblateError> {
        Self::with_replacement(model, fingerprint, spot, Replacement::Zero).await
    }

    /// As [`Self::new`], with something else in the place of the parameters.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub async fn with_replacement(
        model: &Llama,
        fingerprint: &Fingerprint,
        spot: Spot,
        replacement: Replacement,
    ) -> Result<Self, AblateError> {
        spot.check(model.layout(), fingerprint)?;
        let mut originals = vec![0.0; spot.len()];
        let mut means = Vec::new();
        if replacement == Replacement::Mean {
            means.resize(model.layout().tensors().len(), 0.0);
        }
        for group in by_tensor(&spot, 0..spot.len()) {
            let mut start = 0_u64;
            let mut sum = 0.0_f64;
            for piece in model.weight(group.tensor).flat_pieces() {
                let end = start + piece.dims()[0] as u64;
                let inside: Vec<usize> = (0..group.ranks.len())
                    .filter(|&i| (start..end).contains(&u64::from(group.offsets[i])))
                    .collect();
                if replacement == Replacement::Mean {
                    sum += sum_in_order(&read_f32(piece.clone()).await?);
                }
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
            if let Some(mean) = means.get_mut(group.tensor) {
                *mean = (sum / start as f64) as f32;
            }
        }
        Ok(Self { spot, replacement, originals, means, active: 0..0 })
    }

    /// The spot.
    pub fn spot(&self) -> &Spot {
        &self.spot
    }

    /// What takes the place of parameters.
    pub fn replacement(&self) -> Replacement {
        self.replacement
    }

    /// Original values by rank.
    pub fn originals(&self) -> &[f32] {
        &self.originals
    }

    /// Number of parameters that are replaced now.
    pub fn active(&self) -> usize {
        self.active.len()
    }

    /// Replaces exactly the first `count` parameters (at most all) of the spot.
    ///
    /// `model` must be the one that [`Ablation::new`] saw, and edited through this alone.
    pub fn set(&mut self, model: &mut Llama, count: usize) {
        self.set_range(model, 0..count);
    }

    /// Replaces exactly the parameters of ranks `range` (as far as there are); all others have their
    /// original bits. `model` as for [`Self::set`].
    pub fn set_range(&mut self, model: &mut Llama, range: Range<usize>) {
        let end = range.end.min(self.spot.len());
        let range = range.start.min(end)..end;
        for ranks in outside(&self.active, &range) {
            for group in by_tensor(&self.spot, ranks) {
                let values: Vec<f32> = group.ranks.iter().map(|&rank| self.originals[rank]).collect();
                model.weight_mut(group.tensor).assign(&group.offsets, &values);
            }
        }
        let changed = if self.replacement.is_elementwise() {
            outside(&range, &self.active)
        } else {
            vec![range.clone()]
        };
        for ranks in changed {
            for group in by_tensor(&self.spot, ranks) {
                let originals: Vec<f32> = group.ranks.iter().map(|&rank| self.originals[rank]).collect();
                let mean = self.means.get(group.tensor).copied().unwrap_or(0.0);
                let tensor = self.spot.tensor()[group.ranks[0]];
                let values = self.replacement.values(tensor, &originals, mean);
                model.weight_mut(group.tensor).assign(&group.offsets, &values);
            }
        }
        self.active = range;
    }
}

/// The parts of `range` that are not in `other`, without empty ones.
fn outside(range: &Range<usize>, other: &Range<usize>) -> Vec<Range<usize>> {
    if other.is_empty() {
        return vec![range.clone()];
    }
    let before = range.start..range.end.min(other.start);
    let after = range.start.max(other.end)..range.end;
    [before, after].into_iter().filter(|part| !part.is_empty()).collect()
}

/// The sum in f64, in order: the same on every machine.
pub fn sum_in_order(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum()
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
