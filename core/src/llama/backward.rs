//! A block's forward pass that keeps what its backward pass needs, and that backward pass.
//!
//! Written out by hand: it knows what can be computed again cheaply (norms, the gate's product,
//! attention weights), frees what it has used, and hands each weight's gradient over as the two
//! factors of its matrix product, so that a sum of gradients is one product added in place.

use super::{Attention, Block, RmsNorm, RotaryTable};
use crate::config::LlamaConfig;
use crate::kernels::{attention, bias, matmul, rms_norm, rotary, swiglu};
use crate::layout::Module;
use burn::tensor::Tensor;

/// What a block's forward pass leaves for its backward pass, besides its input.
#[derive(Debug)]
pub struct SavedBlock {
    /// Queries after the rotation, `[n, heads · head_dim]`.
    q: Tensor<2>,
    /// Keys after the rotation, `[n, kv_heads · head_dim]`.
    k: Tensor<2>,
    /// Values, as the keys.
    v: Tensor<2>,
    /// What `o_proj` reads, as the queries.
    mixed: Tensor<2>,
    /// The stream between attention and MLP, `[n, hidden]`.
    middle: Tensor<2>,
    /// `gate_proj`'s output, `[n, intermediate]`.
    gate: Tensor<2>,
    /// `up_proj`'s output, `[n, intermediate]`.
    up: Tensor<2>,
}

/// Who receives the gradients of a block's weights.
pub trait GradientSink {
    /// The gradient of a matrix is `dyᵀ · x`; `dy` is `[n, d_output]`, `x` is `[n, d_input]`.
    fn matrix(&mut self, module: Module, dy: &Tensor<2>, x: &Tensor<2>);
    /// The gradient of a norm's gain, `[hidden]`, or of a bias, `[d_output]`.
    fn vector(&mut self, module: Module, gradient: Tensor<1>);
}

/// Who looks at what the linear layers of a block read, in a forward pass.
pub trait InputProbe {
    /// `module` (and those that read the same) reads `x`, `[n, d_input]`.
    fn input(&mut self, modules: &[Module], x: &Tensor<2>);
}

/// No probe.
impl InputProbe for () {
    fn input(&mut self, _modules: &[Module], _x: &Tensor<2>) {}
}

/// Sizes and angles of the batches of a pass.
#[derive(Debug)]
pub struct PassShape {
    /// Sizes of attention.
    pub attention: attention::Shape,
    rope: RotaryTable,
}

impl PassShape {
    /// For batches of `batch` sequences of `seq` tokens.
    pub fn new(config: &LlamaConfig, batch: usize, rope: &RotaryTable, seq: usize) -> Self {
        Self {
            attention: attention::Shape {
                batch,
                seq,
                heads: config.num_attention_heads,
                kv_heads: config.num_key_value_heads,
                head_dim: config.head_dim,
                window: config.sliding_window,
            },
            rope: rope.clone(),
        }
    }

    fn angles(&self) -> rotary::Angles<'_> {
        self.rope.angles(self.attention.seq)
    }
}

impl RmsNorm {
    /// `[n, hidden]` → `[n, hidden]`.
    pub(crate) fn rows(&self, x: &Tensor<2>) -> Tensor<2> {
        rms_norm::forward(x, &self.weight, self.eps)
    }

    /// See [`rms_norm::backward`].
    pub(crate) fn rows_backward(
        &self,
        x: &Tensor<2>,
        dy: &Tensor<2>,
        residual: Tensor<2>,
    ) -> (Tensor<2>, Tensor<1>) {
        rms_norm::backward(x, &self.weight, self.eps, dy, residual)
    }
}

