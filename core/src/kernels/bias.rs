//! The bias of a linear layer: one number a column, and its gradient.

#[cfg(feature = "flex")]
use super::cpu::{self, CpuTensor};
use burn::tensor::Tensor;

/// `y` (`[n, d_output]`) with `bias` (`[d_output]`) added to every row, in place where nothing else
/// holds `y`; `y` itself without one.
pub fn add(y: Tensor<2>, bias: Option<&Tensor<1>>) -> Tensor<2> {
    let Some(bias) = bias else { return y };
    #[cfg(feature = "flex")]
    let y = match (CpuTensor::take(y), CpuTensor::view(bias)) {
        (Ok(mut y), Some(bias)) => {
            let bias = bias.as_slice();
            cpu::for_rows(y.as_mut_slice(), bias.len(), |_, rows| {
                cpu::vectorized(
                    #[inline(always)]
                    || {
                        for row in rows.chunks_exact_mut(bias.len()) {
                            row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
                        }
                    },
                );
            });
            return y.into_tensor();
        }
        (y, _) => y.map_or_else(|y| y, CpuTensor::into_tensor),
    };
    y + bias.clone().unsqueeze()
}

/// The gradient of a bias, `[d_output]`: the sums of the columns of `dy`, `[n, d_output]`.
pub fn backward(dy: &Tensor<2>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if let Some(values) = CpuTensor::view(dy) {
        return backward_cpu(values.as_slice(), dy.dims());
    }
    backward_reference(dy)
}

/// [`backward`] composed of burn's operations.
pub fn backward_reference(dy: &Tensor<2>) -> Tensor<1> {
    let [_, width] = dy.dims();
    dy.clone().sum_dim(0).reshape([width])
}

/// By pieces of rows that the shape alone decides, added in order.
#[cfg(feature = "flex")]
fn backward_cpu(dy: &[f32], [n, width]: [usize; 2]) -> Tensor<1> {
    let rows = cpu::rows_per_task(width).max(32);
    let parts = cpu::map_tasks(n.div_ceil(rows), |task| {
        let mut sum = vec![0.0_f32; width];
        let piece = &dy[task * rows * width..n.min((task + 1) * rows) * width];
        cpu::vectorized(
            #[inline(always)]
            || {
                for row in piece.chunks_exact(width) {
                    sum.iter_mut().zip(row).for_each(|(sum, dy)| *sum += dy);
                }
            },
        );
        sum
    });
    let mut gradient = vec![0.0_f32; width];
    for part in parts {
        gradient.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    cpu::tensor(gradient, [width])
}
