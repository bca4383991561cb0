//! The product of a few rows with a packed matrix, decoded as it is read.

use super::PackedMatrix;
use std::cell::RefCell;

/// Where a product's columns go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Columns of a row of the output.
    pub stride: usize,
    /// The output's column that is the matrix's row 0.
    pub column: usize,
}

/// Which product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Product {
    /// Rows of `x`.
    pub n: usize,
    /// The matrix is a gate's rows and then as many of what it gates: `silu(gate·x) ⊙ (up·x)` comes out.
    pub gated: bool,
    /// Add to what the output has, instead of overwriting it.
    pub add: bool,
    /// Where it goes.
    pub place: Place,
}

/// Rows that the CPU form decodes at once: one row of weights meets all rows of `x`.
pub(super) fn cpu(
    matrix: &PackedMatrix<RefCell<Vec<u32>>>,
    bias: Option<&[f32]>,
    x: &[f32],
    product: Product,
    out: &mut [f32],
) {
    let PackedMatrix { encoding, rows, cols, .. } = *matrix;
    let (words, scales) = (matrix.words.borrow(), matrix.scales.borrow());
    let (row_words, row_blocks) = (cols / encoding.per_word(), cols / 32);
    let mut weights = vec![0.0; cols];
    let mut dots = |row: usize, dots: &mut [f32; super::MAX_ROWS]| {
        let scale = |block: usize| codingspot_pack::scale(&scales, row * row_blocks + block);
        super::cpu::numbers(&words[row * row_words..(row + 1) * row_words], encoding, scale, &mut weights);
        for (dot, x) in dots.iter_mut().zip(x.chunks_exact(cols)).take(product.n) {
            *dot = super::cpu::dot(&weights, x) + bias.map_or(0.0, |bias| bias[row]);
        }
    };
    let outputs = if product.gated { rows / 2 } else { rows };
    let (mut first, mut second) = ([0.0; super::MAX_ROWS], [0.0; super::MAX_ROWS]);
    for row in 0..outputs {
        dots(row, &mut first);
        if product.gated {
            dots(row + outputs, &mut second);
        }
        for i in 0..product.n {
            let value =
                if product.gated { first[i] / (1.0 + (-first[i]).exp()) * second[i] } else { first[i] };
            let out = &mut out[i * product.place.stride + product.place.column + row];
            *out = if product.add { *out + value } else { value };
        }
    }
}

#[cfg(feature = "cubecl")]
pub(super) mod gpu {
    use super::super::code::gpu::{number, scale};
    use super::Product;
    use codingspot_pack::Encoding;
    use cubecl::prelude::*;

