//! Next-token cross-entropy over a vocabulary that is cut into bands of rows.
//!
//! Logits of a band `[n, rows]` give, row by row, their largest value and the sum of exponentials
//! below it; [`log_sum_exp`] joins bands, and [`gradient`] turns each band's logits into
//! gradients. So logits of the whole vocabulary need never exist at once.

#[cfg(feature = "flex")]
use super::cpu::{self, CpuTensor};
use burn::tensor::{DType, Int, Tensor, TensorData};

/// What a band's logits say about the softmax of their rows, `[n]` each.
#[derive(Debug, Clone)]
pub struct BandStatistics {
    /// Largest logit.
    pub max: Tensor<1>,
    /// `Σ e^(logit − max)`.
    pub sum: Tensor<1>,
    /// The target's logit where the target is in the band, else 0.
    pub target: Tensor<1>,
}

/// A position without a target: it has no loss and no gradient.
pub const NO_TARGET: u32 = u32::MAX;

/// Statistics of a band of logits `[n, rows]` whose first row of the vocabulary is `start`.
/// `targets` has `n` tokens.
pub fn statistics(logits: &Tensor<2>, targets: &[u32], start: usize) -> BandStatistics {
    #[cfg(feature = "flex")]
    if let Some(view) = CpuTensor::view(logits) {
        let [n, width] = logits.dims();
        let values = view.as_slice();
        let rows = cpu::rows_per_task(width);
        let parts = cpu::map_tasks(n.div_ceil(rows), |task| {
            let piece = task * rows..n.min((task + 1) * rows);
            cpu::vectorized(
                #[inline(always)]
                || {
                    piece
                        .map(|row| row_statistics(&values[row * width..(row + 1) * width]))
                        .collect::<Vec<_>>()
                },
            )
        });
        let (max, sum): (Vec<f32>, Vec<f32>) = parts.into_iter().flatten().unzip();
        let target = targets.iter().enumerate().map(|(row, &target)| {
            band_index(target, start, width).map_or(0.0, |index| values[row * width + index])
        });
        let target = target.collect();
        return BandStatistics {
            max: cpu::tensor(max, [n]),
            sum: cpu::tensor(sum, [n]),
            target: cpu::tensor(target, [n]),
        };
    }
    statistics_reference(logits, targets, start)
}

/// [`statistics`] composed of burn's operations.
pub fn statistics_reference(logits: &Tensor<2>, targets: &[u32], start: usize) -> BandStatistics {
    let [n, width] = logits.dims();
    let max = logits.clone().max_dim(1);
    let sum = (logits.clone() - max.clone()).exp().sum_dim(1).reshape([n]);
    let (index, inside) = band_targets(targets, start, width, logits);
    let target = logits.clone().gather(1, index).reshape([n]) * inside;
    BandStatistics { max: max.reshape([n]), sum, target }
}

fn band_index(target: u32, start: usize, width: usize) -> Option<usize> {
    (target as usize).checked_sub(start).filter(|&index| index < width)
}

/// Index in the band (0 when elsewhere) `[n, 1]`, and 1 or 0 for inside or not `[n]`.
fn band_targets(
    targets: &[u32],
    start: usize,
    width: usize,
    like: &Tensor<2>,
) -> (Tensor<2, Int>, Tensor<1>) {
    let device = like.device();
    let index = |target: &u32| band_index(*target, start, width);
    let indices: Vec<i32> = targets
        .iter()
        .map(|target| i32::try_from(index(target).unwrap_or(0)).expect("a vocabulary is below 2^24"))
        .collect();
    let inside: Vec<f32> =
        targets.iter().map(|target| if index(target).is_some() { 1.0 } else { 0.0 }).collect();
    (
        Tensor::from_data(TensorData::new(indices, [targets.len(), 1]), &device),
        Tensor::from_data(TensorData::from(inside.as_slice()), (&device, DType::F32)),
    )
}

