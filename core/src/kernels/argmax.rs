//! The largest logit of every row.

#[cfg(feature = "flex")]
use super::cpu::{self, CpuTensor};
use burn::tensor::Tensor;

/// Largest value and its first column, of every row of `[n, width]`: `[n]` each, the column as a number below 2²⁴. A row
/// with a NaN has NaN for its largest value, on the CPU; GPUs promise nothing about it.
pub fn rows(logits: &Tensor<2>) -> (Tensor<1>, Tensor<1>) {
    #[cfg(feature = "flex")]
    if let Some(view) = CpuTensor::view(logits) {
        let [n, width] = logits.dims();
        let values = view.as_slice();
        let rows = cpu::rows_per_task(width);
        let parts = cpu::map_tasks(n.div_ceil(rows), |task| {
            let piece = task * rows..n.min((task + 1) * rows);
            cpu::vectorized(
                #[inline(always)]
                || piece.map(|row| row_argmax(&values[row * width..(row + 1) * width])).collect::<Vec<_>>(),
            )
        });
        let (max, index): (Vec<f32>, Vec<f32>) = parts.into_iter().flatten().unzip();
        return (cpu::tensor(max, [n]), cpu::tensor(index, [n]));
    }
    rows_reference(logits)
}

/// [`rows`] composed of burn's operations.
pub fn rows_reference(logits: &Tensor<2>) -> (Tensor<1>, Tensor<1>) {
    let [n, _] = logits.dims();
    let (max, index) = logits.clone().max_dim_with_indices(1);
    (max.reshape([n]), index.float().reshape([n]))
}

#[cfg(feature = "flex")]
#[inline(always)]
#[expect(clippy::inline_always, reason = "it has to become part of the caller's vectorised loop")]
fn row_argmax(row: &[f32]) -> (f32, f32) {
    let mut maxima = [f32::NEG_INFINITY; 16];
    // 0 · x is 0 of what is finite, else NaN.
    let mut checks = [0.0_f32; 16];
    let (pieces, rest) = row.as_chunks::<16>();
    for piece in pieces {
        for i in 0..16 {
            maxima[i] = if piece[i] > maxima[i] { piece[i] } else { maxima[i] };
            checks[i] += 0.0 * piece[i];
        }
    }
    let max = maxima.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
    let check = checks.iter().sum::<f32>() + rest.iter().map(|value| 0.0 * value).sum::<f32>();
    let index = row.iter().position(|&value| value >= max);
    (if check.is_nan() { f32::NAN } else { max }, index.unwrap_or(0) as f32)
}
