//! One step of AdamW over a buffer of weights.

#[cfg(feature = "flex")]
use super::cpu::{self, CpuTensor};
use burn::tensor::Tensor;

/// The numbers of one step: everything that is the same for all weights of a buffer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficients {
    /// Share of the first moment that stays, β₁.
    pub beta_1: f32,
    /// Share of the second moment that stays, β₂.
    pub beta_2: f32,
    /// What gradients are multiplied by first: 1, or less where they are clipped.
    pub gradient_scale: f32,
    /// What weights are multiplied by: 1 − learning rate · weight decay.
    pub keep: f32,
    /// Learning rate over the first moment's bias, `lr / (1 − β₁ᵗ)`.
    pub rate: f32,
    /// One over the root of the second moment's bias, `1 / √(1 − β₂ᵗ)`.
    pub root_scale: f32,
    /// ε, added to the root.
    pub epsilon: f32,
}

/// Weights, first and second moments after a step against `gradient`, all `[rows, cols]`; in place
/// where nothing else holds them (Loshchilov and Hutter 2019, algorithm 2, as PyTorch computes it).
pub fn step(
    weight: Tensor<2>,
    first: Tensor<2>,
    second: Tensor<2>,
    gradient: &Tensor<2>,
    numbers: Coefficients,
) -> [Tensor<2>; 3] {
    #[cfg(feature = "flex")]
    let [weight, first, second] = {
        let parts = [weight, first, second].map(CpuTensor::take);
        match (parts, CpuTensor::view(gradient)) {
            ([Ok(mut weight), Ok(mut first), Ok(mut second)], Some(gradient)) => {
                let gradient = gradient.as_slice();
                let parts = [weight.as_mut_slice(), first.as_mut_slice(), second.as_mut_slice()];
                cpu::for_rows3(parts, |start, weight, first, second| {
                    let gradient = &gradient[start..start + weight.len()];
                    cpu::vectorized(
                        #[inline(always)]
                        || move_weights(weight, first, second, gradient, numbers),
                    );
                });
                return [weight, first, second].map(CpuTensor::into_tensor);
            }
            (parts, _) => parts.map(|part| part.map_or_else(|part| part, CpuTensor::into_tensor)),
        }
    };
    step_reference(weight, first, second, gradient, numbers)
}

#[cfg(feature = "flex")]
#[inline(always)]
#[expect(clippy::inline_always, reason = "it has to become part of the caller's vectorised loop")]
fn move_weights(
    weight: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradient: &[f32],
    numbers: Coefficients,
) {
    let Coefficients { beta_1, beta_2, gradient_scale, keep, rate, root_scale, epsilon } = numbers;
    for (((weight, first), second), gradient) in weight.iter_mut().zip(first).zip(second).zip(gradient) {
        let gradient = gradient * gradient_scale;
        *first = beta_1 * *first + (1.0 - beta_1) * gradient;
        *second = beta_2 * *second + (1.0 - beta_2) * gradient * gradient;
        *weight = keep * *weight - rate * *first / (second.sqrt() * root_scale + epsilon);
    }
}

/// [`step`] composed of burn's operations.
pub fn step_reference(
    weight: Tensor<2>,
    first: Tensor<2>,
    second: Tensor<2>,
    gradient: &Tensor<2>,
    numbers: Coefficients,
) -> [Tensor<2>; 3] {
    let Coefficients { beta_1, beta_2, gradient_scale, keep, rate, root_scale, epsilon } = numbers;
    let gradient = gradient.clone() * gradient_scale;
    let first = first * beta_1 + gradient.clone() * (1.0 - beta_1);
    let second = second * beta_2 + gradient.square() * (1.0 - beta_2);
    let weight = weight * keep - first.clone() * rate / (second.clone().sqrt() * root_scale + epsilon);
    [weight, first, second]
}