/// `(log Σ e^logit, target's logit)` over all bands, `[n]` each, bands joined in their order.
///
/// # Panics
/// When there is no band.
pub fn log_sum_exp(bands: Vec<BandStatistics>) -> (Tensor<1>, Tensor<1>) {
    let joined = bands.into_iter().reduce(|a, b| {
        let max = a.max.clone().max_pair(b.max.clone());
        let sum = a.sum * (a.max - max.clone()).exp() + b.sum * (b.max - max.clone()).exp();
        BandStatistics { max, sum, target: a.target + b.target }
    });
    let joined = joined.expect("a vocabulary has a band");
    (joined.max + joined.sum.log(), joined.target)
}

/// The gradient `(softmax − one-hot) · scale` of a band of logits `[n, rows]`, in place where
/// nothing else holds them; rows without a target become 0. `lse` is `[n]`.
pub fn gradient(logits: Tensor<2>, lse: &Tensor<1>, targets: &[u32], start: usize, scale: f32) -> Tensor<2> {
    #[cfg(feature = "flex")]
    let [_, width] = logits.dims();
    #[cfg(feature = "flex")]
    let logits = match (CpuTensor::take(logits), CpuTensor::view(lse)) {
        (Ok(mut logits), Some(lse)) => {
            let lse = lse.as_slice();
            cpu::for_rows(logits.as_mut_slice(), width, |first, rows| {
                cpu::vectorized(
                    #[inline(always)]
                    || {
                        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                            let (lse, target) = (lse[first + i], targets[first + i]);
                            let scale = if target == NO_TARGET { 0.0 } else { scale };
                            for value in row.iter_mut() {
                                *value = cpu::exp(*value - lse) * scale;
                            }
                            if let Some(index) = band_index(target, start, width) {
                                row[index] -= scale;
                            }
                        }
                    },
                );
            });
            return logits.into_tensor();
        }
        (logits, _) => logits.map_or_else(|logits| logits, CpuTensor::into_tensor),
    };
    gradient_reference(logits, lse, targets, start, scale)
}

/// [`gradient`] composed of burn's operations.
pub fn gradient_reference(
    logits: Tensor<2>,
    lse: &Tensor<1>,
    targets: &[u32],
    start: usize,
    scale: f32,
) -> Tensor<2> {
    let [n, width] = logits.dims();
    let device = logits.device();
    let (index, inside) = band_targets(targets, start, width, &logits);
    let columns =
        Tensor::<1, Int>::arange(0..i64::try_from(width).expect("a band"), &device).unsqueeze::<2>();
    let one_hot = columns.equal(index.expand([n, width])).float() * inside.unsqueeze_dim(1);
    let weights: Vec<f32> =
        targets.iter().map(|&target| if target == NO_TARGET { 0.0 } else { scale }).collect();
    let weights = Tensor::<1>::from_data(TensorData::from(weights.as_slice()), (&device, DType::F32));
    ((logits - lse.clone().unsqueeze_dim(1)).exp() - one_hot) * weights.unsqueeze_dim(1)
}

/// `(max, Σ e^(x − max))` of a row.
#[cfg(feature = "flex")]
#[inline(always)]
#[expect(clippy::inline_always, reason = "it has to become part of the caller's vectorised loop")]
fn row_statistics(row: &[f32]) -> (f32, f32) {
    let mut maxima = [f32::NEG_INFINITY; 16];
    let (pieces, rest) = row.as_chunks::<16>();
    for piece in pieces {
        for i in 0..16 {
            maxima[i] = if piece[i] > maxima[i] { piece[i] } else { maxima[i] };
        }
    }
    let max = maxima.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
    let mut sums = [0.0_f32; 16];
    for piece in pieces {
        for i in 0..16 {
            sums[i] += cpu::exp(piece[i] - max);
        }
    }
    let rest: f32 = rest.iter().map(|x| cpu::exp(x - max)).sum();
    (max, sums.iter().sum::<f32>() + rest)
}
