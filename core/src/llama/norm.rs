//! Root-mean-square normalisation.

use burn::tensor::Tensor;

/// `y = x / √(mean(x²) + ε) ⊙ weight` over the last axis (`LlamaRMSNorm`).
#[derive(Debug, Clone)]
pub struct RmsNorm {
    /// Gain, `[hidden]`.
    pub weight: Tensor<1>,
    /// ε.
    pub eps: f64,
}

impl RmsNorm {
    /// `[batch, seq, hidden]` → `[batch, seq, hidden]`, f32.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let rms = x.clone().square().mean_dim(2).add_scalar(self.eps).sqrt();
        x / rms * self.weight.clone().unsqueeze()
    }
}
