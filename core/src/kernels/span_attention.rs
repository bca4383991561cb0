//! Causal grouped-query attention of many sequences at once over one store of keys and values.
//!
//! The store is a matrix of rows, `[rows, kv_heads · head_dim]`. A [`Segment`] is a run of neighbouring
//! tokens of one sequence; where the keys before it lie is a list of ranges of rows, so that sequences share
//! the rows of what they have in common, nothing is padded, and nothing moves when sequences come and go
//! (paged attention, Kwon et al. 2023; prefixes as in `RadixAttention`, Zheng et al. 2024).
//!
//! On the CPU what a query gives depends on the query, its keys and values alone, to the bit: not on how
//! its sequence is cut into segments, nor on what else runs beside it.

#[cfg(feature = "flex")]
use super::cpu::{self, CpuTensor};
#[cfg(feature = "flex")]
use super::matmul::{Matrix, gemm_into};
use burn::tensor::{DType, Device, IndexingUpdateOp, Int, Tensor, TensorData, activation::softmax};
use std::cell::OnceCell;
use std::ops::Range;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; query head `h` reads key head `h · kv_heads / heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Keys that a query sees, its own included; `None`: all of them. At least 1.
    pub window: Option<usize>,
}

impl SpanShape {
    fn group(self) -> usize {
        self.heads / self.kv_heads
    }

    fn scale(self) -> f32 {
        (self.head_dim as f32).sqrt().recip()
    }

    /// First key that the query at position `at` sees.
    fn first_key(self, at: usize) -> usize {
        self.window.map_or(0, |window| (at + 1).saturating_sub(window))
    }
}

/// Neighbouring tokens of one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// How many tokens.
    pub len: usize,
    /// Rows of the store that hold what comes before, in order of position.
    pub past: Vec<Range<usize>>,
    /// Rows of the store that hold its own keys and values begin here; token `i` sees `0..=i` of them.
    pub own: usize,
}

impl Segment {
    /// Tokens before it.
    pub fn start(&self) -> usize {
        self.past.iter().map(ExactSizeIterator::len).sum()
    }

    /// Ranges of the rows of all of its keys, in order.
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.past.iter().cloned().chain([self.own..self.own + self.len])
    }
}

/// What a masked score gets added: its weight is exactly 0 in f32, and it is finite, because WGSL promises
/// nothing about infinities.
const MASKED: f32 = -1e9;
/// On GPUs keys are a multiple of this, so that few shapes occur.
const KEY_MULTIPLE: usize = 64;

/// How a pass came about. On the CPU it decides how sums are made, so that it must not be read off a
/// segment, whose length another cut would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassKind {
    /// Many tokens a sequence.
    Prefill,
    /// One token a sequence.
    Decode,
}

/// Where the queries of a pass find their keys; made once for all layers.
#[derive(Debug)]
pub struct SpanAttention {
    segments: Vec<Segment>,
    shape: SpanShape,
    kind: PassKind,
    /// Queries, rows without a segment at the end included.
    rows: usize,
    /// What the composed form needs, made when it is needed first.
    composed: OnceCell<Composed>,
}

/// Keys gathered for groups of queries.
#[derive(Debug)]
struct Composed {
    groups: usize,
    queries: usize,
    keys: usize,
    /// `[groups · keys]`.
    index: Tensor<1, Int>,
    /// `[groups, 1, queries, keys]`.
    mask: Tensor<4>,
}

impl SpanAttention {
    /// For queries of `segments`, one after the other, and rows up to `rows` in all that have no meaning.
    pub fn new(segments: Vec<Segment>, shape: SpanShape, rows: usize, kind: PassKind) -> Self {
        debug_assert!(kind == PassKind::Prefill || segments.iter().all(|segment| segment.len == 1));
        Self { segments, shape, kind, rows, composed: OnceCell::new() }
    }

    /// `softmax(q·kᵀ / √d, causal, in the window) · v`: queries `[rows, heads · d]`, and the store's keys and values
    /// `[store rows, kv_heads · d]` → `[rows, heads · d]`. Rows without a segment come out finite, without
    /// a meaning.
    pub fn forward(&self, q: &Tensor<2>, keys: &Tensor<2>, values: &Tensor<2>) -> Tensor<2> {
        #[cfg(feature = "flex")]
        if let (Some(q), Some(keys), Some(values)) =
            (CpuTensor::view(q), CpuTensor::view(keys), CpuTensor::view(values))
        {
            return self.forward_cpu(q.as_slice(), keys.as_slice(), values.as_slice());
        }
        self.forward_reference(q, keys, values)
    }

    /// [`Self::forward`] composed of burn's operations.
    pub fn forward_reference(&self, q: &Tensor<2>, keys: &Tensor<2>, values: &Tensor<2>) -> Tensor<2> {
        let composed = self.composed.get_or_init(|| {
            let (groups, queries, lists, mask) = match self.kind {
                PassKind::Decode => each_alone(&self.segments, self.shape, self.rows),
                PassKind::Prefill => all_together(&self.segments, self.shape, self.rows),
            };
            Composed::new(groups, queries, lists, mask, &q.device())
        });
        composed.forward(q, keys, values, self.shape)
    }
}

/// Groups, queries of each, rows of the keys of each, and what their scores get added.
type Gathering = (usize, usize, Vec<usize>, Vec<f32>);

/// Every query with its own keys.
fn each_alone(segments: &[Segment], shape: SpanShape, rows: usize) -> Gathering {
    let longest = segments.iter().map(|segment| segment.start() + 1).max().unwrap_or(1);
    let keys = longest.next_multiple_of(KEY_MULTIPLE);
    let (mut lists, mut mask) = (Vec::with_capacity(rows * keys), Vec::with_capacity(rows * keys));
    for segment in segments {
        let seen = shape.first_key(segment.start())..=segment.start();
        lists.extend(segment.ranges().flatten());
        lists.resize(lists.len().next_multiple_of(keys), segment.own);
        mask.extend((0..keys).map(|key| if seen.contains(&key) { 0.0 } else { MASKED }));
    }
    lists.resize(rows * keys, 0);
    mask.resize(rows * keys, MASKED);
    (rows, 1, lists, mask)
}

/// All queries with the keys of all.
fn all_together(segments: &[Segment], shape: SpanShape, rows: usize) -> Gathering {
    let mut list: Vec<usize> = segments.iter().flat_map(Segment::ranges).flatten().collect();
    list.sort_unstable();
    list.dedup();
    let keys = list.len().next_multiple_of(KEY_MULTIPLE).max(KEY_MULTIPLE);
    let mut mask = vec![MASKED; rows * keys];
    let mut query = 0;
    for segment in segments {
        let columns: Vec<usize> = segment
            .ranges()
            .flatten()
            .map(|row| list.binary_search(&row).expect("every row is in the list"))
            .collect();
        for i in 0..segment.len {
            let at = segment.start() + i;
            let row = &mut mask[query * keys..(query + 1) * keys];
            columns[shape.first_key(at)..=at].iter().for_each(|&column| row[column] = 0.0);
            query += 1;
        }
    }
    list.resize(keys, 0);
    (1, rows, list, mask)
}

impl Composed {
    fn new(groups: usize, queries: usize, lists: Vec<usize>, mask: Vec<f32>, device: &Device) -> Self {
        let keys = lists.len() / groups;
        let index: Vec<i32> = lists
            .into_iter()
            .map(|row| i32::try_from(row).expect("rows of a store are below 2^31"))
            .collect();
        Self {
            groups,
            queries,
            keys,
            index: Tensor::from_data(TensorData::from(index.as_slice()), device),
            mask: Tensor::from_data(TensorData::new(mask, [groups, 1, queries, keys]), (device, DType::F32)),
        }
    }

    fn forward(&self, q: &Tensor<2>, keys: &Tensor<2>, values: &Tensor<2>, shape: SpanShape) -> Tensor<2> {
        let SpanShape { heads, kv_heads, head_dim: d, .. } = shape;
        let Self { groups, queries, keys: n, .. } = *self;
        let group = shape.group();
        let gather = |store: &Tensor<2>| {
            let rows = store.clone().select(0, self.index.clone());
            rows.reshape([groups, n, kv_heads, d]).swap_dims(1, 2)
        };
        // The heads of a group lie one below the other, so that keys are never repeated.
        let q = (q.clone() * shape.scale()).reshape([groups, queries, heads, d]).swap_dims(1, 2).reshape([
            groups,
            kv_heads,
            group * queries,
            d,
        ]);
        let scores = q.matmul(gather(keys).transpose()).reshape([groups, heads, queries, n]);
        let weights = softmax(scores + self.mask.clone(), 3).reshape([groups, kv_heads, group * queries, n]);
        weights
            .matmul(gather(values))
            .reshape([groups, heads, queries, d])
            .swap_dims(1, 2)
            .reshape([groups * queries, heads * d])
    }
}

/// Queries of all heads of a group that are worked on at once.
#[cfg(feature = "flex")]
const BLOCK: usize = 64;
/// Products of fewer rows, columns or terms take other paths, which add in another order: there are never
/// fewer rows than this,
#[cfg(feature = "flex")]
const MIN_ROWS: usize = 16;
/// and keys are a multiple of this, those at the end weighing nothing.
#[cfg(feature = "flex")]
const KEY_BLOCK: usize = 32;
/// Values are added up by as many keys as the product adds in one go.
#[cfg(feature = "flex")]
const KEY_CHUNK: usize = 512;

#[cfg(feature = "flex")]
impl SpanAttention {
    fn forward_cpu(&self, q: &[f32], keys: &[f32], values: &[f32]) -> Tensor<2> {
        let SpanShape { heads, kv_heads, head_dim: d, .. } = self.shape;
        let group = self.shape.group();
        let (segments, shape, kind) = (&self.segments, self.shape, self.kind);
        let starts: Vec<usize> = segments
            .iter()
            .scan(0, |next, segment| {
                let start = *next;
                *next += segment.len;
                Some(start)
            })
            .collect();
        let parts = cpu::map_tasks(segments.len() * kv_heads, |task| {
            let (number, kv) = (task / kv_heads, task % kv_heads);
            let segment = &segments[number];
            let store = Store { keys, values, stride: kv_heads * d, at: kv * d, d };
            let q = &q[starts[number] * heads * d..(starts[number] + segment.len) * heads * d];
            let q = Queries { values: q, stride: heads * d, at: kv * group * d, group };
            match kind {
                PassKind::Decode => decode_cpu(q, store, segment, shape),
                PassKind::Prefill => prefill_cpu(q, store, segment, shape),
            }
        });
        let mut out = vec![0.0; self.rows * heads * d];
        for (number, (segment, start)) in segments.iter().zip(starts).enumerate() {
            for kv in 0..kv_heads {
                // `[len, group · d]`.
                let part = parts[number * kv_heads + kv].chunks_exact(group * d);
                for (i, part) in (start..start + segment.len).zip(part) {
                    let at = i * heads * d + kv * group * d;
                    out[at..at + group * d].copy_from_slice(part);
                }
            }
        }
        cpu::tensor(out, [self.rows, heads * d])
    }
}

/// Keys and values of one head in the store.
#[cfg(feature = "flex")]
#[derive(Clone, Copy)]
struct Store<'a> {
    keys: &'a [f32],
    values: &'a [f32],
    stride: usize,
    at: usize,
    d: usize,
}

#[cfg(feature = "flex")]
impl<'a> Store<'a> {
    fn row(self, of: &'a [f32], row: usize) -> &'a [f32] {
        let at = row * self.stride + self.at;
        &of[at..at + self.d]
    }

    /// Rows of a segment's keys or values side by side, and zeros up to `rows`.
    fn gather(self, of: &[f32], segment: &Segment, rows: usize) -> Vec<f32> {
        let mut gathered = Vec::with_capacity(rows * self.d);
        for row in segment.ranges().flatten() {
            let at = row * self.stride + self.at;
            gathered.extend_from_slice(&of[at..at + self.d]);
        }
        gathered.resize(rows * self.d, 0.0);
        gathered
    }
}

/// Queries of the heads that read one key head.
#[cfg(feature = "flex")]
#[derive(Clone, Copy)]
struct Queries<'a> {
    values: &'a [f32],
    stride: usize,
    at: usize,
    group: usize,
}

#[cfg(feature = "flex")]
impl<'a> Queries<'a> {
    fn head(self, i: usize, head: usize, d: usize) -> &'a [f32] {
        let at = i * self.stride + self.at + head * d;
        &self.values[at..at + d]
    }
}

/// One segment and key head: `[len, group · d]`. Products are cut at keys that do not depend on the segment,
/// and never have fewer rows or columns than the product's main path takes.
#[cfg(feature = "flex")]
fn prefill_cpu(q: Queries<'_>, store: Store<'_>, segment: &Segment, shape: SpanShape) -> Vec<f32> {
    let (d, group, past) = (store.d, q.group, segment.start());
    let all = past + segment.len;
    let all = all.next_multiple_of(KEY_BLOCK);
    let keys = store.gather(store.keys, segment, all);
    let values = store.gather(store.values, segment, all);
    let mut out = vec![0.0; segment.len * group * d];
    let len = (BLOCK / group).max(1);
    let rows = (len.min(segment.len) * group).max(MIN_ROWS);
    let mut stacked = vec![0.0; rows * d];
    let mut scores = vec![0.0; rows * all];
    let mut mixed = vec![0.0; rows * d];
    for start in (0..segment.len).step_by(len) {
        let end = (start + len).min(segment.len);
        let count = (end - start) * group;
        for head in 0..group {
            for i in start..end {
                let row = head * (end - start) + i - start;
                stacked[row * d..(row + 1) * d].copy_from_slice(q.head(i, head, d));
            }
        }
        let seen = past + end;
        let width = seen.next_multiple_of(KEY_BLOCK);
        let scores = &mut scores[..rows * width];
        gemm_into(
            scores,
            width,
            Matrix::rows(&stacked, rows, d),
            Matrix::rows(&keys, width, d).transposed(),
            false,
        );
        cpu::vectorized(
            #[inline(always)]
            || {
                for (row, scores) in scores.chunks_exact_mut(width).take(count).enumerate() {
                    let at = past + start + row % (end - start);
                    let first = shape.first_key(at);
                    cpu::softmax(&mut scores[first..=at], shape.scale());
                    scores[..first].fill(0.0);
                    scores[at + 1..].fill(0.0);
                }
            },
        );
        for first in (0..width).step_by(KEY_CHUNK) {
            let chunk = KEY_CHUNK.min(width - first);
            let weights = Matrix::strided(&scores[first..], rows, chunk, width);
            let values = Matrix::rows(&values[first * d..], chunk, d);
            gemm_into(&mut mixed, d, weights, values, first > 0);
        }
        for head in 0..group {
            for i in start..end {
                let row = head * (end - start) + i - start;
                let to = (i * group + head) * d;
                out[to..to + d].copy_from_slice(&mixed[row * d..(row + 1) * d]);
            }
        }
    }
    out
}

/// `Σ aᵢ·bᵢ`, its sixteen running sums added up in pairs, which takes a quarter of the time.
#[cfg(feature = "flex")]
#[inline(always)]
#[expect(clippy::inline_always, reason = "it has to become part of the caller's vectorised loop")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (mut sums, rest) = cpu::running_products(a, b);
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
    }
    sums[0] + rest
}

/// As [`prefill_cpu`] for a segment of one token, without copies of keys and values.
#[cfg(feature = "flex")]
fn decode_cpu(q: Queries<'_>, store: Store<'_>, segment: &Segment, shape: SpanShape) -> Vec<f32> {
    let (d, at) = (store.d, segment.start());
    let first = shape.first_key(at);
    let rows: Vec<usize> = segment.ranges().flatten().skip(first).collect();
    let mut out = vec![0.0; q.group * d];
    let mut weights = vec![0.0; rows.len()];
    cpu::vectorized(
        #[inline(always)]
        || {
            for (head, out) in out.chunks_exact_mut(d).enumerate() {
                let query = q.head(0, head, d);
                for (weight, &row) in weights.iter_mut().zip(&rows) {
                    *weight = dot(query, store.row(store.keys, row));
                }
                cpu::softmax(&mut weights, shape.scale());
                for (&weight, &row) in weights.iter().zip(&rows) {
                    for (out, value) in out.iter_mut().zip(store.row(store.values, row)) {
                        *out += weight * value;
                    }
                }
            }
        },
    );
    out
}

/// Writes the first rows of `values`, `[≥ rows.len(), width]`, into `rows` of `store`, `[store rows, width]`, in place
/// where nothing else holds it.
pub fn store_rows(store: Tensor<2>, rows: &[usize], values: &Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    let [_, width] = store.dims();
    #[cfg(feature = "flex")]
    let store = match (CpuTensor::take(store), CpuTensor::view(values)) {
        (Ok(mut store), Some(values)) => {
            let (to, from) = (store.as_mut_slice(), values.as_slice());
            for (row, from) in rows.iter().zip(from.chunks_exact(width)) {
                to[row * width..(row + 1) * width].copy_from_slice(from);
            }
            return store.into_tensor();
        }
        (Ok(store), None) => store.into_tensor(),
        (Err(store), _) => store,
    };
    store_rows_reference(store, rows, values)
}

/// [`store_rows`] composed of burn's operations.
pub fn store_rows_reference(store: Tensor<2>, rows: &[usize], values: &Tensor<2>) -> Tensor<2> {
    let [_, width] = store.dims();
    let Some(&first) = rows.first() else { return store };
    let values = values.clone().narrow(0, 0, rows.len());
    if rows.iter().copied().eq(first..first + rows.len()) {
        return store.slice_assign([first..first + rows.len(), 0..width], values);
    }
    let index: Vec<i32> =
        rows.iter().map(|&row| i32::try_from(row).expect("rows of a store are below 2^31")).collect();
    let index = Tensor::<2, Int>::from_data(TensorData::new(index, [rows.len(), 1]), &store.device());
    store.scatter_nd(index, values, IndexingUpdateOp::Assign)
}

/// Copies `rows` of `store` to as many rows from `to` on, which lie before all of them.
pub fn move_rows(store: Tensor<2>, rows: &Range<usize>, to: usize) -> Tensor<2> {
    let [_, width] = store.dims();
    debug_assert!(to + rows.len() <= rows.start, "rows move to where nothing of them lies");
    #[cfg(feature = "flex")]
    let store = match CpuTensor::take(store) {
        Ok(mut store) => {
            let range = rows.start * width..rows.end * width;
            store.as_mut_slice().copy_within(range, to * width);
            return store.into_tensor();
        }
        Err(store) => store,
    };
    let moved = store.clone().narrow(0, rows.start, rows.len());
    store.slice_assign([to..to + rows.len(), 0..width], moved)
}
