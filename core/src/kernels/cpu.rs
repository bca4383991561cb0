//! What the CPU forms share: access to the memory of tensors, and loops over rows.

use burn::backend::flex::FlexTensor;
use burn::backend::{BackendTensor, DispatchTensor, DispatchTensorKind, Flex};
use burn::tensor::{DType, Tensor, TensorData};

/// Elements that one task of a parallel loop should have at least.
const TASK_ELEMENTS: usize = 1 << 14;

/// The memory of a tensor that lies on the CPU backend in f32, row-major.
pub(super) struct CpuTensor(FlexTensor);

impl CpuTensor {
    /// A view of `tensor`; `None` when it is on another device, tracked by autodiff, or not f32.
    /// A view that is not row-major is copied.
    pub(super) fn view<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        Self::take(tensor.clone()).ok()
    }

    /// As [`Self::view`], without another handle: what nothing else holds can be written in place.
    pub(super) fn take<const D: usize>(tensor: Tensor<D>) -> Result<Self, Tensor<D>> {
        let DispatchTensor { kind, autodiff } = tensor.into_dispatch();
        match kind {
            DispatchTensorKind::Flex(BackendTensor::Float(tensor)) if tensor.dtype() == DType::F32 => {
                Ok(Self(if is_plain(&tensor) { tensor } else { tensor.to_contiguous() }))
            }
            kind => Err(Tensor::from_dispatch(DispatchTensor { kind, autodiff })),
        }
    }

    /// The elements.
    pub(super) fn as_slice(&self) -> &[f32] {
        self.0.storage()
    }

    /// The elements, to write; copied first when another tensor shares them.
    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        self.0.storage_mut()
    }

    /// Back to a tensor of the same elements.
    pub(super) fn into_tensor<const D: usize>(self) -> Tensor<D> {
        Tensor::from_primitive::<Flex>(self.0)
    }
}

/// Whether the buffer is the tensor, row by row.
fn is_plain(tensor: &FlexTensor) -> bool {
    tensor.is_contiguous()
        && tensor.layout().start_offset() == 0
        && tensor.bytes().len() == 4 * tensor.layout().num_elements()
}

/// A tensor on the CPU backend.
pub(super) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(FlexTensor::from_data(TensorData::new(values, shape)))
}

/// Runs `work` compiled for the widest vectors that this processor has.
#[inline(always)]
#[expect(clippy::inline_always, reason = "the body is compiled anew for each instruction set")]
pub(super) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Rows of one task, for rows of `width` elements: fixed by the shape alone.
pub(super) fn rows_per_task(width: usize) -> usize {
    (TASK_ELEMENTS / width.max(1)).max(1)
}

/// Runs `work(task)` for `0..tasks`, in parallel, and returns the results in order.
pub(super) fn map_tasks<R: Send>(tasks: usize, work: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    #[cfg(feature = "rayon")]
    {
        use rayon::prelude::*;
        (0..tasks).into_par_iter().map(work).collect()
    }
    #[cfg(not(feature = "rayon"))]
    {
        (0..tasks).map(work).collect()
    }
}

/// Calls `work(first_row, rows)` for pieces of `out`, in parallel; rows have `width` elements.
pub(super) fn for_rows(out: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync + Send) {
    let rows = rows_per_task(width);
    #[cfg(feature = "rayon")]
    {
        use rayon::prelude::*;
        out.par_chunks_mut(rows * width).enumerate().for_each(|(task, out)| work(task * rows, out));
    }
    #[cfg(not(feature = "rayon"))]
    {
        out.chunks_mut(rows * width).enumerate().for_each(|(task, out)| work(task * rows, out));
    }
}

/// A copy, made by all threads: where what follows is parallel, a copy by one is half of its time.
pub(super) fn copy(values: &[f32]) -> Vec<f32> {
    #[cfg(feature = "rayon")]
    {
        use rayon::prelude::*;
        // The pieces are indexed, so they land side by side without a second copy.
        values.par_iter().with_min_len(TASK_ELEMENTS).copied().collect()
    }
    #[cfg(not(feature = "rayon"))]
    {
        values.to_vec()
    }
}

/// As [`for_rows`] over two outputs of one shape.
pub(super) fn for_rows2(
    a: &mut [f32],
    b: &mut [f32],
    width: usize,
    work: impl Fn(usize, &mut [f32], &mut [f32]) + Sync + Send,
) {
    let rows = rows_per_task(width);
    #[cfg(feature = "rayon")]
    {
        use rayon::prelude::*;
        a.par_chunks_mut(rows * width)
            .zip(b.par_chunks_mut(rows * width))
            .enumerate()
            .for_each(|(task, (a, b))| work(task * rows, a, b));
    }
    #[cfg(not(feature = "rayon"))]
    {
        a.chunks_mut(rows * width)
            .zip(b.chunks_mut(rows * width))
            .enumerate()
            .for_each(|(task, (a, b))| work(task * rows, a, b));
    }
}

