//! Rotary position embedding of rows of heads, rotate-half form, and its inverse.

#[cfg(feature = "flex")]
use super::cpu::{self, CpuTensor};
use burn::tensor::Tensor;

/// Angles of a batch of sequences.
#[derive(Debug, Clone, Copy)]
pub struct Angles<'a> {
    /// cos of every position and frequency, `[≥ seq, head_dim / 2]`.
    pub cos: &'a Tensor<2>,
    /// sin, in the same shape.
    pub sin: &'a Tensor<2>,
    /// Length of a sequence: row `i` of a batch is at position `i mod seq`.
    pub seq: usize,
}

/// Rotates the heads of `x`, `[batch · seq, heads · head_dim]`, by their positions.
pub fn forward(x: Tensor<2>, angles: Angles<'_>) -> Tensor<2> {
    rotate(x, angles, 1.0)
}

/// The gradient of [`forward`]: the rotation back.
pub fn backward(dy: Tensor<2>, angles: Angles<'_>) -> Tensor<2> {
    rotate(dy, angles, -1.0)
}

fn rotate(x: Tensor<2>, angles: Angles<'_>, sign: f32) -> Tensor<2> {
    #[cfg(feature = "flex")]
    let [_, width] = x.dims();
    #[cfg(feature = "flex")]
    let x = match (CpuTensor::take(x), CpuTensor::view(angles.cos), CpuTensor::view(angles.sin)) {
        (Ok(mut x), Some(cos), Some(sin)) => {
            let half = angles.cos.dims()[1];
            let (cos, sin) = (cos.as_slice(), sin.as_slice());
            cpu::for_rows(x.as_mut_slice(), width, |first, rows| {
                cpu::vectorized(
                    #[inline(always)]
                    || {
                        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                            let at = (first + i) % angles.seq * half;
                            let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
                            for head in row.chunks_exact_mut(2 * half) {
                                let (a, b) = head.split_at_mut(half);
                                for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                                    let sin = sin * sign;
                                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                                }
                            }
                        }
                    },
                );
            });
            return x.into_tensor();
        }
        (Ok(x), ..) => x.into_tensor(),
        (Err(x), ..) => x,
    };
    rotate_reference(x, angles, sign)
}

/// [`forward`] (`sign` 1) and [`backward`] (`sign` −1) composed of burn's operations.
pub fn rotate_reference(x: Tensor<2>, angles: Angles<'_>, sign: f32) -> Tensor<2> {
    let [n, width] = x.dims();
    let half = angles.cos.dims()[1];
    let (seq, heads) = (angles.seq, width / (2 * half));
    let table = |table: &Tensor<2>| table.clone().narrow(0, 0, seq).reshape([1, seq, 1, half]);
    let (cos, sin) = (table(angles.cos), table(angles.sin) * sign);
    let x = x.reshape([n / seq, seq, heads, 2 * half]);
    let first = x.clone().narrow(3, 0, half);
    let second = x.narrow(3, half, half);
    Tensor::cat(
        vec![first.clone() * cos.clone() - second.clone() * sin.clone(), second * cos + first * sin],
        3,
    )
    .reshape([n, width])
}
