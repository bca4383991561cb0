//! The operations of decoding: one sequence, a few tokens at a time, weights packed in 32-bit words.
//!
//! [`Compute`] is what a device does. [`Cpu`] is the plain form, the reference, and what a browser without WebGPU runs;
//! `Gpu` (feature `cubecl`) does the same by kernels of our own. All buffers are 32-bit words; what is a float is its
//! bits. Arithmetic is f32, so that adapters without `shader-f16` do the same as others.
//!
//! Every operation takes its shapes with it, so that on a GPU they are constants of the compiled kernel: a model's
//! handful of shapes compiles once, and nothing is tuned while tokens come.

mod attention;
mod code;
mod cpu;
mod embedding;
#[cfg(feature = "cubecl")]
mod gpu;
mod norm;
mod product;
mod rotary;
mod statistics;
mod switch;

pub use attention::Attention;
pub use cpu::Cpu;
#[cfg(feature = "cubecl")]
pub use gpu::Gpu;
pub use product::{Place, Product};
pub use rotary::Heads;
pub use statistics::{Candidates, STATISTICS_WORDS, TOP};
pub use switch::Codes;

use codingspot_pack::Encoding;
use std::fmt::Debug;
use std::future::Future;

/// Tokens that go through the model at once, at most.
pub const MAX_ROWS: usize = 8;

/// A device that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the device failed: {0}")]
pub struct ComputeError(pub String);

/// A matrix, or a band of one, on a device.
#[derive(Debug)]
pub struct PackedMatrix<B> {
    /// How its elements are held.
    pub encoding: Encoding,
    /// Rows: outputs of a product.
    pub rows: usize,
    /// Columns: inputs of a product.
    pub cols: usize,
    /// Elements, row-major.
    pub words: B,
    /// Scales of blocks; one word that is not read where the encoding has none.
    pub scales: B,
}

/// What a device does. Calls on one device happen in order; only [`Self::read`] waits.
pub trait Compute {
    /// 32-bit words on the device.
    type Buffer: Debug;

    /// A buffer of these words.
    fn upload(&self, words: &[u32]) -> Self::Buffer;

    /// A buffer of `len` words whose content is anything.
    fn reserve(&self, len: usize) -> Self::Buffer;

    /// Overwrites words from `at` on.
    fn write(&self, buffer: &Self::Buffer, at: usize, words: &[u32]);

    /// The words of a buffer as all calls so far left them. The copy is ordered at the call, not at the first poll.
    ///
    /// # Errors
    /// [`ComputeError`] when the device failed, now or in a call before.
    fn read(&self, buffer: &Self::Buffer) -> impl Future<Output = Result<Vec<u32>, ComputeError>> + use<Self>
    where
        Self: Sized;

    /// Starts what was asked for so far, without waiting.
    fn flush(&self);

    /// Rows of a band of the embedding, `[tokens, cols]` f32, for those of the first `n` tokens that lie in the band,
    /// whose first row is `first_row`; others' rows are left.
    fn embed(
        &self,
        band: &PackedMatrix<Self::Buffer>,
        first_row: usize,
        tokens: &Self::Buffer,
        n: usize,
        out: &Self::Buffer,
    );

    /// `out = x / √(mean(x²) + ε) ⊙ gain` over `n` rows of `width`.
    fn norm(
        &self,
        x: &Self::Buffer,
        gain: &Self::Buffer,
        eps: f32,
        n: usize,
        width: usize,
        out: &Self::Buffer,
    );

    /// `x · matrixᵀ` of `n` rows, as `product` says.
    fn product(
        &self,
        matrix: &PackedMatrix<Self::Buffer>,
        bias: Option<&Self::Buffer>,
        x: &Self::Buffer,
        product: Product,
        out: &Self::Buffer,
    );

    /// Rotates queries and keys of `qkv` (`[n, (query_heads + 2·kv_heads)·head_dim]`): queries to `queries`
    /// (`[n, query_heads·head_dim]`), keys and values to rows `position..position + n` of a layer's caches
    /// (`[kv_heads, capacity, head_dim]`). `table` has, for each position, `head_dim/2` cosines and as many sines.
    #[expect(clippy::too_many_arguments, reason = "the buffers that the operation touches")]
    fn rotate(
        &self,
        qkv: &Self::Buffer,
        table: &Self::Buffer,
        heads: Heads,
        position: usize,
        n: usize,
        queries: &Self::Buffer,
        keys: &Self::Buffer,
        values: &Self::Buffer,
    );

    /// Attention of `n` queries at positions `position..` over the caches; `[n, query_heads·head_dim]`.
    fn attend(
        &self,
        queries: &Self::Buffer,
        keys: &Self::Buffer,
        values: &Self::Buffer,
        attention: Attention,
        out: &Self::Buffer,
    );

    /// Of each of `n` rows of logits `[n, width]`: [`STATISTICS_WORDS`] words of [`Candidates`]. `targets` has a token
    /// for each row, or [`u32::MAX`]. The first row's likeliest token is put into `next` too.
    fn statistics(
        &self,
        logits: &Self::Buffer,
        n: usize,
        width: usize,
        targets: &Self::Buffer,
        next: &Self::Buffer,
        out: &Self::Buffer,
    );

    /// The codes of the elements at `offsets` (from element `codes.base` on), each in a word of its own.
    fn gather(&self, words: &Self::Buffer, codes: Codes, offsets: &Self::Buffer, out: &Self::Buffer);

    /// Exclusive-ors codes `range` of `values` into the elements at the same range of `offsets`: off what was on, and on
    /// again, bit for bit, what was off. Offsets are unique.
    fn toggle(
        &self,
        words: &Self::Buffer,
        codes: Codes,
        offsets: &Self::Buffer,
        values: &Self::Buffer,
        range: std::ops::Range<usize>,
    );
}
