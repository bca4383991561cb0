//! Matrix products of f32 operands that are rounded to bf16 on the way, with sums in f32: mixed
//! precision on CPUs with AVX512-BF16, whose `vdpbf16ps` multiplies twice as many pairs as an f32
//! FMA.
//!
//! The product is blocked as in BLIS (Van Zee and van de Geijn, *BLIS: A Framework for Rapidly
//! Instantiating BLAS Functionality*, 2015). The right operand is packed once, by all threads, into
//! panels of [`avx512::NR`] columns; tasks of whole rows of the result pack their rows of the left
//! operand themselves. Rounding is part of packing, so that no operand exists in bf16 as a whole.
//!
//! Every element of the result is summed over `k` in one order: where `k` is cut depends on its size
//! alone, and threads share out rows and columns, so that no bit depends on their number.
//!
//! What `vdpbf16ps` does differently from rounding and multiplying in f32: subnormal operands,
//! rounded operands, products and sums count as zero, and the two products of a pair are added to
//! the sum in an order that is the processor's own. Both stay within the usual bound of a sum in
//! f32, `k · 2⁻²⁴ · Σ|a·b|`, plus 2⁻¹²⁶ for each flushed value times what it is multiplied by.

use super::matmul::Matrix;

/// Whether this processor has what [`product`] is made of: AVX512-BF16.
pub(super) fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        // The standard library asks the processor once and remembers.
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// `a · b` with both rounded to bf16 (nearest, ties to even), summed in f32, into rows of `out` that
/// begin `out_row_stride` apart; added to what is there if `add`. On all threads if `parallel`.
///
/// # Safety
/// `out` must have room for `a.rows` rows of `b.cols` elements, `out_row_stride` apart without
/// overlap, and hold numbers already if `add`.
///
/// # Panics
/// When inner sizes differ, or the processor is not [`available`].
#[expect(unsafe_code, reason = "the result may be memory that holds nothing yet")]
pub(super) unsafe fn product(
    out: *mut f32,
    out_row_stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    add: bool,
    parallel: bool,
) {
    assert_eq!(a.cols, b.rows, "inner sizes differ");
    assert!(available(), "a product in bf16 on a processor without AVX512-BF16");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has the instructions, as was just checked; the caller answers for `out`.
    unsafe {
        avx512::product(out, out_row_stride, a, b, add, parallel);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (out, out_row_stride, add, parallel);
}

/// The nearest bf16 of each value (ties to even), as f32 again: operands of a product in f32 that
/// stands for [`product`] on processors without it.
pub(super) fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect()
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::Matrix;
    use std::arch::x86_64::{
        __m512, __m512bh, __m512i, _MM_HINT_ET0, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm512_add_ps,
        _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_load_si512, _mm512_loadu_ps, _mm512_mask_storeu_ps,
        _mm512_maskz_loadu_ps, _mm512_permutexvar_epi16, _mm512_set1_epi32, _mm512_setzero_ps,
        _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_store_si512, _mm512_storeu_ps,
        _mm512_storeu_si512, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
        _mm512_unpacklo_epi64,
    };
    use std::cell::Cell;
    use std::mem::transmute;

    /// f32 elements of a register, and pairs of bf16.
    const LANES: usize = 16;
    /// Rows of a tile: with two registers of columns each, 24 of the 32 registers hold sums.
    const MR: usize = 12;
    /// Columns of a tile.
    pub(super) const NR: usize = 2 * LANES;
    /// Inner elements of a block at most: what a tile reads of it (`MR` rows and `NR` columns) stays
    /// near the first cache, and a block of rows in the second.
    const DEPTH: usize = 512;
    /// Rows of a block at most.
    const BLOCK_ROWS: usize = 8 * MR;
    /// Tasks of a thread, as far as there are tiles: more than one, as something else may slow it down.
    const TASKS_PER_THREAD: usize = 4;
    /// Inner elements of a slab of the right operand at most, and the lines that it may take (8 MiB).
    const SLAB_DEPTH: usize = 1 << 14;
    /// See [`SLAB_DEPTH`].
    const SLAB_LINES: usize = 1 << 17;
    /// Multiplications below which threads cost more than they give.
    const PARALLEL: usize = 1 << 21;
    /// Elements to pack below which they do.
    const PARALLEL_PACKING: usize = 1 << 16;
    /// Panels of the right operand that are packed side by side, to read longer pieces of its rows.
    const PACKED_PANELS: usize = 4;
    /// Inner elements by which packing asks the memory ahead of its need: across rows, which lie on
    /// different pages, the processor does not do so by itself.
    const PACKED_AHEAD: usize = 16;
    /// f32 elements of a page.
    const PAGE: usize = 1024;
    /// Pairs between which a tile asks the memory for some of what is packed next.
    const PAIRS_BETWEEN: usize = 16;

    /// A line of the cache: 16 pairs of bf16, of which each holds the elements `k` and `k + 1`.
    #[repr(C, align(64))]
    #[derive(Clone, Copy)]
    struct Line([u32; LANES]);

    /// Where a packed block of the left operand has the pair `p` of row `i`: at
    /// `i · row + p · pair + (i / MR) · panel`, in pairs.
    ///
    /// Rows that lie so in memory are only rounded; an odd number of lines apart, since a power of two
    /// would put them all into the same few sets of the cache.
    const ROWS_ROW: usize = DEPTH / 2 + LANES;
    const ROWS_PANEL: usize = MR * ROWS_ROW;
    /// Where columns lie so in memory, the `MR` pairs of a panel follow one another; 16 are written at
    /// once, so that there is room for the rest after the last.
    const COLUMNS_PANEL: usize = (DEPTH / 2 * MR + LANES - MR).next_multiple_of(LANES);

    /// Lines of a packed block of the left operand.
    const BLOCK_LINES: usize = {
        let panel = if ROWS_PANEL > COLUMNS_PANEL { ROWS_PANEL } else { COLUMNS_PANEL };
        BLOCK_ROWS / MR * panel / LANES
    };

    thread_local! {
        /// Memory for a slab of the right operand, kept by the thread that asks for products.
        static SLAB: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
        /// Memory for a block of the left operand, kept by each thread that computes.
        static BLOCK: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    }

    /// Lends `work` the `lines` that this thread keeps. Meanwhile they are gone from there: a thread
    /// that waits may take up another product, which then gets memory of its own.
    fn with_lines<R>(
        kept: &'static std::thread::LocalKey<Cell<Vec<Line>>>,
        lines: usize,
        work: impl FnOnce(&mut [Line]) -> R,
    ) -> R {
        let mut memory = kept.take();
        if memory.len() < lines {
            memory.resize(lines, Line([0; LANES]));
        }
        let result = work(&mut memory[..lines]);
        kept.set(memory);
        result
    }

    /// A product and how it is cut.
    struct Product<'a> {
        out: *mut f32,
        out_row_stride: usize,
        a: Matrix<'a>,
        b: Matrix<'a>,
        add: bool,
        parallel: bool,
        /// Inner elements of a block, even; the last has fewer.
        depth: usize,
    }

    #[expect(unsafe_code, reason = "parts of the result are written by many threads")]
    // SAFETY: tasks write to different parts of `out`, and only read the rest.
    unsafe impl Sync for Product<'_> {}

    /// A part of the right operand: `k0..k1` of `n0..n1`.
    #[derive(Clone, Copy)]
    struct Slab {
        k0: usize,
        k1: usize,
        n0: usize,
        n1: usize,
    }

    impl Slab {
        /// Panels side by side, of which the last may be partly zeros.
        fn panels(self) -> usize {
            (self.n1 - self.n0).div_ceil(NR)
        }
    }

    /// [`super::product`].
    ///
    /// # Safety
    /// As there, and the processor must have the instructions.
    #[expect(unsafe_code, reason = "pointers")]
    pub(super) unsafe fn product(
        out: *mut f32,
        out_row_stride: usize,
        a: Matrix<'_>,
        b: Matrix<'_>,
        add: bool,
        parallel: bool,
    ) {
        let (m, n, k) = (a.rows, b.cols, a.cols);
        assert!(a.row_stride == 1 || a.col_stride == 1, "neither rows nor columns of the left are dense");
        assert!(b.row_stride == 1 || b.col_stride == 1, "neither rows nor columns of the right are dense");
        if m == 0 || n == 0 {
            return;
        }
        if k == 0 {
            for i in 0..if add { 0 } else { m } {
                // SAFETY: the caller gives room for every row.
                unsafe { out.add(i * out_row_stride).write_bytes(0, n) };
            }
            return;
        }
        let depth = k.div_ceil(k.div_ceil(DEPTH)).next_multiple_of(2);
        let parallel = parallel && m * n * k >= PARALLEL;
        let product = Product { out, out_row_stride, a, b, add, parallel, depth };

        let slab_depth = (SLAB_DEPTH / depth * depth).min(k.div_ceil(depth) * depth);
        let slab_cols = (SLAB_LINES / slab_depth * NR).min(n.next_multiple_of(NR));
        with_lines(&SLAB, slab_depth * slab_cols / NR, |lines| {
            within_threads(parallel, || {
                for n0 in (0..n).step_by(slab_cols) {
                    for k0 in (0..k).step_by(slab_depth) {
                        let slab = Slab { k0, k1: k.min(k0 + slab_depth), n0, n1: n.min(n0 + slab_cols) };
                        product.slab(slab, lines);
                    }
                }
            });
        });
    }

    impl Product<'_> {
        /// Packs a slab, and adds up what it gives.
        fn slab(&self, slab: Slab, lines: &mut [Line]) {
            let panels = slab.panels();
            let blocks = (slab.k1 - slab.k0).div_ceil(self.depth);
            let lines = &mut lines[..blocks * panels * self.depth];
            let parallel = self.parallel && NR * lines.len() >= PARALLEL_PACKING;
            for_panels(parallel, lines, [panels * self.depth, PACKED_PANELS * self.depth], |at, lines| {
                let k0 = slab.k0 + at[0] * self.depth;
                let n0 = slab.n0 + at[1] * PACKED_PANELS * NR;
                let (depth, n1) = (k0..slab.k1.min(k0 + self.depth), slab.n1.min(n0 + PACKED_PANELS * NR));
                #[expect(unsafe_code, reason = "vector instructions")]
                // SAFETY: the processor has them; the ranges lie within `b`, and each panel has
                // `depth` lines.
                unsafe {
                    if self.b.col_stride == 1 {
                        pack_right_rows(lines, self.depth, self.b, depth, n0..n1);
                    } else {
                        for (panel, n0) in lines.chunks_exact_mut(self.depth).zip((n0..n1).step_by(NR)) {
                            pack_right_columns(panel, self.b, depth.clone(), n0..n1.min(n0 + NR));
                        }
                    }
                }
            });
            let lines = &*lines;
            // No sum depends on how rows and columns are shared out.
            let tiles = self.a.rows.div_ceil(MR);
            let at_least = TASKS_PER_THREAD * threads(self.parallel);
            let row_tasks = tiles.div_ceil(BLOCK_ROWS / MR).next_multiple_of(at_least).min(tiles);
            let col_tasks = (at_least / row_tasks).clamp(1, panels);
            for_tasks(self.parallel, row_tasks * col_tasks, |task| {
                let part =
                    |of: usize, index: usize, parts: usize| of * index / parts..of * (index + 1) / parts;
                let rows = |row_task: usize| {
                    let rows = part(tiles, row_task, row_tasks);
                    rows.start * MR..self.a.rows.min(rows.end * MR)
                };
                let depth = |index: usize| {
                    let k0 = slab.k0 + index * self.depth;
                    k0..slab.k1.min(k0 + self.depth)
                };
                let group = part(panels, task % col_tasks, col_tasks);
                let cols = slab.n0 + group.start * NR..slab.n1.min(slab.n0 + group.end * NR);
                with_lines(&BLOCK, BLOCK_LINES, |block| {
                    for (index, right) in lines.chunks_exact(panels * self.depth).enumerate() {
                        let right = &right[group.start * self.depth..group.end * self.depth];
                        // What this thread will pack next, most likely.
                        let next = if index + 1 < blocks {
                            (rows(task / col_tasks), depth(index + 1))
                        } else if task + 1 < row_tasks * col_tasks {
                            (rows((task + 1) / col_tasks), depth(0))
                        } else {
                            (0..0, 0..0)
                        };
                        #[expect(unsafe_code, reason = "vector instructions")]
                        // SAFETY: the processor has them; the ranges lie within `a` and the slab, and no
                        // other task has these rows and columns.
                        unsafe {
                            let rows = rows(task / col_tasks);
                            self.block(block, right, rows, depth(index), cols.clone(), next);
                        }
                    }
                });
            });
        }

        /// Adds up what one block of the left operand gives with one of the right, packed in `right`;
        /// `next` are rows and depth of what this thread will pack next.
        ///
        /// # Safety
        /// The processor must have the instructions, the ranges must lie within the operands and the result, no other thread may write to this
        /// part of it, and `left` must have [`BLOCK_LINES`].
        #[expect(unsafe_code, reason = "pointers and vector instructions")]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        unsafe fn block(
            &self,
            left: &mut [Line],
            right: &[Line],
            rows: std::ops::Range<usize>,
            depth: std::ops::Range<usize>,
            cols: std::ops::Range<usize>,
            next: (std::ops::Range<usize>, std::ops::Range<usize>),
        ) {
            let add = self.add || depth.start > 0;
            let pairs = depth.len().div_ceil(2);
            let (tiles, panel) = if self.a.col_stride == 1 {
                // SAFETY: the caller keeps both ranges within `a`.
                unsafe { pack_left_rows(left, self.a, rows.clone(), depth) };
                (const { &tiles::<ROWS_ROW, 1>() }, ROWS_PANEL)
            } else {
                // SAFETY: as above.
                unsafe { pack_left_columns(left, self.a, rows.clone(), depth) };
                (const { &tiles::<1, MR>() }, COLUMNS_PANEL)
            };
            let left = left.as_ptr().cast::<i32>();
            let steps = cols.len().div_ceil(NR) * rows.len().div_ceil(MR) * pairs.div_ceil(PAIRS_BETWEEN);
            let mut ahead = Ahead::new(self.a, next.0, next.1, steps);
            for (col, right) in cols.clone().step_by(NR).zip(right.chunks_exact(self.depth)) {
                let width = NR.min(cols.end - col);
                for (index, row) in rows.clone().step_by(MR).enumerate() {
                    let tile = tiles[MR.min(rows.end - row) - 1];
                    // SAFETY: the tile lies within `out`, where the rows of a task are its own; the panel
                    // of `left` was packed above, that of `right` by the caller, both for these pairs.
                    unsafe {
                        let out = self.out.add(row * self.out_row_stride + col);
                        let target = Target { out, row_stride: self.out_row_stride, width, add };
                        tile(pairs, left.add(index * panel), right.as_ptr(), target, &mut ahead);
                    }
                }
            }
        }
    }

    /// Threads that share a product.
    fn threads(parallel: bool) -> usize {
        #[cfg(feature = "rayon")]
        if parallel {
            return rayon::current_num_threads();
        }
        let _ = parallel;
        1
    }

    /// `work()` on one of the threads that share it, so that none has to be woken between its steps.
    fn within_threads(parallel: bool, work: impl FnOnce() + Send) {
        #[cfg(feature = "rayon")]
        if parallel {
            rayon::scope(|_| work());
            return;
        }
        let _ = parallel;
        work();
    }

    /// `work([block, part], part of block)` for blocks and parts of blocks of so many lines.
    fn for_panels(
        parallel: bool,
        lines: &mut [Line],
        [block, part]: [usize; 2],
        work: impl Fn([usize; 2], &mut [Line]) + Sync + Send,
    ) {
        #[cfg(feature = "rayon")]
        if parallel {
            use rayon::prelude::*;
            lines.par_chunks_mut(block).enumerate().for_each(|(i, lines)| {
                lines.par_chunks_mut(part).enumerate().for_each(|(j, lines)| work([i, j], lines));
            });
            return;
        }
        let _ = parallel;
        for (i, lines) in lines.chunks_mut(block).enumerate() {
            lines.chunks_mut(part).enumerate().for_each(|(j, lines)| work([i, j], lines));
        }
    }

    /// `work(task)` for `0..tasks`.
    fn for_tasks(parallel: bool, tasks: usize, work: impl Fn(usize) + Sync + Send) {
        #[cfg(feature = "rayon")]
        if parallel {
            use rayon::prelude::*;
            (0..tasks).into_par_iter().with_max_len(1).for_each(work);
            return;
        }
        let _ = parallel;
        (0..tasks).for_each(work);
    }

    /// Lines of memory that a thread asks for while it computes: where operands lie outside the caches,
    /// packing would wait for them.
    struct Ahead {
        /// The row of memory to ask for, and how far behind it the next one is.
        row: *const f32,
        stride: usize,
        /// Rows that are left, and lines of each.
        rows: usize,
        lines: usize,
        /// The line to ask for.
        line: usize,
        /// Lines of a step.
        count: usize,
    }

    impl Ahead {
        /// A part of `matrix`, to be asked for in so many steps.
        fn new(
            matrix: Matrix<'_>,
            rows: std::ops::Range<usize>,
            cols: std::ops::Range<usize>,
            steps: usize,
        ) -> Self {
            let first = rows.start * matrix.row_stride + cols.start * matrix.col_stride;
            let (stride, mut rows, cols) = if matrix.col_stride == 1 {
                (matrix.row_stride, rows.len(), cols.len())
            } else {
                (matrix.col_stride, cols.len(), rows.len())
            };
            // Many short rows, each on a page of its own and all in the same few sets of the cache, would
            // drive one another out before they are read.
            if matrix.col_stride != 1 && stride % PAGE == 0 {
                rows = 0;
            }
            // One more, as a row may begin anywhere in a line.
            let lines = if rows * cols == 0 { 0 } else { cols.div_ceil(LANES) + 1 };
            let row = matrix.values.as_ptr().wrapping_add(first);
            Self { row, stride, rows, lines, line: 0, count: (rows * lines).div_ceil(steps) }
        }

        /// Asks for the lines of a step.
        #[inline(always)]
        #[expect(clippy::inline_always, reason = "it stands in the innermost loop but one")]
        fn step(&mut self) {
            for _ in 0..self.count {
                if self.line == self.lines {
                    if self.rows <= 1 {
                        return;
                    }
                    self.line = 0;
                    self.rows -= 1;
                    self.row = self.row.wrapping_add(self.stride);
                }
                #[expect(unsafe_code, reason = "asking for memory")]
                // SAFETY: it reads nothing, so that any address will do.
                unsafe {
                    _mm_prefetch::<_MM_HINT_T1>(self.row.wrapping_add(self.line * LANES).cast());
                }
                self.line += 1;
            }
        }
    }

    /// Where a tile of the result lies, how far apart its rows begin, its columns, and whether it is added
    /// to what is there.
    #[derive(Clone, Copy)]
    struct Target {
        out: *mut f32,
        row_stride: usize,
        width: usize,
        add: bool,
    }

    /// [`tile`], for some number of rows.
    type Tile = unsafe fn(usize, *const i32, *const Line, Target, &mut Ahead);

    /// [`tile`] for each number of rows.
    const fn tiles<const ROW: usize, const PAIR: usize>() -> [Tile; MR] {
        [
            tile::<1, ROW, PAIR>,
            tile::<2, ROW, PAIR>,
            tile::<3, ROW, PAIR>,
            tile::<4, ROW, PAIR>,
            tile::<5, ROW, PAIR>,
            tile::<6, ROW, PAIR>,
            tile::<7, ROW, PAIR>,
            tile::<8, ROW, PAIR>,
            tile::<9, ROW, PAIR>,
            tile::<10, ROW, PAIR>,
            tile::<11, ROW, PAIR>,
            tile::<12, ROW, PAIR>,
        ]
    }

    /// `ROWS` rows of the result and up to `NR` columns (`width`), from a panel of the left operand
    /// whose rows are `ROW` and whose pairs are `PAIR` apart.
    ///
    /// # Safety
    /// Both panels must hold `pairs` pairs, and `out` the tile, with numbers already if `add`.
    #[expect(unsafe_code, reason = "pointers and vector instructions")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn tile<const ROWS: usize, const ROW: usize, const PAIR: usize>(
        pairs: usize,
        left: *const i32,
        right: *const Line,
        target: Target,
        ahead: &mut Ahead,
    ) {
        let Target { out, row_stride, width, add } = target;
        // SAFETY: the caller answers for all that is read and written; masks keep what is beyond
        // `width` from both.
        unsafe {
            // The result is needed at the end, and may be on its way from memory until then.
            for i in 0..ROWS {
                let row = out.add(i * row_stride).cast_const().cast::<i8>();
                _mm_prefetch::<_MM_HINT_ET0>(row);
                _mm_prefetch::<_MM_HINT_ET0>(row.wrapping_add(64));
            }
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            let (mut left, mut right) = (left, right);
            for first in (0..pairs).step_by(PAIRS_BETWEEN) {
                ahead.step();
                for _ in first..pairs.min(first + PAIRS_BETWEEN) {
                    let b0 = as_bf16(_mm512_load_si512(right.cast()));
                    let b1 = as_bf16(_mm512_load_si512(right.add(1).cast()));
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let a = as_bf16(_mm512_set1_epi32(*left.add(i * ROW)));
                        sums[0] = _mm512_dpbf16_ps(sums[0], a, b0);
                        sums[1] = _mm512_dpbf16_ps(sums[1], a, b1);
                    }
                    left = left.add(PAIR);
                    right = right.add(2);
                }
            }
            if width == NR {
                for (i, sums) in sums.iter().enumerate() {
                    for (half, &sum) in sums.iter().enumerate() {
                        let out = out.add(i * row_stride + half * LANES);
                        let sum = if add { _mm512_add_ps(sum, _mm512_loadu_ps(out)) } else { sum };
                        _mm512_storeu_ps(out, sum);
                    }
                }
            } else {
                let masks = [mask(width), mask(width.saturating_sub(LANES))];
                for (i, sums) in sums.iter().enumerate() {
                    for (half, &sum) in sums.iter().enumerate() {
                        let out = out.wrapping_add(i * row_stride + half * LANES);
                        let there = _mm512_maskz_loadu_ps(if add { masks[half] } else { 0 }, out);
                        _mm512_mask_storeu_ps(out, masks[half], _mm512_add_ps(sum, there));
                    }
                }
            }
        }
    }

    /// The first `count` lanes, or all.
    fn mask(count: usize) -> u16 {
        if count >= LANES { u16::MAX } else { (1 << count) - 1 }
    }

    #[expect(unsafe_code, reason = "both are 512 bits")]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn as_bf16(x: __m512i) -> __m512bh {
        // SAFETY: any bits are numbers of either kind.
        unsafe { transmute(x) }
    }

    /// 32 values rounded to bf16, `low` before `high`.
    #[expect(unsafe_code, reason = "both are 512 bits")]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn round(low: __m512, high: __m512) -> __m512i {
        // SAFETY: any bits are numbers of either kind.
        unsafe { transmute(_mm512_cvtne2ps_pbh(high, low)) }
    }

    /// 16 values each of the rows `k` and `k + 1`, rounded, as pairs.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pairs(even: __m512, odd: __m512) -> __m512i {
        const ORDER: [u16; 32] = {
            let mut order = [0; 32];
            let mut lane = 0;
            while lane < 16 {
                order[2 * lane as usize] = lane;
                order[2 * lane as usize + 1] = 16 + lane;
                lane += 1;
            }
            order
        };
        #[expect(unsafe_code, reason = "both are 512 bits")]
        // SAFETY: any bits are integers.
        let order = unsafe { transmute::<[u16; 32], __m512i>(ORDER) };
        _mm512_permutexvar_epi16(order, round(even, odd))
    }

    /// 32 values from `values`, rounded; zeros beyond the first `count`.
    ///
    /// # Safety
    /// `values` must have `count` elements, or 32 if those are more.
    #[expect(unsafe_code, reason = "pointers and vector instructions")]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn load_row(values: *const f32, count: usize) -> __m512i {
        // SAFETY: masks keep what is beyond `count` from being read.
        unsafe {
            if count >= 2 * LANES {
                round(_mm512_loadu_ps(values), _mm512_loadu_ps(values.add(LANES)))
            } else {
                let low = _mm512_maskz_loadu_ps(mask(count), values);
                let high = mask(count.saturating_sub(LANES));
                round(low, _mm512_maskz_loadu_ps(high, values.wrapping_add(LANES)))
            }
        }
    }

    /// Packs rows of the left operand, dense in memory.
    ///
    /// # Safety
    /// The ranges must lie within `a`.
    #[expect(unsafe_code, reason = "pointers and vector instructions")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn pack_left_rows(
        block: &mut [Line],
        a: Matrix<'_>,
        rows: std::ops::Range<usize>,
        depth: std::ops::Range<usize>,
    ) {
        for (row, lines) in rows.zip(block.chunks_exact_mut(ROWS_ROW / LANES)) {
            // SAFETY: the caller keeps the row within `a`; a line has room for what is stored.
            unsafe {
                let values = a.values.as_ptr().add(row * a.row_stride + depth.start);
                for (p, line) in (0..depth.len()).step_by(2 * LANES).zip(lines) {
                    let packed = load_row(values.add(p), depth.len() - p);
                    _mm512_store_si512(line.0.as_mut_ptr().cast(), packed);
                }
            }
        }
    }

    /// Packs columns of the left operand, dense in memory.
    ///
    /// # Safety
    /// The ranges must lie within `a`.
    #[expect(unsafe_code, reason = "pointers and vector instructions")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn pack_left_columns(
        block: &mut [Line],
        a: Matrix<'_>,
        rows: std::ops::Range<usize>,
        depth: std::ops::Range<usize>,
    ) {
        assert!(block.len() >= BLOCK_LINES && rows.len() <= BLOCK_ROWS && depth.len() <= DEPTH);
        let block = block.as_mut_ptr().cast::<u32>();
        for (p, k) in depth.clone().step_by(2).enumerate() {
            // SAFETY: the caller keeps both rows of memory within `a`, masks keep what is read within
            // them; each panel has room for the last pairs and what is stored behind them, which the
            // next pairs of the same panel overwrite.
            unsafe {
                let even = a.values.as_ptr().add(k * a.col_stride + rows.start);
                let odd = even.wrapping_add(a.col_stride);
                for row in [even, odd] {
                    let ahead = row.wrapping_add(PACKED_AHEAD * a.col_stride);
                    for lane in (0..rows.len()).step_by(LANES) {
                        _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(lane).cast());
                    }
                }
                for (panel, first) in (0..rows.len()).step_by(MR).enumerate() {
                    let mask = mask(rows.len() - first);
                    let odd = if k + 1 < depth.end {
                        _mm512_maskz_loadu_ps(mask, odd.add(first))
                    } else {
                        _mm512_setzero_ps()
                    };
                    let packed = pairs(_mm512_maskz_loadu_ps(mask, even.add(first)), odd);
                    _mm512_storeu_si512(block.add(panel * COLUMNS_PANEL + p * MR).cast(), packed);
                }
            }
        }
    }

    /// Packs panels of the right operand, of `panel` lines each, whose rows are dense in memory.
    ///
    /// # Safety
    /// The ranges must lie within `b`.
    #[expect(unsafe_code, reason = "pointers and vector instructions")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn pack_right_rows(
        lines: &mut [Line],
        panel: usize,
        b: Matrix<'_>,
        depth: std::ops::Range<usize>,
        cols: std::ops::Range<usize>,
    ) {
        for (p, k) in depth.clone().step_by(2).enumerate() {
            let even = b.values[k * b.row_stride + cols.start..].as_ptr();
            let odd = even.wrapping_add(b.row_stride);
            let odd_mask = if k + 1 < depth.end { u16::MAX } else { 0 };
            for (col, half) in (0..cols.len().next_multiple_of(NR)).step_by(LANES).zip(0..) {
                let mask = mask(cols.len().saturating_sub(col));
                let line = &mut lines[half / 2 * panel + 2 * p + half % 2];
                let [even, odd] = [even.wrapping_add(col), odd.wrapping_add(col)];
                // SAFETY: masks keep what is read within the rows, which the caller keeps within `b`.
                unsafe {
                    for row in [even, odd] {
                        let ahead = row.wrapping_add(PACKED_AHEAD * b.row_stride);
                        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                    }
                    let even = _mm512_maskz_loadu_ps(mask, even);
                    let odd = _mm512_maskz_loadu_ps(mask & odd_mask, odd);
                    _mm512_store_si512(line.0.as_mut_ptr().cast(), pairs(even, odd));
                }
            }
        }
    }

    /// Packs a panel of the right operand, whose columns are dense in memory.
    ///
    /// # Safety
    /// The ranges must lie within `b`.
    #[expect(unsafe_code, reason = "pointers and vector instructions")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn pack_right_columns(
        panel: &mut [Line],
        b: Matrix<'_>,
        depth: std::ops::Range<usize>,
        cols: std::ops::Range<usize>,
    ) {
        let pairs = depth.len().div_ceil(2);
        for half in 0..2 {
            for first in (0..pairs).step_by(LANES) {
                let mut square = [_mm512_setzero_si512(); LANES];
                for (col, row) in (cols.start + half * LANES..cols.end).zip(&mut square) {
                    // SAFETY: the caller keeps the column within `b`.
                    unsafe {
                        let k = depth.start + 2 * first;
                        let values = b.values.as_ptr().add(col * b.col_stride + k);
                        *row = load_row(values, depth.end - k);
                    }
                }
                let lines = panel[2 * first..].iter_mut().skip(half).step_by(2).take(pairs - first);
                for (line, row) in lines.zip(transpose(&square)) {
                    // SAFETY: a line has room for it, and its alignment.
                    unsafe { _mm512_store_si512(line.0.as_mut_ptr().cast(), row) };
                }
            }
        }
    }

    /// Rows and columns of 16 · 16 pairs exchanged.
    #[target_feature(enable = "avx512f")]
    fn transpose(rows: &[__m512i; LANES]) -> [__m512i; LANES] {
        let mut twos = *rows;
        for i in (0..LANES).step_by(2) {
            twos[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
            twos[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
        }
        // Of four rows from `g` on, `fours[g + c]` has the columns c, 4 + c, 8 + c and 12 + c.
        let mut fours = twos;
        for g in (0..LANES).step_by(4) {
            for i in 0..2 {
                fours[g + 2 * i] = _mm512_unpacklo_epi64(twos[g + i], twos[g + i + 2]);
                fours[g + 2 * i + 1] = _mm512_unpackhi_epi64(twos[g + i], twos[g + i + 2]);
            }
        }
        let mut columns = fours;
        for c in 0..4 {
            let [a, b, d, e] = [fours[c], fours[4 + c], fours[8 + c], fours[12 + c]];
            let even = [_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(d, e)];
            let odd = [_mm512_shuffle_i32x4::<0xdd>(a, b), _mm512_shuffle_i32x4::<0xdd>(d, e)];
            columns[c] = _mm512_shuffle_i32x4::<0x88>(even[0], even[1]);
            columns[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even[0], even[1]);
            columns[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]);
            columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd[0], odd[1]);
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::{Matrix, available, product, rounded};
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    /// [`product`] as a plain loop: the reference.
    fn product_reference(out: &mut [f32], out_row_stride: usize, a: Matrix<'_>, b: Matrix<'_>, add: bool) {
        assert_eq!(a.cols, b.rows, "inner sizes differ");
        let last = a.rows.saturating_sub(1) * out_row_stride + b.cols;
        assert!(a.rows == 0 || (out.len() >= last && out_row_stride >= b.cols), "the product does not fit");
        let (a_values, b_values) = (rounded(a.values), rounded(b.values));
        for i in 0..a.rows {
            let out = &mut out[i * out_row_stride..][..b.cols];
            if !add {
                out.fill(0.0);
            }
            for p in 0..a.cols {
                let x = a_values[i * a.row_stride + p * a.col_stride];
                for (j, out) in out.iter_mut().enumerate() {
                    *out += x * b_values[p * b.row_stride + j * b.col_stride];
                }
            }
        }
    }

    /// A matrix in memory: its rows dense or its columns, with `gap` elements between them that
    /// belong to neither.
    struct Stored {
        values: Vec<f32>,
        rows: usize,
        cols: usize,
        gap: usize,
        transposed: bool,
    }

    impl Stored {
        /// Normal numbers of either sign, from 2⁻⁴ to 2⁴; NaN between rows.
        fn random(rng: &mut ChaCha8Rng, rows: usize, cols: usize, gap: usize, transposed: bool) -> Self {
            let (outer, inner) = if transposed { (cols, rows) } else { (rows, cols) };
            let mut values = vec![f32::NAN; outer * (inner + gap)];
            for row in values.chunks_exact_mut((inner + gap).max(1)) {
                row[..inner].fill_with(|| {
                    let x: f32 = rng.random_range(-4.0_f32..4.0).exp2();
                    if rng.random() { x } else { -x }
                });
            }
            Self { values, rows, cols, gap, transposed }
        }

        fn matrix(&self) -> Matrix<'_> {
            let (outer, inner) =
                if self.transposed { (self.cols, self.rows) } else { (self.rows, self.cols) };
            let matrix = Matrix::strided(&self.values, outer, inner, inner + self.gap);
            if self.transposed { matrix.transposed() } else { matrix }
        }

        fn index(&self, row: usize, col: usize) -> usize {
            let matrix = self.matrix();
            row * matrix.row_stride + col * matrix.col_stride
        }

        fn absolute(&self) -> Self {
            let values = self.values.iter().map(|x| x.abs()).collect();
            Self { values, ..*self }
        }
    }

    /// Says why a test does nothing where the processor can't do what it tests.
    #[expect(clippy::print_stderr, reason = "a test has no other place to say it")]
    fn skipped() -> bool {
        if !available() {
            eprintln!("skipped: this processor has no AVX512-BF16");
        }
        !available()
    }

    /// The product, with rows of `out` `gap` apart, that must keep what lies between them.
    fn run(out: &mut [f32], gap: usize, a: &Stored, b: &Stored, add: bool, parallel: bool) {
        let stride = b.cols + gap;
        assert_eq!(out.len(), a.rows * stride);
        #[expect(unsafe_code, reason = "the product takes a pointer")]
        // SAFETY: the length was just checked.
        unsafe {
            product(out.as_mut_ptr(), stride, a.matrix(), b.matrix(), add, parallel);
        }
    }

    /// Checks a product against the reference.
    ///
    /// Both are sums in f32 of the same exact products (8 bits times 8 bits fit in 24), in another
    /// order: each is within `k · 2⁻²⁴ · Σ|a·b|` of the exact sum, to first order, where Σ counts
    /// what is added to. A wrong, missing or doubled term, or one rounded to bf16 in another way
    /// (2⁻⁸), is outside unless it is thousands of times smaller than the sum of all.
    fn check(rng: &mut ChaCha8Rng, [m, n, k]: [usize; 3], [left, right]: [bool; 2], add: bool, gap: usize) {
        let a = Stored::random(rng, m, k, gap, left);
        let b = Stored::random(rng, k, n, gap, right);
        let before = if add {
            (0..m * (n + gap)).map(|_| rng.random_range(-1.0..1.0)).collect()
        } else {
            vec![f32::NAN; m * (n + gap)]
        };
        let (mut found, mut expected) = (before.clone(), before.clone());
        let mut sizes: Vec<f32> = before.iter().map(|x| x.abs()).collect();
        run(&mut found, gap, &a, &b, add, true);
        product_reference(&mut expected, n + gap, a.matrix(), b.matrix(), add);
        product_reference(&mut sizes, n + gap, a.absolute().matrix(), b.absolute().matrix(), add);
        let what = format!("{m} x {n} x {k}, transposed {left} {right}, add {add}, gap {gap}");
        for (i, ((found, expected), size)) in found.iter().zip(&expected).zip(&sizes).enumerate() {
            if i % (n + gap) >= n {
                assert_eq!(found.to_bits(), before[i].to_bits(), "{what}: wrote behind a row, at {i}");
                continue;
            }
            let tolerance = 2.0 * (k + 1) as f32 * 2.0_f32.powi(-24) * size;
            let difference = (found - expected).abs();
            assert!(difference <= tolerance, "{what}: {found} instead of {expected} at {i}");
        }
    }

    const FORMS: [[bool; 2]; 4] = [[false, false], [false, true], [true, false], [true, true]];

    #[test]
    fn random_shapes_agree_with_the_reference() {
        if skipped() {
            return;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for round in 0..96 {
            let shape = std::array::from_fn(|_| rng.random_range(1..=200));
            let gap = if round % 3 == 0 { rng.random_range(1..40) } else { 0 };
            for form in FORMS {
                check(&mut rng, shape, form, round % 2 == 0, gap);
            }
        }
    }

    #[test]
    fn every_tile_height_and_width_agrees_with_the_reference() {
        if skipped() {
            return;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for size in 1..=34 {
            for form in FORMS {
                check(&mut rng, [size, 37 - size, 1 + size % 5], form, size % 2 == 0, 0);
            }
        }
    }

    #[test]
    fn several_blocks_and_slabs_agree_with_the_reference() {
        if skipped() {
            return;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for (index, shape) in [
            // A model's layer, fewer tokens; blocks of rows and of depth that are not full.
            [203, 320, 864],
            [203, 864, 320],
            [97, 64, 320],
            [320, 96, 1025],
            [110, 40, 513],
            // More inner elements than a slab has, and more columns.
            [13, 35, 16_500],
            [5, 8_300, 560],
        ]
        .into_iter()
        .enumerate()
        {
            for form in FORMS {
                check(&mut rng, shape, form, index % 2 == 1, 0);
            }
        }
    }

    #[test]
    fn products_without_elements_leave_sums_and_clear_the_rest() {
        if skipped() {
            return;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for form in FORMS {
            for shape in [[0, 5, 3], [5, 0, 3], [5, 3, 0], [0, 0, 0]] {
                check(&mut rng, shape, form, true, 0);
                check(&mut rng, shape, form, false, 0);
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        if skipped() {
            return;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for form in FORMS {
            let a = Stored::random(&mut rng, 250, 1030, 0, form[0]);
            let b = Stored::random(&mut rng, 1030, 170, 0, form[1]);
            let mut serial = vec![0.5; 250 * 170];
            run(&mut serial, 0, &a, &b, true, false);
            #[cfg(feature = "rayon")]
            for threads in [1, 2, 3, 7] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                let mut parallel = vec![0.5; 250 * 170];
                pool.install(|| run(&mut parallel, 0, &a, &b, true, true));
                let same = serial.iter().zip(&parallel).all(|(x, y)| x.to_bits() == y.to_bits());
                assert!(same, "{threads} threads give other bits");
            }
            // Nor does what memory held before.
            let mut again = vec![0.5; 250 * 170];
            run(&mut again, 0, &a, &b, true, true);
            assert_eq!(serial, again);
        }
    }

    #[test]
    fn nan_and_infinity_reach_their_row_and_column_alone() {
        if skipped() {
            return;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        for form in FORMS {
            for (bad, k_bad) in [(f32::NAN, 0), (f32::INFINITY, 26), (f32::NEG_INFINITY, 25)] {
                // An odd depth, so that the last pair has a zero beside what is bad.
                let mut a = Stored::random(&mut rng, 30, 27, 0, form[0]);
                let b = Stored::random(&mut rng, 27, 50, 0, form[1]);
                let at = a.index(17, k_bad);
                a.values[at] = bad;
                let mut out = vec![0.0; 30 * 50];
                run(&mut out, 0, &a, &b, false, false);
                for (i, x) in out.iter().enumerate() {
                    let (row, sign) = (i / 50, b.values[b.index(k_bad, i % 50)].signum());
                    match row {
                        17 if bad.is_nan() => assert!(x.is_nan()),
                        17 => assert_eq!(x.to_bits(), (bad * sign).to_bits()),
                        _ => assert!(x.is_finite()),
                    }
                }

                let a = Stored::random(&mut rng, 30, 27, 0, form[0]);
                let mut b = Stored::random(&mut rng, 27, 50, 0, form[1]);
                let at = b.index(k_bad, 33);
                b.values[at] = bad;
                run(&mut out, 0, &a, &b, false, false);
                for (i, x) in out.iter().enumerate() {
                    let (col, sign) = (i % 50, a.values[a.index(i / 50, k_bad)].signum());
                    match col {
                        33 if bad.is_nan() => assert!(x.is_nan()),
                        33 => assert_eq!(x.to_bits(), (bad * sign).to_bits()),
                        _ => assert!(x.is_finite()),
                    }
                }
            }
        }
    }

    #[test]
    fn operands_round_to_the_nearest_even() {
        if skipped() {
            return;
        }
        // Ties that go down and up, their neighbours in f32, the largest that stays finite and what
        // becomes infinite, and signed zeros.
        let bits = [
            0x3f80_8000_u32,
            0x3f81_8000,
            0x3f80_7fff,
            0x3f80_8001,
            0x3f81_7fff,
            0xbf81_8000,
            0x7f7f_7fff,
            0x7f7f_8000,
            0x0000_0000,
            0x8000_0000,
            0x0080_0000,
        ];
        let values: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
        let expected: Vec<u32> = rounded(&values).iter().map(|x| (x + 0.0).to_bits()).collect();
        for transposed in [false, true] {
            let stored = Stored { values: values.clone(), rows: values.len(), cols: 1, gap: 0, transposed };
            let one = Stored { values: vec![1.0], rows: 1, cols: 1, gap: 0, transposed };
            let mut out = vec![f32::NAN; values.len()];
            run(&mut out, 0, &stored, &one, false, false);
            let found: Vec<u32> = out.iter().map(|x| (x + 0.0).to_bits()).collect();
            assert_eq!(found, expected, "as the left operand");
            let stored = Stored { values: values.clone(), rows: 1, cols: values.len(), gap: 0, transposed };
            run(&mut out, 0, &one, &stored, false, false);
            let found: Vec<u32> = out.iter().map(|x| (x + 0.0).to_bits()).collect();
            assert_eq!(found, expected, "as the right operand");
        }
    }

    #[test]
    fn subnormal_operands_count_as_zero() {
        if skipped() {
            return;
        }
        let tiny = Stored { values: vec![1e-39; 4], rows: 1, cols: 4, gap: 0, transposed: false };
        let large = Stored { values: vec![1e30; 4], rows: 4, cols: 1, gap: 0, transposed: false };
        let mut out = [f32::NAN];
        run(&mut out, 0, &tiny, &large, false, false);
        assert_eq!(out[0].to_bits(), 0);
    }
}
