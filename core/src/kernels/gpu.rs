//! Kernels for GPUs, in CubeCL.

use super::sums::Reduction;
use burn::backend::{
    Backend, Dispatch, DispatchTensor, DispatchTensorKind, backend_extension, tensor::FloatTensor,
};
use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeBackend;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// What a backend does with sums by itself.
#[backend_extension(Cube, Fusion: cfg(feature = "fusion"))]
#[expect(unreachable_pub, reason = "the macro gives its implementations this visibility")]
pub trait SumOps: Backend {
    /// Adds a gradient to a sum of its shape (row-major, f32), in place where nothing else holds
    /// the sum. `reduction` is a [`Reduction`] as a number.
    #[fusion(dtype = sum, shape = sum)]
    fn accumulate(sum: FloatTensor<Self>, gradient: FloatTensor<Self>, reduction: u32) -> FloatTensor<Self>;
}

#[cube(launch)]
fn accumulate_kernel(
    sum: &mut cubecl::prelude::Tensor<f32>,
    gradient: &cubecl::prelude::Tensor<f32>,
    #[comptime] reduction: u32,
) {
    if ABSOLUTE_POS < sum.len() {
        let g = gradient[ABSOLUTE_POS];
        if reduction == 0 {
            sum[ABSOLUTE_POS] += g;
        } else if reduction == 1 {
            sum[ABSOLUTE_POS] += g.abs();
        } else {
            sum[ABSOLUTE_POS] += g * g;
        }
    }
}

impl SumOps for CubeBackend {
    fn accumulate(sum: FloatTensor<Self>, gradient: FloatTensor<Self>, reduction: u32) -> FloatTensor<Self> {
        let sum = burn_cubecl::kernel::into_contiguous(sum);
        let gradient = burn_cubecl::kernel::into_contiguous(gradient);
        let sum = if sum.can_mut() { sum } else { sum.copy() };
        let elements = sum.meta.num_elements();
        let client = sum.client.clone();
        let dim = CubeDim::new(&client, elements);
        let count = calculate_cube_count_elemwise(&client, elements, dim);
        accumulate_kernel::launch(
            &client,
            count,
            dim,
            sum.clone().into_tensor_arg(),
            gradient.into_tensor_arg(),
            reduction,
        );
        sum
    }
}

/// [`super::sums::accumulate`] on a GPU; the tensors come back when they are elsewhere.
pub(super) fn accumulate(
    reduction: Reduction,
    sum: Tensor<2>,
    gradient: &Tensor<2>,
) -> Result<Tensor<2>, Tensor<2>> {
    let sum = sum.into_dispatch();
    let on_gpu = |tensor: &DispatchTensor| matches!(tensor.kind, DispatchTensorKind::Cube(_));
    let gradient = gradient.clone();
    if gradient.dtype() != DType::F32 {
        return Err(Tensor::from_dispatch(sum));
    }
    let gradient = gradient.into_dispatch();
    if !on_gpu(&sum) || !on_gpu(&gradient) {
        return Err(Tensor::from_dispatch(sum));
    }
    let number = match reduction {
        Reduction::Signed => 0,
        Reduction::Absolute => 1,
        Reduction::Square => 2,
    };
    Ok(Tensor::from_dispatch(<Dispatch as SumOps>::accumulate(sum, gradient, number)))
}
