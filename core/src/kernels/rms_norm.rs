//! Root-mean-square normalisation, `y = x / √(mean(x²) + ε) ⊙ gain` over rows, and its gradients.

#[cfg(feature = "flex")]
use super::cpu::{self, CpuTensor};
use burn::tensor::Tensor;

/// `[n, hidden]` and `[hidden]` → `[n, hidden]`.
pub fn forward(x: &Tensor<2>, gain: &Tensor<1>, eps: f64) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let (Some(x_), Some(gain_)) = (CpuTensor::view(x), CpuTensor::view(gain)) {
        let [n, width] = x.dims();
        let (x_, gain_) = (x_.as_slice(), gain_.as_slice());
        let mut out = cpu::copy(x_);
        cpu::for_rows(&mut out, width, |_, rows| {
            cpu::vectorized(
                #[inline(always)]
                || {
                    for row in rows.chunks_exact_mut(width) {
                        let scale = inverse_rms(row, eps);
                        for (value, gain) in row.iter_mut().zip(gain_) {
                            *value = *value * scale * gain;
                        }
                    }
                },
            );
        });
        return cpu::tensor(out, [n, width]);
    }
    forward_reference(x, gain, eps)
}

/// [`forward`] composed of burn's operations.
pub fn forward_reference(x: &Tensor<2>, gain: &Tensor<1>, eps: f64) -> Tensor<2> {
    let rms = x.clone().square().mean_dim(1).add_scalar(eps).sqrt();
    x.clone() / rms * gain.clone().unsqueeze()
}

/// Gradients `(residual + ∂L/∂x, ∂L/∂gain)` from the input `x` and `∂L/∂y`; `residual` is what
/// flows past the norm. All `[n, hidden]`, the gain's `[hidden]`.
pub fn backward(
    x: &Tensor<2>,
    gain: &Tensor<1>,
    eps: f64,
    dy: &Tensor<2>,
    residual: Tensor<2>,
) -> (Tensor<2>, Tensor<1>) {
    #[cfg(feature = "flex")]
    let residual =
        match (CpuTensor::take(residual), CpuTensor::view(x), CpuTensor::view(gain), CpuTensor::view(dy)) {
            (Ok(out), Some(x), Some(gain), Some(dy)) => return backward_cpu(out, &x, &gain, &dy, eps),
            (Ok(out), ..) => out.into_tensor(),
            (Err(residual), ..) => residual,
        };
    backward_reference(x, gain, eps, dy, residual)
}

/// [`backward`] composed of burn's operations.
pub fn backward_reference(
    x: &Tensor<2>,
    gain: &Tensor<1>,
    eps: f64,
    dy: &Tensor<2>,
    residual: Tensor<2>,
) -> (Tensor<2>, Tensor<1>) {
    let [_, width] = x.dims();
    let scale = x.clone().square().mean_dim(1).add_scalar(eps).sqrt().recip();
    let normed = x.clone() * scale.clone();
    let gain_gradient = (dy.clone() * normed.clone()).sum_dim(0).reshape([width]);
    let inner = dy.clone() * gain.clone().unsqueeze();
    let along = (inner.clone() * normed.clone()).mean_dim(1);
    (residual + (inner - normed * along) * scale, gain_gradient)
}

/// `1 / √(mean(x²) + ε)`, the mean in eight running sums.
#[cfg(feature = "flex")]
#[inline(always)]
#[expect(clippy::inline_always, reason = "it has to become part of the caller's vectorised loop")]
fn inverse_rms(row: &[f32], eps: f64) -> f32 {
    let mean = f64::from(dot(row, row)) / row.len() as f64;
    (1.0 / (mean + eps).sqrt()) as f32
}

/// `Σ aᵢ·bᵢ` in sixteen running sums.
#[cfg(feature = "flex")]
#[inline(always)]
#[expect(clippy::inline_always, reason = "it has to become part of the caller's vectorised loop")]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (sums, rest) = cpu::running_products(a, b);
    sums.iter().sum::<f32>() + rest
}

#[cfg(feature = "flex")]
fn backward_cpu(
    mut out: CpuTensor,
    x: &CpuTensor,
    gain: &CpuTensor,
    dy: &CpuTensor,
    eps: f64,
) -> (Tensor<2>, Tensor<1>) {
    let (x, gain, dy) = (x.as_slice(), gain.as_slice(), dy.as_slice());
    let width = gain.len();
    let n = x.len() / width;
    cpu::for_rows(out.as_mut_slice(), width, |first, rows| {
        cpu::vectorized(
            #[inline(always)]
            || {
                for (i, out) in rows.chunks_exact_mut(width).enumerate() {
                    let at = (first + i) * width;
                    let (x, dy) = (&x[at..at + width], &dy[at..at + width]);
                    let scale = inverse_rms(x, eps);
                    let mut sums = [0.0_f32; 16];
                    for (((x, dy), gain), i) in x.iter().zip(dy).zip(gain).zip((0..16).cycle()) {
                        sums[i] += x * dy * gain;
                    }
                    let along = sums.iter().sum::<f32>() * scale * scale / width as f32;
                    for (((out, x), dy), gain) in out.iter_mut().zip(x).zip(dy).zip(gain) {
                        *out += (dy * gain - x * along) * scale;
                    }
                }
            },
        );
    });
    // The gain's gradient sums over rows: by pieces of fixed size, added in order.
    let rows = cpu::rows_per_task(width).max(32);
    let parts = cpu::map_tasks(n.div_ceil(rows), |task| {
        let mut sum = vec![0.0_f32; width];
        cpu::vectorized(
            #[inline(always)]
            || {
                for row in task * rows..n.min((task + 1) * rows) {
                    let (x, dy) = (&x[row * width..(row + 1) * width], &dy[row * width..(row + 1) * width]);
                    let scale = inverse_rms(x, eps);
                    for ((sum, x), dy) in sum.iter_mut().zip(x).zip(dy) {
                        *sum += x * scale * dy;
                    }
                }
            },
        );
        sum
    });
    let mut gradient = vec![0.0_f32; width];
    for part in parts {
        gradient.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    (out.into_tensor(), cpu::tensor(gradient, [width]))
}