impl Block {
    /// `[n, hidden]` → `[n, hidden]`, and what the backward pass needs.
    pub fn forward_saving(
        &self,
        x: &Tensor<2>,
        shape: &PassShape,
        probe: &mut impl InputProbe,
    ) -> (Tensor<2>, SavedBlock) {
        let normed = self.input_layernorm.rows(x);
        probe.input(&[Module::QProj, Module::KProj, Module::VProj], &normed);
        let Attention { q_proj, k_proj, v_proj, o_proj, biases } = &self.self_attn;
        let q = bias::add(matmul::product_nt(&normed, q_proj), biases.q.as_ref());
        let q = rotary::forward(q, shape.angles());
        let k = bias::add(matmul::product_nt(&normed, k_proj), biases.k.as_ref());
        let k = rotary::forward(k, shape.angles());
        let v = bias::add(matmul::product_nt(&normed, v_proj), biases.v.as_ref());
        drop(normed);
        let mixed = attention::forward(&q, &k, &v, shape.attention);
        probe.input(&[Module::OProj], &mixed);
        let middle = bias::add(matmul::add_product_nt(x, &mixed, o_proj), biases.o.as_ref());
        let normed = self.post_attention_layernorm.rows(&middle);
        probe.input(&[Module::GateProj, Module::UpProj], &normed);
        let gate = matmul::product_nt(&normed, &self.mlp.gate_proj);
        let up = matmul::product_nt(&normed, &self.mlp.up_proj);
        drop(normed);
        let inner = swiglu::forward(&gate, &up);
        probe.input(&[Module::DownProj], &inner);
        let y = matmul::add_product_nt(&middle, &inner, &self.mlp.down_proj);
        (y, SavedBlock { q, k, v, mixed, middle, gate, up })
    }

    /// From the block's input `x` and the gradient `dy` of its output, the gradient of its input;
    /// all `[n, hidden]`. Gradients of the weights go to `sink`.
    pub fn backward(
        &self,
        x: &Tensor<2>,
        saved: SavedBlock,
        dy: Tensor<2>,
        shape: &PassShape,
        sink: &mut impl GradientSink,
    ) -> Tensor<2> {
        let SavedBlock { q, k, v, mixed, middle, gate, up } = saved;
        // MLP: y = middle + down(silu(gate(h)) · up(h)), h = norm(middle).
        let inner = swiglu::forward(&gate, &up);
        sink.matrix(Module::DownProj, &dy, &inner);
        drop(inner);
        let d_inner = matmul::product_nn(&dy, &self.mlp.down_proj);
        let (d_gate, d_up) = swiglu::backward(gate, up, &d_inner);
        drop(d_inner);
        let normed = self.post_attention_layernorm.rows(&middle);
        sink.matrix(Module::GateProj, &d_gate, &normed);
        sink.matrix(Module::UpProj, &d_up, &normed);
        drop(normed);
        let d_normed = matmul::product_nn(&d_gate, &self.mlp.gate_proj);
        drop(d_gate);
        let d_normed = matmul::add_product_nn(d_normed, &d_up, &self.mlp.up_proj);
        drop(d_up);
        let (d_middle, gain) = self.post_attention_layernorm.rows_backward(&middle, &d_normed, dy);
        sink.vector(Module::PostAttentionLayernorm, gain);
        drop((middle, d_normed));

        // Attention: middle = x + o(attend(rope(q(h)), rope(k(h)), v(h))), h = norm(x).
        let biases = &self.self_attn.biases;
        let bias_of = |sink: &mut _, module: Module, dy: &Tensor<2>| {
            if biases.get(module).is_some() {
                GradientSink::vector(sink, module, bias::backward(dy));
            }
        };
        sink.matrix(Module::OProj, &d_middle, &mixed);
        bias_of(sink, Module::OBias, &d_middle);
        drop(mixed);
        let d_mixed = matmul::product_nn(&d_middle, &self.self_attn.o_proj);
        let [dq, dk, dv] = attention::backward(&q, &k, &v, &d_mixed, shape.attention);
        drop((q, k, v, d_mixed));
        let dq = rotary::backward(dq, shape.angles());
        let dk = rotary::backward(dk, shape.angles());
        let normed = self.input_layernorm.rows(x);
        sink.matrix(Module::QProj, &dq, &normed);
        sink.matrix(Module::KProj, &dk, &normed);
        sink.matrix(Module::VProj, &dv, &normed);
        for (module, dy) in [(Module::QBias, &dq), (Module::KBias, &dk), (Module::VBias, &dv)] {
            bias_of(sink, module, dy);
        }
        drop(normed);
        let d_normed = matmul::product_nn(&dq, &self.self_attn.q_proj);
        let d_normed = matmul::add_product_nn(d_normed, &dk, &self.self_attn.k_proj);
        let d_normed = matmul::add_product_nn(d_normed, &dv, &self.self_attn.v_proj);
        let (dx, gain) = self.input_layernorm.rows_backward(x, &d_normed, d_middle);
        sink.vector(Module::InputLayernorm, gain);
        dx
    }
}
