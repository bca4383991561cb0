//! The gate of the MLP, `silu(gate) ⊙ up`, and its gradients.

#[cfg(feature = "flex")]
use super::cpu::{self, CpuTensor};
use burn::tensor::{Tensor, activation::sigmoid};

/// `gate · sigmoid(gate) · up`, all `[n, intermediate]`.
pub fn forward(gate: &Tensor<2>, up: &Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let (Some(g), Some(u)) = (CpuTensor::view(gate), CpuTensor::view(up)) {
        let u = u.as_slice();
        let mut out = cpu::copy(g.as_slice());
        cpu::for_rows(&mut out, 1, |first, out| {
            let u = &u[first..first + out.len()];
            cpu::vectorized(
                #[inline(always)]
                || {
                    for (out, u) in out.iter_mut().zip(u) {
                        *out = *out / (1.0 + cpu::exp(-*out)) * u;
                    }
                },
            );
        });
        return cpu::tensor(out, gate.dims());
    }
    forward_reference(gate, up)
}

/// [`forward`] composed of burn's operations.
pub fn forward_reference(gate: &Tensor<2>, up: &Tensor<2>) -> Tensor<2> {
    gate.clone() * sigmoid(gate.clone()) * up.clone()
}

/// `(∂L/∂gate, ∂L/∂up)` from the inputs and the gradient `dy` of the output, all
/// `[n, intermediate]`; in place where nothing else holds the inputs.
pub fn backward(gate: Tensor<2>, up: Tensor<2>, dy: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    #[cfg(feature = "flex")]
    let (gate, up) = match (CpuTensor::take(gate), CpuTensor::take(up), CpuTensor::view(dy)) {
        (Ok(mut gate), Ok(mut up), Some(dy)) => {
            let dy = dy.as_slice();
            cpu::for_rows2(gate.as_mut_slice(), up.as_mut_slice(), 1, |first, gate, up| {
                let dy = &dy[first..first + gate.len()];
                cpu::vectorized(
                    #[inline(always)]
                    || {
                        for ((gate, up), dy) in gate.iter_mut().zip(up).zip(dy) {
                            let s = 1.0 / (1.0 + cpu::exp(-*gate));
                            let silu = *gate * s;
                            (*gate, *up) = (dy * *up * (s + silu * (1.0 - s)), dy * silu);
                        }
                    },
                );
            });
            return (gate.into_tensor(), up.into_tensor());
        }
        (gate, up, _) => {
            (gate.map_or_else(|g| g, CpuTensor::into_tensor), up.map_or_else(|u| u, CpuTensor::into_tensor))
        }
    };
    backward_reference(&gate, &up, dy)
}

/// [`backward`] composed of burn's operations.
pub fn backward_reference(gate: &Tensor<2>, up: &Tensor<2>, dy: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let s = sigmoid(gate.clone());
    let silu = gate.clone() * s.clone();
    let slope = s.clone() + silu.clone() * (s.neg() + 1.0);
    (dy.clone() * up.clone() * slope, dy.clone() * silu)
}
