//! One pass of tokens of any sequences.

use super::KvStore;
use crate::kernels::span_attention::{PassKind, Segment, SpanAttention};
use crate::kernels::{bias, matmul, rotary, swiglu};
use crate::llama::{Attention, ForwardError, Llama, check_tokens};
use burn::tensor::{Int, Tensor, TensorData};
use std::ops::Range;

/// Rows of a pass are filled up to a multiple of this: on a GPU every new shape costs a compilation.
const ROW_MULTIPLE: usize = 32;
/// Products of no more elements than this take another path on the CPU, which adds in another order: there are always
/// more.
const SMALL_PRODUCT: usize = 256;

/// Tokens of any sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenPass {
    /// Whether sequences have one token each or many.
    pub(super) kind: PassKind,
    /// The tokens, segment by segment.
    pub(super) tokens: Vec<u32>,
    /// Which of them are neighbours, and what comes before them.
    pub(super) segments: Vec<Segment>,
}

impl TokenPass {
    /// Without tokens yet.
    pub(super) fn new(kind: PassKind) -> Self {
        Self { kind, tokens: Vec::new(), segments: Vec::new() }
    }

    /// Adds neighbouring tokens of a sequence: what comes before them lies in rows `past` of the store, their own keys
    /// and values go to rows `own..own + tokens.len()`.
    pub(super) fn push(&mut self, tokens: &[u32], past: Vec<Range<usize>>, own: usize) {
        self.tokens.extend_from_slice(tokens);
        self.segments.push(Segment { len: tokens.len(), past, own });
    }

    /// Position of every token in its sequence.
    fn positions(&self) -> Vec<usize> {
        let of = |segment: &Segment| segment.start()..segment.start() + segment.len;
        self.segments.iter().flat_map(of).collect()
    }

    /// Row of the store of every token.
    fn rows(&self) -> Vec<usize> {
        self.segments.iter().flat_map(|segment| segment.own..segment.own + segment.len).collect()
    }
}

/// `n` rows of products that are at least `width` wide, filled up.
fn padded(n: usize, width: usize) -> usize {
    n.max(SMALL_PRODUCT / width + 1).next_multiple_of(ROW_MULTIPLE)
}

/// Last hidden states `[≥ tokens, hidden]` after the final norm, of the pass's tokens in order; rows beyond them have no
/// meaning. Keys and values go into the store.
///
/// # Errors
/// [`ForwardError`] when a token is outside the vocabulary or a position beyond the store's.
///
/// # Panics
/// When a row is beyond the store's.
pub(super) fn run(model: &Llama, pass: &TokenPass, store: &mut KvStore) -> Result<Tensor<2>, ForwardError> {
    if pass.tokens.is_empty() {
        return Err(ForwardError::Empty);
    }
    for segment in &pass.segments {
        let found = segment.start() + segment.len;
        let limit = store.positions().min(model.config().max_position_embeddings);
        if found > limit {
            return Err(ForwardError::TooLong { found, limit });
        }
    }
    // A pass is longer than a context may be, so tokens are checked one sequence at a time.
    let mut rest = &*pass.tokens;
    for segment in &pass.segments {
        let (tokens, after) = rest.split_at(segment.len);
        check_tokens(model.config(), &[tokens])?;
        rest = after;
    }
    let config = model.config();
    let n = padded(pass.tokens.len(), config.num_key_value_heads * config.head_dim);
    let (mut tokens, mut positions) = (pass.tokens.clone(), pass.positions());
    tokens.resize(n, 0);
    positions.resize(n, 0);
    let rope = store.rope().at(&positions);
    let rows = pass.rows();
    let attention = SpanAttention::new(pass.segments.clone(), store.shape(), n, pass.kind);
    let mut x = model.embed_tokens.lookup(&tokens, model.device());
    for (layer, block) in model.layers.iter().enumerate() {
        let normed = block.input_layernorm.rows(&x);
        let Attention { q_proj, k_proj, v_proj, o_proj, biases } = &block.self_attn;
        let project = |weight, added| bias::add(matmul::product_nt(&normed, weight), added);
        let q = rotary::forward(project(q_proj, biases.q.as_ref()), rope.angles(n));
        let k = rotary::forward(project(k_proj, biases.k.as_ref()), rope.angles(n));
        let v = project(v_proj, biases.v.as_ref());
        let (keys, values) = store.write(layer, &rows, &k, &v);
        let mixed = attention.forward(&q, keys, values);
        let middle = bias::add(matmul::add_product_nt(&x, &mixed, o_proj), biases.o.as_ref());
        let normed = block.post_attention_layernorm.rows(&middle);
        let gate = matmul::product_nt(&normed, &block.mlp.gate_proj);
        let up = matmul::product_nt(&normed, &block.mlp.up_proj);
        let inner = swiglu::forward(&gate, &up);
        x = matmul::add_product_nt(&middle, &inner, &block.mlp.down_proj);
    }
    Ok(model.norm.rows(&x))
}

/// Rows `rows` of `hidden` `[n, hidden]`, filled up to read `vocabulary` logits of each.
pub(super) fn rows_of(hidden: &Tensor<2>, rows: &[usize], vocabulary: usize) -> Tensor<2> {
    let mut index: Vec<i32> =
        rows.iter().map(|&row| i32::try_from(row).expect("a pass has fewer than 2^31 rows")).collect();
    index.resize(padded(rows.len(), vocabulary), 0);
    let index = Tensor::<1, Int>::from_data(TensorData::from(index.as_slice()), &hidden.device());
    hidden.clone().select(0, index)
}
