//! Attention of a few queries over the caches.

use super::Heads;

/// What attends to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    /// Heads.
    pub heads: Heads,
    /// Position of the first query; a query sees keys up to its own position.
    pub position: usize,
    /// Queries.
    pub n: usize,
    /// How many keys back a query sees, its own among them.
    pub window: Option<usize>,
}

/// See [`super::Compute::attend`].
pub(super) fn cpu(queries: &[f32], keys: &[f32], values: &[f32], attention: Attention, out: &mut [f32]) {
    let Attention { heads: Heads { query, kv, dim, capacity }, position, n, window } = attention;
    let scale = 1.0 / (dim as f32).sqrt();
    let mut weights = Vec::new();
    for i in 0..n {
        let last = position + i;
        let first = window.map_or(0, |window| (last + 1).saturating_sub(window));
        for head in 0..query {
            let base = head / (query / kv) * capacity;
            let row = |cache: usize| (base + cache) * dim..(base + cache + 1) * dim;
            let at = (i * query + head) * dim;
            let q = &queries[at..at + dim];
            weights.clear();
            weights.extend((first..=last).map(|t| {
                let dot: f32 = q.iter().zip(&keys[row(t)]).map(|(q, k)| q * k).sum();
                dot * scale
            }));
            let max = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for weight in &mut weights {
                *weight = (*weight - max).exp();
                sum += *weight;
            }
            let out = &mut out[at..at + dim];
            out.fill(0.0);
            for (weight, t) in weights.iter().zip(first..) {
                for (out, v) in out.iter_mut().zip(&values[row(t)]) {
                    *out += weight / sum * v;
                }
            }
        }
    }
}

#[cfg(feature = "cubecl")]
pub(super) mod gpu {
    use super::Heads;
    use cubecl::prelude::*;

    /// One cube a head of a query; its units share out first the keys, then the columns of the values. Softmax by
    /// chunks of as many keys as there are units, with a running maximum.
    #[cube(launch_unchecked)]
    pub(crate) fn kernel(
        queries: &[f32],
        keys: &[f32],
        values: &[f32],
        out: &mut [f32],
        position: u32,
        #[comptime] heads: Heads,
        #[comptime] window: u32,
        #[comptime] units: usize,
    ) {
        let scale = comptime!(1.0 / (heads.dim as f32).sqrt());
        let dim = comptime!(heads.dim);
        let columns = comptime!(heads.dim.div_ceil(units));
        let unit = UNIT_POS_X as usize;
        let head = CUBE_POS_X as usize;
        let token = CUBE_POS_Y as usize;
        let at = (token * comptime!(heads.query) + head) * dim;
        let cache = head / comptime!(heads.query / heads.kv) * comptime!(heads.capacity);

        let mut query = Shared::<[f32]>::new_slice(dim);
        let mut scores = Shared::<[f32]>::new_slice(units);
        let mut weights = Shared::<[f32]>::new_slice(units);
        #[unroll]
        for c in 0..columns {
            let column = unit + c * units;
            if column < dim {
                query[column] = queries[at + column] * scale;
            }
        }
        let end = usize::cast_from(position) + token + 1;
        let mut start = 0usize;
        if comptime!(window != u32::MAX) {
            if end > comptime!(window as usize) {
                start = end - comptime!(window as usize);
            }
        }
        let mut max = f32::new(-1.0e30f32);
        let mut sum = 0.0f32;
        let mut mixed = Array::<f32>::new(columns);
        #[unroll]
        for c in 0..columns {
            mixed[c] = 0.0f32;
        }
        // The same for all cubes' units, so that barriers are reached by all: queries see at most `n` keys more.
        let chunks = (end - start).div_ceil(units);
        for chunk in 0..chunks {
            let first = start + chunk * units;
            let key = first + unit;
            sync_cube();
            let mut score = f32::new(-1.0e30f32);
            if key < end {
                score = 0.0f32;
                let row = (cache + key) * dim;
                for d in 0..dim {
                    score += query[d] * keys[row + d];
                }
            }
            scores[unit] = score;
            sync_cube();
            let mut highest = max;
            for other in 0..units {
                highest = select(scores[other] > highest, scores[other], highest);
            }
            let correction = (max - highest).exp();
            max = highest;
            let mut weight = 0.0f32;
            if key < end {
                weight = (score - max).exp();
            }
            weights[unit] = weight;
            sync_cube();
            sum = sum * correction;
            let rows = select(end - first > units, units, end - first);
            #[unroll]
            for c in 0..columns {
                mixed[c] = mixed[c] * correction;
            }
            for other in 0..rows {
                let weight = weights[other];
                sum += weight;
                let row = (cache + first + other) * dim;
                #[unroll]
                for c in 0..columns {
                    let column = unit + c * units;
                    if column < dim {
                        mixed[c] += weight * values[row + column];
                    }
                }
            }
        }
        #[unroll]
        for c in 0..columns {
            let column = unit + c * units;
            if column < dim {
                out[at + column] = mixed[c] / sum;
            }
        }
    }
}
