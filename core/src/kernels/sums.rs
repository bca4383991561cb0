//! Running sums over the gradients of batches: what the estimators keep of each gradient.

#[cfg(feature = "flex")]
use super::cpu::{self, CpuTensor};
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// What is summed over the gradients `g` of batches, element by element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// `Σ g`.
    Signed,
    /// `Σ |g|`.
    Absolute,
    /// `Σ g²`.
    Square,
}

impl Reduction {
    #[cfg(feature = "flex")]
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it has to become part of the caller's vectorised loop")]
    fn add(self, sums: &mut [f32], gradient: &[f32]) {
        let pairs = sums.iter_mut().zip(gradient);
        match self {
            Self::Signed => pairs.for_each(|(sum, g)| *sum += g),
            Self::Absolute => pairs.for_each(|(sum, g)| *sum += g.abs()),
            Self::Square => pairs.for_each(|(sum, g)| *sum += g * g),
        }
    }

    /// The sum after `gradient`, composed of burn's operations; both `[rows, cols]`.
    pub fn add_reference(self, sum: Tensor<2>, gradient: &Tensor<2>) -> Tensor<2> {
        match self {
            Self::Signed => sum + gradient.clone(),
            Self::Absolute => sum + gradient.clone().abs(),
            Self::Square => sum + gradient.clone().square(),
        }
    }
}

/// Adds one gradient `[rows, cols]` to a sum of its shape, in place where nothing else holds it.
pub fn accumulate(reduction: Reduction, sum: Tensor<2>, gradient: &Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    let sum = match (CpuTensor::take(sum), CpuTensor::view(gradient)) {
        (Ok(mut sum), Some(gradient)) => {
            let gradient = gradient.as_slice();
            cpu::for_rows(sum.as_mut_slice(), 1, |first, sums| {
                let gradient = &gradient[first..first + sums.len()];
                cpu::vectorized(
                    #[inline(always)]
                    || reduction.add(sums, gradient),
                );
            });
            return sum.into_tensor();
        }
        (sum, _) => sum.map_or_else(|sum| sum, CpuTensor::into_tensor),
    };
    #[cfg(feature = "cubecl")]
    let sum = match super::gpu::accumulate(reduction, sum, gradient) {
        Ok(sum) => return sum,
        Err(sum) => sum,
    };
    reduction.add_reference(sum, gradient)
}

/// Adds `gradients` (`[n, cols]`) to rows `ids` (distinct) of a sum `[rows, cols]`.
pub fn accumulate_rows(
    reduction: Reduction,
    sum: Tensor<2>,
    ids: &[u32],
    gradients: &Tensor<2>,
) -> Tensor<2> {
    debug_assert_eq!(ids.len(), gradients.dims()[0]);
    #[cfg(feature = "flex")]
    let [_, width] = sum.dims();
    #[cfg(feature = "flex")]
    let sum = match (CpuTensor::take(sum), CpuTensor::view(gradients)) {
        (Ok(mut sum), Some(gradients)) => {
            let sums = sum.as_mut_slice();
            for (&id, gradient) in ids.iter().zip(gradients.as_slice().chunks_exact(width)) {
                reduction.add(&mut sums[id as usize * width..(id as usize + 1) * width], gradient);
            }
            return sum.into_tensor();
        }
        (sum, _) => sum.map_or_else(|sum| sum, CpuTensor::into_tensor),
    };
    let zeros = Tensor::zeros_like(gradients);
    let rows = reduction.add_reference(zeros, gradients);
    sum.select_assign(0, row_indices(ids, gradients), rows, burn::tensor::IndexingUpdateOp::Add)
}

/// Takes rows `ids` (distinct) out of a gradient `[rows, cols]`: returns them, `[n, cols]`, and the
/// gradient with zeros in their place.
pub fn take_rows(gradient: Tensor<2>, ids: &[u32]) -> (Tensor<2>, Tensor<2>) {
    let [_, width] = gradient.dims();
    #[cfg(feature = "flex")]
    let gradient = match CpuTensor::take(gradient) {
        Ok(mut gradient) => {
            let values = gradient.as_mut_slice();
            let mut taken = Vec::with_capacity(ids.len() * width);
            for &id in ids {
                let row = &mut values[id as usize * width..(id as usize + 1) * width];
                taken.extend_from_slice(row);
                row.fill(0.0);
            }
            return (cpu::tensor(taken, [ids.len(), width]), gradient.into_tensor());
        }
        Err(gradient) => gradient,
    };
    let index = row_indices(ids, &gradient);
    let rows = gradient.clone().select(0, index.clone());
    let rest = gradient.select_assign(0, index, rows.clone().neg(), burn::tensor::IndexingUpdateOp::Add);
    debug_assert_eq!(rows.dims(), [ids.len(), width]);
    (rows, rest)
}

/// Sums the rows of `x` (`[n, cols]`) that belong to the same token: row `i` of `x` goes to row
/// `slots[i]` of `[count, cols]`, added in order.
pub fn sum_rows(x: &Tensor<2>, slots: &[u32], count: usize) -> Tensor<2> {
    let [_, width] = x.dims();
    #[cfg(feature = "flex")]
    if let Some(values) = CpuTensor::view(x) {
        let mut sums = vec![0.0_f32; count * width];
        for (&slot, row) in slots.iter().zip(values.as_slice().chunks_exact(width)) {
            Reduction::Signed.add(&mut sums[slot as usize * width..(slot as usize + 1) * width], row);
        }
        return cpu::tensor(sums, [count, width]);
    }
    Tensor::zeros([count, width], (&x.device(), x.dtype())).select_assign(
        0,
        row_indices(slots, x),
        x.clone(),
        burn::tensor::IndexingUpdateOp::Add,
    )
}

/// Largest magnitude of a tensor as `[1]`; above every finite value, or NaN, when one of its
/// elements is not finite.
pub fn max_magnitude(x: &Tensor<2>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if let Some(values) = CpuTensor::view(x) {
        return cpu::tensor(vec![cpu::max_magnitude(values.as_slice())], [1]);
    }
    // `max` may pass over NaN; the sum of zeros times the values does not.
    x.clone().abs().max() + (x.clone() * 0.0).sum()
}

/// Sum of the squares of a tensor as `[1]`: of pieces in f64 on the CPU, so that it is as exact as a
/// norm over all weights of a model should be.
pub fn sum_of_squares(x: &Tensor<2>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if let Some(values) = CpuTensor::view(x) {
        let values = values.as_slice();
        let size = cpu::rows_per_task(1);
        let sums = cpu::map_tasks(values.len().div_ceil(size), |task| {
            let piece = &values[task * size..values.len().min((task + 1) * size)];
            let (sums, rest) = cpu::vectorized(
                #[inline(always)]
                || cpu::running_products(piece, piece),
            );
            f64::from(sums.iter().sum::<f32>() + rest)
        });
        return cpu::tensor(vec![sums.iter().sum::<f64>() as f32], [1]);
    }
    x.clone().square().sum()
}

/// Sums of squares of the columns of `x` (`[n, cols]`), added to `[cols]`.
pub fn add_column_squares(sum: Tensor<1>, x: &Tensor<2>) -> Tensor<1> {
    let [_, width] = x.dims();
    sum + x.clone().square().sum_dim(0).reshape([width])
}

fn row_indices(ids: &[u32], like: &Tensor<2>) -> Tensor<1, Int> {
    let ids: Vec<i32> =
        ids.iter().map(|&id| i32::try_from(id).expect("a vocabulary is below 2^24")).collect();
    Tensor::from_data(TensorData::from(ids.as_slice()), &like.device())
}
