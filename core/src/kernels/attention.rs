//! Causal grouped-query attention over whole sequences, in a window of keys or over all, and its
//! gradients.
//!
//! Queries, keys and values are rows of heads, as the projections give them and as `o_proj` wants
//! them: `[batch · seq, heads · head_dim]`. Nothing of the size `seq²` outlives a call: the
//! backward pass computes the weights again from queries and keys.

#[cfg(feature = "flex")]
use super::cpu::{self, CpuTensor};
#[cfg(feature = "flex")]
use super::matmul::{Matrix, gemm_into};
use burn::tensor::{DType, Tensor, TensorData, activation::softmax};

/// Sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Sequences.
    pub batch: usize,
    /// Tokens of a sequence.
    pub seq: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; query head `h` reads key head `h · kv_heads / heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Keys that a query sees, its own included: the query at `i` sees the keys `j ≤ i` with
    /// `i − j < window`. `None`: all of them. At least 1.
    pub window: Option<usize>,
}

impl Shape {
    fn group(self) -> usize {
        self.heads / self.kv_heads
    }

    /// First key that the query at position `at` sees.
    fn first_key(self, at: usize) -> usize {
        self.window.map_or(0, |window| (at + 1).saturating_sub(window))
    }

    /// Elements of the weights of one block of queries.
    #[cfg(feature = "flex")]
    fn weights_at_work(self) -> usize {
        let keys = self.window.map_or(self.seq, |window| self.seq.min(window.saturating_add(BLOCK)));
        BLOCK.min(self.seq) * keys
    }

    fn scale(self) -> f32 {
        (self.head_dim as f32).sqrt().recip()
    }
}

/// What a masked score becomes before the softmax: its weight is exactly 0 in f32, and it is
/// finite, because WGSL promises nothing about infinities.
const MASKED: f32 = -1e9;

/// `softmax(q·kᵀ / √d, causal, in the window) · v`: `[n, heads · d]`, two of `[n, kv_heads · d]` →
/// `[n, heads · d]`.
pub fn forward(q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>, shape: Shape) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let (Some(q), Some(k), Some(v)) = (CpuTensor::view(q), CpuTensor::view(k), CpuTensor::view(v)) {
        return forward_cpu(q.as_slice(), k.as_slice(), v.as_slice(), shape);
    }
    forward_reference(q, k, v, shape)
}

/// [`forward`] composed of burn's operations.
pub fn forward_reference(q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>, shape: Shape) -> Tensor<2> {
    let [q, k, v] = [heads(q, shape, shape.group()), heads(k, shape, 1), heads(v, shape, 1)];
    let weights = weights(q, k, shape);
    rows(weights.matmul(v), shape)
}

/// Gradients of queries, keys and values from the gradient `dy` of the output, shapes as theirs.
pub fn backward(q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>, dy: &Tensor<2>, shape: Shape) -> [Tensor<2>; 3] {
    #[cfg(feature = "flex")]
    if let (Some(q), Some(k), Some(v), Some(dy)) =
        (CpuTensor::view(q), CpuTensor::view(k), CpuTensor::view(v), CpuTensor::view(dy))
    {
        return backward_cpu([q.as_slice(), k.as_slice(), v.as_slice(), dy.as_slice()], shape);
    }
    backward_reference(q, k, v, dy, shape)
}

/// [`backward`] composed of burn's operations.
pub fn backward_reference(
    q: &Tensor<2>,
    k: &Tensor<2>,
    v: &Tensor<2>,
    dy: &Tensor<2>,
    shape: Shape,
) -> [Tensor<2>; 3] {
    let group = shape.group();
    let [q, k, v] = [heads(q, shape, group), heads(k, shape, 1), heads(v, shape, 1)];
    let dy = heads(dy, shape, group);
    let p = weights(q.clone(), k.clone(), shape);
    let dv = p.clone().transpose().matmul(dy.clone());
    let dp = dy.matmul(v.transpose());
    let along = (dp.clone() * p.clone()).sum_dim(3);
    let ds = (dp - along) * p * shape.scale();
    let dq = ds.clone().matmul(k);
    let dk = ds.transpose().matmul(q);
    [rows(dq, shape), rows(dk, shape), rows(dv, shape)]
}

/// `[batch · seq, kv_heads · group · d]` → `[batch, kv_heads, group · seq, d]`: the heads of a
/// group lie one below the other, so one product serves them all and keys are never repeated.
fn heads(x: &Tensor<2>, shape: Shape, group: usize) -> Tensor<4> {
    let Shape { batch, seq, kv_heads, head_dim, .. } = shape;
    x.clone().reshape([batch, seq, kv_heads * group, head_dim]).swap_dims(1, 2).reshape([
        batch,
        kv_heads,
        group * seq,
        head_dim,
    ])
}

/// The inverse of [`heads`].
fn rows(x: Tensor<4>, shape: Shape) -> Tensor<2> {
    let [batch, kv_heads, grouped, head_dim] = x.dims();
    let heads = kv_heads * grouped / shape.seq;
    x.reshape([batch, heads, shape.seq, head_dim])
        .swap_dims(1, 2)
        .reshape([batch * shape.seq, heads * head_dim])
}

/// `[batch, kv_heads, group · seq, seq]`, rows sum to 1.
fn weights(q: Tensor<4>, k: Tensor<4>, shape: Shape) -> Tensor<4> {
    let Shape { batch, seq, kv_heads, .. } = shape;
    let group = shape.group();
    let sees = |i: usize, j: usize| j <= i && j >= shape.first_key(i);
    let mask: Vec<f32> =
        (0..seq).flat_map(|i| (0..seq).map(move |j| if sees(i, j) { 0.0 } else { MASKED })).collect();
    let mask = Tensor::<4>::from_data(TensorData::new(mask, [1, 1, seq, seq]), (&q.device(), DType::F32));
    let scores = (q * shape.scale()).matmul(k.transpose()).reshape([batch * kv_heads, group, seq, seq]);
    softmax(scores + mask, 3).reshape([batch, kv_heads, group * seq, seq])
}

/// Query rows that are worked on at once: what is right of their diagonal, or left of the first one's
/// window, is never computed.
#[cfg(feature = "flex")]
const BLOCK: usize = 64;

/// The matrix of one head of one sequence.
#[cfg(feature = "flex")]
fn head(values: &[f32], shape: Shape, heads: usize, sequence: usize, head: usize) -> &[f32] {
    &values[sequence * shape.seq * heads * shape.head_dim + head * shape.head_dim..]
}

/// Queries `start..end` and the keys `first..end` that any of them sees.
#[cfg(feature = "flex")]
#[derive(Clone, Copy)]
struct Part {
    shape: Shape,
    first: usize,
    start: usize,
    end: usize,
}

#[cfg(feature = "flex")]
impl Part {
    fn new(shape: Shape, start: usize) -> Self {
        Self { shape, first: shape.first_key(start), start, end: (start + BLOCK).min(shape.seq) }
    }

    fn queries(self) -> usize {
        self.end - self.start
    }

    fn keys(self) -> usize {
        self.end - self.first
    }

    /// Rows of the queries, of a matrix of one of `heads` heads.
    fn query_rows(self, values: &[f32], heads: usize) -> Matrix<'_> {
        let (d, stride) = (self.shape.head_dim, heads * self.shape.head_dim);
        Matrix::strided(&values[self.start * stride..], self.queries(), d, stride)
    }

    /// Rows of the keys, as [`Self::query_rows`].
    fn key_rows(self, values: &[f32], heads: usize) -> Matrix<'_> {
        let (d, stride) = (self.shape.head_dim, heads * self.shape.head_dim);
        Matrix::strided(&values[self.first * stride..], self.keys(), d, stride)
    }
}

/// Weights of a part's queries over its keys, into rows of as many.
#[cfg(feature = "flex")]
fn weights_cpu(out: &mut [f32], q: Matrix<'_>, k: Matrix<'_>, part: Part) {
    let (keys, scale) = (part.keys(), part.shape.scale());
    gemm_into(out, keys, q, k.transposed(), false);
    cpu::vectorized(
        #[inline(always)]
        || {
            for (i, row) in out.chunks_exact_mut(keys).enumerate() {
                let at = part.start + i;
                let (row, hidden) = row.split_at_mut(at + 1 - part.first);
                let (before, seen) = row.split_at_mut(part.shape.first_key(at) - part.first);
                cpu::softmax(seen, scale);
                before.fill(0.0);
                hidden.fill(0.0);
            }
        },
    );
}

#[cfg(feature = "flex")]
fn forward_cpu(q: &[f32], k: &[f32], v: &[f32], shape: Shape) -> Tensor<2> {
    let Shape { batch, seq, heads, kv_heads, head_dim: d, .. } = shape;
    let parts = cpu::map_tasks(batch * heads, |task| {
        let (sequence, h) = (task / heads, task % heads);
        let q = head(q, shape, heads, sequence, h);
        let k = head(k, shape, kv_heads, sequence, h / shape.group());
        let v = head(v, shape, kv_heads, sequence, h / shape.group());
        let mut out = vec![0.0; seq * d];
        let mut weights = vec![0.0; shape.weights_at_work()];
        for start in (0..seq).step_by(BLOCK) {
            let part = Part::new(shape, start);
            let (n, keys) = (part.queries(), part.keys());
            let weights = &mut weights[..n * keys];
            weights_cpu(weights, part.query_rows(q, heads), part.key_rows(k, kv_heads), part);
            let weights = Matrix::rows(weights, n, keys);
            gemm_into(&mut out[start * d..part.end * d], d, weights, part.key_rows(v, kv_heads), false);
        }
        out
    });
    cpu::tensor(join_heads(&parts, shape, heads), [batch * seq, heads * d])
}

/// Heads `[seq, d]`, sequence by sequence, side by side into rows.
#[cfg(feature = "flex")]
fn join_heads(parts: &[Vec<f32>], shape: Shape, heads: usize) -> Vec<f32> {
    let Shape { seq, head_dim: d, .. } = shape;
    let mut out = vec![0.0; parts.len() * seq * d];
    cpu::for_rows(&mut out, heads * d, |first, rows| {
        for (i, row) in rows.chunks_exact_mut(heads * d).enumerate() {
            let (sequence, position) = ((first + i) / seq, (first + i) % seq);
            for (h, out) in row.chunks_exact_mut(d).enumerate() {
                out.copy_from_slice(&parts[sequence * heads + h][position * d..(position + 1) * d]);
            }
        }
    });
    out
}

#[cfg(feature = "flex")]
fn backward_cpu([q, k, v, dy]: [&[f32]; 4], shape: Shape) -> [Tensor<2>; 3] {
    let Shape { batch, seq, heads, kv_heads, head_dim: d, .. } = shape;
    let (group, scale) = (shape.group(), shape.scale());
    // One task a key head: the query heads of its group add to the same keys and values.
    let parts = cpu::map_tasks(batch * kv_heads, |task| {
        let (sequence, kv) = (task / kv_heads, task % kv_heads);
        let k = head(k, shape, kv_heads, sequence, kv);
        let v = head(v, shape, kv_heads, sequence, kv);
        let mut dqs = Vec::with_capacity(group);
        let (mut dk, mut dv) = (vec![0.0; seq * d], vec![0.0; seq * d]);
        let [mut p, mut dp] = [0; 2].map(|_| vec![0.0; shape.weights_at_work()]);
        for h in kv * group..(kv + 1) * group {
            let q = head(q, shape, heads, sequence, h);
            let dy = head(dy, shape, heads, sequence, h);
            let mut dq = vec![0.0; seq * d];
            for start in (0..seq).step_by(BLOCK) {
                let part = Part::new(shape, start);
                let (n, keys) = (part.queries(), part.keys());
                let (q, dy) = (part.query_rows(q, heads), part.query_rows(dy, heads));
                let (k, v) = (part.key_rows(k, kv_heads), part.key_rows(v, kv_heads));
                let (p, dp) = (&mut p[..n * keys], &mut dp[..n * keys]);
                let read = part.first * d..part.end * d;
                weights_cpu(p, q, k, part);
                gemm_into(&mut dv[read.clone()], d, Matrix::rows(p, n, keys).transposed(), dy, true);
                gemm_into(dp, keys, dy, v.transposed(), false);
                cpu::vectorized(
                    #[inline(always)]
                    || {
                        for (p, dp) in p.chunks_exact(keys).zip(dp.chunks_exact_mut(keys)) {
                            let along = super::rms_norm::dot(p, dp);
                            for (p, dp) in p.iter().zip(dp) {
                                *dp = (*dp - along) * p * scale;
                            }
                        }
                    },
                );
                let ds = Matrix::rows(dp, n, keys);
                gemm_into(&mut dq[start * d..part.end * d], d, ds, k, false);
                gemm_into(&mut dk[read], d, ds.transposed(), q, true);
            }
            dqs.push(dq);
        }
        (dqs, dk, dv)
    });
    let (mut dq, mut dk, mut dv) = (Vec::new(), Vec::new(), Vec::new());
    for (queries, keys, values) in parts {
        dq.extend(queries);
        dk.push(keys);
        dv.push(values);
    }
    let n = batch * seq;
    [
        cpu::tensor(join_heads(&dq, shape, heads), [n, heads * d]),
        cpu::tensor(join_heads(&dk, shape, kv_heads), [n, kv_heads * d]),
        cpu::tensor(join_heads(&dv, shape, kv_heads), [n, kv_heads * d]),
    ]
}