/// Calls `work(first, a, b, c)` for pieces of three outputs of one length, in parallel.
pub(super) fn for_rows3(
    [a, b, c]: [&mut [f32]; 3],
    work: impl Fn(usize, &mut [f32], &mut [f32], &mut [f32]) + Sync + Send,
) {
    let size = rows_per_task(1);
    #[cfg(feature = "rayon")]
    {
        use rayon::prelude::*;
        (a.par_chunks_mut(size), b.par_chunks_mut(size), c.par_chunks_mut(size))
            .into_par_iter()
            .enumerate()
            .for_each(|(task, (a, b, c))| work(task * size, a, b, c));
    }
    #[cfg(not(feature = "rayon"))]
    {
        let parts = a.chunks_mut(size).zip(b.chunks_mut(size)).zip(c.chunks_mut(size));
        parts.enumerate().for_each(|(task, ((a, b), c))| work(task * size, a, b, c));
    }
}

/// `e^x` for finite `x`, within 2 ulp between −87 and 88, clamped outside; NaN stays NaN. Without
/// branches, so that loops over it vectorise (Cephes' `expf`).
#[inline(always)]
#[expect(clippy::inline_always, reason = "it has to become part of the caller's vectorised loop")]
pub(super) fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 · 2²³: adding it rounds to the nearest integer.
    let x = if x < -87.3 { -87.3 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 0.166_666_65;
    let p = p * r + 0.5;
    let y = p * r * r + r + 1.0;
    // The low bits of `shifted` are n; moved into the exponent's place they are 2ⁿ.
    y * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// `softmax(row · scale)` in place; the sum in sixteen running sums.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it has to become part of the caller's vectorised loop")]
pub(super) fn softmax(row: &mut [f32], scale: f32) {
    let mut maxima = [f32::NEG_INFINITY; 16];
    let (pieces, rest) = row.as_chunks::<16>();
    for piece in pieces {
        for i in 0..16 {
            maxima[i] = if piece[i] > maxima[i] { piece[i] } else { maxima[i] };
        }
    }
    let max = maxima.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a }) * scale;
    let mut sums = [0.0_f32; 16];
    let (pieces, rest) = row.as_chunks_mut::<16>();
    for piece in pieces {
        for i in 0..16 {
            piece[i] = exp(piece[i] * scale - max);
            sums[i] += piece[i];
        }
    }
    let mut sum = sums.iter().sum::<f32>();
    for value in rest {
        *value = exp(*value * scale - max);
        sum += *value;
    }
    let norm = 1.0 / sum;
    row.iter_mut().for_each(|value| *value *= norm);
}

/// `Σ aᵢ·bᵢ` as sixteen running sums, which is what makes the loop vectorise, and the sum of what is left.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it has to become part of the caller's vectorised loop")]
pub(super) fn running_products(a: &[f32], b: &[f32]) -> ([f32; 16], f32) {
    let mut sums = [0.0_f32; 16];
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..16 {
            sums[i] += a[i] * b[i];
        }
    }
    (sums, a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum())
}

/// Largest magnitude, for finite values; something larger than every finite value when one is NaN
/// or infinite. As bits, because integers compare without a special case for NaN.
pub(super) fn max_magnitude(values: &[f32]) -> f32 {
    let rows = rows_per_task(1);
    let largest = map_tasks(values.len().div_ceil(rows), |task| {
        let piece = &values[task * rows..values.len().min((task + 1) * rows)];
        vectorized(
            #[inline(always)]
            || piece.iter().fold(0, |max: u32, value| max.max(value.to_bits() & 0x7fff_ffff)),
        )
    });
    f32::from_bits(largest.into_iter().max().unwrap_or(0))
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        let mut worst = 0.0_f64;
        for i in 0..1_000_000 {
            let x = -87.0 + 175.0 * (i as f32 / 1e6);
            let (fast, exact) = (f64::from(exp(x)), f64::from(x).exp());
            worst = worst.max(((fast - exact) / exact).abs());
        }
        assert!(worst < 2.4e-7, "relative error {worst:e}");
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-1e9) < 1e-37 && exp(-1e9) >= 0.0);
        assert_eq!(exp(0.0).to_bits(), 1.0_f32.to_bits());
    }

    #[test]
    fn magnitude_sees_what_is_not_finite() {
        assert_eq!(max_magnitude(&[1.0, -3.5, 2.0]).to_bits(), 3.5_f32.to_bits());
        assert!(!(max_magnitude(&[1.0, f32::NAN, 2.0]) <= f32::MAX));
        assert!(!(max_magnitude(&[1.0, f32::NEG_INFINITY]) <= f32::MAX));
    }
}