    /// How the work is shared out.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub(crate) struct Shape {
        pub(crate) encoding: Encoding,
        /// Rows and columns of the matrix.
        pub(crate) rows: usize,
        pub(crate) cols: usize,
        /// Units that share a row.
        pub(crate) lanes: usize,
        /// Rows of units in a cube.
        pub(crate) lines: usize,
        /// Outputs of a row of units: what is read of `x` serves so many.
        pub(crate) outputs: usize,
        /// Elements that a unit takes at once, and the words that they are.
        pub(crate) step: usize,
        /// Words of a load of the matrix, floats of a load of `x`.
        pub(crate) word_vector: usize,
        pub(crate) x_vector: usize,
        pub(crate) bias: bool,
        /// The lanes of a row are a plane.
        pub(crate) planes: bool,
        pub(crate) product: Product,
    }

    impl Shape {
        /// Outputs of the product.
        pub(crate) fn outputs_in_all(self) -> usize {
            if self.product.gated { self.rows / 2 } else { self.rows }
        }

        /// Rows of the matrix that make one output.
        fn parts(self) -> usize {
            if self.product.gated { 2 } else { 1 }
        }

        /// Sums of a unit.
        fn sums(self) -> usize {
            self.parts() * self.outputs * self.product.n
        }
    }

    #[cube(launch_unchecked)]
    pub(crate) fn kernel<W: Size, X: Size>(
        words: &[Vector<u32, W>],
        scales: &[u32],
        bias: &[f32],
        x: &[Vector<f32, X>],
        out: &mut [f32],
        #[comptime] s: Shape,
    ) {
        let n = comptime!(s.product.n);
        let outputs = comptime!(s.outputs_in_all());
        let parts = comptime!(s.parts());
        let lane = UNIT_POS_X as usize;
        let line = UNIT_POS_Y as usize;
        let first = (CUBE_POS_X as usize * comptime!(s.lines) + line) * comptime!(s.outputs);

        let per_word = comptime!(s.encoding.per_word());
        let steps = comptime!(s.cols / s.step);
        let step_words = comptime!(s.step / per_word / s.word_vector);
        let step_xs = comptime!(s.step / s.x_vector);
        let row_vectors = comptime!(s.cols / per_word / s.word_vector);
        let row_blocks = comptime!(s.cols / 32);

        let mut sums = Array::<f32>::new(comptime!(s.sums()));
        #[unroll]
        for i in 0..comptime!(s.sums()) {
            sums[i] = 0.0f32;
        }

        let mut at = lane;
        while at < steps {
            let mut xs = Array::<f32>::new(comptime!(s.step * s.product.n));
            #[unroll]
            for r in 0..n {
                #[unroll]
                for v in 0..step_xs {
                    let value = x[r * comptime!(s.cols / s.x_vector) + at * step_xs + v];
                    #[unroll]
                    for i in 0..comptime!(s.x_vector) {
                        xs[comptime!(r * s.step + v * s.x_vector + i)] = value.extract(i);
                    }
                }
            }
            #[unroll]
            for o in 0..comptime!(s.outputs) {
                #[unroll]
                for p in 0..parts {
                    // Beyond the end the last row is computed again and dropped: no branch inside.
                    let mut row = first + o;
                    if comptime!(s.outputs_in_all() % (s.lines * s.outputs) != 0) {
                        row = row.min(comptime!(s.outputs_in_all() - 1));
                    }
                    let row = row + comptime!(p * s.outputs_in_all());
                    let mut part = Array::<f32>::new(n);
                    #[unroll]
                    for r in 0..n {
                        part[r] = 0.0f32;
                    }
                    #[unroll]
                    for v in 0..step_words {
                        let vector = words[row * row_vectors + at * step_words + v];
                        #[unroll]
                        for w in 0..comptime!(s.word_vector) {
                            let word = vector.extract(w);
                            #[unroll]
                            for e in 0..per_word {
                                let weight = number(word, comptime!(e as u32), s.encoding);
                                let i = comptime!((v * s.word_vector + w) * s.encoding.per_word() + e);
                                #[unroll]
                                for r in 0..n {
                                    part[r] += weight * xs[comptime!(r * s.step + i)];
                                }
                            }
                        }
                    }
                    let mut factor = 1.0f32;
                    if comptime!(s.encoding.has_scales()) {
                        let block = row * row_blocks + at * comptime!(s.step / 32);
                        factor = scale(scales[block / 2], block);
                    }
                    #[unroll]
                    for r in 0..n {
                        sums[comptime!((o * s.parts() + p) * s.product.n + r)] += part[r] * factor;
                    }
                }
            }
            at += comptime!(s.lanes);
        }

        if comptime!(s.lanes > 1) {
            if comptime!(s.planes) {
                #[unroll]
                for i in 0..comptime!(s.sums()) {
                    sums[i] = plane_sum(sums[i]);
                }
            } else {
                let units = comptime!(s.lanes * s.lines);
                let mut shared = Shared::<[f32]>::new_slice(comptime!(s.lanes * s.lines * s.sums()));
                let unit = line * comptime!(s.lanes) + lane;
                #[unroll]
                for i in 0..comptime!(s.sums()) {
                    shared[i * units + unit] = sums[i];
                }
                sync_cube();
                if lane == 0 {
                    #[unroll]
                    for i in 0..comptime!(s.sums()) {
                        let mut sum = 0.0f32;
                        #[unroll]
                        for other in 0..comptime!(s.lanes) {
                            sum += shared[i * units + unit + other];
                        }
                        sums[i] = sum;
                    }
                }
            }
        }
        if lane == 0 {
            #[unroll]
            for o in 0..comptime!(s.outputs) {
                let row = first + o;
                if row < outputs {
                    #[unroll]
                    for r in 0..n {
                        let mut value = sums[comptime!(o * s.parts() * s.product.n + r)];
                        if comptime!(s.bias) {
                            value += bias[row];
                        }
                        if comptime!(s.product.gated) {
                            let mut up = sums[comptime!((o * s.parts() + 1) * s.product.n + r)];
                            if comptime!(s.bias) {
                                up += bias[row + outputs];
                            }
                            value = value / (1.0f32 + (-value).exp()) * up;
                        }
                        let to = comptime!(r * s.product.place.stride + s.product.place.column) + row;
                        if comptime!(s.product.add) {
                            value += out[to];
                        }
                        out[to] = value;
                    }
                }
            }
        }
    }
}
