//! Rotary position embedding, and keys and values to their caches.

/// Heads of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads.
    pub kv: usize,
    /// Width of a head.
    pub dim: usize,
    /// Rows of a cache.
    pub capacity: usize,
}

impl Heads {
    /// Columns of queries, keys and values of a token.
    pub fn columns(self) -> usize {
        (self.query + 2 * self.kv) * self.dim
    }
}

/// The buffers of [`super::Compute::rotate`].
pub(super) struct Caches<'a> {
    pub(super) queries: &'a mut [f32],
    pub(super) keys: &'a mut [f32],
    pub(super) values: &'a mut [f32],
}

/// See [`super::Compute::rotate`].
pub(super) fn cpu(qkv: &[f32], table: &[f32], heads: Heads, position: usize, n: usize, to: &mut Caches<'_>) {
    let Heads { query, kv, dim, capacity } = heads;
    let half = dim / 2;
    for (i, row) in qkv.chunks_exact(heads.columns()).take(n).enumerate() {
        let at = position + i;
        let (cos, sin) = table[at * dim..(at + 1) * dim].split_at(half);
        let rotate = |from: &[f32], to: &mut [f32]| {
            for j in 0..half {
                let (a, b) = (from[j], from[j + half]);
                to[j] = a * cos[j] - b * sin[j];
                to[j + half] = b * cos[j] + a * sin[j];
            }
        };
        for (head, from) in row.chunks_exact(dim).enumerate() {
            if head < query {
                let start = (i * query + head) * dim;
                rotate(from, &mut to.queries[start..start + dim]);
            } else if head < query + kv {
                let start = ((head - query) * capacity + at) * dim;
                rotate(from, &mut to.keys[start..start + dim]);
            } else {
                let start = ((head - query - kv) * capacity + at) * dim;
                to.values[start..start + dim].copy_from_slice(from);
            }
        }
    }
}

#[cfg(feature = "cubecl")]
pub(super) mod gpu {
    use super::Heads;
    use cubecl::prelude::*;

    /// One unit a pair of columns.
    #[cube(launch_unchecked)]
    pub(crate) fn kernel(
        qkv: &[f32],
        table: &[f32],
        queries: &mut [f32],
        keys: &mut [f32],
        values: &mut [f32],
        position: u32,
        #[comptime] heads: Heads,
        #[comptime] n: usize,
    ) {
        let half = comptime!(heads.dim / 2);
        let dim = comptime!(heads.dim);
        let pairs = comptime!(heads.columns() / 2);
        if ABSOLUTE_POS < comptime!(n * pairs) {
            let token = ABSOLUTE_POS / pairs;
            let pair = ABSOLUTE_POS % pairs;
            let head = pair / half;
            let column = pair % half;
            let at = usize::cast_from(position) + token;
            let from = token * comptime!(heads.columns()) + head * dim + column;
            let a = qkv[from];
            let b = qkv[from + half];
            let cos = table[at * dim + column];
            let sin = table[at * dim + half + column];
            if head < comptime!(heads.query) {
                let to = (token * comptime!(heads.query) + head) * dim + column;
                queries[to] = a * cos - b * sin;
                queries[to + half] = b * cos + a * sin;
            } else if head < comptime!(heads.query + heads.kv) {
                let to = ((head - comptime!(heads.query)) * comptime!(heads.capacity) + at) * dim + column;
                keys[to] = a * cos - b * sin;
                keys[to + half] = b * cos + a * sin;
            } else {
                let to = ((head - comptime!(heads.query + heads.kv)) * comptime!(heads.capacity) + at) * dim
                    + column;
                values[to] = a;
                values[to + half] = b;
            }
        }
    }
}
